"""The house: rooms import downwards, without a ring; what only one room may know is known there.

Each law is a function from the sources to the breaches in them, so that it can be tried on a copy
with a planted breach: a law that lets one pass is no law.
"""

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import smalti

ROOT = Path(smalti.__file__).parent
# ground first: a file imports rooms before its own, its own, and none after
ROOMS = (
    "nouns", "system", "scores", "solve", "tiles", "preprocess", "core", "genes", "io", "nn",
    "loaders", "features", "mil", "integrate", "expression", "datasets", "plot", "heatmap",
    "explain", "leaks", "report", "comparison", "contract", "cli",
)  # fmt: skip
NOUNS = {"errors", "labels", "left", "bags", "views", "columns", "task", "segment", "batch",
         "counts", "names", "notebook", "_version"}  # fmt: skip
METHOD_ROOMS = ("mil", "integrate", "expression")
# where losses may be written: of all tasks, and of one kind
LOSSES = ("task/", "expression/losses/")


@cache
def parsed(text):
    """Parsed once, however many laws and planted breaches look at it."""
    return ast.parse(text)


@cache
def import_nodes(text):
    nodes = ast.walk(parsed(text))
    return [n for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom))]


class House:
    """The source files of a folder, and what each imports.

    ``sources``: path in the folder -> text; a breach is planted in a copy of it.
    """

    def __init__(self, sources):
        self.sources = sources
        self.paths = {self.module(p): p for p in sources if p.endswith(".py")}
        self.files = self.paths.keys()
        self.trees = {m: parsed(sources[p]) for m, p in self.paths.items()}
        self.imports = {m: set(self._imports(m)) for m in self.files}

    @classmethod
    def of(cls, root):
        found = [*root.rglob("*.py"), *root.rglob("*.pyi")]
        return cls({p.relative_to(root).as_posix(): p.read_text("utf-8") for p in sorted(found)})

    def module(self, path):
        parts = ("smalti", *path.removesuffix(".py").split("/"))
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def _imports(self, module):
        """Every module that is imported: at the top, in a function, or for types only."""
        for node in import_nodes(self.text(module)):
            if isinstance(node, ast.Import):
                yield from (a.name for a in node.names)
            else:
                name = node.module or ""
                if node.level:
                    package = module.split(".")
                    is_package = self.paths[module].endswith("__init__.py")
                    package = package[: len(package) - node.level + is_package]
                    name = ".".join([*package, *filter(None, [name])])
                for a in node.names:
                    full = f"{name}.{a.name}"
                    yield full if full in self.files else name

    def ours(self, module):
        """Modules of the house that a module imports."""
        return {n for n in self.imports[module] if n in self.files and n != module}

    def room(self, module):
        parts = module.split(".")
        return "nouns" if len(parts) == 1 or parts[1] in NOUNS else parts[1]

    def text(self, module):
        return self.sources[self.paths[module]]

    def relative(self, module):
        return self.paths[module]


@pytest.fixture(scope="session")
def house():
    return House.of(ROOT)


# ---------------------------------------------------------------- the laws


def every_room_is_known(house):
    """Nothing stands at the root but the nouns, and every folder is a room of the plan."""
    return [f"{m} is in no room" for m in house.files if house.room(m) not in ROOMS]


def rooms_import_downwards(house):
    """A file imports rooms below its own, its own, and nothing above."""
    place = {r: i for i, r in enumerate(ROOMS)}
    return [
        f"{m} imports {n}, which stands above it"
        for m in house.files if m != "smalti" and house.room(m) in place
        for n in house.ours(m)
        if n != "smalti" and place.get(house.room(n), 99) > place[house.room(m)]
    ]  # fmt: skip


def methods_do_not_know_each_other(house):
    """A method imports the base of its room and what the room shares, and no other method."""

    def home(module):  # a method is a file, or a folder of its own
        return ".".join(module.split(".")[:3])

    def is_method(module):
        for m in house.files:
            if home(m) == module:
                for node in house.trees[m].body:
                    if isinstance(node, ast.ClassDef) and any(
                        isinstance(s, ast.AnnAssign) and ast.unparse(s.target) == "name"
                        for s in node.body
                    ):
                        return True
        return False

    found = []
    for m in house.files:
        room = house.room(m)
        if room not in METHOD_ROOMS or len(m.split(".")) < 3:
            continue
        found += [
            f"{m} imports {n}, another method"
            for n in house.ours(m)
            if house.room(n) in METHOD_ROOMS and home(n) != home(m) and len(n.split(".")) > 2
            and is_method(home(m)) and is_method(home(n))
        ]  # fmt: skip
        found += [f"{m} imports {n}, of another kind of method" for n in house.ours(m)
                  if house.room(n) in METHOD_ROOMS and house.room(n) != room]  # fmt: skip
    return found


