"""Formulas of docstrings, which are plain text, set as mathematics.

In a docstring a formula stands on lines of its own, indented, as one would type it in a letter:

    a_k = softmax_k(w' tanh(V h_k)),    z = sum_k a_k h_k

so that ``help()`` shows what everybody can read. Here it becomes LaTeX.
"""

from __future__ import annotations

import re

GREEK = {"alpha", "beta", "gamma", "lambda", "pi", "psi", "sigma", "tau"}
SIGNS = {"sum": r"\sum", "prod": r"\prod", "sqrt": r"\surd", "<-": r"\leftarrow", "<=": r"\le",
         ">=": r"\ge", "*": r"\odot", "||": r"\|", "...": r"\ldots", "'": r"^{\mathsf{T}}",
         "{": r"\{", "}": r"\}"}  # fmt: skip
FUNCTIONS = {"argmax", "cos", "diag", "exp", "log", "loss", "head", "logsumexp", "max", "mean",
             "min", "relu", "rms", "sigmoid", "softmax", "svm", "tanh"}  # fmt: skip
PROSE = {"and", "cells", "each", "feature", "for", "if", "not", "of", "over", "the"}
GAP = re.compile(r"\s{3,}")  # between two formulas of a line
TOKEN = re.compile(
    r"``(?P<code>[^`]+)``"
    r"|(?P<letter>\w)[\u0302~](?:_(?P<hatted>\w+))?"  # x̂_i, K~
    r"|(?P<name>[^\W\d_]+)(?:_(?:\((?P<words>[^)]*)\)|(?P<below>\w+)))?"
    r"|(?P<power>\^)(?P<exponent>-?\w+|\+)"
    r"|(?P<sign>\|\||<-|<=|>=|\.\.\.|[*'{}])"
)
SUB = r"_[^\W_]{1,3}"
# h_k, c'h_k, c_m'z_m, u_m'h; no name of code, no possessive
SYMBOL = re.compile(
    rf"(?<![\w`'\"./])(?:[^\W\d_]{SUB}'(?!s\b)[^\W\d_](?:{SUB})?|[^\W\d_]'[^\W\d_]{SUB}"
    rf"|[^\W\d_]{SUB})(?![\w`])"
)


def latex(line: str) -> str:
    """A formula as LaTeX.

    ``w'`` is a transposed vector, ``*`` a product of elements, all of ``a_mk`` after the dash is
    below, and a name of several letters is set upright.
    """
    return TOKEN.sub(_set, line.strip())


def _set(match: re.Match[str]) -> str:
    if match["code"]:
        return rf"\mathtt{{{match['code']}}}".replace("_", r"\_")
    if match["letter"]:
        accent = "hat" if "\u0302" in match[0] else "tilde"
        return rf"{{\{accent}{{{match['letter']}}}}}" + _below(match["hatted"])
    if match["power"]:
        return f"^{{{match['exponent']}}}"
    if match["sign"]:
        return SIGNS[match["sign"]] + " "
    below = _below(latex(match["words"]) if match["words"] else match["below"])
    return _name(match["name"]) + below + ("" if below else " " * (len(match["name"]) > 1))


def _below(text: str | None) -> str:
    return f"_{{{text}}}" if text else ""


def _name(name: str) -> str:
    if name in SIGNS:
        return SIGNS[name]
    if name in GREEK:
        return f"\\{name}"
    if len(name) == 1:
        return name
    if name in PROSE:
        return rf"\;\text{{{name}}}\;"
    return rf"\operatorname{{{name}}}" if name in FUNCTIONS else rf"\mathrm{{{name}}}"


def is_formula(block: list[str]) -> bool:
    """Whether lines of an indented block say that something equals, or becomes, something."""
    text = "\n".join(block)
    return bool(re.search(r" (?:=|<-) ", text)) and ">>>" not in text


def set_formulas(lines: list[str]) -> list[str]:
    """Lines of a docstring, with indented blocks of formulas as ``.. math::``.

    In prose single symbols (``h_k``) are set too, before the first section alone: what stands
    behind is of arguments, and of code.
    """
    found: list[str] = []
    block: list[str] = []
    sections = False
    for line in [*lines, ""]:
        if line.startswith("    ") and line.strip() and not sections:
            block.append(line)
            continue
        if block:
            found += _directives(block) if is_formula(block) else block
            block = []
        sections = sections or bool(re.fullmatch(r"-{3,}", line.strip()))
        found.append(line if sections or line.startswith(":") else _symbols(line))
    return found


def _symbols(line: str) -> str:
    parts = re.split(r"(``.*?``|:\w[\w:]*:`.*?`)", line)
    return "".join(part if i % 2 else SYMBOL.sub(lambda m: f":math:`{latex(m[0])}`\\ ", part)
                   for i, part in enumerate(parts))  # fmt: skip


def _directives(block: list[str]) -> list[str]:
    formulas = [part.rstrip(",") for line in block for part in GAP.split(line.strip())]
    return [line for formula in formulas for line in ("", f".. math:: {latex(formula)}", "")]
