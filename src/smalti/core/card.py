"""A model card: what a fitted model is, by its own facts, as Markdown.

Of the cohort it tells numbers, and no names of donors, bags, files or folders. Classes, columns and
features are what the model predicts and reads; they are named.
"""

from __future__ import annotations

import json
import math
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from sklearn.utils.validation import check_is_fitted

from smalti._version import __version__
from smalti.core.citation import citation
from smalti.core.identity import row_of, settings_of
from smalti.errors import InputError
from smalti.preprocess import spec_text

_SOME = 12  # names of a list that are told
_TAGS = {"mil": ("multiple-instance-learning",), "integrate": ("multi-omics", "single-cell"),
         "expression": ("spatial-transcriptomics", "histopathology"),
         "features": ("histopathology",)}  # fmt: skip
_USE = {
    "mil": "model.predict(bags)  # one a bag",
    "integrate": "model.transform(cells)  # (n_cells, width)",
    "expression": "model.predict(slides)  # (n_tiles, n_genes)",
    "features": "model.transform(slides)  # (n_tiles, width)",
}
_COMPARE = {"integrate": "compare_integration", "expression": "compare_expression"}
_DIRECTION = "What it attends to is where it looked, and not why; an attribution is no cause."
_LIMITS = {
    "mil": ("It predicts for a bag (a patient, a slide), and not for its pieces.", _DIRECTION),
    "integrate": ("Distances in its embedding may show how cells were measured as well as what "
                  "they are.",),
    "expression": ("What it predicts is an estimate from a picture, and no measurement.",),
}  # fmt: skip


def card(
    model: Any, *, licence: str | None = None, scores: Any = None, label: str | None = None,
    repo: str = "USER/NAME",
) -> str:  # fmt: skip
    """The card of a fitted model; see :meth:`smalti.Method.card`."""
    from jinja2 import Environment, PackageLoader

    check_is_fitted(model)
    inner = getattr(model, "model_", model)  # whose code an annotator votes in
    annotates = inner is not model
    rules = Environment(loader=PackageLoader("smalti.core", "."), autoescape=False,
                        trim_blocks=True, keep_trailing_newline=True)  # fmt: skip
    rules.filters |= {"cell": _cell, "yaml": json.dumps}
    return rules.get_template("card.md.jinja").render(
        name=repo.rpartition("/")[2] if repo != "USER/NAME" else model.name,
        repo=repo, licence=licence,
        tags=("smalti", *_TAGS.get(inner.room, ()), *(("cell-type-annotation",) * annotates)),
        does=_labels(model) if annotates else _does(model),
        facts=(_reference(model) if annotates else []) + _facts(inner),
        use="model.annotate(cells)  # a row a cell" if annotates else _USE.get(inner.room, ""),
        reads=_reads(inner), settings=_settings(inner), cohort=_cohort(inner),
        compare="compare_annotation" if annotates else _COMPARE.get(inner.room, "compare"),
        scores=[] if scores is None else _scores(model, scores, label),
        warned=[*_warned(inner), *(model.notes_ if annotates else ())],
        limits=_LIMITS.get(inner.room, ()), bibtex=citation(inner).strip(),
    )  # fmt: skip


def _does(model: Any) -> str:
    """One sentence."""
    if model.room == "mil":
        column = _cell(_column(model.task_))
        return f"Predicts {column} of a bag (a patient, a slide) from its pieces (cells, tiles)."
    if model.room == "integrate":
        return f"Embeds cells by {', '.join(model.inputs_)}; no labels were looked at."
    if model.room == "expression":
        return f"Predicts the expression of {len(model.genes_):,} genes from tiles of slides."
    return "Turns tiles of slides into features; no labels were looked at."


def _labels(annotator: Any) -> str:
    """One sentence of an annotator."""
    return (f"Labels new cells ({_cell(annotator.label)}) by those of a reference, and says how "
            "sure it is and what is unknown.")  # fmt: skip


def _reference(annotator: Any) -> list[tuple[str, str]]:
    """What an annotator knows beside its method."""
    return [("labels", _list(annotator.labels_)), ("how right", annotator.said())]


