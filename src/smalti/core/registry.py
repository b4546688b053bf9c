"""Methods by name: what is known, and from where.

A class is a method if it is a named subclass of a base of one of :data:`ROOMS` and stands

1. in a file of that room of smalti itself,
2. among those that :func:`register` was given in this session, or
3. behind an entry point of another installed package, in the group :data:`GROUP`, that names the
   class, or a module with such classes. The name of the entry point itself is not looked at.

A class that is merely defined is none: what a model file names must be found again. No two methods
share a name; where they would, smalti's own comes first, then this session's, and the other is
refused with its reason. Nothing here imports what a file names.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import chain
from types import ModuleType
from typing import Any, TypeVar

from sklearn.base import BaseEstimator, clone

from smalti.core.settings import check_names
from smalti.errors import InputError
from smalti.names import meant
from smalti.preprocess.step import ELSEWHERE

ROOMS = ("mil", "integrate", "expression")
GROUP = "smalti.methods"
ELSEWHERE["embed"] = lambda: importlib.import_module("smalti.integrate.embed")
_BASES = "smalti.Method, smalti.Integration or smalti.ExpressionMethod"
# what an import ends in, where a package does not fit this Python or this smalti
_BROKEN = (ImportError, AttributeError, SyntaxError, InputError)

Class = TypeVar("Class", bound=type[Any])


@dataclasses.dataclass(frozen=True)
class Known:
    """A method and where it comes from.

    Attributes
    ----------
    cls
        Its class.
    package, version
        The distribution that brings it; empty for a class of this session.
    """

    cls: type[Any]
    package: str = ""
    version: str = ""

    @property
    def path(self) -> str:
        """``module:Class``."""
        return path_of(self.cls)

    @property
    def source(self) -> str:
        """Where it comes from, in words; empty for smalti's own."""
        if self.package == "smalti":
            return ""
        return f"{self.package} {self.version}".strip() or "this session"


_session: dict[str, Known] = {}  # by name: what register() was given
_plugins: dict[tuple[str, ...], list[Known]] = {}  # by entry point: what it gave, tried once


# ---------------------------------------------------------------- for users


def methods(room: str = "mil") -> dict[str, type[Any]]:
    """All methods of a room by name: smalti's own, registered ones, and those of other packages.

    Parameters
    ----------
    room
        "mil" (bags to phenotype), "integrate" (modalities to embedding) or "expression" (tiles to
        genes).

    Returns
    -------
    dict
        Name -> class, in the order of the names.

    Raises
    ------
    InputError
        If there is no such room.

    Examples
    --------
    >>> import smalti as sm
    >>> {"abmil", "hier_mil", "mixmil"} <= set(sm.methods())
    True
    >>> sm.methods("expression")["ridge"]
    <class 'smalti.expression.ridge.Ridge'>
    """
    if room not in (*ROOMS, "features"):
        raise InputError(f"no room {room!r} of methods; there are {', '.join(ROOMS)}."
                         f"{meant(room, ROOMS)}")  # fmt: skip
    others = {k: v.cls for k, v in _others().items() if v.cls.room == room}
    return dict(sorted((others | own(room)).items()))


def make(name: str, **settings: Any) -> Any:
    """Build a method by name; ``"umint:fast"`` is a method with a preset of its own.

    Raises
    ------
    InputError
        If no method, preset or setting is called so.

    Examples
    --------
    >>> import smalti as sm
    >>> sm.make("abmil", gated=True, epochs=20).gated
    True
    >>> sm.make("umint:fast").name  # with a preset
    'umint'
    """
    name, _, preset = name.partition(":")
    cls = class_of(name, settings)
    return cls(**(preset_of(cls, preset) | settings))


def preset_of(cls: type[Any], preset: str) -> dict[str, Any]:
    """Settings of a preset of a method; of none, "", there are none.

    Raises
    ------
    InputError
        If the method has no preset of that name.
    """
    if preset and preset not in cls.presets:
        there = ", ".join(cls.presets) or "none"
        raise InputError(f"{cls.name} has no preset {preset!r}; there are {there}."
                         f"{meant(preset, cls.presets)}")  # fmt: skip
    return cls.presets.get(preset, {})


