"""One page for each method, written from its class, and one for each question that they answer."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

from formulas import set_formulas
from written import DOCS, anchor, toctree, written

from smalti.cli import known
from smalti.core.citation import entries_of
from smalti.core.estimator import Estimator
from smalti.core.registry import ROOMS, methods
from smalti.expression.base import ExpressionMethod
from smalti.expression.network import NetworkExpression
from smalti.expression.zero_shot import ZeroShotMethod
from smalti.expression.zero_shot_network import NetworkZeroShot
from smalti.integrate.base import Integration
from smalti.integrate.network import NetworkIntegration
from smalti.mil.base import Method, NetworkMethod

FOLDER = DOCS / "methods"
BASES = {
    "mil": (Method, NetworkMethod), "integrate": (Integration, NetworkIntegration),
    "expression": (ExpressionMethod, NetworkExpression, NetworkZeroShot),
}  # fmt: skip
# question -> its title, what it asks, and the pages of results where its methods have rows
QUESTIONS = {
    "of-bags": ("Bags to a phenotype", "Who is ill, and which cells or tiles say so? A bag goes "
                "in, a class, grade, number or time comes out.",
                ("phenotype", "slide-methods", "survival")),
    "of-modalities": ("Modalities to an embedding", "Several measurements of the same cells go in, "
                      "one code of each cell comes out.", ("integration", "batches")),
    "of-tiles": ("Tiles to genes", "A picture of tissue goes in, the expression of each tile comes "
                 "out, of genes that were measured in training.", ("expression",)),
    "of-unseen-genes": ("Tiles to genes that were never measured", "The same for genes of which a "
                        "vector is known and no measurement.", ("unseen-genes",)),
}  # fmt: skip
ARXIV = re.compile(r"arXiv:([\d.]+\d)")
MOST_ROWS = 4  # of one table on the page of a method


def question(cls: type[Any], room: str) -> str:
    """Which question a method answers."""
    if room == "expression":
        return "of-unseen-genes" if issubclass(cls, ZeroShotMethod) else "of-tiles"
    return {"mil": "of-bags", "integrate": "of-modalities"}[room]


def fields(*classes: type) -> set[str]:
    """Names of the settings of any of these."""
    return {f.name for cls in classes for f in dataclasses.fields(cls)}


def settings(cls: type[Any], room: str) -> list[str]:
    """Tables of its settings: its own, of training, of all."""
    base, *networks = BASES[room]
    shared, trained = fields(base), fields(*networks) - fields(ZeroShotMethod)
    said = known.settings(cls.name)
    groups: dict[str, list[str]] = {"Its own": [], "Of training by gradient": [], "Of all": []}
    for field in dataclasses.fields(cls):
        kind = ("Of all" if field.name in shared
                else "Of training by gradient" if field.name in trained else "Its own")  # fmt: skip
        meaning = said[field.name].meaning.replace("|", "\\|") if field.name in said else ""
        groups[kind].append(f"| `{field.name}` | `{field.default!r}` | {meaning} |")
    head = ["| name | default | meaning |", "|---|---|---|"]
    return [line for title, rows in groups.items() if rows
            for line in (f"### {title}", "", *head, *rows, "")]  # fmt: skip


def cited(cls: type[Any]) -> str:
    """Its reference, linked: arXiv numbers where they stand, then what its BibTeX has."""
    entries = "\n".join(entries_of(cls).values()) if cls.cite or cls.bibtex else ""
    text = ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", cls.reference)
    told = set(ARXIV.findall(cls.reference))
    dois = re.findall(r"^\s*doi\s*=\s*[{\"]([^}\"]+)", entries, re.M)
    more = [
        n for n in re.findall(r"^\s*eprint\s*=\s*[{\"]([\d.]+)", entries, re.M) if n not in told
    ]
    links = [f"[doi:{doi}](https://doi.org/{doi})" for doi in dois]
    links += [f"[arXiv:{number}](https://arxiv.org/abs/{number})" for number in more]
    return ". ".join([text.rstrip("."), *links])


def rows(cls: type[Any], pages: tuple[str, ...]) -> list[str]:
    """Its rows in the tables of results, as they stand there: of each page the first table."""
    word = re.compile(rf"(?<![\w:`])`?{re.escape(cls.name)}\b(?!:)")
    found = []
    for page in pages:
        file = DOCS / "results" / f"{page}.md"
        text = file.read_text("utf-8") if file.exists() else ""
        for section in re.split(r"^(?=#{1,4} )", text, flags=re.M):
            heading = section.partition("\n")[0].lstrip("# ")
            table = next((t for t in re.findall(r"(?:^\|.*\n)+", section, re.M)
                          if any(word.match(c) for c in first_cells(t))), None)  # fmt: skip
            if table is None or not heading:
                continue
            head, line, *body = table.splitlines()
            mine = [r for r, c in zip(body, first_cells(table), strict=True) if word.match(c)]
            where = f"[{re.sub('`', '', heading)}](../results/{page}.md#{anchor(heading)})"
            found += [f"{where}:", "", head, line, *mine[:MOST_ROWS], ""]
            break
    return found


def first_cells(table: str) -> list[str]:
    """First cell of each row below the head."""
    return [row.split("|")[1].strip() for row in table.splitlines()[2:]]


def page(cls: type[Any], room: str) -> str:
    """One method: what, when, settings, results, reference."""
    about = {"mil": ("Targets", _targets), "integrate": ("Cells", _cells),
             "expression": ("Tiles", _tiles)}[room]  # fmt: skip
    slug = question(cls, room)
    given = "vectors=vectors" if issubclass(cls, ZeroShotMethod) else ""
    dotted = f"sm.{room}.{cls.__name__}"
    lines = [
        f"# {cls.__name__}", "",
        f"`{cls.name}`{' · baseline' if cls.baseline else ''} · "
        f"[{QUESTIONS[slug][0]}]({slug}.md) · [which for my data?](../explanation/which-method.md)",
        "", "```{eval-rst}", f".. autoclass:: smalti.{room}.{cls.__name__}", "```", "",
        "## In code", "", "```python", f"model = {dotted}({given}).fit(bags)", "```", "",
        f"What it can do after that: [sm.{BASES[room][0].__name__}]"
        f"(../reference/smalti.{BASES[room][0].__name__}.md).", "",
        f"## {about[0]}", "", about[1](cls), "",
    ]  # fmt: skip
    if found := rows(cls, QUESTIONS[slug][2]):
        lines += ["## Results", "", "Rows as they stand in the tables; a mean above another is no "
                  "better method.", "", *found]  # fmt: skip
    bibtex = f"`smalti cite {cls.name}` prints it as BibTeX."
    lines += ["## Reference", "", cited(cls), "", bibtex, ""]
    lines += ["## Settings", "", *settings(cls, room)]
    if cls.presets:
        lines += ["## Presets", ""]
        lines += [f"- `{cls.name}:{name}`: " + ", ".join(f"`{k}={v!r}`" for k, v in own.items())
                  for name, own in cls.presets.items()]  # fmt: skip
    return "\n".join([*lines, ""])


def _targets(cls: type[Method]) -> str:
    """What a method for bags can learn."""
    return ", ".join(cls.kinds)


def _tiles(cls: type[ExpressionMethod]) -> str:
    """What a method of expression reads."""
    if cls.oracle:
        return "A control: looks at the measured expression of the slides that it predicts."
    reads = "Reads the tiles themselves." if cls.images else "Reads features of the tiles."
    new = " Predicts genes that were not in training." if issubclass(cls, ZeroShotMethod) else ""
    return reads + (" Each tile sees its slide." if cls.slides else " No tile sees another.") + new


def _cells(cls: type[Integration]) -> str:
    """What an integration can do."""
    new = (
        "Embeds the cells that it was fitted on only." if cls.transductive else "Embeds new cells."
    )
    gaps = "Takes cells that lack a modality." if cls.missing else "Needs every modality of a cell."
    back = "Reconstructs the modalities." if cls.reconstructs else "Reconstructs nothing."
    return f"{new} {gaps} {back}"


def index(slug: str, classes: list[type[Any]]) -> str:
    """The methods of one question, in one table: candidates first, then baselines and controls."""
    title, asks, _ = QUESTIONS[slug]
    lines = [f"# {title}", "", asks, "", "| method | what it is | |", "|---|---|---|"]
    for cls in sorted(classes, key=lambda c: (c.baseline, c.name)):
        what = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", inspect.cleandoc(cls.__doc__ or ""))
        what = what.split("\n\n")[0].replace("\n", " ").replace("``", "`").replace("|", "\\|")
        kind = "baseline" if cls.baseline else ""
        lines.append(f"| [`{cls.name}`]({cls.name}.md) | {what} | {kind} |")
    names = [cls.name for cls in sorted(classes, key=lambda c: (c.baseline, c.name))]
    return "\n".join([*lines, *toctree(names), ""])


def pages() -> dict[str, str]:
    """File -> text of all methods, and of the questions."""
    made: dict[str, str] = {}
    by_question: dict[str, list[type[Any]]] = {slug: [] for slug in QUESTIONS}
    for room in ROOMS:
        for name, cls in methods(room).items():
            made[f"{name}.md"] = page(cls, room)
            by_question[question(cls, room)].append(cls)
    made |= {f"{slug}.md": index(slug, classes) for slug, classes in by_question.items()}
    asked = [f"- [{title}]({slug}.md): {asks}" for slug, (title, asks, _) in QUESTIONS.items()]
    made["index.md"] = "\n".join([
        "# Methods", "", "By the question that they answer; on the shell `smalti methods`.", "",
        *asked, "",
        "Ten lines for who wants one: [which method for my data](../explanation/which-method.md). "
        "One of your own: [a method in one file](../how-to/own-method.md).",
        *toctree([*QUESTIONS]), "",
    ])  # fmt: skip
    return made


def shown(_app: Any, what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    """Formulas of a class are set."""
    if what == "class":
        lines[:] = set_formulas(lines)


def signature(_app: Any, what: str, _name: str, thing: Any, *_: Any) -> tuple[str, str] | None:
    """The settings of a method are a table on its page, and no line of forty arguments."""
    is_method = what == "class" and inspect.isclass(thing) and issubclass(thing, Estimator)
    return ("(**settings)", "") if is_method else None


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    # before napoleon, which makes its own of the sections
    app.connect("autodoc-process-docstring", shown, priority=100)
    app.connect("autodoc-process-signature", signature)
    return written(app, FOLDER, pages)
