"""``write``: a heat map as a file of any kind, by the ending of its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smalti.errors import InputError
from smalti.system.files import atomic_write, check_free
from smalti.tiles.heatmap import Heatmap

FORMATS = {
    "png": ".png", "svg": ".svg", "tiles": ".tiles.png", "geojson": ".geojson",
    "ome-tiff": ".ome.tif", "spatialdata": ".zarr", "html": ".html",
}  # fmt: skip
"""Kinds of file, and how their names end."""


def write(
    heatmap: Heatmap, path: str | Path, *, scale: str = "absolute", overwrite: bool = False,
    **more: Any,
) -> None:  # fmt: skip
    """Write a heat map as a picture, for another program, or as a page.

    Parameters
    ----------
    heatmap
        What ``model.heatmap(...)`` returned.
    path
        Its ending says which kind: .png or .svg (:func:`smalti.plot.plot_heatmap`), .tiles.png
        (:func:`smalti.plot.plot_extreme_tiles`), .geojson (:func:`write_geojson`), .ome.tif
        (:func:`write_ome_tiff`), .zarr (SpatialData), .html (:func:`write_page`).
    scale
        Of pictures and of the page as it opens: "absolute" or "percentile". The others hold the
        numbers themselves.
    overwrite
        Replace what is there.
    **more
        Of the function of that kind.

    Raises
    ------
    InputError
        If the ending is another, something is there, or it cannot be written.

    Examples
    --------
    >>> import smalti as sm
    >>> slides = sm.datasets.planted_slides(4, 25, seed=0)
    >>> label = {name: i % 2 for i, name in enumerate(slides.bag.index)}
    >>> bags = sm.Bags.from_rows(slides.x["X_planted"], slides.bag.index[slides.index], y=label,
    ...                          instance=slides.instance.assign(tile_px=100.0))
    >>> model = sm.mil.BagMean(progress=False).fit(bags)
    >>> heat = model.heatmap(bags, "S1")
    >>> heat.columns, len(heat)
    (['contribution_1'], 25)
    >>> sm.heatmap.write(heat, "S1.geojson")
    """
    from smalti.plot.heatmaps import plot_extreme_tiles, plot_heatmap

    path = Path(path)
    kind = kind_of(path)
    check_free(path, overwrite=overwrite, inputs=heatmap.reads)
    if kind == "geojson":
        from smalti.heatmap.geojson import write_geojson

        write_geojson(heatmap, path, overwrite=overwrite, **more)
    elif kind == "ome-tiff":
        from smalti.heatmap.ome_tiff import write_ome_tiff

        write_ome_tiff(heatmap, path, overwrite=overwrite, **more)
    elif kind == "spatialdata":
        from smalti.io.heat_layer import write_layer

        write_layer(heatmap, path, overwrite=overwrite, **more)
    elif kind == "html":
        from smalti.heatmap.page import write_page

        write_page(heatmap, path, scale=scale, overwrite=overwrite, **more)
    else:
        figure = plot_extreme_tiles(heatmap, **more) if kind == "tiles" else \
            plot_heatmap(heatmap, scale=scale, **more)  # fmt: skip
        with atomic_write(path, overwrite=overwrite) as temporary:
            figure.savefig(temporary, format="svg" if kind == "svg" else "png", dpi=150,
                           metadata={"Date": None} if kind == "svg" else None)  # fmt: skip


def kind_of(path: Path) -> str:
    """Which kind of file a name says.

    Raises
    ------
    InputError
        If it ends otherwise.
    """
    name = path.name.lower().replace(".tiff", ".tif")
    kinds = [kind for kind, ending in FORMATS.items() if name.endswith(ending)]
    if not kinds:
        raise InputError(f"{path}: end the name in {', '.join(FORMATS.values())}.")
    return kinds[-1] if kinds[-1] != "png" or len(kinds) == 1 else "tiles"
