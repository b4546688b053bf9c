"""What a model needs that is not smalti's own: named when it is saved, asked for when it is loaded.

A model file may come from anyone, so what it names is never imported because it names it: a method
must be known already (see :mod:`smalti.core.registry`), or the caller must name its class too.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

from smalti.core.registry import Known, known, path_of, register
from smalti.errors import InputError


def all_methods(method: Any) -> Iterator[Any]:
    """A method, and those inside it: members of an ensemble, integrations in its steps."""
    yield method
    for inner in method.inner_methods():
        yield from all_methods(inner)


def needs_of(method: Any) -> list[dict[str, str]]:
    """Each method that is not smalti's own, its own ones included, as a model file names it.

    Returns
    -------
    list
        ``{"method": name, "class": "module:Class", "package": distribution, "version": its}``; the
        last two are empty for a class that was registered.

    Raises
    ------
    InputError
        If a method could not be found again, because its class is not known.
    """
    found = {}
    for part in all_methods(method):
        there = known(part.name)
        path = path_of(type(part))
        if there is None or there.path != path:
            raise InputError(
                f"{type(part).__name__} could not be loaded again, as smalti does not know it "
                f"({path}): register it (@sm.register on the class, which needs a name of its "
                "own), or ship it in a package with an entry point in the group smalti.methods."
            )
        if there.package != "smalti":
            found[part.name] = {"method": part.name, "class": path, "package": there.package,
                                "version": there.version}  # fmt: skip
    return [found[name] for name in sorted(found)]


def meet(needs: Any, allow: str | Sequence[str] | None, file: str) -> None:
    """See to it that all methods that a model needs are known.

    Parameters
    ----------
    needs
        As :func:`needs_of` gave them.
    allow
        Classes that may be imported and registered, as ``"package.module:Class"``.
    file
        How errors call the model.

    Raises
    ------
    InputError
        If a method is neither known nor allowed, or an allowed class cannot be had.
    """
    allowed = [allow] if isinstance(allow, str) else list(allow or ())
    try:
        wanted = [{k: str(need[k]) for k in ("method", "class", "package", "version")}
                  for need in needs]  # fmt: skip
    except (TypeError, KeyError) as error:
        raise InputError(f"{file} is damaged (its needs cannot be read): save it again.") from error
    for need in wanted:  # before anything is imported
        if known(need["method"]) is None and need["class"] not in allowed:
            raise InputError(_lacking(need, allowed, file))
    for cls in [_import(path) for path in allowed]:
        register(cls)
    for need in wanted:
        there = known(need["method"])
        if there is None:
            raise InputError(
                f"{file} needs method {need['method']!r}, and {need['class']} is not called so: "
                "another version of it was allowed than the one that was saved."
            )
        _compare(need, there, file)


def _lacking(need: dict[str, str], allowed: list[str], file: str) -> str:
    package = f"{need['package']} {need['version']}".strip()
    origin = f"of the package {package}" if package else "which was registered in a session"
    refused = f" (allowed: {', '.join(allowed)})" if allowed else ""
    first = f"install {package}" if package else "import it and register it (@sm.register)"
    return (
        f"{file} needs method {need['method']!r}, the class {need['class']} {origin}, and it is "
        f"not known here{refused}. If you trust it, {first} first, or name it to sm.load, "
        f"allow={need['class']!r}. What a file names is never imported for that."
    )


def _import(path: str) -> Any:
    """The class ``module:Class`` that a caller named."""
    module, colon, names = path.partition(":")
    if not (module and colon and names):
        raise InputError(f"allow={path!r} is not of the form 'package.module:Class'.")
    try:
        return reduce(getattr, names.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise InputError(f"allow={path!r} cannot be imported: {error}.") from error


def _compare(need: dict[str, str], there: Known, file: str) -> None:
    """Say so where another class has the name that a model was saved under."""
    same_package = need["package"] and need["package"] == there.package
    if there.path != need["class"] and not same_package:
        warnings.warn(
            f"{file} was saved by {need['class']}, and the method {need['method']!r} known here is "
            f"{there.path}.", stacklevel=4,
        )  # fmt: skip
