"""What a docstring owes its reader: shapes of arrays, and when an error comes.

Each law is a function from the source of the house to the breaches in it, so that it can be tried
on a source with a planted breach: a law that lets one pass is no law.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import smalti

ROOT = Path(smalti.__file__).parent
ARRAYS = re.compile(r"\b(ndarray|Tensor|csr_matrix|csc_matrix|spmatrix|sp\.\w+)\b")
# (n,), (n_cells, width), (2, n * k + 1), (..., d): names and numbers, no words of a sentence
PART = r"(?:\.\.\.|\w+)(?: ?[*+/-] ?\w+)*"
SHAPE = re.compile(rf"\({PART},(?: {PART})?(?:, {PART})*\)")
NO_SHAPE = ("any shape", "same shape", "scalar")
RAISES = re.compile(r"^Raises\n------\n(?:.*\n)*?InputError\n    \S", re.M)


class Public:
    """A public function of a file, or a class with the fields that it takes."""

    def __init__(self, name, node, lines, owner=None):
        self.name, self.node, self.lines = name, node, lines
        told = owner if owner is not None and node.name == "__init__" else node
        self.said = ast.get_docstring(told) or ""

    def arguments(self):
        """What is annotated: parameters and the answer."""
        of = self.node.args
        named = [*of.posonlyargs, *of.args, *of.kwonlyargs, of.vararg, of.kwarg]
        notes = [*(a.annotation for a in named if a is not None), self.node.returns]
        return [ast.unparse(n) for n in notes if n is not None]

    def fields(self):
        """Lines of the fields of a class that are arrays, with their comments."""
        return [" ".join(self.lines[s.lineno - 1 : s.end_lineno]) for s in self.node.body
                if isinstance(s, ast.AnnAssign) and ARRAYS.search(ast.unparse(s.annotation))
                and not ast.unparse(s.target).startswith("_")]  # fmt: skip

    def hides_a_shape(self):
        """Whether arrays are taken or given and it does not say of what shape."""
        if tells_shape(self.said):
            return False
        if isinstance(self.node, ast.ClassDef):
            return not all(map(tells_shape, self.fields()))
        return any(map(ARRAYS.search, self.arguments()))

    def hides_an_error(self):
        """Whether an InputError is raised in its own body and no section says when."""
        if isinstance(self.node, ast.ClassDef) or self.is_command() or RAISES.search(self.said):
            return False  # the methods of a class answer for themselves
        return any(isinstance(n, ast.Raise) and n.exc is not None
                   and ast.unparse(n.exc).partition("(")[0].endswith("InputError")
                   for n in own(self.node))  # fmt: skip

    def is_command(self):
        """Whether it is a verb of the command line: its docstring is the help, for no caller."""
        return any("typer." in a or a.startswith("options.") for a in self.arguments())


def tells_shape(text):
    return bool(SHAPE.search(text)) or any(word in text for word in NO_SHAPE)


def own(function):
    """The nodes of a function, those of functions inside it left out."""
    todo = list(function.body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            todo += ast.iter_child_nodes(node)


def sources():
    """Module -> text, of the public modules of the house."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if not any(p.startswith("_") and p != "__init__" for p in parts):
            yield ".".join(parts), path.read_text("utf-8")


@cache
def parsed(text):
    return ast.parse(text)


def publics(texts):
    """All public functions, methods and classes; not those whose base documents them."""
    texts = dict(texts)
    trees = {module: parsed(text) for module, text in texts.items()}
    classes = {n.name: n for t in trees.values() for n in t.body if isinstance(n, ast.ClassDef)}

    def documented(cls, method):
        """Whether a base in the house has the method, with a docstring."""
        for base in cls.bases:
            known = classes.get(ast.unparse(base).partition("[")[0].rpartition(".")[2])
            if known is None or known is cls:
                continue
            if documented(known, method) or any(
                isinstance(n, ast.FunctionDef) and n.name == method and ast.get_docstring(n)
                for n in known.body
            ):
                return True
        return False

    for module, tree in trees.items():
        lines = texts[module].splitlines()
        for node in tree.body:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name[0] == "_":
                continue
            name = f"{module}.{node.name}"
            yield Public(name, node, lines)
            for part in node.body if isinstance(node, ast.ClassDef) else ():
                if not isinstance(part, ast.FunctionDef):
                    continue
                if part.name == "__init__" or (
                    part.name[0] != "_" and not documented(node, part.name)
                ):
                    yield Public(f"{name}.{part.name}", part, lines, node)


