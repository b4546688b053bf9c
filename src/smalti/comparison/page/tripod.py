"""TRIPOD+AI (Collins et al., BMJ 2024, doi:10.1136/bmj-2023-078378), item by item.

What a comparison knows is answered; what only the authors of a study know is said to be theirs.
The checklist is CC BY 4.0; here each item is in a few words of our own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pandas as pd

from smalti.report.section import Section, Table, Text
from smalti.scores.metrics import named

HERE, PART, YOURS = "here", "in part", "yours"
_NOT_DONE = "Nothing was done."


@dataclasses.dataclass(frozen=True)
class _Item:
    """One item: what it asks; what is said here; what is left to the authors."""

    number: str
    asks: str
    here: Callable[[Any], str] | str = ""
    yours: str = ""


def _models(table: Any) -> str:
    raced = [m for m in table.settings if m not in {*table.baselines, *table.controls}]
    return ", ".join(raced) or "baselines only"


def _chosen(table: Any) -> str:
    names = ", ".join(table.searched["method"].unique())
    return f", those of {names} chosen by inner folds of each fold's training donors" if names \
        else ""  # fmt: skip


def _outcome(table: Any) -> str:
    task = table.task
    said = f"{task.kind} target"
    if task.is_classifier:
        said += f", classes {', '.join(map(str, task.classes))}"
    return said + (f"; '{task.positive}' is the positive one" if task.kind == "binary" else "")


def _steps(table: Any) -> str:
    steps = {k: v.get("preprocess") for k, v in table.settings.items()}
    told = [f"{k}: {v}" for k, v in steps.items() if v]
    if not told:
        return "No step before the methods but their own scaling, fitted in the fold."
    return "Steps fitted on the training donors of each fold: " + "; ".join(told) + "."


def _size(table: Any) -> str:
    rival = table.best_baseline()
    found = pd.DataFrame() if rival is None else table.against(rival)
    idle = {*table.baselines, *table.controls}
    own = found[~found["method"].isin(idle)] if len(found) else found
    least = own["detectable"].min() if len(own) else float("nan")
    n = f"{table.predictions['donor'].nunique():,} donors"
    if pd.isna(least):
        return f"{n}."
    return (f"{n}; the least difference to {rival} that they would tell apart four times of five "
            f"is {least:.3f}.")  # fmt: skip


def _sites(table: Any) -> str:
    if "site" not in table.predictions:
        return "No site was named, so nothing is said of differences between sites."
    n = table.predictions["site"].nunique()
    if table.protocol == "leave-one-site-out":
        return f"Each of {n} sites was left out in turn; the spread is over sites."
    if table.protocol == "preserved-sites":
        return f"{n} sites, each whole in one fold: no test donor is of a site that trained."
    return (f"{n} sites, each on both sides of the splits; what the site alone predicts is a row "
            "of the table.")  # fmt: skip


def _weights(table: Any) -> str:
    used = [m for m, s in table.settings.items() if s.get("class_weight") is not None]
    return (f"Classes were weighted in the loss of {', '.join(used)}: their probabilities are of "
            "weighted classes, see the calibration." if used else
            "No class was weighted or drawn more often.")  # fmt: skip


def _output(table: Any) -> str:
    if table.task.kind == "survival":
        return ("A risk, higher where the event comes earlier, and the probability of no event "
                "until each of some times.")  # fmt: skip
    if not table.task.is_classifier:
        return "A number, in the unit of the target."
    return ("Probabilities of the classes. Calls are by thresholds that left-out bags of other "
            "folds chose, by sensitivity + specificity.")  # fmt: skip


def _fairness(table: Any) -> str:
    if not table.task.by_itself or table.by_group().empty:
        return "Nothing was done; no column that parts the donors was given."
    return "Nothing was done in training; scores by group: Does it work alike in all groups?"


def _updated(table: Any) -> str:
    if table.recalibrated is None:
        return _NOT_DONE
    return (f"Probabilities were recalibrated ({table.recalibrated}) inside each fold, by training "
            "donors alone; nothing after the evaluation.")  # fmt: skip


def _whole(table: Any) -> str:
    lacks = "" if table.recalibrated is None else " It does not recalibrate, as the folds here did."
    return ("Models of the folds are not kept. smalti fit with the same settings writes that of "
            f"all donors, as safetensors and JSON.{lacks}")  # fmt: skip


def _apart(table: Any) -> str:
    if table.protocol == "external validation":
        return "Two sources, given as two sets of bags: which differ is for you to say."
    if table.protocol in ("leave-one-site-out", "preserved-sites"):
        return "Training and test donors are of different sites, and differ as sites do."
    return "One source, parted by donor: training and test donors differ by the parting alone."


def _in_each(table: Any) -> str:
    facts = table.facts()
    shown = ("test bags", "donors", "repeats", "fits per method", "bags per fit")
    return "; ".join(f"{k}: {facts[k]}" for k in shown if k in facts) + "."


def _performance(table: Any) -> str:
    metrics = ", ".join(map(named, table.metrics[:5]))
    return (f"{metrics}: means over {table.unit}, 95 % intervals, differences "
            "to the best baseline with Holm's correction.")  # fmt: skip


def _limits(table: Any) -> str:
    if table.audit is None:
        return ""
    n = len(tuple(table.audit))
    found = f"The audit says {n} thing{'s' * (n != 1)} of these data." if n else \
        "The audit found nothing."  # fmt: skip
    return f"{found} Intervals say how much the number of donors leaves open."


ITEMS = (
    _Item("1", "Title: development or evaluation, population, outcome", yours="The title."),
    _Item("2", "Abstract", yours="The abstract."),
    _Item("3a", "Context, rationale, existing models", yours="All of it."),
    _Item("3b", "Target population, purpose, users", yours="All of it."),
    _Item("3c", "Known health inequalities", yours="All of it."),
    _Item("4", "Objectives",
          lambda t: f"Development with internal validation ({t.protocol})."
          if t.protocol != "external validation" else "Development, and evaluation elsewhere.",
          "What it is for."),
    _Item("5a", "Sources of data", lambda t: f"{t.about}; digest {t.digest}.",
          "Kind of study, representativeness."),
    _Item("5b", "Dates", yours="Start and end of accrual, follow-up."),
    _Item("6a", "Setting, centres", _sites, "Setting and places."),
    _Item("6b", "Eligibility", "What was left out when the data were read: Who was in.",
          "Criteria before these files."),
    _Item("6c", "Treatments", yours="All of it."),
    _Item("7", "Preparation of the data", _steps, "What was done before these files."),
    _Item("8a", "Outcome", lambda t: f"{_outcome(t)}.", "How and when it was assessed."),
    _Item("8b", "Assessors of the outcome", yours="All of it."),
    _Item("8c", "Blinding of the outcome", yours="All of it."),
    _Item("9a", "Choice of predictors", "All features of the views named in the settings.",
          "Why these; what was chosen before these files."),
    _Item("9b", "Definition of predictors", lambda t: f"{t.about}.", "How they were measured."),
    _Item("9c", "Assessors of predictors", yours="All of it."),
    _Item("10", "Sample size", _size, "How the size was arrived at."),
    _Item("11", "Missing data", "Nothing is imputed: missing values and covariates are refused; "
          "what lacks a label is left out and counted in Who was in.", "Why it is missing."),
    _Item("12a", "How data were used", lambda t: f"{t.protocol}; donors never on both sides."),
    _Item("12b", "Handling of predictors", _steps),
    _Item("12c", "Models, steps, tuning, validation",
          lambda t: f"{_models(t)}; settings in Settings{_chosen(t)}; smalti chose nothing on test "
          "donors.",
          "Rationale."),
    _Item("12d", "Differences between centres", _sites),
    _Item("12e", "Measures and plots", _performance),
    _Item("12f", "Updating", _updated),
    _Item("12g", "How predictions were made",
          "By the model of the fold that had not seen the donor; predictions.csv has them all."),
    _Item("13", "Class imbalance", _weights),
    _Item("14", "Fairness", _fairness, "What was considered."),
    _Item("15", "Output and thresholds", _output, "What is for use."),
    _Item("16", "Training against evaluation data", _apart, "Differences in setting."),
    _Item("17", "Ethics", yours="All of it."),
    _Item("18a", "Funding", yours="All of it."),
    _Item("18b", "Conflicts of interest", yours="All of it."),
    _Item("18c", "Protocol", yours="Where it is, or that there was none."),
    _Item("18d", "Registration", yours="Number, or that there was none."),
    _Item("18e", "Data sharing", lambda t: f"The digest {t.digest} tells these data from others.",
          "Where they are."),
    _Item("18f", "Code sharing", "Command, versions and settings: How this was made.",
          "Where your own code is."),
    _Item("19", "Patients and public", yours="All of it."),
    _Item("20a", "Flow of participants", "Who was in."),
    _Item("20b", "Characteristics", "Who was in: the cohort table.", "Columns that are not here."),
    _Item("20c", "Evaluation against development data", _apart),
    _Item("21", "Numbers in each analysis", _in_each),
    _Item("22", "The full model", _whole, "Where it is, on which terms."),
    _Item("23a", "Performance with intervals", _performance),
    _Item("23b", "Differences between centres", _sites),
    _Item("24", "Updated models", _NOT_DONE),
    _Item("25", "Interpretation", lambda t: f"{t.headline()}.", "What it means."),
    _Item("26", "Limitations", _limits, "Of the study."),
    _Item("27a", "Poor or missing input", "Missing or infinite values, other features and other "
          "units are refused by name when a model is used, unless features are asked to be taken "
          "for their mean; a new level of a covariate is read as the first, with a warning.",
          "What to do then."),
    _Item("27b", "Interaction and expertise", yours="All of it."),
    _Item("27c", "Next steps", yours="All of it."),
)  # fmt: skip


def answers(table: Any) -> pd.DataFrame:
    """Item, what it asks, where it is answered (here, in part, yours), and the answer."""
    rows = []
    for item in ITEMS:
        said = item.here(table) if callable(item.here) else item.here
        state = YOURS if not said else PART if item.yours else HERE
        left = f"Yours: {item.yours[:1].lower()}{item.yours[1:]}" if said and item.yours else ""
        rows.append({"item": item.number, "asks": item.asks, "answered": state,
                     "answer": f"{said} {left}".strip() or item.yours})  # fmt: skip
    return pd.DataFrame(rows)


def tripod(table: Any) -> Section:
    """The checklist, folded."""
    found = answers(table)
    n = found["answered"].value_counts()
    words = (f"Of {len(found)} items of the TRIPOD+AI checklist (2024) this page answers "
             f"{n.get(HERE, 0)}, {n.get(PART, 0)} in part; {n.get(YOURS, 0)} are yours to "
             "write.")  # fmt: skip
    return Section("tripod", "TRIPOD+AI", (Text(words), Table("tripod", found)), folded=True)
