"""``smalti doctor``.

What there is to look for is read off the metadata of the installed package, so no list of packages
is kept twice; what each part is for is said here.
"""

from __future__ import annotations

import re
import shutil
from typing import Any

import typer

from smalti.cli.say import answer

USES = {
    "parquet": "tables as .parquet",
    "integrate": "MOFA+, maps of cells, open chromatin on genes",
    "scvi": "totalVI, MultiVI",
    "leiden": "Leiden clusters (GPL)",
    "batch": "how well batches mix; ComBat",
    "harmony": "batches corrected by Harmony (GPL)",
    "sites": "harmonisation of sites",
    "slides": "tiles of slides: encoders, nuclei, stains",
    "vision": "larger encoders of tiles",
    "wsi": "whole-slide formats",
    "spatialdata": "SpatialData",
    "platforms": "Visium, Xenium and their kin",
    "explain": "integrated gradients back to genes",
    "dask": "comparisons on other machines",
    "disk": "cells out of core, read faster",
    "go": "GO terms",
    "trees": "boosted trees",
    "search": "settings chosen by a sampler",
    "text": "vectors of what is written of genes",
    "summaries": "summaries of genes from mygene.info",
    "lightning": "training by Lightning",
    "loggers": "logs of training for TensorBoard",
    "hub": "models on the Hugging Face hub",
}
"""What each extra is for."""
DEVELOPERS = ("test", "mutants", "check", "docs", "release", "bench", "all")
"""Extras for who works on smalti, and the one of all others: no job waits for them."""
_OK, _OLD, _MISSING = "ok", "too old", "missing"


def doctor() -> None:
    """Say what is installed, what is missing, and what this machine can compute on.

    The exit status is 1 where a part is missing or too old that every job needs, else 0.
    """
    import importlib.metadata

    found = examine(importlib.metadata.requires("smalti") or [])
    answer(found, lambda: _show(found))
    if any(p["state"] != _OK for p in found["needed"]):
        raise typer.Exit(1)


def examine(requires: list[str]) -> dict[str, Any]:
    """All that the doctor says, of requirements as the metadata of a package has them."""
    from smalti._version import __version__
    from smalti.report.versions import versions

    needed, extras = parts(requires)
    return {
        "smalti": __version__,
        "python": versions()["python"],
        "needed": [_state(*one) for one in needed.items()],
        "extras": {
            name: _extra(name, packages)
            for name, packages in sorted(extras.items(), key=_place)
            if name not in DEVELOPERS
        },
        "machine": machine(),
        "cache": _cache(),
        "notes": _doubts(),
    }


def _place(extra: tuple[str, Any]) -> tuple[int, str]:
    """What is said of first is shown first."""
    known = list(USES)
    return (known.index(extra[0]) if extra[0] in known else len(known), extra[0])


