"""``smalti heatmap``."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli import options, slide_options
from smalti.cli.data import TABLES
from smalti.cli.drawn import Drawn, digest_of
from smalti.cli.predict import cells_of
from smalti.cli.say import say
from smalti.cli.words import read_here, tell
from smalti.errors import InputError

if TYPE_CHECKING:
    from smalti.tiles.heatmap import Heatmap

MAP = "The heat map"
"""Panel of the help."""
_OF_THE_MAP = ("patches", "tile_px", "um_per_px", "tissue_min", "overlap", "key", "scale",
               "classes", "spot_um", "deepzoom", "missing")  # fmt: skip
"""Options that the files depend on, beside the model and the slide."""


def heatmap(
    model: Annotated[Path, typer.Argument(help="Folder that `smalti fit` wrote.")],
    slides: Annotated[
        list[Path],
        typer.Argument(
            metavar="SLIDE...",
            help="Pictures of slides, or folders of them; .h5 feature files, where there is no "
            "picture; or a table of cells that `smalti cells` wrote.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the files, one of each kind a slide.")],
    features: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the slides' .h5 feature files (CLAM, TRIDENT, STAMP), named as they "
            "are. Where left out, slides are cut as those of the training, and features made.",
            rich_help_panel=options.READ,
        ),
    ] = None,
    patches: slide_options.Patches = None,
    images: slide_options.Images = None,
    tile_px: slide_options.TilePx = None,
    um_per_px: slide_options.UmPerPx = None,
    tissue_min: slide_options.TissueMin = None,
    overlap: slide_options.Overlap = None,
    key: options.Key = None,
    cache: slide_options.Cache = None,
    jobs: options.Jobs = 1,
    formats: Annotated[
        str,
        typer.Option(
            help="With commas: png, svg, tiles (those that stand out), geojson (QuPath), "
            "ome-tiff, spatialdata, html.",
            rich_help_panel=MAP,
        ),
    ] = "png,html",
    scale: Annotated[
        str, typer.Option(help="Of the colours: absolute, or percentile.", rich_help_panel=MAP)
    ] = "absolute",
    classes: Annotated[
        str | None,
        typer.Option(
            help="Only attributions for these classes, with commas, and those for none.",
            rich_help_panel=MAP,
        ),
    ] = None,
    spot_um: Annotated[
        float | None,
        typer.Option(
            help="Edge of the squares in µm, as of cells, whose tiles overlap; that of a tile "
            "where left out.",
            rich_help_panel=MAP,
        ),
    ] = None,
    deepzoom: Annotated[
        bool,
        typer.Option(
            "--deepzoom",
            help="The whole picture in a folder beside the page, not as much as fits into it.",
            rich_help_panel=MAP,
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Stop at a slide that cannot be read; else it is passed over."
        ),
    ] = False,
    overwrite: options.Overwrite = False,
    missing: options.Missing = None,
    allow: options.Allow = None,
) -> None:
    """Draw what a saved model looked at over slides; what was drawn before is not drawn again."""
    given = dict(locals())
    from smalti.system.each import each_file
    from smalti.tiles.heatmap import SCALES

    endings = _endings(formats)
    if scale not in SCALES:
        raise InputError(f"--scale {scale}: absolute or percentile.")
    found = _found(slides, features, given)
    _check_inputs(out, found, endings)
    fitted = _loaded(model, tuple(allow or ()))
    if not hasattr(fitted, "heatmap"):
        raise InputError(f"{model} holds {fitted.name}, which predicts nothing of whole slides.")
    given["jobs"] = (jobs or 1) if len(found) == 1 else 1  # a slide each, else of its features
    draw = partial(_draw, given, endings, digest_of(model))
    done, lost = each_file(draw, found, title="heat maps", strict=strict, n_jobs=jobs)
    for note in (n for notes in done.values() for n in notes):
        tell(note)
    for name, why in lost.items():
        tell(f"slide {name!r} is passed over: {why}")
    say(f"{len(done)} of {len(found)} slides: {out}")


@lru_cache(maxsize=1)
def _loaded(model: Path, allow: tuple[str, ...]) -> Any:
    """The model, read once in a process."""
    from smalti.core.load import load

    return load(model, allow=list(allow))


def _draw(
    given: dict[str, Any], endings: dict[str, str], model: str, name: str,
    files: tuple[Path | None, Path | None],
) -> tuple[str, ...]:  # fmt: skip
    """The files of one slide that are not there; notes."""
    from smalti.system.files import check_free

    out = given["out"]
    made = Drawn(out, name, {k: given[k] for k in _OF_THE_MAP} | {"model": model}, files)
    left = made.left(endings)
    for kind in left:
        check_free(out / f"{name}{endings[kind]}", overwrite=given["overwrite"])
    if not left:
        return ()
    fitted = _loaded(given["model"], tuple(given["allow"] or ()))
    heat = _of_classes(_heat(fitted, name, *files, given), given["classes"])
    heat = heat if given["spot_um"] is None else heat.spots(given["spot_um"])
    _write(heat, out, {kind: endings[kind] for kind in left}, given)
    made.keep(endings)
    return heat.notes[1:]


def _endings(formats: str) -> dict[str, str]:
    """Endings of the kinds of file that were asked for."""
    from smalti.heatmap.files import FORMATS

    asked = options.listed(formats) or []
    unknown = [kind for kind in asked if kind not in FORMATS]
    if unknown or not asked:
        what = repr(unknown[0]) if unknown else "nothing"
        raise InputError(f"--formats names {what}: choose of {', '.join(FORMATS)}.")
    return {kind: FORMATS[kind] for kind in asked}


def _found(
    slides: list[Path], features: Path | None, given: dict[str, Any]
) -> dict[str, tuple[Path | None, Path | None]]:
    """Slides by name: the picture and the feature file, of which one may be None."""
    from smalti.io.features import feature_files
    from smalti.io.pictures import picture_files

    files = {} if features is None else feature_files(features)
    found: dict[str, tuple[Any, Path | None]] = {}
    for path in slides:
        if not path.exists():
            raise InputError(f"no file or folder {path}: check the path.")
        own: dict[str, tuple[Any, Path | None]]
        if path.suffix == ".h5":
            own = {path.stem: (None, path)}
        elif path.suffix in TABLES:
            own = _of_table(path, given)
        else:
            own = {name: (picture, files.get(name))
                   for name, picture in picture_files(path).items()}  # fmt: skip
        twice = set(own) & set(found)
        if twice:
            raise InputError(f"slide {min(twice)!r} is named twice: leave one out.")
        found |= own
    if given["images"] is not None and not any(path.suffix in TABLES for path in slides):
        raise InputError("images= is about a table of cells, and there is none: leave it out.")
    without = [name for name, (_, file) in found.items() if file is None]
    if features is not None and without and (given["strict"] or len(without) == len(found)):
        raise InputError(f"no feature file {features / (without[0] + '.h5')} for slide "
                         f"{without[0]!r}: name it as the picture is.")  # fmt: skip
    if features is None and any(file is None for _, file in found.values()):
        idle = [k for k in ("patches", "tile_px", "key") if given[k] is not None]
        if idle:
            raise InputError(f"{idle[0]}= is about feature files: say where they are, --features.")
    return found


def _of_table(path: Path, given: dict[str, Any]) -> dict[str, Any]:
    """The slides of a table of cells, and their pictures where ``--images`` has them."""
    from smalti.cli.slides import files_of
    from smalti.io.open import open_table
    from smalti.io.pictures import picture_files

    obs: Any = getattr(open_table(path), "obs", ())  # of MuData there is none
    if "slide" not in obs:
        raise InputError(f"{path} has no column slide in obs: write it with smalti cells.")
    names = list(dict.fromkeys(map(str, obs["slide"])))
    images = files_of(given["images"], "--images")
    pictures = {} if images is None else picture_files(images, names)
    return {name: (pictures.get(name), path) for name in names}


def _cells(model: Any, name: str, picture: Any, path: Path, missing: str | None) -> Heatmap:
    """The heat map of one slide of a table of cells."""
    import dataclasses

    from smalti.io.pictures import opened

    heat = model.heatmap(cells_of(model, path), name, missing=missing)
    return heat if picture is None else dataclasses.replace(heat, picture=opened(picture))


def _check_inputs(out: Path, found: Any, endings: dict[str, str]) -> None:
    """Refuse outputs that are read."""
    from smalti.system.files import check_free

    inputs = [*read_here("out"), *(p for pair in found.values() for p in pair if p is not None)]
    for name in found:
        for ending in endings.values():
            check_free(out / f"{name}{ending}", overwrite=True, inputs=inputs)


def _heat(
    model: Any, name: str, picture: Path | None, file: Path | None, given: dict[str, Any]
) -> Heatmap:
    """The heat map of one slide."""
    from smalti.cli.slides import number_of

    um = given["um_per_px"]
    um = None if um is None else number_of(um, "--um-per-px", "SLIDE=NUMBER")
    if isinstance(um, str):
        raise InputError(f"--um-per-px {um!r} is no number, and pictures have no columns.")
    um = um.get(name) if isinstance(um, dict) else um
    if file is not None and file.suffix in TABLES:
        return _cells(model, name, picture, file, given["missing"])
    if file is None and given["features"] is not None:
        raise InputError(f"no feature file {given['features'] / (name + '.h5')}: name it as the "
                         "picture is.")  # fmt: skip
    if file is None:
        asked = {k: given[k] for k in ("tissue_min", "overlap", "cache") if given[k] is not None}
        return model.heatmap(picture, name, um_per_px=um, n_jobs=given["jobs"] or 1,
                             progress=False, **asked)  # fmt: skip
    import pandas as pd

    from smalti.io.features import read_features

    bags = read_features(
        file, pd.DataFrame({"slide": [name]}), id="slide", key=given["key"],
        slides=None if picture is None else {name: picture}, patches=given["patches"],
        tile_px=given["tile_px"], um_per_px=um,
    )  # fmt: skip
    return model.heatmap(bags, name, missing=given["missing"])


def _of_classes(heat: Heatmap, classes: str | None) -> Heatmap:
    """Columns of some classes, and those that are of none."""
    if classes is None:
        return heat
    wanted = options.listed(classes) or []
    of = {c: c.partition("_")[2] for c in heat.columns}
    absent = [c for c in wanted if c not in of.values()]
    if absent:
        there = ", ".join(sorted(set(filter(None, of.values())))) or "none"
        raise InputError(f"--classes names {absent[0]!r}; there are attributions for {there}.")
    return heat.only([c for c in heat.columns if not of[c] or of[c] in wanted])


def _write(heat: Heatmap, out: Path, endings: dict[str, str], given: dict[str, Any]) -> None:
    from smalti.heatmap.files import write

    for kind, ending in endings.items():
        more = {"deepzoom": True} if kind == "html" and given["deepzoom"] else {}
        write(heat, out / f"{heat.name}{ending}", scale=given["scale"],
              overwrite=given["overwrite"], **more)  # fmt: skip
