"""The pages run, agree with the package, and lead somewhere."""

import ast
import importlib.util
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS / "_ext"))  # what makes pages of the package
BUILDS = importlib.util.find_spec("myst_nb") is not None  # the extra `docs`


def of(folder):
    """Pages of a folder, but the one that lists them."""
    return [p for p in sorted((DOCS / folder).glob("*.md")) if p.stem != "index"]


NOTEBOOKS = [DOCS / "start.md", *of("tutorials")]
OTHERS = [*of("how-to"), DOCS / "preprocessing.md", DOCS / "settings.md"]
CODE = re.compile(r"^```(python|\{code-cell\} python|bash)\n(.*?)^```", re.S | re.M)


def runs(path):
    """What a page runs in order, as (kind, code): without tags of cells, and magic of notebooks."""
    for kind, block in CODE.findall(path.read_text(encoding="utf-8")):
        code = re.sub(r"^(?::\w+:|%).*\n", "", block, flags=re.M)
        yield ("bash" if kind == "bash" else "python"), code


def blocks(path):
    return [code for kind, code in runs(path) if kind == "python"]


def run_page(path):
    """Blocks of Python in one namespace, those of bash in the folder that we are in, in order."""
    names = {}
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                        "OMP_NUM_THREADS": "1"}  # fmt: skip
    for kind, block in runs(path):
        if kind == "python":
            exec(compile(block, str(path), "exec"), names)
        elif path.parent.name == "how-to":
            done = subprocess.run(["bash", "-mec", block], capture_output=True, text=True, env=env,
                                  timeout=300, check=False)  # fmt: skip
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


# the build of the site runs the notebooks, where it can; so each is run once
@pytest.mark.slow  # they fit at the size of a tutorial
@pytest.mark.parametrize("path", OTHERS if BUILDS else OTHERS + NOTEBOOKS, ids=lambda p: p.stem)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_page_runs(path, tmp_path, monkeypatch):
    if "SMALTI_DATA" in path.read_text(encoding="utf-8") and not os.environ.get("SMALTI_DATA"):
        pytest.skip("SMALTI_DATA is not set: the page reads a real cohort")
    monkeypatch.chdir(tmp_path)
    run_page(path)


@pytest.mark.slow  # all notebooks: five minutes of one core
@pytest.mark.skipif(not BUILDS, reason="the site needs the extra docs")
def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(DOCS), str(tmp_path)],
        capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "tutorials" / "first-bags.html").read_text("utf-8")
    assert 'class="cell_output' in page  # it ran,
    assert "first-bags.ipynb" in page  # can be taken home,
    assert re.search(r'<img[^>]+src="../_images/\w+\.png"', page)  # and shows what it drew


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_ones(path):
    """A page without this head is shown, and never run."""
    text = path.read_text("utf-8")
    assert re.match(r"---\nfile_format: mystnb\nkernelspec:\n  name: python3\n", text)
    assert "```python" not in text  # a cell is `{code-cell}`
    assert "progress=True" not in text


@pytest.mark.parametrize("path", OTHERS + NOTEBOOKS, ids=lambda p: p.stem)
def test_tutorial_names_what_is_there(path):
    """Its blocks compile, and each name that they take from the package is there."""
    import smalti

    for block in blocks(path):
        places = {"sm": smalti, "smalti": smalti}
        for node in ast.walk(ast.parse(block, str(path))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("smalti"):
                exec(ast.unparse(node), {})  # a module of ours is no attribute before its import
        for dotted in re.findall(r"\b(?:sm|smalti)(?:\.\w+)+", block):
            first, *rest = dotted.split(".")
            found = places[first]
            for name in rest:
                if not (inspect.ismodule(found) or inspect.isclass(found)):
                    break  # what a call gives is not known before it runs
                assert hasattr(found, name), f"{dotted} is not there"
                found = getattr(found, name)


def test_the_method_of_the_contributing_page_works(tmp_path, monkeypatch):
    from smalti.datasets import planted_bags

    file = tmp_path / "soft_maximum.py"
    file.write_text(blocks(ROOT / "CONTRIBUTING.md")[0])
    spec = importlib.util.spec_from_file_location("soft_maximum", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "soft_maximum", module)
    spec.loader.exec_module(module)
    bags = planted_bags(30, seed=0)
    model = module.SoftMaximum.example().set_params(progress=False).fit(bags)
    assert model.score(planted_bags(30, seed=1)) > 0.7


def test_every_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(r for e in project["optional-dependencies"].values() for r in e),
    ]
    page = (ROOT / "docs" / "dependencies.md").read_text()
    for requirement in wanted:
        name = re.split(r"[<>=~\[; ]", requirement)[0]
        assert re.search(rf"\b{re.escape(name)}\b", page), f"{name}: say in docs why it is needed"


