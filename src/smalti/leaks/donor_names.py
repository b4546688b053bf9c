"""Donors under two names."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator

import pandas as pd

from smalti.leaks.case import Case, check, each_has_one
from smalti.leaks.finding import Finding
from smalti.names import some

# what says that a name is of a person, and not of which
_AFFIXES = {"donor", "patient", "subject", "person", "individual", "participant", "sample", "id",
            "pat", "pt"}  # fmt: skip


@check("donor names")
def aliases(case: Case) -> Iterator[Finding]:
    """Names that are one but for case, spaces, signs, zeros in front, or a word such as "donor".

    What parts names of different people stays: D1 and D10, S1_a and S1_b, P1+ and P1-, patient 1
    and donor 1.
    """
    if case.bags.donor in (None, "bag"):
        return
    alike = defaultdict(list)
    for name in pd.unique(case.donors).tolist():
        words, affixes = _read(str(name))
        alike[words].append((name, affixes))
    twice = []
    for found in alike.values():
        people = {a for _, a in found if a}
        if len(found) > 1 and len(people) < 2:  # else "patient 1" and "donor 1", two people
            twice.append([name for name, _ in found])
    if twice:
        pairs = [" and ".join(repr(n) for n in names) for names in twice]
        yield Finding(
            "donor names",
            f"{len(twice)} donor{'s' * (len(twice) > 1)} may stand under two names, which splits "
            f"part: {', '.join(pairs[:3])}{' and more' if len(pairs) > 3 else ''}.",
            f"If they are one person, give one name in column {case.bags.donor!r}.",
            "doubt",
            {"names": [[str(n) for n in names] for names in twice]},
        )


@check("donors of samples")
def samples_as_donors(case: Case) -> Iterator[Finding]:
    """A column of people has fewer names than there are donors, each of which is in one of them."""
    donors = pd.Series(case.donors)
    for name, values, _ in case.columns():
        words = set(re.findall(r"[a-z]+", name.casefold()))
        if not words & _PEOPLE or words - _PEOPLE - _OF_NAMES or values.isna().any():
            continue
        n, n_donors = len(pd.unique(values)), len(pd.unique(donors))
        if 1 < n < n_donors and each_has_one(donors, values):
            pairs = pd.DataFrame({"donor": donors, "person": values}).drop_duplicates()
            shared = pairs["person"][pairs["person"].duplicated()].unique()
            yield Finding(
                "donors of samples",
                f"{n_donors} donors are {n} of column {name!r}: samples of one of them "
                f"({some([str(k) for k in shared])}) are on both sides of splits.",
                f"Name the people as donors: donor={name!r}.",
                evidence={"column": name, "people": n, "donors": n_donors},
            )


_PEOPLE = {"donor", "patient", "subject", "person", "individual", "participant", "mouse", "animal"}
_OF_NAMES = {"id", "name", "no", "number", "code"}  # "donor_type" has no names


@check("instances as donors")
def cells_as_donors(case: Case) -> Iterator[Finding]:
    """Every instance is a bag and a donor, and a column groups them as the labels do."""
    bags = case.bags
    n = len(bags)
    if bags.lengths.max() > 1 or pd.Series(case.donors).nunique() < n or not case.is_classes:
        return
    n_labels = len(pd.unique(pd.Series(case.labels)))
    labels = pd.Series(case.labels)
    for name, values, _ in case.columns():
        sizes = values.value_counts()
        # ten to a level on the average; more levels than labels, or it is the label (another kind)
        if not n_labels < len(sizes) <= n / 10 or values.isna().any() or n_labels < 2:
            continue
        if not each_has_one(values, labels):
            continue
        # null: labels dealt to instances alone. The share of one label, to the power of how many
        # instances must agree with the first of their level, bounds how often all levels are pure
        if labels.value_counts(normalize=True).max() ** (n - len(sizes)) < 1e-6:
            yield Finding(
                "instances as donors",
                f"each of {n:,} instances counts as a donor, and their label is one and the same "
                f"in each of {len(sizes)} values of {name!r}: those were labelled.",
                f"Make bags of them: sample={name!r}, and name their donors.",
                evidence={"column": name, "levels": len(sizes), "instances": n},
            )
            return


def _read(name: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """What a name says: its words and numbers; and words that say only that it is of a person."""
    text = unicodedata.normalize("NFKC", name).casefold().strip()
    text = re.sub(r"^(\d+)\.0$", r"\1", text)  # a number that a table made a float
    found = re.findall(r"^-(?=\d)|[^\W\d_]+|\d+|[+-]$", text)
    words = [w.lstrip("0") or "0" if w.isdigit() else w for w in found]
    kept = tuple(w for w in words if w not in _AFFIXES)
    return (kept, frozenset(words) & _AFFIXES) if kept else (tuple(words), frozenset())