def register(cls: Class) -> Class:
    """Make a class of your own a method of this session; also as a decorator, ``@sm.register``.

    It is then in :func:`methods` and found by its name, and its models are saved and loaded. The
    room is that of its base class. Registering a class again (the same name in the same module,
    such as a notebook cell that is run once more) replaces it. A package does better with an entry
    point in the group ``smalti.methods``, which needs no call.

    Parameters
    ----------
    cls
        A subclass of :class:`smalti.Method`, :class:`smalti.Integration` or
        :class:`smalti.ExpressionMethod` with a ``name`` of its own.

    Returns
    -------
    type
        The class itself.

    Raises
    ------
    InputError
        If it is no method, has no name of its own, or its name is that of another method.

    Examples
    --------
    >>> import smalti as sm
    >>> @sm.register
    ... class Wide(sm.mil.ABMIL):
    ...     "ABMIL with a wider attention."
    ...     name = "wide_abmil"
    ...     attention_width: int = 256
    >>> "wide_abmil" in sm.methods()
    True
    >>> sm.make("wide_abmil", epochs=5).attention_width
    256
    """
    _check(cls)
    # its own package is being imported, or was: asking it for its methods now would be too early
    there = known(cls.name, besides=cls.__module__.partition(".")[0])
    if there is not None and there.path != path_of(cls):
        raise InputError(
            f"{cls.__name__}: {cls.name!r} is the name of another method already, {there.path}: "
            "choose another name."
        )
    if there is not None and there.package == "smalti":
        return cls
    for name in [k for k, v in _session.items() if v.path == path_of(cls)]:
        del _session[name]  # the same class under the name that it had before
    _session[cls.name] = Known(cls)
    return cls


# ---------------------------------------------------------------- for the rooms


def made(spec: Any) -> Any:
    """A method as a setting of another: a name, {"method": name, ...settings}, or itself."""
    if isinstance(spec, str):
        return make(spec)
    if isinstance(spec, Mapping):
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.items()}
        return make(str(settings.pop("method", "")), **settings)
    return clone(spec)


def class_of(name: str, settings: Mapping[str, Any]) -> type[Any]:
    """The class of a method, by the method's name and without a preset.

    Raises
    ------
    InputError
        If no method is called so, or it has not one of the settings.
    """
    found = known(name)
    if found is None:
        names = [k for room in (*ROOMS, "features") for k in methods(room)]
        raise InputError(f"no method {name!r}; there are {', '.join(names)}.{meant(name, names)}")
    check_names(found.cls, settings)
    return found.cls


def find(room: str, class_name: str) -> type[Any]:
    """The class of that name in the files of a room: ``smalti.mil.ABMIL``."""
    for module in _files(room):
        value = vars(module).get(class_name)
        if isinstance(value, type) and vars(value).get("name"):
            return value
    near = meant(class_name, [cls.__name__ for cls in own(room).values()])
    raise AttributeError(
        f"no method class {class_name!r} in smalti.{room}; see smalti.methods({room!r}).{near}",
        name=class_name,  # else Python adds what it thinks was meant
    )


def own(room: str, file: str = "") -> dict[str, type[Any]]:
    """Name -> class of smalti's own methods of a room, or one file of it, in order of the names."""
    found = {cls.name: cls for module in _files(room, file) for cls in _classes(module, "smalti")
             if cls.room == room}  # fmt: skip
    return dict(sorted(found.items()))