def test_readme_names_every_method():
    from smalti.core.registry import methods

    page = (ROOT / "README.md").read_text()
    named = [*methods(), *methods("integrate")]
    assert [m for m in named if f"`{m}`" not in page] == []


@pytest.fixture(scope="module")
def reference():
    import reference_pages

    return reference_pages.pages()


def public_names():
    """What the stubs list, and the rooms without one, read by their own text alone."""
    import smalti

    stubs = {p.parent: p for p in (ROOT / "src" / "smalti").rglob("__init__.pyi")}
    for folder in [ROOT / "src" / "smalti", ROOT / "src" / "smalti" / "preprocess", *stubs]:
        file = stubs.get(folder, folder / "__init__.py")
        room = ".".join(["sm", *folder.relative_to(ROOT / "src" / "smalti").parts])
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                for name in ast.literal_eval(node.value):
                    if not inspect.ismodule(getattr(smalti, name, None)) and name[:2] != "__":
                        yield f"{room}.{name}"


def test_every_public_name_is_in_the_reference(reference):
    text = "\n".join(reference.values())
    names = set(public_names())
    assert len(names) > 300
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_every_link_of_the_reference_has_its_page(reference):
    from smalti.core.registry import ROOMS, methods

    known = {f"../methods/{name}.md" for room in ROOMS for name in methods(room)}
    known |= {*reference, "../command-line.md"}
    assert set(re.findall(r"\]\(([^)#]+)\)", "\n".join(reference.values()))) <= known
    assert "# sm.read\n" in reference["smalti.read.md"]
    assert "../methods/abmil.md" in reference["bags-to-a-phenotype.md"]  # of a method, its own page


def test_the_page_of_a_class_has_what_it_can_do(reference):
    page = reference["smalti.Method.md"]
    assert {"fit", "predict", "predict_proba", "attribute", "save"} <= set(re.findall(r"\w+", page))
    assert not re.search(r"set_\w+_request", page)  # scikit-learn's own


@pytest.mark.parametrize(
    ("said", "set_"),
    [
        ("a_k = softmax_k(w' tanh(V h_k))",
         r"a_{k} = \operatorname{softmax}_{k}(w^{\mathsf{T}}  \operatorname{tanh} (V h_{k}))"),
        ("sum_(m not y) out_m", r"\sum_{m \;\text{not}\;  y} \mathrm{out}_{m}"),
        ("||z - p||^2 + 0.5", r"\| z - p\| ^{2} + 0.5"),
        ("S(Q~ K~')^+", r"S({\tilde{Q}} {\tilde{K}}^{\mathsf{T}} )^{+}"),
        ("c = ``bag_weight``", r"c = \mathtt{bag\_weight}"),
    ],
)  # fmt: skip
def test_formulas_of_docstrings_become_latex(said, set_):
    from formulas import latex

    assert latex(said) == set_