# ---------------------------------------------------------------- the laws


def arrays_have_shapes(texts):
    """Who takes or gives an array says its shape, or that it may have any."""
    return [p.name for p in publics(texts) if p.hides_a_shape()]


def errors_are_told(texts):
    """Who raises InputError has a section that says when."""
    return [p.name for p in publics(texts) if p.hides_an_error()]


@pytest.mark.parametrize("law", [arrays_have_shapes, errors_are_told], ids=lambda f: f.__name__)
def test_law(law):
    assert law(sources()) == []


# ---------------------------------------------------------------- planted breaches

KEPT = '''\
class Base:
    def code(self, x: np.ndarray) -> np.ndarray:
        """Codes (n, width) of the cells (n, d)."""


class Own(Base):
    """Takes ``n``.

    Raises
    ------
    InputError
        If n is none.
    """

    def __init__(self, n):
        raise InputError("n")

    def code(self, x: np.ndarray) -> np.ndarray:
        """As the base has it."""

    def _hidden(self, x: np.ndarray):
        raise InputError("of no concern")


class Kept:
    """Holds."""

    x: np.ndarray  # (n,) int64
    y: dict[str, Tensor]  # of any shape


def verb(n: Annotated[int, typer.Option()]):
    """The help that a user of the command line reads."""
    raise InputError("n")


def scale(x: Tensor, by: sp.csr_matrix) -> Tensor:
    """Of any shape.

    Raises
    ------
    InputError
        If it is none.
    """
    raise InputError("x")


def outer():
    """A sentence (of 2024, at least)."""
    def inner(x: Tensor):
        raise InputError("x")
'''

BREACHES = [
    # law, what is written, whose breach it is
    (arrays_have_shapes, 'def f(x: np.ndarray):\n    """Rows."""', "f"),
    (arrays_have_shapes, 'def f(x: int) -> dict[str, torch.Tensor]:\n    """By name."""', "f"),
    (arrays_have_shapes, 'def f(*, x: "sp.csr_matrix | None"):\n    """Counts (2024, X et al.)."""',
     "f"),
    (arrays_have_shapes, 'def f(x: Tensor):\n    """Rows (width)."""', "f"),
    (arrays_have_shapes,
     'class C:\n    """Holds."""\n    x: np.ndarray  # (n,)\n    y: Tensor  # codes', "C"),
    (arrays_have_shapes,
     'class C:\n    """Holds."""\n    @property\n    def x(self) -> Tensor:\n        """Rows."""',
     "C.x"),
    (arrays_have_shapes,
     'class C(nn.Module):\n    """Net."""\n    def forward(self, x: Tensor):\n        """Go."""',
     "C.forward"),
    (errors_are_told, 'def f(x):\n    """Go."""\n    raise InputError("x")', "f"),
    (errors_are_told,
     'def f(x):\n    """Raises InputError."""\n    if x:\n        raise InputError', "f"),
    (errors_are_told, 'class C:\n    """Holds."""\n    def __init__(self):\n'
     '        raise errors.InputError("x")', "C.__init__"),
    (errors_are_told, 'def f(x):\n    """Go.\n\n    Raises\n    ------\n    ValueError\n'
     '        If x.\n    """\n    raise InputError("x")', "f"),
]  # fmt: skip


@pytest.mark.parametrize("law", [arrays_have_shapes, errors_are_told], ids=lambda f: f.__name__)
def test_what_keeps_the_laws_passes(law):
    assert law({"m": KEPT}) == []


@pytest.mark.parametrize(("law", "source", "who"), BREACHES)
def test_planted_breach_is_seen(law, source, who):
    assert law({"m": source}) == [f"m.{who}"]
