"""Slides, their features and genes as the options of ``smalti expression`` name them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smalti.cli.genes import names_of
from smalti.cli.options import listed, pairs_of
from smalti.cli.words import tell
from smalti.errors import InputError

if TYPE_CHECKING:
    from smalti.bags import Bags


CUT = ("tile_um", "tile_px", "um_per_px", "pitch_um", "size", "tiles", "overlap", "tissue_min",
       "edge", "xy", "counts", "unlisted", "bins", "only",
       "platform")  # fmt: skip
"""Options that say how tiles are cut, as :func:`smalti.read_slides` names them."""
READY = ("columns", "id", "path", "size", "um_per_px")
"""Options that say how a table of ready tiles is read, as :func:`smalti.read_tiles` names them."""
ASKED = tuple(dict.fromkeys((*CUT, *READY)))


def recipe_of(options: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What a verb was asked about tiles and features, of all its arguments; a model keeps it."""
    kept = {name: options[name] for name in (*ASKED, "flips", "dense")} | more
    return kept | {"stain": stain_of(options["stain"], options["stain_target"])}


def stain_of(stain: str | None, target: Path | None) -> dict[str, Any] | None:
    """The colours that slides are brought to, as a model keeps them.

    Raises
    ------
    InputError
        If they cannot be measured, or a target is given and no method.
    """
    from smalti.tiles.normalize import reference

    if stain is None:
        if target is not None:
            raise InputError("--stain-target is used with --stain macenko, vahadane or reinhard.")
        return None
    return reference(stain, target).note()


def encoder_of(asked: str | None, x: str | None, dense: bool | None) -> str | None:
    """The encoder that was asked for, else by the rule, which is told; none of ready features."""
    from smalti.features import default_encoder

    if asked is not None or x is not None:
        return asked
    name, why = default_encoder(bool(dense))
    tell(why)
    return name


def again(recipe: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The recipe of a model for other slides: their names and their pixels are theirs to say."""
    kept = {
        k: v for k, v in recipe.items() if k not in ("um_per_px", "pitch_um", "only", "platform")
    }
    return kept | {k: options[k] for k in ASKED if options.get(k) is not None}


def open_slides(
    path: Path, recipe: dict[str, Any], given: dict[str, Any], model: Any = None
) -> Bags:
    """Slides with their features, as a recipe says; tiles as long as those of a fitted model.

    ``given`` are all arguments of the verb.

    Raises
    ------
    InputError
        If there is no such path, or it has no use for what was asked.
    """
    from smalti.features import extract
    from smalti.genes.units import gene_positions
    from smalti.tiles.normalize import Colours, normalized

    if not path.exists():
        raise InputError(f"no file or folder {path}: check the path.")
    said = [k for k in (*ASKED, "tissue", "stain") if given.get(k) is not None]
    whose = {k: given.get(k) for k in ("slide", "donor", "site")}
    # models of earlier versions keep fewer of these
    asked = {k: recipe[k] for k in ASKED if recipe.get(k) is not None}
    if recipe.get("x") is not None:
        _refuse(said, ("counts",), f"features of {path.name} are read, and no tiles")
        return _with_features(path, listed(str(recipe["x"])) or [], whose, asked.get("counts", "X"))
    bags = _tiles(path, asked, said, given, whose)
    if model is not None:
        bags = model.recut(bags)
    elif given.get("genes") is not None and not isinstance(wanted := genes_of(given["genes"]), int):
        gene_positions(bags, wanted)  # a name that is not there is said before features are made
    if recipe.get("stain") is not None:
        target = Colours.of_note(recipe["stain"])
        bags = normalized(bags, target.how, stain_target=target)  # type: ignore[arg-type]
    if recipe.get("encoder") is None:
        return bags
    more = {k: recipe[k] for k in ("weights", "flips", "dense") if recipe.get(k) is not None}
    encoders = str(recipe["encoder"]).split(",")
    return extract(bags, encoders if len(encoders) > 1 else encoders[0], cache=given["cache"],
                   n_jobs=given["jobs"] or 1, **more)  # fmt: skip


def _tiles(
    path: Path, asked: dict[str, Any], said: Sequence[str], given: dict[str, Any],
    whose: dict[str, Any],
) -> Bags:  # fmt: skip
    """Bags of tiles: ready ones of a table, or cut from slides."""
    from smalti.io.slides import read_slides, read_tiles

    if "um_per_px" in asked:
        asked["um_per_px"] = number_of(asked["um_per_px"], "--um-per-px", "SLIDE=NUMBER")
    if path.suffix == ".csv":
        _refuse(said, READY, f"the tiles of {path.name} are cut already")
        ready = {k: asked[k] for k in READY if k in asked}
        if "columns" in ready:
            ready["columns"] = listed(ready["columns"])
        return read_tiles(path.parent, path, **whose, **ready)
    _refuse(said, (*CUT, "tissue", "stain"), f"{path.name} is no table of ready tiles")
    cut = {k: asked[k] for k in CUT if k in asked}
    if "," in cut.get("xy", ""):
        cut["xy"] = listed(cut["xy"])
    if "only" in cut:
        cut["only"] = listed(cut["only"])
    if "bins" in cut:
        cut["bins"] = number_of(cut["bins"], "--bins", "NUMBER")
    return read_slides(path, images=files_of(given["images"], "--images"), **whose,
                       tissue=files_of(given.get("tissue"), "--tissue"), table=given.get("labels"),
                       **cut)  # fmt: skip


def _refuse(said: Sequence[str], used: tuple[str, ...], why: str) -> None:
    """Refuse options that would change nothing."""
    idle = [name for name in said if name not in used]
    if idle:
        raise InputError(f"{idle[0]}= is not used, for {why}: leave it out.")


def files_of(text: str | None, option: str) -> Any:
    """A folder, a file, the name of an element, or ``A1=FILE,B1=FILE``."""
    if text is None or "=" not in text or Path(text).exists():
        return text
    return pairs_of(text, option, "SLIDE=FILE")


def number_of(text: Any, option: str, form: str) -> Any:
    """A number, the name of a column, or numbers by slide.

    Raises
    ------
    InputError
        If what stands beside a slide is no number.
    """
    if not isinstance(text, str):
        return text  # of models of earlier versions
    try:
        if "=" in text:
            return {k: float(v) for k, v in pairs_of(text, option, form).items()}
    except ValueError as error:
        raise InputError(f"{option} {text!r} is not of the form {form}.") from error
    try:
        return float(text)
    except ValueError:
        return text


def _with_features(path: Path, x: list[str], whose: dict[str, Any], counts: str) -> Bags:
    """Spots whose features are in the table."""
    from smalti.io.anndata import read

    if path.suffix not in (".h5ad", ".zarr"):
        raise InputError(
            f"--x {','.join(x)} is a key of an .h5ad or .zarr, and {path.name} is neither."
        )
    if whose["slide"] is None:
        raise InputError(f"which slide is a spot of {path.name} on? Name the column, --slide NAME.")
    views = {**{k: k for k in x}, "counts": counts}
    return read(path, sample=whose["slide"], donor=whose["donor"], site=whose["site"], x=views)


def genes_of(text: str) -> Any:
    """A number, names with commas, or the lines of a file."""
    if text.isdigit():
        return int(text)
    return names_of(text, "--genes")


def check_method(method: Any, name: str) -> None:
    """Refuse a method of another kind.

    Raises
    ------
    InputError
        If it does not predict expression.
    """
    from smalti.expression.base import ExpressionMethod

    if not isinstance(method, ExpressionMethod):
        raise InputError(f"{name} does not predict expression from tiles; see `smalti methods`.")
