"""One HTML page of a heat map: pan, zoom, choose a column, click a tile; needs no network."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import InputError
from smalti.heatmap import pyramid
from smalti.system.files import atomic_folder, atomic_write, check_free
from smalti.tiles.heatmap import SCALES, Heatmap

BOUND = 12_000_000
"""Bytes of the picture that go into the page."""

_GALLERY, _SHOWN = 6, 96  # tiles of each kind, and pixels of them


def write_page(
    heatmap: Heatmap,
    path: str | Path,
    *,
    scale: str = "absolute",
    bound: int = BOUND,
    deepzoom: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a page that shows the slide under its colours.

    Parameters
    ----------
    heatmap
        What ``model.heatmap(...)`` returned.
    path
        The .html file.
    scale
        Of the colours as the page opens: "absolute" or "percentile".
    bound
        Bytes of the picture in the page; a larger picture is in it at the resolution that they
        hold.
    deepzoom
        Write the whole picture into a folder NAME_files beside the page, which then must go with
        it.
    overwrite
        Replace what is there.

    Raises
    ------
    InputError
        If a file is there, or it cannot be written; if the picture is not at hand with
        ``deepzoom``.
    """
    from jinja2 import Environment, PackageLoader

    path = Path(path)
    if scale not in SCALES:
        raise InputError(f"scale={scale!r} is neither 'absolute' nor 'percentile'.")
    check_free(path, overwrite=overwrite, inputs=heatmap.reads)
    beside = path.with_name(f"{path.stem}_files")
    if deepzoom:
        check_free(beside, overwrite=overwrite, inputs=heatmap.reads)
        picture = _folder(heatmap, beside, overwrite)
    elif heatmap.picture is None:
        picture = pyramid.blank(*heatmap.extent)
    else:
        picture = pyramid.embedded(heatmap.picture, bound)
    rules = Environment(loader=PackageLoader("smalti.heatmap", "."), autoescape=True,
                        trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    own = files("smalti.heatmap")
    html = rules.get_template("page.html.j2").render(
        title=heatmap.name, notes=heatmap.notes, resolution=_resolution(heatmap, picture),
        viewer=own.joinpath("openseadragon/openseadragon.min.js").read_text("utf-8"),
        licence=own.joinpath("openseadragon/LICENSE.txt").read_text("utf-8"),
        script=own.joinpath("page.js").read_text("utf-8"),
        columns=[(c, c.replace("_", " ")) for c in heatmap.columns], scale=scale,
        gallery=_gallery(heatmap), aspect=f"{heatmap.extent[0]} / {heatmap.extent[1]}",
        data=_json({**_data(heatmap), "picture": picture, "scale": scale}),
    )  # fmt: skip
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _folder(heat: Heatmap, beside: Path, overwrite: bool) -> dict[str, Any]:
    if heat.picture is None:
        raise InputError(f"the picture of slide {heat.name!r} is not at hand: leave deepzoom=True "
                         "out.")  # fmt: skip
    with atomic_folder(beside, overwrite=overwrite) as temporary:
        n = pyramid.write_folder(heat.picture, temporary)
    return {"width": heat.picture.width, "height": heat.picture.height, "edge": pyramid.EDGE,
            "folder": beside.name, "n_levels": n}  # fmt: skip


def _data(heat: Heatmap) -> dict[str, Any]:
    """What the script reads: places, and each column with its words and colours."""
    columns = []
    for name in heat.columns:
        values = heat.column(name)
        share = heat.scaled(name, "percentile")
        low, high = heat.said(name)
        columns.append({
            "name": name, "signed": heat.signed(name), "low": low, "high": high,
            "values": [_number(v) for v in values], "ranks": [_number(v) for v in share],
        })  # fmt: skip
    width, height = heat.extent
    return {
        "name": heat.name, "width": width, "height": height, "side": heat.side,
        "um": heat.um_per_px, "xy": np.round(heat.xy, 1).tolist(), "columns": columns,
        "colours": {"signed": _colours("RdBu_r"), "unsigned": _colours("inferno")},
    }  # fmt: skip


def _number(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None


def _colours(name: str) -> list[list[int]]:
    """256 colours as red, green, blue."""
    from matplotlib import colormaps

    return (np.asarray(colormaps[name](np.arange(256)))[:, :3] * 255).round().astype(int).tolist()


def _json(data: dict[str, Any]) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _resolution(heat: Heatmap, picture: dict[str, Any]) -> str:
    """How fine the picture in the page is."""
    width, height = heat.extent
    step = width / picture["width"]
    if heat.picture is None:
        return "The picture of the slide is not in this page."
    edge = heat.cut or heat.side
    text = f"{len(heat):,} tiles of {edge:g} px"
    if heat.um_per_px is not None:
        text += f" ({edge * heat.um_per_px:.4g} µm)"
    text += f" on a slide of {width:,} × {height:,} px"
    return text + (f", shown here at 1 : {step:.3g}." if step > 1.001 else ".")


def _gallery(heat: Heatmap) -> list[dict[str, Any]]:
    """Of each column the tiles that stand out, as small pictures."""
    if heat.picture is None:
        return []
    shown: dict[int, str] = {}
    out = []
    for name in heat.columns:
        values = heat.column(name)
        low, high = heat.said(name)
        for tiles, said in zip(heat.extremes(name, _GALLERY), (high, low), strict=True):
            for i in map(int, tiles):
                if i not in shown:
                    shown[i] = pyramid.address(heat.tile(i, _SHOWN))
            out.append({"column": name, "said": said, "tiles": [
                (int(i), shown[int(i)], f"{values[i]:.3g}") for i in tiles]})  # fmt: skip
    return out