def _facts(model: Any) -> list[tuple[str, str]]:
    """What it is."""
    task = model.task_
    found = [("method", f"{model.name} ({type(model).__name__})"), ("paper", model.reference)]
    if model.room == "mil":
        found += [("kind of target", task.kind), ("column of the target", _column(task))]
    if task.is_classifier:
        found.append(("classes", _list(task.classes)))
    if task.positive is not None:
        found.append(("positive class", task.positive))
    if model.room == "expression":
        found += [("genes", _list(model.genes_)), ("units", model.units)]
    return [*found, ("parameters", f"{model.n_parameters_:,}"), ("seed", model.seed),
            ("smalti", __version__), ("digest of the training data", model.digest_)]  # fmt: skip


def _column(task: Any) -> str:
    """The column of a target, or the columns."""
    return task.column if isinstance(task.column, str) else ", ".join(map(str, task.column))


def _reads(model: Any) -> list[str]:
    """Each view, and how many of its features it makes anything of."""
    used, lines = model.reads().read, []
    for view, shape in model.inputs_.items():
        if len(shape) > 1:
            lines.append(f"{view}: pictures, {' x '.join(map(str, shape))}")
            continue
        n, names = int(used[view].sum()), model.features_.get(view)
        told = [name for name, there in zip(names or (), used[view], strict=False) if there]
        lines.append(f"{view}: {n:,} of {shape[0]:,} features" + (f" ({_list(told)})" if told else
                                                                  ""))  # fmt: skip
    columns = model.columns_
    if columns.group is not None:
        lines.append(f"the column {columns.group} of instances, with {_list(columns.levels)}")
    lines += [f"the column {c['name']} of bags" for c in columns.covariates]
    return lines


def _settings(model: Any) -> list[tuple[str, str]]:
    """Those that are not the defaults."""
    usual, here = settings_of(type(model)()), settings_of(model)
    steps = spec_text(model.steps_)
    found = {k: v for k, v in here.items() if v != usual.get(k) and k != "preprocess"}
    return [*((k, _plain(v)) for k, v in found.items()), *([("preprocess", steps)] * bool(steps))]


def _plain(value: Any) -> str:
    """A setting as text; of a path the name of the file, for its folders are somebody's own."""
    if isinstance(value, str) and ("/" in value or "\\" in value):
        return PurePosixPath(PureWindowsPath(value).as_posix()).name
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cohort(model: Any) -> list[tuple[str, str]]:
    """Numbers alone."""
    units = {"mil": "bags", "integrate": "cells", "expression": "tiles"}.get(model.room, "tiles")
    found = [(f"{units} that it was trained on", f"{model.shape_.n_units:,}")]
    if (seen := getattr(model, "seen_", None)) is not None and seen.donors:
        found.append(("donors", f"{len(seen.donors):,}"))
    if len(model.history_):
        found.append(("rounds of training", f"{len(model.history_):,}"))
    return found


def _scores(model: Any, scores: Any, label: str | None) -> list[dict[str, str]]:
    """Means over the parts of a comparison, each with its interval."""
    if label is None and not hasattr(model, "task_"):
        raise InputError(
            f"which row of the comparison is this {model.name}? Name it, label='NAME'."
        )
    row, found = row_of(model, scores, label), []
    for metric, values in scores.of(row).items():
        table = scores.intervals(metric).set_index("method")
        low, high = (float(table.at[row, k]) for k in ("value_low", "value_high"))
        known = not (math.isnan(low) or math.isnan(high))
        found.append({"metric": metric, "value": f"{values['mean']:.3f}",
                      "interval": f"{low:.3f} to {high:.3f}" if known else "not known",
                      "parts": str(len(values["folds"]))})  # fmt: skip
    return found


def _warned(model: Any) -> list[str]:
    """What a reader must know of how it was fitted."""
    found = []
    if not model.converged_:
        found.append("The loss was still falling after the last epoch of its training.")
    if (note := getattr(model, "searched_", None)) is not None:
        found.append(
            f"Its settings were chosen of {note['trials']} by {note['metric']} on inner folds, "
            f"where they had {note['inner']:.3f}: too good, for they were chosen by it."
        )
    return found


def _list(names: Any) -> str:
    some = ", ".join(map(str, names[:_SOME]))
    return some + (f" and {len(names) - _SOME:,} more" if len(names) > _SOME else "")


def _cell(value: Any) -> str:
    """A text that stays inside its cell, and is no tag."""
    text = " ".join(str(value).split())
    return text.replace("|", "\\|").replace("<", "&lt;")
