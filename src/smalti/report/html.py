"""One self-contained HTML page of a comparison: table, pictures, and what was compared how."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
    overwrite
        Replace any other file too.

    Raises
    ------
    InputError
        If another file is there, or it cannot be written.
    """
    from jinja2 import Environment, PackageLoader

    from smalti.report.versions import versions
    from smalti.system.files import atomic_write, check_free

    check_free(path, overwrite=overwrite, ours=is_report)  # before the pictures are drawn
    if figures is None:
        figures = comparison.figures()
    rules = Environment(
        loader=PackageLoader("smalti.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = rules.get_template("report.html.j2")
    html = page.render(
        title=title, text=list(text), about=comparison.about, notes=comparison.notes,
        figures=[(name, _svg(f), (captions or {}).get(name, "")) for name, f in figures.items()],
        said=[comparison.headline(), *comparison.additions()], table=_table(comparison),
        facts=comparison.facts(), unit=comparison.unit, digest=comparison.digest,
        settings=_settings(comparison), versions=versions(extras=True),
    )  # fmt: skip
    with atomic_write(path, overwrite=overwrite, ours=is_report) as temporary:
        temporary.write_text(html, encoding="utf-8")


_MARK = "<!-- a page of smalti -->"  # near the top: such a page may be replaced by the next one


def is_report(path: Path) -> bool:
    """Whether a file is a page that :func:`write_report` wrote."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _MARK.encode() in file.read(1024)


def _svg(figure: Figure) -> str:
    """A figure as a data address: no file beside the page, nothing to run in it."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "smalti"}):
        # no date inside: the same comparison gives the same page
        figure.savefig(buffer, format="svg", metadata={"Date": None}, facecolor="white")
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


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


def _settings(comparison: Scores) -> dict[str, str]:
    """Settings of each method as text, those that are None left out."""
    return {
        method: ", ".join(f"{k}={_plain(v)}" for k, v in values.items() if v is not None)
        for method, values in comparison.settings.items()
    }


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
