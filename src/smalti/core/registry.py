"""Methods by name: the classes in the files of the rooms that :data:`ROOMS` names."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import sys
from collections.abc import Mapping
from typing import Any

from sklearn.base import clone

from smalti.core.estimator import Estimator
from smalti.errors import InputError

ROOMS = ("mil", "integrate", "expression")


def methods(room: str = "mil") -> dict[str, type[Any]]:
    """All methods of a room by name.

    Parameters
    ----------
    room
        "mil" (bags to phenotype), "integrate" (modalities to embedding) or "expression" (tiles to
        genes).

    Returns
    -------
    dict
        Name -> class, in the order of the names.
    """
    if room not in (*ROOMS, "features"):
        raise InputError(f"no room {room!r} of methods; there are {', '.join(ROOMS)}.")
    package = importlib.import_module(f"smalti.{room}")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"smalti.{room}.{module.name}")
    found: dict[str, type[Estimator]] = {}
    waiting: list[type[Estimator]] = [Estimator]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        # a class whose module was unloaded lives on until it is collected
        alive = getattr(sys.modules.get(cls.__module__), cls.__name__, None) is cls
        if cls.name and alive and cls.__module__.startswith(f"smalti.{room}."):
            found[cls.name] = cls
    return dict(sorted(found.items()))


def make(name: str, **settings: Any) -> Any:
    """Build a method by name; ``"umint:fast"`` is a method with a preset of its own.

    Raises
    ------
    InputError
        If no method, preset or setting is called so.
    """
    name, _, preset = name.partition(":")
    known = {k: v for room in (*ROOMS, "features") for k, v in methods(room).items()}
    if name not in known:
        raise InputError(f"no method {name!r}; there are {', '.join(known)}.")
    cls = known[name]
    if preset and preset not in cls.presets:
        there = ", ".join(cls.presets) or "none"
        raise InputError(f"{name} has no preset {preset!r}; there are {there}.")
    fields = {f.name for f in dataclasses.fields(cls)}
    wrong = sorted(set(settings) - fields)
    if wrong:
        raise InputError(f"{name} has no setting {wrong[0]!r}; it has {', '.join(sorted(fields))}.")
    return cls(**(cls.presets.get(preset, {}) | settings))


def made(spec: Any) -> Any:
    """A method as a setting of another: a name, {"method": name, ...settings}, or itself."""
    if isinstance(spec, str):
        return make(spec)
    if isinstance(spec, Mapping):
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.items()}
        return make(str(settings.pop("method", "")), **settings)
    return clone(spec)


def find(room: str, class_name: str) -> type[Any]:
    """The class of that name in the files of a room: ``smalti.mil.ABMIL``."""
    package = importlib.import_module(f"smalti.{room}")
    for module in pkgutil.iter_modules(package.__path__):
        value = vars(importlib.import_module(f"smalti.{room}.{module.name}")).get(class_name)
        if isinstance(value, type) and vars(value).get("name"):
            return value
    raise AttributeError(
        f"no method class {class_name!r} in smalti.{room}; see smalti.methods({room!r})."
    )
