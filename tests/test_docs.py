"""The tutorials run, and the pages of the house agree with the package."""

import ast
import importlib
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
TUTORIALS = [
    *sorted((ROOT / "docs" / "tutorials").glob("*.md")),
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
    ROOT / "docs" / "preprocessing.md",
    ROOT / "docs" / "settings.md",
]


def blocks(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.S | re.M)


def run_page(path):
    """Blocks of Python in one namespace, those of bash in the folder that we are in, in order."""
    text, names = path.read_text(encoding="utf-8"), {}
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                        "OMP_NUM_THREADS": "1"}  # fmt: skip
    for kind, block in re.findall(r"^```(python|bash)\n(.*?)^```", text, re.S | re.M):
        if kind == "python":
            exec(compile(block, str(path), "exec"), names)
        elif path.parent.name == "how-to":
            done = subprocess.run(["bash", "-mec", block], capture_output=True, text=True, env=env,
                                  timeout=300, check=False)  # fmt: skip
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow  # they fit at the size of a tutorial
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tutorial_runs(path, tmp_path, monkeypatch):
    if "SMALTI_DATA" in path.read_text(encoding="utf-8") and not os.environ.get("SMALTI_DATA"):
        pytest.skip("SMALTI_DATA is not set: the page reads a real cohort")
    monkeypatch.chdir(tmp_path)
    run_page(path)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_tutorial_names_what_is_there(path):
    """Its blocks compile, and each name that they take from the package is there."""
    import smalti

    for block in blocks(path):
        places = {"sm": smalti, "smalti": smalti}
        for node in ast.walk(ast.parse(block, str(path))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("smalti"):
                module = importlib.import_module(node.module)
                for name in node.names:
                    assert hasattr(module, name.name), f"{node.module} has no {name.name}"
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


REFERENCE = re.findall(r"^\.\. auto(?:class|function|module):: (\S+)",
                       (ROOT / "docs" / "reference.md").read_text("utf-8"), re.M)  # fmt: skip


def lookup(name):
    """What a dotted name is: a module, or an attribute of one."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("name", REFERENCE)
def test_every_name_of_the_reference_can_be_imported(name):
    assert lookup(name).__doc__


def test_members_of_the_reference_exist():
    page = (ROOT / "docs" / "reference.md").read_text("utf-8")
    found = re.findall(r"^\.\. auto\w+:: (\S+)\n   :members: (.+)$", page, re.M)
    assert found
    absent = [f"{name}.{m}" for name, members in found for m in members.split(", ")
              if not hasattr(lookup(name), m)]  # fmt: skip
    assert absent == []


PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_of_the_pages_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    broken = [x for x in links if not re.match(r"\w+:", x) and not (page.parent / x).exists()]
    assert broken == []


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
        known = set().union(*verbs.values()) | {"--help"}
        if page.parent.name == "how-to":  # of Dask, torchrun and SLURM too, in blocks
            text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M).replace("`--mem`", "")
        assert set(re.findall(r"(?<=[`( ])--[a-z][a-z-]*", text)) <= known


def test_the_page_of_the_command_line_has_every_verb(verbs):
    page = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    assert set(re.findall(r"^\| `smalti ([\w ]+)` \|", page, re.M)) == set(verbs)


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