@pytest.mark.parametrize(
    ("said", "symbols"),
    [
        ("s_m = c_m'z_m + b_m of d_m(h) = u_m'h", ["s_m", "c_m'z_m", "b_m", "d_m", "u_m'h"]),
        ("a_k c'h_k, but h_k's own", ["a_k", "c'h_k", "h_k"]),
        ("obs of the file's X_pca2b, n_jobs, `x_px`, log_p, fit_many(x)", []),
    ],
)
def test_symbols_in_prose_are_found(said, symbols):
    from formulas import SYMBOL

    assert SYMBOL.findall(said) == symbols


def test_a_docstring_keeps_all_but_its_formulas():
    from formulas import set_formulas

    doc = ["What.", "", "Of h_k and ``x_k``:", "", "    z = sum_k h_k,    y = w'z", "", "Raises",
           "------", "InputError", "    If z = 0 of h_k."]  # fmt: skip
    assert set_formulas(doc) == [
        "What.", "", r"Of :math:`h_{k}`\  and ``x_k``:", "",
        "", r".. math:: z = \sum_{k} h_{k}", "", "", r".. math:: y = w^{\mathsf{T}} z", "",
        "", "Raises", "------", "InputError", "    If z = 0 of h_k.", "",
    ]  # fmt: skip


@pytest.mark.skipif(not BUILDS, reason="docutils comes with the extra docs")
def test_every_formula_can_be_drawn():
    from docutils.utils.math.latex2mathml import tex2mathml
    from formulas import set_formulas

    from smalti.core.registry import ROOMS, methods

    drawn = set()
    for room in ROOMS:
        for name, cls in methods(room).items():
            for line in set_formulas(inspect.cleandoc(cls.__doc__).splitlines()):
                if line.startswith(".. math::"):
                    assert "<math" in tex2mathml(line.removeprefix(".. math:: "), as_block=True)
                    drawn.add(name)
                for symbol in re.findall(r":math:`([^`]+)`", line):
                    assert "<math" in tex2mathml(symbol)
    assert {"abmil", "clam", "dsmil", "hier_mil", "mixmil", "cloudpred", "umint", "mofa"} <= drawn


@pytest.fixture(scope="module")
def method_pages():
    import method_pages

    return method_pages.pages()


def test_each_method_has_a_page_with_its_reference_and_settings(method_pages):
    from smalti.core.registry import ROOMS, methods

    for room in ROOMS:
        for name, cls in methods(room).items():
            page = method_pages[f"{name}.md"]
            assert cls.reference.partition("arXiv")[0].rstrip(". ") in page
            assert f".. autoclass:: smalti.{room}.{cls.__name__}" in page
            assert "| `seed` |" in page
    assert "[arXiv:1802.04712](https://arxiv.org/abs/1802.04712)" in method_pages["abmil.md"]
    listed = "\n".join(text for file, text in method_pages.items() if file.startswith("of-"))
    assert [f for f in method_pages if f"]({f})" not in listed and f[:3] != "of-"] == ["index.md"]


def test_rows_of_results_are_taken_as_they_stand(method_pages):
    results = "\n".join(p.read_text("utf-8") for p in (DOCS / "results").glob("*.md"))
    shown = 0
    for file, page in method_pages.items():
        part = page.partition("\n## Results\n")[2].partition("\n## ")[0]
        rows = re.findall(r"^\|.*", part, re.M)
        assert all(row in results for row in rows), file
        shown += bool(rows)
    assert shown > 25  # methods of the tables


MADE = ("methods", "reference", "verbs", "_build")  # written by the build, which git ignores
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *(p for p in sorted(DOCS.rglob("*.md")) if p.relative_to(DOCS).parts[0] not in MADE),
]


@pytest.fixture(scope="module")
def made(reference, method_pages):
    """Path -> text of the pages that the build writes."""
    import verb_pages

    folders = {"reference": reference, "methods": method_pages, "verbs": verb_pages.pages()}
    return {DOCS / f / name: text for f, pages in folders.items() for name, text in pages.items()}


