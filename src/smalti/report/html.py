"""Self-contained HTML pages: of a comparison, and of what was found before a fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from smalti.report.before import finding_of
from smalti.report.finding import as_text, picture_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from smalti.scores.table import Scores

_SHOWN = 5  # metrics in the table; more do not fit on paper


def write_report(
    comparison: Scores,
    path: str | Path,
    *,
    figures: Mapping[str, Figure] | None = None,
    title: str = "Comparison of methods",
    text: Sequence[str] = (),
    captions: Mapping[str, str] | None = None,
    before: Sequence[Any] = (),
    overwrite: bool = False,
) -> None:
    """Write a page that can be mailed, printed and opened in ten years.

    Parameters
    ----------
    comparison
        What :func:`smalti.compare` or :func:`smalti.compare_integration` returned.
    path
        The .html file. Another such page is replaced, as a whole.
    figures
        Heading -> figure, in order; those of the comparison when left out.
    title
        Heading of the page.
    text
        Paragraphs below it.
    captions
        Heading -> a sentence under its figure.
    before
        What was found before the fit: what :func:`smalti.genes.explore`,
        :func:`smalti.features.screen_backbones` or :func:`smalti.expression.predictable` returned,
        or folders that :func:`write_finding` wrote.
    overwrite
        Replace any other file too.

    Raises
    ------
    InputError
        If another file is there, it cannot be written, or one of ``before`` is something else.
    """
    from smalti.system.files import atomic_write, check_free

    check_free(path, overwrite=overwrite, ours=is_report)  # before the pictures are drawn
    if figures is None:
        figures = comparison.figures()
    html = _page(
        "report.html.j2", title=title, text=list(text), about=comparison.about,
        notes=comparison.notes, audit=comparison.audit,
        before=[finding_of(found) for found in before],
        pictures=[picture_of(f, name, (captions or {}).get(name, ""))
                  for name, f in figures.items()],
        said=comparison.said(), terms=comparison.terms(), table=_table(comparison),
        tables={name: as_text(_narrow(t)) for name, t in comparison.tables().items()},
        facts=comparison.facts(), unit=comparison.unit, digest=comparison.digest,
        settings=_settings(comparison),
    )  # fmt: skip
    with atomic_write(path, overwrite=overwrite, ours=is_report) as temporary:
        temporary.write_text(html, encoding="utf-8")


def write_finding(
    found: Any, folder: str | Path, *, about: str = "", overwrite: bool = False
) -> None:
    """Write what was found before a fit: report.html, its tables, its pictures.

    The page says the finding in a sentence and what it cannot tell. A comparison takes the folder
    in: ``table.report("report.html", before=[folder])``.

    Parameters
    ----------
    found
        What :func:`smalti.genes.explore`, :func:`smalti.features.screen_backbones` or
        :func:`smalti.expression.predictable` returned.
    folder
        Where to: report.html, finding.json (the words), tables as .csv, pictures as .svg.
    about
        The data in one line.
    overwrite
        Replace a folder that is there.

    Raises
    ------
    InputError
        If it is something else, other files are there, or they cannot be written.

    Examples
    --------
    >>> import smalti as sm
    >>> from smalti.report import write_finding
    >>> slides = sm.datasets.planted_slides(4, 36, n_genes=12, seed=0)
    >>> write_finding(sm.expression.predictable(slides, shuffles=5), "genes", about=repr(slides))
    >>> from pathlib import Path
    >>> sorted(path.name for path in Path("genes").iterdir())
    ['finding.json', 'predictable.csv', 'predictable.svg', 'report.html']
    """
    from smalti.system.files import atomic_folder, check_free

    check_free(folder, overwrite=overwrite)
    finding = finding_of(found, about)
    html = _page("finding.html.j2", title=finding.title, about=finding.about, finding=finding)
    with atomic_folder(folder, overwrite=overwrite) as temporary:
        finding.write_into(temporary)
        (temporary / "report.html").write_text(html, encoding="utf-8")


def _page(template: str, **parts: Any) -> str:
    from jinja2 import Environment, PackageLoader

    from smalti.report.versions import versions

    rules = Environment(loader=PackageLoader("smalti.report", "."), autoescape=True,
                        trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    rules.filters["lower_first"] = lambda text: text[:1].lower() + text[1:]
    return rules.get_template(template).render(versions=versions(extras=True), **parts)


_MARK = "<!-- a page of smalti -->"  # near the top: such a page may be replaced by the next one


def is_report(path: Path) -> bool:
    """Whether a file is a page that :func:`write_report` wrote."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _MARK.encode() in file.read(1024)


def _table(comparison: Scores) -> dict[str, Any]:
    """Header and rows of the table; the best mean of each metric is marked."""
    from smalti.plot.scores import NAMES
    from smalti.scores.metrics import LOWER_IS_BETTER
    from smalti.scores.table import is_oracle

    summary = comparison.summary()
    there = set(summary["metric"])
    names = [m for m in comparison.metrics if m in there][:_SHOWN]
    best = {}
    for m in names:
        raced = ~summary["method"].map(is_oracle)
        means = summary[(summary["metric"] == m) & raced]["mean"]
        best[m] = means.min() if m in LOWER_IS_BETTER else means.max()
    rows = []
    for method in summary["method"].drop_duplicates():
        part = summary[summary["method"] == method].set_index("metric")
        cells = []
        for m in names:
            mean, sd = part.loc[m, "mean"], part.loc[m, "sd_folds"]
            text = "–" if np.isnan(mean) else f"{mean:.3f}"
            spread = "" if np.isnan(sd) or np.isnan(mean) else f"± {sd:.3f}"
            # equal to the digits shown is equally good
            cells.append((text, spread, bool(text == f"{best[m]:.3f}")))
        seconds = comparison.folds[comparison.folds["method"] == method]["seconds"].mean()
        rows.append({"method": method, "baseline": method in comparison.baselines,
                     "oracle": is_oracle(method), "lost": comparison.lost(method), "cells": cells,
                     "seconds": "–" if np.isnan(seconds) else f"{seconds:.2g}"})  # fmt: skip
    head = [(NAMES.get(m, (m, None))[0].split(" (")[0], "↓" if m in LOWER_IS_BETTER else "↑")
            for m in names]  # fmt: skip
    return {"head": head, "rows": rows}


def _narrow(table: pd.DataFrame) -> pd.DataFrame:
    """Ends of an interval in the column of its value: paper has no room for three."""
    out = table.copy()
    for name in table:
        ends = [f"{name}_low", f"{name}_high"]
        if set(ends) <= set(table):
            out[name] = [_interval(*row) for row in table[[name, *ends]].to_numpy(float)]
            out = out.drop(columns=ends)
    return out


def _interval(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return "–"
    return f"{value:.2f}" + ("" if np.isnan(low) else f" ({low:.2f} to {high:.2f})")


def _settings(comparison: Scores) -> dict[str, str]:
    """Settings of each method as text, those that are None left out."""
    return {
        method: ", ".join(f"{k}={_plain(v)}" for k, v in values.items() if v is not None)
        for method, values in comparison.settings.items()
    }


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
