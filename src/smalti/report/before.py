"""What was found before a fit, in words, short tables and pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.plot.style import short
from smalti.report.finding import Finding, as_text, picture_of, read_finding

if TYPE_CHECKING:
    from smalti.features.screen import Screen
    from smalti.genes.exploring import GeneExploration

_ROWS = 15  # of a table that has one for each gene
_TESTED = (
    "If tiles of donors that a model is tested on were looked at here, what is chosen by it "
    "(genes, groups, an encoder) has seen the test: look at training donors only."
)
_GENES = {
    "choice": ("How many groups",
               "Silhouette: 1 where genes lie in their groups, 0 where they lie between them. "
               "Agreement is the adjusted Rand index: 0 is that of chance."),
    "scale": ("Scale of the genes", "A dot is a gene, over all tiles."),
    "distribution": ("Distribution of the genes",
                     "A gene that few tiles show has many zeros and a few high values, which a "
                     "squared error then follows."),
    "points": ("Genes as points",
               "t-SNE, coloured by group; a group's number and its gene of most s.d. Near is near; "
               "far distances and sizes of clouds mean nothing."),
    "correlations": ("Which genes go together",
                     "Genes in the order of their groups, the largest first."),
}  # fmt: skip
_TURNED = (
    "Turned maps: measurements of each slide turned or mirrored, so that smooth genes stay smooth "
    "and no longer fit the picture (shuffled where tiles have no positions)."
)


def finding_of(found: Any, about: str = "") -> Finding:
    """What a page says of something that was found before a fit.

    Parameters
    ----------
    found
        What :func:`smalti.genes.explore`, :func:`smalti.features.screen_backbones` or
        :func:`smalti.expression.predictable` returned; or a folder that
        :func:`smalti.report.write_finding` wrote.
    about
        The data in one line.

    Raises
    ------
    InputError
        If it is something else, or a folder without a finding.
    """
    from smalti.features.screen import Screen
    from smalti.genes.exploring import GeneExploration

    if isinstance(found, Finding):
        return found
    if isinstance(found, (str, Path)):
        return read_finding(found)
    if isinstance(found, GeneExploration):
        made = _explored(found)
    elif isinstance(found, Screen):
        made = _screened(found)
    elif isinstance(found, pd.DataFrame) and {"gene", "view", "score", "null_sd"} <= set(found):
        made = _predictable(found)
    else:
        raise InputError(
            f"a {type(found).__name__} is nothing that is found before a fit: give what explore, "
            "screen_backbones or predictable returned, or the folder of it."
        )
    return dataclasses.replace(made, about=about)


def _names(genes: pd.DataFrame) -> str:
    return ", ".join(map(short, genes["gene"]))


def _explored(found: GeneExploration) -> Finding:
    from smalti.plot import plot_genes

    n, row = len(found.genes), found.choice.set_index("k").loc[found.k]
    height = f"{row['silhouette']:.2f}"
    agree = f"seeds agree to {row['seeds']:.2f}, two halves of the tiles to {row['halves']:.2f}"
    sentence = (
        f"{found.k} groups part these {n:,} genes best (silhouette {height}, the highest of the "
        f"numbers on which seeds of k-means agree; {agree})."
        if found.steady else
        f"Seeds of k-means agree on no number of groups of these {n:,} genes: {found.k} has the "
        f"highest silhouette ({height}; {agree}). Take these groups for no finding."
    )  # fmt: skip
    groups = pd.DataFrame([
        {"group": str(group), "genes": len(own), "mean": own["mean"].mean(),
         "share of tiles": own["detected"].mean(), "of most s.d.": _names(own.nlargest(4, "sd"))}
        for group, own in found.genes.groupby("group")
    ])  # fmt: skip
    return Finding(
        "A look at the genes", sentence,
        ("K-means parts points that have no groups too. Where seeds agree the parting is stable, "
         "which does not say that it means anything.",
         "All tiles are pooled: genes go together also because slides or donors differ, or because "
         "a tile has more cells.", _TESTED),
        {"Numbers of groups": as_text(found.choice), "Groups": as_text(groups)},
        {name: picture_of(plot_genes(found, [name]), *words) for name, words in _GENES.items()},
        {"genes": found.genes, "choice": found.choice},
    )  # fmt: skip


def _screened(found: Screen) -> Finding:
    from smalti.plot import plot_screen

    table = found.summary()
    parts = f", no interval can be given of {found.folds['left_out'].nunique()} parts"
    said = []
    for row in table.iloc[1:].itertuples():
        gap = f" (95 % interval {row.low:.3f} to {row.high:.3f}), {row.verdict}"
        said.append(
            f"{row.view} is behind by {row.behind:.3f}{gap if row.low == row.low else parts}"
        )
    sentence = (
        f"{found.best} has the highest mean correlation, {table['pcc_slide'].iloc[0]:.3f} of "
        f"{len(found.genes):,} genes within a slide, each {found.left_out} left out in turn; "
        f"{'; '.join(said)}."
    )
    same = () if found.left_out == "donor" else (
        f"Each {found.left_out} was left out, so that training has the donor too: nothing is said "
        "of other donors.",)  # fmt: skip
    names = {"view": "features", "width": "numbers", "pcc_slide": "Pearson", "low": "95 % from",
             "high": "to"}  # fmt: skip
    shown = table.rename(columns=names)
    shown.loc[0, ["behind", "95 % from", "to"]] = np.nan  # the best itself
    return Finding(
        "Which features predict expression best", sentence,
        ("The best was picked by these very scores: its own is somewhat too high and the intervals "
         "are too narrow. “Not told apart” is not “equal”.",
         "Ridge was asked, with one penalty for all genes that was chosen in the same folds: a "
         "network may put features in another order.", *same, _TESTED),
        {"Features": as_text(shown)},
        {"screen": picture_of(plot_screen(found), "Each part that was left out",
                              "Pearson of a gene within a slide, mean over genes and slides.")},
        {"summary": table, "folds": found.folds},
    )  # fmt: skip


def _predictable(table: pd.DataFrame) -> Finding:
    from smalti.plot import plot_predictable

    by = table.attrs.get("by", "donor")
    said = []
    for view, own in table.groupby("view", sort=False):
        beyond = own["beyond_depth"].mean()
        past = "" if pd.isna(beyond) else f", {beyond:.2f} beyond the depth of a tile"
        top = _names(own.nlargest(3, "score"))
        said.append(f"with {view} {own['score'].mean():.2f}{past} (highest: {top})")
    n, known = table["gene"].nunique(), table.dropna(subset=["score"])["gene"].nunique()
    sentence = (
        f"Guessed from the tiles of other {by}s that look most alike, {known:,} genes have a mean "
        f"rank correlation within a slide of: {'; '.join(said)}."
        if known else f"None of {n:,} genes has a score: each was seen in too few tiles."
    )  # fmt: skip
    lost = (f"{n - known:,} of {n:,} genes have no score: too few tiles show them.",) * (known < n)
    head = f"Scores of the genes, from {table['n_donors'].iloc[0]} {by}s"
    return Finding(
        "Which genes the features know of", sentence,
        ("Neighbours weigh all features alike: a method that weighs them may do better, or worse.",
         "p and fdr of the whole table are too small where genes are tied to one another, as "
         "counts per 10,000 are. Rank by the score, and by the score beyond the depth.",
         f"It is about these {by}s, and says little of others where they are few.", *lost, _TESTED),
        {"The highest scores": _highest(table)},
        {"predictable": picture_of(plot_predictable(table), head, _TURNED)} if known else {},
        {"predictable": table},
    )  # fmt: skip


def _highest(table: pd.DataFrame) -> pd.DataFrame:
    """The genes of the highest scores, as text."""
    names = {"gene": "gene", "view": "features", "score": "score", "beyond_depth": "beyond depth",
             "null_mean": "turned maps", "null_sd": "their s.d.",
             "donors": f"above 0, of {table['n_donors'].iloc[0]}",
             "seen": "tiles with it"}  # fmt: skip
    best = table.nlargest(_ROWS, "score")[list(names)].astype({"donors": "Int64"})
    best["gene"] = best["gene"].map(short)
    return as_text(best.rename(columns=names).reset_index(drop=True))