def broken_links(page, text, made):
    """Links of a page to files and headings that are not there."""
    from written import anchor

    text = re.sub(r"^```(?!\{).*?^```", "", text, flags=re.S | re.M)
    for link in re.findall(r"\]\(([^)\s]+)[^)]*\)", text):
        path, _, wanted = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        target = Path(os.path.normpath(page.parent / path)) if path else page
        if target not in made and not target.exists():
            yield link
        elif wanted:
            there = made.get(target) or target.read_text("utf-8")
            heads = {anchor(re.sub("`", "", h)) for h in re.findall(r"^#+ (.+)$", there, re.M)}
            if wanted not in heads:
                yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_of_the_pages_lead_somewhere(page, made):
    assert list(broken_links(page, page.read_text("utf-8"), made)) == []


def test_links_of_the_made_pages_lead_somewhere(made):
    assert {p.name: x for p, text in made.items() if (x := list(broken_links(p, text, made)))} == {}


def test_a_broken_link_would_be_seen(made):
    text = "[a](nowhere.md) [b](install.md#no-such-heading) [c](install.md#what-comes-with-what)"
    found = list(broken_links(DOCS / "index.md", text, made))
    assert found == ["nowhere.md", "install.md#no-such-heading"]


def test_every_extra_is_on_the_page_of_the_install():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    page = (DOCS / "install.md").read_text("utf-8")
    for_developers = {"test", "mutants", "check", "docs", "release"}
    assert [e for e in extras if e not in for_developers and f"| `{e}` |" not in page] == []


def test_the_page_of_the_house_lists_its_rooms_in_order():
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text("utf-8"))
    said = {ast.unparse(n.targets[0]): n.value for n in tree.body if isinstance(n, ast.Assign)}
    rooms = ast.literal_eval(said["ROOMS"])
    page = (ROOT / "docs" / "house.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.M) == [r for r in rooms if r != "nouns"]


def commands(text):
    """The lines of blocks that begin with smalti, those that go on in the next one joined."""
    shown = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S))
    return re.findall(r"^smalti (.+)$", shown.replace("\\\n", " "), re.M)


@pytest.fixture(scope="module")
def verbs():
    """Options of each verb, as "expression fit" -> {"--out", ...}."""
    from typer.main import get_command

    from smalti.cli import app

    def walk(group, before=""):
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from walk(command, f"{before}{name} ")
            else:
                yield (
                    f"{before}{name}",
                    {o for p in command.params for o in (*p.opts, *p.secondary_opts)},
                )

    return dict(walk(get_command(app)))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_options_of_the_pages_exist(page, verbs):
    text = page.read_text("utf-8")
    for command in commands(text):
        verb = next(v for v in verbs if command.startswith(v))
        assert set(re.findall(r"(?<=\s)--[a-z-]+", command)) <= verbs[verb], command
    if "results" not in page.parts and page.name != "CHANGELOG.md":  # runs of benchmarks, the past
        known = set().union(*verbs.values()) | {"--help", "--install-completion"}
        if page.parent.name == "how-to":  # of Dask, torchrun and SLURM too, in blocks
            text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M).replace("`--mem`", "")
        assert set(re.findall(r"(?<=[`( ])--[a-z][a-z-]*", text)) <= known


def test_the_page_of_the_command_line_has_every_verb(verbs):
    page = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    assert set(re.findall(r"^\| `smalti ([\w ]+)` \|", page, re.M)) == set(verbs)


def test_the_page_of_a_verb_has_all_of_its_options(verbs, made):
    for verb, options in verbs.items():
        page = made[DOCS / "verbs" / f"{verb.replace(' ', '-')}.md"]
        absent = [o for o in options if o.startswith("--") and o not in page and o != "--help"]
        assert absent == [], verb


RESULTS = sorted((ROOT / "docs" / "results").glob("*.md"))


@pytest.mark.parametrize("page", RESULTS, ids=lambda p: p.stem)
def test_each_table_of_the_results_names_the_script_that_makes_it(page):
    nameless = []
    for section in re.split(r"^#{1,3} ", page.read_text("utf-8"), flags=re.M):
        for table in re.finditer(r"^\|-", section, re.M):
            before = section[: table.start()]
            named = re.findall(r"benchmarks/(\w+\.py)", before)
            if not named and "No script makes this table" not in before:
                nameless.append(before.splitlines()[-1])
            assert all((ROOT / "benchmarks" / name).exists() for name in named), named
    assert nameless == []