def no_ring_of_imports(house):
    """No ring of any kind of import: at the top, inside a function, or for types only."""
    index, low, stack, rings = {}, {}, [], []

    def visit(m):  # Tarjan's strongly connected components
        index[m] = low[m] = len(index)
        stack.append(m)
        for n in house.ours(m):
            if n not in index:
                visit(n)
                low[m] = min(low[m], low[n])
            elif n in stack:
                low[m] = min(low[m], index[n])
        if low[m] == index[m]:
            ring = stack[stack.index(m) :]
            del stack[stack.index(m) :]
            if len(ring) > 1:
                rings.append(f"ring: {', '.join(sorted(ring))}")

    for m in house.files:
        if m not in index:
            visit(m)
    return rings


def _only(house, packages, rooms=(), modules=()):
    return [
        f"{m} imports {n}"
        for m in house.files if house.room(m) not in rooms and m not in modules
        for n in house.imports[m] if any(n == p or n.startswith(f"{p}.") for p in packages)
    ]  # fmt: skip


def only_io_knows_user_data(house):
    """AnnData, MuData and SpatialData are known in ``io/`` only."""
    return _only(house, ("anndata", "mudata", "spatialdata"), rooms=("io",))


def only_training_knows_devices(house):
    """Fabric is known where fits are run and logged, and PyTorch's optimisers nowhere."""
    knowing = ("smalti.core.training", "smalti.core.loggers")
    found = _only(house, ("lightning_fabric",), modules=knowing)
    found += [f"{m} has an optimiser" for m in house.files if "torch.optim." in house.text(m)]
    return found + _only(house, ("torch.optim",))


def losses_have_a_home(house):
    """Losses are in ``task/``, or in the one module of the kind that they belong to."""
    names = re.compile(r"cross_entropy|mse_loss|BCELoss|CrossEntropyLoss|MSELoss|huber_loss")
    outside = [m for m in house.files if not house.relative(m).startswith(LOSSES)]
    return [f"{m} writes a loss" for m in outside if names.search(house.text(m))]


def no_pickle(house):
    """Nothing that a file holds is ever run.

    One module opens files that are known by their SHA-256, once in it, by PyTorch's reader of
    tensors alone.
    """
    found = _only(house, ("pickle", "dill", "cloudpickle", "shelve"))
    for m in house.files:
        text = house.text(m)
        if m == "smalti.features.wheels":
            text = re.sub(r"torch\.load\([^\n]*, weights_only=True\)", "", text, count=1)
        found += [f"{m}: {w}" for w in ("torch.load", "weights_only=False", "allow_pickle=True",
                                        "read_pickle") if w in text]  # fmt: skip
    return found


def no_name_hides_a_module(house):
    """A public name of a room is not that of one of its modules, which would take its place."""
    found = []
    for path, text in house.sources.items():
        if not path.endswith("__init__.pyi"):
            continue
        room = path.rpartition("/")[0]
        package = ".".join(["smalti", *filter(None, room.split("/"))])
        for node in parsed(text).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                found += [f"{package}.{a.name}" for a in node.names
                          if f"{package}.{a.name}" in house.files]  # fmt: skip
    return found


def no_room_for_anything(house):
    """No room and no file is called what says nothing."""
    vague = {"utils", "util", "common", "internal", "misc", "helpers", "shared"}
    return [m for m in house.files if vague & set(m.split("."))]


def one_loop_over_folds(house):
    """No loop over folds, splits, seeds or repeats fits anything but in the race.

    The folds inside one fit, by which it chooses its settings, are no race: they begin in a worker.
    """
    loops_of = ("smalti.comparison.race", "smalti.comparison.search.inside",
                "smalti.comparison.recalibration")  # fmt: skip
    words = re.compile(r"fold|split|part|seed|repeat|number")
    loops = (ast.For, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

    def over(loop):
        iters = [loop.iter] if isinstance(loop, ast.For) else [g.iter for g in loop.generators]
        return any(words.search(ast.unparse(i).lower()) for i in iters)

    def fits(loop):
        return any(
            isinstance(c, ast.Call)
            and ast.unparse(c.func).rpartition(".")[2] in ("fit", "fit_many")
            for c in ast.walk(loop)
        )

    return [
        f"{m}, line {loop.lineno}: fits in a loop of its own"
        for m in house.files
        if house.room(m) in ("comparison", "report", "explain", "plot", "cli") and m not in loops_of
        for loop in ast.walk(house.trees[m])
        if isinstance(loop, loops) and over(loop) and fits(loop)
    ]


LAWS = [
    every_room_is_known, rooms_import_downwards, methods_do_not_know_each_other,
    no_ring_of_imports, only_io_knows_user_data, only_training_knows_devices, losses_have_a_home,
    no_pickle, no_name_hides_a_module, no_room_for_anything, one_loop_over_folds,
]  # fmt: skip


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law, house):
    assert law(house) == []


