"""A heat map as SpatialData: tiles as shapes, their numbers as the table that annotates them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.system.extras import need
from smalti.system.files import atomic_folder, check_free
from smalti.tiles.heatmap import Heatmap

_THUMBNAIL = 2048  # pixels of the picture that goes with it


def write_layer(heatmap: Heatmap, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a .zarr with shapes ``tiles``, a table ``heatmap`` and a small ``slide``.

    Parameters
    ----------
    heatmap
        What ``model.heatmap(...)`` returned.
    path
        The .zarr folder.
    overwrite
        Replace what is there.

    Raises
    ------
    InputError
        If something is there, or it cannot be written.
    """
    check_free(path, overwrite=overwrite, inputs=heatmap.reads)
    data = layer_of(heatmap)
    with atomic_folder(path, overwrite=overwrite) as temporary:
        # beside, for the library makes its folder itself and refuses one that is there
        inner = temporary / "data.zarr"
        data.write(inner)
        for part in list(inner.iterdir()):
            part.rename(temporary / part.name)
        inner.rmdir()


def layer_of(heatmap: Heatmap) -> Any:
    """The same as a SpatialData; its coordinate system ``global`` is pixels of the full slide."""
    library = need("spatialdata", extra="spatialdata")
    models = need("spatialdata.models", extra="spatialdata")
    transformations = need("spatialdata.transformations", extra="spatialdata")
    shapely = need("shapely", extra="spatialdata")
    geopandas = need("geopandas", extra="spatialdata")
    from anndata import AnnData

    half, names = heatmap.side / 2, [f"{i}" for i in range(len(heatmap))]
    low, high = heatmap.xy - half, heatmap.xy + half
    squares = shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1])
    here = {"global": transformations.Identity()}
    shapes = models.ShapesModel.parse(
        geopandas.GeoDataFrame({"tile": np.arange(len(heatmap))}, geometry=squares),
        transformations=here,
    )
    obs = pd.DataFrame({"region": pd.Categorical(["tiles"] * len(heatmap)),
                        "tile": np.arange(len(heatmap))}, index=names)  # fmt: skip
    table = AnnData(heatmap.values.to_numpy(np.float32), obs=obs,
                    var=pd.DataFrame(index=heatmap.columns))  # fmt: skip
    table.uns["smalti_heatmap"] = {
        "slide": heatmap.name, "notes": list(heatmap.notes),
        "um_per_px": np.nan if heatmap.um_per_px is None else heatmap.um_per_px,
    }  # fmt: skip
    table = models.TableModel.parse(table, region="tiles", region_key="region",
                                    instance_key="tile")  # fmt: skip
    images = {}
    if heatmap.picture is not None:
        small, scale = heatmap.picture.thumbnail(_THUMBNAIL)
        grow = transformations.Scale([1 / scale, 1 / scale], axes=("x", "y"))
        images["slide"] = models.Image2DModel.parse(
            small.transpose(2, 0, 1), dims=("c", "y", "x"), transformations={"global": grow}
        )
    return library.SpatialData(images=images, shapes={"tiles": shapes}, tables={"heatmap": table})
