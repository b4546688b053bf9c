"""Self-contained HTML pages: of a comparison, and of what was found before a fit."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from smalti.report.before import finding_of
from smalti.report.finding import Finding
from smalti.report.grid import grid
from smalti.report.pictures import address_of
from smalti.report.provenance import made
from smalti.report.record import as_record, check_names, drawn, is_record, write_files
from smalti.report.section import Page, Section
from smalti.system.listed import is_listed

if TYPE_CHECKING:
    import pandas as pd


def write_report(
    comparison: Comparable,
    path: str | Path,
    *,
    sections: Sequence[Section] | None = None,
    title: str = "Comparison of methods",
    text: Sequence[str] = (),
    before: Sequence[Any] = (),
    command: str = "",
    inputs: Sequence[str | Path] = (),
    overwrite: bool = False,
) -> None:
    """Write a page that can be mailed, printed and opened in ten years, and its numbers beside it.

    Beside PAGE.html: PAGE.json (all that it says, numbers unrounded), and in PAGE_files one .csv
    for each table and one .svg for each drawing. The page needs none of them.

    Parameters
    ----------
    comparison
        What :func:`smalti.compare` or :func:`smalti.compare_integration` returned.
    path
        The .html file. Another such page and its files are replaced, each as a whole.
    sections
        What it says, in order; the comparison's own when left out.
    title
        Heading of the page.
    text
        Paragraphs below it.
    before
        What was found before the fit: what :func:`smalti.genes.explore`,
        :func:`smalti.features.screen_backbones` or :func:`smalti.expression.predictable` returned,
        or folders that :func:`write_finding` wrote.
    command, inputs
        The command that makes the page, and the files that it reads: their digests are in it.
    overwrite
        Replace any other file too.

    Raises
    ------
    InputError
        If another file is there, it cannot be written, or one of ``before`` is something else,
        or two parts of the page have one name.
    """
    from smalti.report.versions import versions
    from smalti.system.files import atomic_folder, atomic_write, check_free

    path = Path(path)
    beside, folder = path.with_suffix(".json"), path.with_name(f"{path.stem}_files")
    places = ((path, is_report), (beside, is_record), (folder, is_listed))
    for place, ours in places:  # before the pictures are drawn
        check_free(place, overwrite=overwrite, ours=ours)
    own = tuple(comparison.sections() if sections is None else sections)
    found = tuple(_before(i, finding_of(f)) for i, f in enumerate(before, 1))
    more = {"digest": comparison.digest, "settings": comparison.settings,
            "versions": versions(extras=True)}  # fmt: skip
    sections = (*own, *found, made(command, inputs, comparison.folds))
    page = Page(title, comparison.about, f"{comparison.headline()}.", sections, tuple(text),
                comparison.notes, more)  # fmt: skip
    check_names(page)
    pictures = drawn(page)
    html = rendered(page, pictures)
    record = json.dumps(as_record(page, pictures), ensure_ascii=False, allow_nan=False, indent=1)
    with (  # all are written before the first takes its place
        atomic_write(path, overwrite=overwrite, ours=is_report) as one,
        atomic_write(beside, overwrite=overwrite, ours=is_record) as two,
        atomic_folder(folder, overwrite=overwrite, ours=is_listed) as three,
    ):
        one.write_text(html, encoding="utf-8")
        two.write_text(record, encoding="utf-8")
        write_files(page, pictures, three)


class Comparable(Protocol):
    """What a page can be made of: scores, and the sections that they are shown in."""

    @property
    def about(self) -> str:
        """The data in one line."""

    @property
    def digest(self) -> str:
        """Of the data and its parts."""

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Method -> its hyper-parameters."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings."""

    @property
    def folds(self) -> pd.DataFrame:
        """Scores, with the seconds of each fit."""

    def headline(self) -> str:
        """The answer, without its full stop."""

    def sections(self) -> list[Section]:
        """What the page says."""


def _before(i: int, finding: Finding) -> Section:
    title = finding.title[:1].lower() + finding.title[1:]
    return Section(f"before-{i}", f"Before the fit: {title}", finding.parts(f"before-{i}-"))


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
    section = Section("found", "What was found", finding.parts(sentence=False))
    html = rendered(Page(finding.title, finding.about, finding.sentence, (section, made())))
    with atomic_folder(folder, overwrite=overwrite) as temporary:
        finding.write_into(temporary)
        (temporary / "report.html").write_text(html, encoding="utf-8")


def rendered(page: Page, pictures: Mapping[str, tuple[bytes, str]] | None = None) -> str:
    """The page as HTML; ``pictures``: what :func:`smalti.report.record.drawn` gave."""
    from jinja2 import Environment, PackageLoader

    shown = drawn(page) if pictures is None else pictures
    rules = Environment(loader=PackageLoader("smalti.report", "."), autoescape=True,
                        trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    rules.filters |= {"kind": lambda part: type(part).__name__, "grid": grid, "digest": _digest,
                      "address": lambda part: address_of(*shown[part.name])}  # fmt: skip
    css, script = (resources.files("smalti.report").joinpath(f"page.{end}").read_text("utf-8")
                   for end in ("css", "js"))  # fmt: skip
    # "<" would end the script that holds it
    record = json.dumps(as_record(page, shown), ensure_ascii=False, allow_nan=False)
    return rules.get_template("page.html.j2").render(
        page=page, css=css, script=script, record=record.replace("<", "\\u003c"),
    )  # fmt: skip


def _digest(text: str) -> str:
    """What a browser asks of a script or a style before it follows it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


_MARK = "<!-- a page of smalti -->"  # near the top: such a page may be replaced by the next one


def is_report(path: Path) -> bool:
    """Whether a file is a page that :func:`write_report` wrote."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _MARK.encode() in file.read(1024)