# ---------------------------------------------------------------- planted breaches

BREACHES = [
    # law, file, what is written at its end
    (every_room_is_known, "extras.py", "X = 1"),
    (rooms_import_downwards, "core/store.py", "from smalti.comparison import splits"),
    (rooms_import_downwards, "bags.py", "def f():\n    from smalti.io import open"),
    (rooms_import_downwards, "scores/metrics.py",
     "if TYPE_CHECKING:\n    from smalti.mil.base import Method"),
    (methods_do_not_know_each_other, "mil/abmil.py", "from smalti.mil.pooling import MeanPooling"),
    (methods_do_not_know_each_other, "integrate/umint.py",
     "def f():\n    from smalti.mil.many import fit_many"),
    (no_ring_of_imports, "core/fit.py", "from smalti.core.training import run"),
    (no_ring_of_imports, "tiles/image.py", "def f():\n    import smalti.tiles.open"),
    (no_ring_of_imports, "mil/results.py",
     "if TYPE_CHECKING:\n    from smalti.mil.base import Method"),
    (only_io_knows_user_data, "mil/base.py", "def f():\n    import anndata"),
    (only_training_knows_devices, "mil/many.py", "import torch.optim"),
    (only_training_knows_devices, "core/runner.py", "X = lambda p: torch.optim.Adam(p)"),
    (only_training_knows_devices, "mil/many.py", "def f():\n    import lightning_fabric"),
    (losses_have_a_home, "mil/abmil.py", "from torch.nn.functional import mse_loss"),
    (no_pickle, "core/save.py", "import pickle"),
    (no_pickle, "features/cache.py", "X = lambda p: torch.load(p)"),
    (no_pickle, "features/cache.py", "X = lambda p: torch.load(p, weights_only=True)"),
    (no_pickle, "features/wheels.py", "X = lambda p: torch.load(p)"),
    (no_pickle, "features/wheels.py", "X = lambda p: torch.load(p, weights_only=True)"),
    (no_name_hides_a_module, "scores/score.py", "X = 1"),
    (no_room_for_anything, "nn/utils.py", "X = 1"),
    (one_loop_over_folds, "comparison/phenotype.py",
     "def f(m, b, splits):\n    return [m.fit(b[s.train]) for s in splits]"),
    (one_loop_over_folds, "explain/groups.py",
     "def f(m, b, seeds):\n    for seed in seeds:\n        m.fit(b)"),
]  # fmt: skip


@pytest.mark.parametrize(("law", "file", "breach"), BREACHES,
                         ids=lambda v: getattr(v, "__name__", None))  # fmt: skip
def test_planted_breach_is_seen(law, file, breach, house):
    planted = f"{house.sources.get(file, '')}\n{breach}\n"
    assert law(House({**house.sources, file: planted})) != []


# ---------------------------------------------------------------- names


def test_importing_smalti_loads_nothing_heavy():
    code = "import smalti, sys; print([m for m in ('torch','numpy','pandas','sklearn','anndata'," \
           "'matplotlib','lightning_fabric') if m in sys.modules])"  # fmt: skip
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


SHORT = """
import sys
import anndata, numpy, pandas
from smalti.cli import app
obs = pandas.DataFrame({"sample": [f"s{i // 5}" for i in range(60)],
                        "state": [("ill", "well")[i // 5 % 2] for i in range(60)]})
obs.index = obs.index.astype(str)
anndata.AnnData(numpy.random.rand(60, 4).astype("float32"), obs=obs).write_h5ad("cells.h5ad")
fit = "fit abmil cells.h5ad --sample sample --label state --epochs 1 --out model"
for verb in (fit, "predict model cells.h5ad --out out.csv"):
    app(verb.split(), standalone_mode=False)
print([m for m in ("lightning_fabric", "torchmetrics", "scipy.signal", "matplotlib",
                   "torch._dynamo", "sympy") if m in sys.modules])
"""


def test_a_fit_on_one_cpu_loads_nothing_that_it_does_not_use(tmp_path):
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", SHORT], capture_output=True,
                         text=True, check=True, cwd=tmp_path, env=env)  # fmt: skip
    assert out.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("room", ["", *(p.parent.name for p in ROOT.glob("*/__init__.pyi"))])
def test_every_public_name_loads(room):
    package = getattr(smalti, room) if room else smalti
    assert package.__all__ if hasattr(package, "__all__") else dir(package)
    for name in dir(package):
        assert getattr(package, name) is not None