# what means alone do not say; a paired interval is called better, worse or not told apart
UNFOUNDED = re.compile(
    r"\bwins\b|\bbeats\b|\b(?:is|are) (?:far |well )?(?:ahead|behind)\b|below chance|"
    r"within one (?:s\.d\.|standard dev)|than (?:two|2) (?:s\.d\.|standard dev)", re.I,
)  # fmt: skip


@pytest.mark.parametrize("page", [*RESULTS, ROOT / "README.md"], ids=lambda p: p.stem)
def test_no_page_calls_a_winner_by_means_and_spreads(page):
    assert UNFOUNDED.findall(" ".join(page.read_text("utf-8").split())) == []


def test_a_called_winner_would_be_seen():
    said = ["A baseline wins", "PCA is far\nahead", "below chance", "within one standard deviation",
            "more than two s.d."]  # fmt: skip
    assert [text for text in said if not UNFOUNDED.search(text.replace("\n", " "))] == []


def test_pictures_are_there_and_small():
    """The pictures of the README are a patient and a slide, made by a script; a phone loads all."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", text)
    names = ["patient.png", "slide.png"]
    assert [path for _, path in pictures] == [f"docs/images/{name}" for name in names]
    script = (ROOT / "tools" / "readme_pictures.py").read_text(encoding="utf-8")
    assert [name for name in names if f'save(figure, "{name}")' not in script] == []
    for said, path in pictures:
        assert len(said) > 60  # what is to be seen, for those who do not see it
        assert (ROOT / path).stat().st_size < 400_000


# -------------------------------------------------------------------- figures of results


def result_figures():
    spec = importlib.util.spec_from_file_location("figures", ROOT / "tools/result_figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figures_of_results_are_of_the_tables_that_stand_there():
    tool = result_figures()
    assert {p.stem for p in tool.FOLDER.iterdir()} == set(tool.FIGURES)
    for name, figure in tool.FIGURES.items():
        drawn = (tool.FOLDER / f"{name}.svg").read_text("utf-8")
        assert tool.digest_of(figure) in drawn, f"python tools/result_figures.py {name}"
        page = (tool.RESULTS / f"{figure.page}.md").read_text("utf-8")
        assert f"](figures/{name}.svg)" in page, name


@pytest.mark.parametrize(
    ("cell", "value", "low", "high", "verdict"),
    [("0.880 ± 0.022", 0.88, 0.858, 0.902, ""),
     ("0.898 ± 0.022 (5)", 0.898, 0.876, 0.92, ""),  # five repeats, and no spread
     ("0.102 ± 0.001 (0.050)", 0.102, 0.052, 0.152, ""),
     ("0.931 (0.869 to 0.992)", 0.931, 0.869, 0.992, ""),
     ("-0.011 (-0.103 to +0.081), not told apart", -0.011, -0.103, 0.081, "not told apart"),
     ("worse: −0.047 (−0.084 to −0.011)", -0.047, -0.084, -0.011, "worse"),
     ("0.591 worse", 0.591, None, None, "worse")],
)  # fmt: skip
def test_a_figure_reads_a_cell_as_it_is_meant(cell, value, low, high, verdict):
    dot = result_figures().dot(cell)
    assert (dot.value, dot.verdict) == (value, verdict)
    if low is None:
        assert dot.low != dot.low  # no bar
    else:
        assert (dot.low, dot.high) == pytest.approx((low, high))


def test_a_cell_that_a_figure_does_not_understand_is_no_number():
    tool = result_figures()
    assert tool.dot("–") is tool.dot("not computed") is None
    with pytest.raises(ValueError, match="not understood"):
        tool.dot("0.343 (0.200 to 0.651) / 0.511 (0.391 to 0.751)")
