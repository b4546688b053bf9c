"""Objects as a notebook shows them: in its own colours, dark or light, with nothing fetched."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from html import escape

import pandas as pd

# colours of the notebook's own text, so that it is read on any paper; frames are grey on both
_STYLE = """<style>
.smalti-card{display:inline-block;max-width:100%;box-sizing:border-box;padding:.6em .9em;
 border:1px solid rgba(128,128,128,.45);border-radius:4px;font-size:.92em;line-height:1.45;
 overflow-x:auto}
.smalti-card .head{font-weight:600;max-width:58em}
.smalti-card .soft,.smalti-card th,.smalti-card dt,.smalti-card summary{opacity:.8}
.smalti-card dl{display:grid;grid-template-columns:max-content 1fr;gap:.1em 1.2em;margin:.4em 0}
.smalti-card dl dt,.smalti-card dl dd{margin:0;font-weight:400;max-width:52em;
 overflow-wrap:anywhere}
.smalti-card table{border-collapse:collapse;margin:.5em 0;color:inherit;font-size:inherit}
.smalti-card th,.smalti-card td{text-align:right;padding:.12em .7em;font-weight:400;
 white-space:nowrap}
.smalti-card th:first-child,.smalti-card td:first-child{text-align:left;padding-left:0}
.smalti-card thead th{border-bottom:1px solid rgba(128,128,128,.45)}
.smalti-card tr.soft td{opacity:.8}
.smalti-card p,.smalti-card ul{margin:.3em 0;max-width:58em}
.smalti-card summary{cursor:pointer}
</style>"""


def card(
    head: str,
    *,
    above: str = "",
    facts: Mapping[str, str] | None = None,
    table: pd.DataFrame | None = None,
    bold: Collection[tuple[int, str]] = (),
    soft: Collection[int] = (),
    folded: Mapping[str, Iterable[str]] | None = None,
) -> str:
    """HTML of a few facts; all that is given is text, and escaped.

    Parameters
    ----------
    head
        What it is, or what it says, in a sentence.
    above
        A line before it.
    facts
        Name -> text.
    table
        Of texts; its index is not shown.
    bold
        (position of a row, column) of cells in bold.
    soft
        Positions of rows in grey.
    folded
        Words to click -> texts that then open, a line each; without a text they are left out.
    """
    parts = [f'<div class="soft">{escape(above)}</div>'] if above else []
    parts.append(f'<div class="head">{escape(head)}</div>')
    if facts:
        rows = (f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
        parts.append(f"<dl>{''.join(rows)}</dl>")
    if table is not None and len(table):
        parts.append(_table(table, bold, soft))
    for words, texts in (folded or {}).items():
        lines = "".join(f"<li>{escape(text)}</li>" for text in texts)
        if lines:
            parts.append(f"<details><summary>{escape(words)}</summary><ul>{lines}</ul></details>")
    return f'{_STYLE}<div class="smalti-card">{"".join(parts)}</div>'


def _table(table: pd.DataFrame, bold: Collection[tuple[int, str]], soft: Collection[int]) -> str:
    heads = "".join(f"<th>{escape(str(name))}</th>" for name in table)
    lines = []
    for i, row in enumerate(table.to_dict("records")):
        cells = ((name, escape(str(value))) for name, value in row.items())
        shown = "".join(
            f"<td><b>{text}</b></td>" if (i, name) in bold else f"<td>{text}</td>"
            for name, text in cells
        )
        lines.append(f'<tr class="soft">{shown}</tr>' if i in soft else f"<tr>{shown}</tr>")
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