def parts(requires: list[str]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Package -> versions: of those that are always needed, and of each extra.

    An extra that names others, ``smalti[slides]``, has their packages too.
    """
    from packaging.requirements import Requirement

    needed: dict[str, str] = {}
    extras: dict[str, dict[str, str]] = {}
    others: dict[str, set[str]] = {}
    for text in requires:
        one = Requirement(text)
        named = re.search(r"extra\s*==\s*['\"]([\w.-]+)", str(one.marker or ""))
        extra = named[1] if named else ""
        if one.marker is not None and not one.marker.evaluate({"extra": extra}):
            continue  # of another Python or system
        if not extra:
            needed[one.name] = str(one.specifier)
        elif one.name == "smalti":
            others.setdefault(extra, set()).update(one.extras)
            extras.setdefault(extra, {})
        else:
            extras.setdefault(extra, {})[one.name] = str(one.specifier)
    for extra in others:
        todo, seen = list(others[extra]), set[str]()
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo += others.get(name, ())
                extras[extra] = extras.get(name, {}) | extras[extra]
    return needed, extras


def _extra(name: str, packages: dict[str, str]) -> dict[str, Any]:
    found = [_state(*one) for one in packages.items()]
    return {
        "use": USES.get(name, ""),
        "ready": all(p["state"] == _OK for p in found),
        "install": f'pip install "smalti[{name}]"',
        "packages": found,
    }


def _state(name: str, versions: str) -> dict[str, Any]:
    import importlib.metadata

    from packaging.specifiers import SpecifierSet

    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return {"package": name, "version": None, "needs": versions, "state": _MISSING}
    fits = SpecifierSet(versions).contains(version, prereleases=True)
    return {"package": name, "version": version, "needs": versions,
            "state": _OK if fits else _OLD}  # fmt: skip


def machine() -> dict[str, Any]:
    """What this process may compute on: cores and memory are those of its job or container."""
    from smalti.system.memory import room
    from smalti.system.workers import cores

    found: dict[str, Any] = {"cores": cores(), "memory_free": room(), "torch": None, "gpus": []}
    try:
        import torch
    except ImportError as error:
        return found | {"gpu_none": f"torch cannot be imported: {error}"}
    hip = getattr(torch.version, "hip", None)
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {hip}" if hip else "CPU"
    found |= {"torch": torch.__version__, "torch_build": build,
              "torch_threads": torch.get_num_threads(),
              "mps": bool(torch.backends.mps.is_available())}  # fmt: skip
    found["gpus"] = [
        {"name": torch.cuda.get_device_name(i),
         "memory": torch.cuda.get_device_properties(i).total_memory}
        for i in range(torch.cuda.device_count())
    ]  # fmt: skip
    if not torch.cuda.is_available() and not found["mps"]:
        found["gpu_none"] = (
            "this torch has no CUDA in it" if build == "CPU" else "driver or device not found"
        )
    return found


def _cache() -> dict[str, Any]:
    """The folder that keeps what was fetched: where, how much is free, and may it be written."""
    import tempfile

    from smalti.errors import InputError
    from smalti.system.user_cache import user_cache

    try:
        folder = user_cache()
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (InputError, OSError) as error:
        return {"folder": None, "writable": False, "why": str(error)}
    return {"folder": str(folder), "writable": True, "free": shutil.disk_usage(folder).free}


def _doubts() -> list[str]:
    """What is there and does not fit together, or is larger than need be."""
    found = []
    try:
        import torch

        from smalti.system.torchvision_shim import build
    except ImportError:
        return []
    cuda = torch.version.cuda is not None
    if cuda and not torch.cuda.is_available():
        found.append(
            "torch is its CUDA build and no GPU is found: the CPU build takes some 4 GB less of "
            "the disk; the page on installing says how"
        )
    if not cuda and re.search(r"\+(cu|rocm)", build()):
        found.append(
            f"torchvision {build()} is built for a GPU and torch is not: smalti mends its import; "
            "better is a torchvision from where torch came"
        )
    return found


def _show(found: dict[str, Any]) -> None:
    gb = 2**30
    typer.echo(f"smalti {found['smalti']}, Python {found['python']}\n")
    for p in found["needed"]:
        _line(p, "")
    bad = [f'"{p["package"]}{p["needs"]}"' for p in found["needed"] if p["state"] != _OK]
    if bad:
        typer.secho(f"\nneeded by every job: pip install -U {' '.join(bad)}", fg="red")
    here = found["machine"]
    typer.echo(f"\ncores       {here['cores']}, memory free {here['memory_free'] / gb:.1f} GiB")
    if here["torch"]:
        threads = f"{here['torch_threads']} thread{'s' * (here['torch_threads'] != 1)}"
        typer.echo(f"torch       {here['torch_build']} build, {threads}")
    for i, gpu in enumerate(here["gpus"]):
        typer.echo(f"GPU {i}       {gpu['name']}, {gpu['memory'] / gb:.0f} GiB")
    if here.get("mps"):
        typer.echo("GPU         Apple's, by MPS")
    if "gpu_none" in here:
        typer.echo(f"GPU         none: {here['gpu_none']}")
    cache = found["cache"]
    if cache["writable"]:
        typer.echo(f"cache       {cache['folder']}, {cache['free'] / gb:.1f} GiB free")
    else:
        typer.secho(f"cache       {cache['why']}", fg="red")
    typer.echo("\nwhat can run beside bags of cells and feature files")
    for name, extra in found["extras"].items():
        mend = "" if extra["ready"] else f": {extra['install']}"
        typer.secho(f"{'yes' if extra['ready'] else 'no':<4}{name:<12} {extra['use']}{mend}",
                    bold=extra["ready"])  # fmt: skip
        for p in extra["packages"]:
            if p["package"] not in _said(found["extras"], name):
                _line(p, "      ")
    for note in found["notes"]:
        typer.secho(f"\nnote: {note}", fg="yellow")


def _said(extras: dict[str, Any], name: str) -> set[str]:
    """Packages of the extras before this one, which are shown there."""
    before = list(extras)[: list(extras).index(name)]
    return {p["package"] for other in before for p in extras[other]["packages"]}


def _line(p: dict[str, Any], indent: str) -> None:
    said = {_OK: p["version"], _OLD: f"{p['version']}, needs {p['needs']}", _MISSING: "missing"}
    bad = "red" if p["state"] == _OLD or (p["state"] == _MISSING and not indent) else None
    typer.secho(f"{indent}{p['package']:<{38 - len(indent)}}{said[p['state']]}", fg=bad)