def holder(name: str) -> type[Any]:
    """The class of what holds a method and more, as a model file names it.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    for room in ROOMS:
        for module in _files(room):
            for value in vars(module).values():
                if isinstance(value, type) and vars(value).get("holds") == name:
                    return value
    raise InputError(f"this model is a {name!r}, which this smalti does not know: upgrade it.")


def known(name: str, *, besides: str = "") -> Known | None:
    """The method of that name and where it comes from, or None.

    Parameters
    ----------
    name
        Of the method, without a preset.
    besides
        A top-level module whose entry points are not asked, because it is just being imported.
    """
    rooms = (*ROOMS, "features")
    # most are in a file of their name: to import all others takes memory
    for found in chain((own(room, name) for room in rooms if name), map(own, rooms)):
        if name in found:
            return Known(found[name], "smalti")
    return _others(besides).get(name)


def path_of(cls: type[Any]) -> str:
    """``module:Class``, as an entry point and a model file name a class."""
    return f"{cls.__module__}:{cls.__qualname__}"


# ---------------------------------------------------------------- where classes are found


def _files(room: str, file: str = "") -> Iterator[ModuleType]:
    package = importlib.import_module(f"smalti.{room}")
    for module in pkgutil.iter_modules(package.__path__):
        if file in ("", module.name):
            yield importlib.import_module(f"smalti.{room}.{module.name}")


def _classes(module: ModuleType, root: str) -> list[type[Any]]:
    """Named method classes that a module shows, and that were written in a root package."""
    values: list[Any] = list(vars(module).values())
    return [
        value for value in values
        if isinstance(value, type) and getattr(value, "room", None) and vars(value).get("name")
        and f"{value.__module__}.".startswith(f"{root}.")
    ]  # fmt: skip


def _check(cls: Any) -> None:
    """Refuse what is no method."""
    if not (isinstance(cls, type) and issubclass(cls, BaseEstimator)
            and getattr(cls, "room", "") in ROOMS):  # fmt: skip
        raise InputError(f"{cls!r} is no method: subclass {_BASES}.")
    name = vars(cls).get("name")
    if not isinstance(name, str) or not name:
        raise InputError(
            f'{cls.__name__} has no name of its own: write name: ClassVar[str] = "..." in it.'
        )
    if ":" in name:
        raise InputError(f"{cls.__name__}: in name={name!r} the colon would begin a preset.")


def _others(besides: str = "") -> dict[str, Known]:
    """Methods that are not smalti's own, by name."""
    shipped: dict[str, Known] = {}
    for point in _points():
        if point.module.partition(".")[0] != besides:
            shipped |= {k.cls.name: k for k in _shipped(point)}
    # a class may be both: its decorator ran when its entry point was loaded
    mine = {k: dataclasses.replace(shipped[k], cls=v.cls) if k in shipped else v
            for k, v in _session.items()}  # fmt: skip
    return shipped | mine


@cache
def _points() -> tuple[EntryPoint, ...]:
    """Entry points of other packages; read once, for that looks into every installed package."""
    found = entry_points(group=GROUP)
    return tuple(sorted(found, key=lambda p: (p.dist.name if p.dist else "", p.name, p.value)))


def _shipped(point: EntryPoint) -> list[Known]:
    """The methods of one entry point; if it cannot be had, one warning."""
    package = point.dist.name if point.dist else point.module
    key = (package, point.name, point.value)
    if key not in _plugins:
        _plugins[key] = []  # for whoever asks while the package is imported
        try:
            found = point.load()
            root = point.module.partition(".")[0]  # what it merely imports is not its own
            classes = _classes(found, root) if isinstance(found, ModuleType) else [found]
            if not classes:
                raise InputError(f"there is no method in it: a named subclass of {_BASES}")
            version = point.dist.version if point.dist else ""
            _plugins[key] = [Known(_free(cls), package, version) for cls in classes]
        except _BROKEN as error:
            warnings.warn(
                f"methods of the package {package} are left out, its entry point {point.value!r} "
                f"fails: {type(error).__name__}: {error}", stacklevel=2,
            )  # fmt: skip
    return _plugins[key]


def _free(cls: type[Any]) -> type[Any]:
    """The class, if it is a method and its name is not another's."""
    _check(cls)
    taken = [Known(m[cls.name]) for m in map(own, (*ROOMS, "features")) if cls.name in m]
    taken += [k for k in _session.values() if k.cls.name == cls.name]
    taken += [k for ks in _plugins.values() for k in ks if k.cls.name == cls.name]
    for other in taken:
        if other.path != path_of(cls):
            raise InputError(f"{cls.name!r} is the name of another method already, {other.path}")
    return cls
