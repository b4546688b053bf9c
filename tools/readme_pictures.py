"""The two pictures of the README: a patient and a slide, both real, neither seen in training.

    python tools/readme_pictures.py    # docs/images/patient.png and slide.png, in two minutes

The patient is one of the kidney cohort (``sm.datasets.load("kidney")``). The slide is a picture of
colon that scikit-image has, in which a protein was stained brown (no known copyright restrictions):
what is learned is where the stain is, so that anyone who looks can tell whether the map is right.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image
from skimage import data
from sklearn.metrics import roc_auc_score

import smalti as sm

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SIDE, FIELD, TILE = 512, 64, 16  # pixels: of the picture, of a field of training, of a tile
HALF = SIDE // 2
BROWN = 40  # red less blue, of 255, from which a tile counts as stained


# ---------------------------------------------------------------- the slide


def brown(bags: sm.Bags) -> np.ndarray:
    """(n_tiles,) red less blue of each tile: what the eye takes for the stain."""
    red, _, blue = bags.table("colours")[:, :3].T
    return red - blue


def cut(picture: np.ndarray, folder: Path) -> None:
    """Overlapping fields of the left half, and the right half as it is."""
    for y in range(0, SIDE - FIELD + 1, FIELD // 2):
        for x in range(0, HALF - FIELD + 1, FIELD // 2):
            field = picture[y : y + FIELD, x : x + FIELD]
            Image.fromarray(field).save(folder / f"field-{y:03d}-{x:03d}.png")
    Image.fromarray(picture[:, HALF:]).save(folder / "slide.png")


def read(folder: Path) -> sm.Bags:
    """Pictures as bags of tiles: of each tile the mean and the s.d. of its three colours."""
    slides = sm.read_slides(folder, um_per_px=1.0, tile_px=TILE, size=TILE, tissue=None)
    tiles = slides.x["tile"].read(0, slides.n_instances).astype(np.float32)
    colours = np.concatenate([tiles.mean((2, 3)), tiles.std((2, 3))], axis=1)
    return dataclasses.replace(slides, x={"colours": colours, **slides.x}, donor="bag")


def slide(seed: int = 0) -> None:
    """Learn from fields that hold stain or hold none; map the half that no field was cut from."""
    picture = data.immunohistochemistry()
    with tempfile.TemporaryDirectory() as folder:
        cut(picture, Path(folder))
        bags = read(Path(folder))
        share = pd.Series(brown(bags) > BROWN).groupby(bags.index).mean().to_numpy()  # (n_bags,)
        field = bags.bag.index.str.startswith("field")
        told = np.flatnonzero(field & ((share == 0) | (share >= 0.5)))
        train = bags[told].with_target(np.where(share[told] > 0, "stained", "unstained"),
                                       positive="stained")  # fmt: skip
        model = sm.mil.ABMIL(gated=True, seed=seed, progress=False).fit(train)
        unseen = bags[np.flatnonzero(~field)]
        said, truth = model.attribute(unseen), brown(unseen) > BROWN
        heat = model.heatmap(unseen, str(unseen.bag.index[0]))
    print(f"slide: {len(train)} fields to train, {(train.labels == 'stained').sum()} stained; "
          f"{len(truth)} tiles in the other half, {truth.sum()} brown")  # fmt: skip
    for column in ("attention", "contribution_stained"):
        print(f"{column}: AUROC of brown tiles {roc_auc_score(truth, said[column]):.3f}")
    figure = Figure(figsize=(8.4, 4.6), layout=ConstrainedLayoutEngine(h_pad=0.08))
    grid = figure.subplots(ncols=3, width_ratios=(2, 1, 1))
    grid[0].imshow(picture)
    grid[0].axvline(HALF, color="black", lw=1.2)
    grid[0].text(HALF / 2, -14, "fields to learn from", ha="center", fontsize=12)
    grid[0].text(1.5 * HALF, -14, "never seen", ha="center", fontsize=12)
    bare(grid[0])
    grey = np.repeat(picture[:, HALF:].mean(2, keepdims=True), 3, axis=2) * 0.4 + 150
    for axes, column, colours, ends in (
        (grid[1], "attention", "inferno", ("least", "most")),
        (grid[2], "contribution_stained", "RdBu_r", ("against", "for stain")),
    ):
        values = heat.raster(heat.column(column), TILE / 4)
        most = np.nanmax(np.abs(values))
        low = -most if colours == "RdBu_r" else 0
        axes.imshow(grey.astype(np.uint8), extent=(0, HALF, SIDE, 0))
        drawn = axes.imshow(values, extent=(0, HALF, SIDE, 0), cmap=colours, vmin=low, vmax=most,
                            alpha=0.65)  # fmt: skip
        axes.text(HALF / 2, -14, column.split("_")[0], ha="center", fontsize=12)
        bare(axes)
        bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", shrink=0.9, aspect=14,
                              pad=0.03, ticks=[low, most])  # fmt: skip
        bar.ax.set_xticklabels(ends, fontsize=11)
        bar.ax.tick_params(length=0)
        bar.outline.set_visible(False)
    save(figure, "slide.png")


# ---------------------------------------------------------------- the patient


def patient(seed: int = 0) -> None:
    """Score all patients when left out; show the glomeruli of one of them."""
    bags = sm.datasets.load("kidney")
    model = sm.mil.ABMIL(gated=True, seed=seed, progress=False)
    table = sm.compare({"abmil": model}, bags, folds=5, seed=seed, progress=False)
    print(table.intervals("roc_auc").to_string())
    said = table.predictions[table.predictions["method"] == "abmil"].set_index("bag")
    auroc = table.intervals("roc_auc").set_index("method").loc["abmil"]
    # the first patient of the last fold who has 30 glomeruli or more and reduced function
    last = said["fold"] == said["fold"].max()
    large = said.index.isin(bags.bag.index[bags.lengths >= 30])
    name = said.index[last & large & (said["true"] == "reduced")][0]
    fitted = model.fit(bags[np.flatnonzero(~bags.bag.index.isin(said.index[last]))])
    one = bags[[bags.bag.index.get_loc(name)]]
    pieces = fitted.attribute(one)["contribution_reduced"].to_numpy()
    size, ratio = (one.table("X")[:, list(one.features["X"]).index(c)] for c in
                   ("glom_sizes", "glom_tufttocapsule_ratio"))  # fmt: skip
    figure = Figure(figsize=(8.4, 3.5), layout=ConstrainedLayoutEngine(w_pad=0.12))
    left, right = figure.subplots(ncols=2, width_ratios=(1, 1.25))
    strip(left, said, name)
    between = f"{auroc['value_low']:.2f} to {auroc['value_high']:.2f}"
    left.set_title(f"{len(said)} patients, each left out\nAUROC {auroc['value']:.2f} ({between})",
                   fontsize=11)  # fmt: skip
    most = np.abs(pieces).max()
    drawn = right.scatter(size / 1000, ratio, c=pieces, cmap="RdBu_r", vmin=-most, vmax=most, s=70,
                          edgecolors="black", linewidths=0.5)  # fmt: skip
    right.set(xlabel="area of the glomerulus (thousands)", ylabel="tuft / capsule")
    right.set_title(f"one of them: {len(pieces)} glomeruli", fontsize=11)
    right.spines[["top", "right"]].set_visible(False)
    bar = figure.colorbar(drawn, ax=right, ticks=[-most, 0, most])
    bar.ax.set_yticklabels(["speaks for\nnormal", "0", "speaks for\nreduced"], fontsize=10)
    bar.outline.set_visible(False)
    save(figure, "patient.png")


def strip(axes: Axes, said: pd.DataFrame, name: str) -> None:
    """What each patient was predicted when left out, by what is true of them."""
    rng = np.random.default_rng(0)
    for i, (true, own) in enumerate(said.groupby("true")):
        x = i + rng.uniform(-0.28, 0.28, len(own))
        axes.scatter(x, own["p_reduced"], s=8, alpha=0.5, color=("#4477AA", "#BB4444")[i], lw=0)
        axes.hlines(own["p_reduced"].median(), i - 0.35, i + 0.35, color="black", lw=1.6)
        if name in own.index:
            axes.scatter(x[list(own.index).index(name)], own.loc[name, "p_reduced"], s=90,
                         facecolors="none", edgecolors="black", lw=1.6)  # fmt: skip
        axes.text(i, -0.03, f"{true}\n({len(own)})", ha="center", va="top", fontsize=10)
    axes.set(ylabel="predicted risk of reduced function", ylim=(0, 1), xticks=[])
    axes.spines[["top", "right"]].set_visible(False)


def bare(axes: Axes) -> None:
    """No ticks and no frame."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def save(figure: Figure, name: str) -> None:
    """As a picture of few colours, which a phone loads."""
    figure.savefig(IMAGES / name, dpi=120)
    Image.open(IMAGES / name).convert("RGB").quantize(128).save(IMAGES / name, optimize=True)
    print(f"{name}, {(IMAGES / name).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    with mpl.rc_context({"font.family": "sans-serif"}):
        slide()
        patient()
