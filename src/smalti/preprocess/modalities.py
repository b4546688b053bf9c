"""What a view is taken for, and which steps follow from it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np

from smalti.bags import Bags
from smalti.counts import count_problem
from smalti.errors import InputError
from smalti.names import meant, some
from smalti.preprocess.antibodies import controls
from smalti.preprocess.on import On
from smalti.preprocess.sequence import spec_text
from smalti.preprocess.step import Step
from smalti.views import take

# kind of modality: what it is called, steps of its counts, what in a name tells it (not in the
# middle of a word where it is short); the first that fits is meant, so that "cite_rna" is RNA
KINDS: dict[str, tuple[str, str, str]] = {
    "tags": ("tags (hashtags, guides)", "clr",
             r"(?<![a-z])(hto|guide)|hashtag|multiplexing|crispr|sgrna"),
    "rna": ("RNA", "normalize,log1p,genes=2000", r"rna|gex|transcript|gene.expression"),
    "protein": ("protein", "clr", r"prot|adt|antibod|surface|(?<![a-z])cite"),
    "atac": ("open chromatin", "lsi=50", r"atac|peak|access|chromatin"),
    "cytometry": ("cytometry", "arcsinh", r"cytof|cytometry"),
    "other": ("what needs no steps", "", r"(?!)"),
}  # fmt: skip
# Below, LSI's components are a large part of all directions there are: most of them noise, which it
# scales to the size of the rest (docs/preprocessing.md).
_FEW_PEAKS = 1000
_ANY_VALUES = ("cytometry", "other")  # kinds whose steps do not ask for counts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Modality:
    """What a view was taken for; as a text one line.

    Attributes
    ----------
    view, n_features
        Its name and its width.
    kind
        One of ``KINDS``; "" where steps were given and nothing tells it.
    by
        What told the kind: "name", "kinds", or "" where nothing did; "preprocess" where the steps
        were given, so that it does not matter.
    steps
        Those that follow, as a text; "" where it is taken as it stands.
    problem
        Why the steps of its kind were left out.
    aside
        Which of its features are set aside: isotype controls and hashtags among proteins.
    found
        What fitting the steps found, in a sentence.
    """

    view: str
    n_features: int
    kind: str = ""
    by: str = ""
    steps: str = ""
    problem: str = ""
    aside: str = ""
    found: str = ""

    @property
    def doubtful(self) -> bool:
        """Whether a user should look at it: a guess, steps left out, or tags among modalities."""
        if self.by == "preprocess":
            return False
        if self.problem:
            return bool(self.by) or "negative" not in self.problem  # an embedding has no steps
        return not self.by or self.kind == "tags" or bool(self.aside)

    def __str__(self) -> str:
        return self._taken_for() + (f"; {self.found}" if self.found else "")

    def _taken_for(self) -> str:
        start = f"{self.view} ({self.n_features:,} features): "
        if self.by == "preprocess":
            return f"{start}{self.steps or 'as it stands'}, as preprocess= says"
        told = {"name": "by its name", "kinds": "as kinds= says"}.get(self.by)
        meant = f"taken for {KINDS[self.kind][0]}, "
        meant += told or f"for its name says nothing: kinds={{{self.view!r}: 'protein'}} tells"
        if self.aside:
            meant += f"; {self.aside}"
        if self.problem:
            return (
                f"{start}{meant}; taken as it stands, without {KINDS[self.kind][1]}, as "
                f"{self.problem}. Give raw counts (corrected ones rounded), or steps in preprocess="
            )
        if self.kind == "tags":
            meant += ", which tell samples or guides apart and not the states of cells"
        return f"{start}{meant}; {self.steps or 'as it stands'}"


def kind_of(name: str) -> str | None:
    """Which kind of modality a name tells, or None."""
    return next((k for k, (_, _, words) in KINDS.items() if re.search(words, name.lower())), None)


def modalities(bags: Bags) -> tuple[Modality, ...]:
    """What each view is taken for: by ``bags.kinds``, or its name; for RNA where neither tells.

    Raises
    ------
    InputError
        If a view holds images, or a kind is not known.
    """
    check_kinds(bags.kinds)
    return tuple(_modality(bags, name) for name in bags.x)


def check_kinds(kinds: Mapping[str, str]) -> None:
    """Refuse kinds that are not known.

    Raises
    ------
    InputError
        If one is not.
    """
    for view, kind in kinds.items():
        if kind not in KINDS:
            raise InputError(f"kinds=: {view!r} is {kind!r}, which is none of {', '.join(KINDS)}."
                             f"{meant(kind, KINDS)}")  # fmt: skip


def _modality(bags: Bags, name: str) -> Modality:
    view = bags.x[name]
    if len(view.shape) != 2:
        raise InputError(f"view {name!r} holds images: integration takes tables.")
    named = kind_of(name)
    kind = bags.kinds.get(name, named or "rna")
    found = Modality(view=name, n_features=int(view.shape[1]), kind=kind,
                     by="kinds" if name in bags.kinds else "name" if named else "")  # fmt: skip
    steps = KINDS[kind][1]
    if kind not in _ANY_VALUES:
        # rows that were not measured hold zeros that say nothing: they are not asked
        there = bags.present.get(name)
        rows = None if there is None or there.all() else np.flatnonzero(there)
        problem = count_problem(view if rows is None else take(view, rows))
        found = dataclasses.replace(found, problem=problem or "")
        steps = "" if problem else steps
    aside = controls(bags.features.get(name)) if kind == "protein" else []
    if len(aside) == view.shape[1]:  # nothing else is there
        aside = []
    if steps == "clr" and view.shape[1] - len(aside) < 2:
        steps = "log1p"  # one protein has no ratio
    if aside:
        steps = f"drop_controls,{steps}".rstrip(",")
        said = f"{len(aside)} controls by their names ({some(aside, 3)}) are set aside"
        found = dataclasses.replace(found, aside=said)
    if kind == "atac" and steps and view.shape[1] < _FEW_PEAKS:
        steps = "tfidf"
    return dataclasses.replace(found, steps=steps)


def given_modalities(bags: Bags, steps: Sequence[Step]) -> tuple[Modality, ...]:
    """The views with the steps that a user gave for each."""
    own: dict[str, list[Step]] = {name: [] for name in bags.x}
    for step in steps:
        view, one = (step.view, step.step) if isinstance(step, On) else (next(iter(own)), step)
        own.setdefault(view, []).append(one)
    return tuple(
        Modality(view=name, n_features=int(view.shape[1]), steps=spec_text(own[name]),
                 kind=bags.kinds.get(name, kind_of(name) or ""), by="preprocess")
        for name, view in bags.x.items()
    )  # fmt: skip


def with_findings(taken: Sequence[Modality], fitted: Sequence[Step]) -> tuple[Modality, ...]:
    """The same with what their fitted steps found."""
    found: dict[str, list[str]] = {one.view: [] for one in taken}
    for step in fitted:
        view = step.view if isinstance(step, On) else next(iter(found), "")
        if view in found and (said := step.finding()):
            found[view].append(said)
    return tuple(dataclasses.replace(m, found="; ".join(found[m.view])) for m in taken)


def guess_steps(bags: Bags) -> dict[str, str]:
    """Steps for each view, by what it is taken for and whether it holds counts.

    Proteins: ``clr``, isotype controls set aside (``drop_controls,clr``). Peaks: ``lsi=50``
    (``tfidf`` of fewer than 1,000). RNA, and counts whose name says nothing:
    ``normalize,log1p,genes=2000``. Cytometry: ``arcsinh``. What is no count stays as it is. See
    :func:`modalities`.

    Raises
    ------
    InputError
        If a view holds images.
    """
    return {m.view: m.steps for m in modalities(bags) if m.steps}
