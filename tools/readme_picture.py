"""The first picture of the README: a drawn slide, and what a model of other such slides says of it.

    python tools/readme_picture.py    # writes docs/images/slide.png, in two minutes

Half of the slides hold a lesion; the model is told which, and never where. All slides have glands
and nests of small dark cells. What it reads of a tile is the mean and the s.d. of its colours.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

import smalti as sm

WIDE, HIGH, TILE = 1200, 900, 50  # pixels, of 1 µm
N_TRAIN, N_TEST = 24, 12
OUT = Path(__file__).parents[1] / "docs" / "images" / "slide.png"

Y, X = np.mgrid[:HIGH, :WIDE]


def blob(rng: np.random.Generator, x: float, y: float, radius: float, rough: float) -> np.ndarray:
    """(HIGH, WIDE) bool: a round region with a smooth, irregular edge."""
    angle = np.arctan2(Y - y, X - x)
    edge = np.full(angle.shape, float(radius))
    for k in range(2, 7):
        edge += radius * rough * rng.normal() / k * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    return np.hypot(X - x, Y - y) < edge


def nucleus(
    picture: np.ndarray, rng: np.random.Generator, x: float, y: float, long: float, broad: float,
    angle: float, colour: tuple[int, int, int],
) -> None:  # fmt: skip
    """Draw an ellipse of half axes ``long`` and ``broad``."""
    reach = int(long) + 2
    left, top = int(x) - reach, int(y) - reach
    if left < 0 or top < 0 or left + 2 * reach >= WIDE or top + 2 * reach >= HIGH:
        return
    part = picture[top : top + 2 * reach, left : left + 2 * reach]
    dy, dx = np.mgrid[: 2 * reach, : 2 * reach] - np.array([y - top, x - left])[:, None, None]
    u, v = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    part[(u / long) ** 2 + (v / broad) ** 2 < 1] = np.array(colour) + rng.normal(0, 9)


def scatter(
    picture: np.ndarray, rng: np.random.Generator, where: np.ndarray, spacing: float,
    size: tuple[float, float], ratio: tuple[float, float], colour: tuple[int, int, int],
) -> None:  # fmt: skip
    """Nuclei over a region, about ``spacing`` apart."""
    y, x = np.nonzero(where)
    for i in rng.integers(0, max(1, len(x)), int(len(x) / spacing**2)):
        long = rng.uniform(*size)
        nucleus(picture, rng, x[i], y[i], long, long * rng.uniform(*ratio),
                rng.uniform(0, np.pi), colour)  # fmt: skip


def gland(picture: np.ndarray, rng: np.random.Generator, x: float, y: float) -> None:
    """A pale lumen in a rim of cells with a ring of nuclei."""
    radius, ratio, turn = rng.uniform(20, 36), rng.uniform(0.65, 1), rng.uniform(0, np.pi)
    dx, dy = X - x, Y - y
    u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    away = np.hypot(u, v / ratio)
    picture[away < radius] = (222, 170, 204)
    picture[away < 0.5 * radius] = (243, 236, 242)
    for angle in np.arange(0, 2 * np.pi, 6.5 / radius):
        a, b = 0.82 * radius * np.cos(angle), 0.82 * radius * ratio * np.sin(angle)
        nucleus(picture, rng, x + a * np.cos(turn) - b * np.sin(turn),
                y + a * np.sin(turn) + b * np.cos(turn), 4.2, 2.6, angle + turn,
                (98, 62, 140))  # fmt: skip


def draw(rng: np.random.Generator, ill: bool) -> tuple[np.ndarray, np.ndarray]:
    """A slide, (HIGH, WIDE, 3) uint8, and where its lesion is, (HIGH, WIDE) bool."""
    tissue = blob(rng, WIDE / 2, HIGH / 2, 390, 0.12)
    nest = np.zeros((HIGH, WIDE), bool)
    lesion = nest.copy()
    for _ in range(2):
        at = WIDE / 2 + rng.uniform(-260, 260), HIGH / 2 + rng.uniform(-230, 230)
        nest |= blob(rng, *at, rng.uniform(38, 60), 0.1)
    if ill:
        at = WIDE / 2 + rng.uniform(-210, 210), HIGH / 2 + rng.uniform(-170, 170)
        lesion = blob(rng, *at, rng.uniform(85, 130), 0.15) & tissue
    stain = rng.normal(0, 5, 3)
    picture = np.full((HIGH, WIDE, 3), (244.0, 241.0, 243.0))
    texture = gaussian_filter(rng.normal(size=(HIGH, WIDE)), (2, 7)) * 90
    picture[tissue] = (np.array([232, 184, 210]) + stain)[None] + texture[tissue, None]
    scatter(picture, rng, tissue & ~nest & ~lesion, 18, (4, 7), (0.3, 0.5), (120, 84, 156))
    free = tissue & ~nest & ~lesion
    for gx, gy in rng.uniform((150, 80), (WIDE - 150, HIGH - 80), (150, 2)):
        near = slice(int(gy) - 36, int(gy) + 36), slice(int(gx) - 36, int(gx) + 36)
        if free[near].all():
            gland(picture, rng, gx, gy)
            free[near] = False
    picture[lesion] = (np.array([206, 158, 200]) + stain)[None] + texture[lesion, None]
    scatter(picture, rng, nest & tissue & ~lesion, 7, (2.6, 3.4), (0.9, 1), (76, 52, 130))
    scatter(picture, rng, lesion, 13, (4.5, 8.5), (0.5, 0.95), (104, 66, 142))
    picture += rng.normal(0, 3, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8), lesion


def draw_all(folder: Path, seed: int) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Draw the cohort; what each slide is called, and where its lesion is."""
    rng, truth, labels = np.random.default_rng(seed), {}, {}
    for i in range(N_TRAIN + N_TEST):
        name = f"S{i:02d}"
        drawn, truth[name] = draw(rng, i % 2 == 0)
        labels[name] = "lesion" if i % 2 == 0 else "healthy"
        Image.fromarray(drawn).save(folder / f"{name}.png", compress_level=1)
    return labels, truth


def read(folder: Path, labels: dict[str, str]) -> sm.Bags:
    """The slides as bags of tiles: of each the mean and the s.d. of its three colours."""
    slides = sm.read_slides(folder, um_per_px=1.0, tile_px=TILE, size=TILE)
    tiles = slides.x["tile"].read(0, slides.n_instances).astype(np.float32)
    colours = np.concatenate([tiles.mean((2, 3)), tiles.std((2, 3))], axis=1)
    bags = dataclasses.replace(slides, x={"colours": colours, **slides.x}, donor="bag")
    return bags.with_target([labels[n] for n in bags.bag.index])


def inside(bags: sm.Bags, truth: dict[str, np.ndarray]) -> np.ndarray:
    """(n_tiles,) whether the centre of a tile lies in the lesion of its slide."""
    x, y = (bags.instance[c].to_numpy(int) for c in ("x_px", "y_px"))
    names = np.asarray(bags.bag.index)[bags.index]
    return np.array([truth[n][b, a] for n, a, b in zip(names, x, y, strict=True)])


def picture(heat: sm.tiles.Heatmap, truth: np.ndarray) -> Figure:
    """The slide, its attention and its contributions, the lesion outlined."""
    figure = Figure(figsize=(8.4, 3.15), layout=ConstrainedLayoutEngine(h_pad=0.08))
    grid = figure.subplots(ncols=3)
    assert heat.picture is not None
    slide = np.asarray(heat.picture.region(0, 0, WIDE, HIGH))
    box = (0, WIDE, HIGH, 0)
    titles = ("a drawn slide", "attention", "contribution")
    grey = 255 - 0.45 * (255 - slide.astype(float))
    for axes, title, under in zip(grid, titles, (slide, grey, grey), strict=True):
        axes.imshow(under.astype(np.uint8), extent=box)
        axes.contour(truth, levels=[0.5], colors=["#00C48C"], linewidths=1.8)
        axes.set(xticks=[], yticks=[], xlim=(140, WIDE - 140))
        axes.set_title(title, fontsize=15)
        axes.spines[:].set_visible(False)
    for axes, column, colours, ends in (
        (grid[1], "attention", "inferno", ("least", "most")),
        (grid[2], "contribution_lesion", "RdBu_r", ("against lesion", "for it")),
    ):
        values = heat.raster(heat.column(column), TILE / 4)
        most = np.nanmax(np.abs(values))
        low = -most if colours == "RdBu_r" else 0
        drawn = axes.imshow(values, extent=box, cmap=colours, vmin=low, vmax=most, alpha=0.65)
        bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", shrink=0.62, aspect=14,
                              pad=0.03, ticks=[low, most])  # fmt: skip
        bar.ax.set_xticklabels(ends, fontsize=13)
        bar.ax.tick_params(length=0)
        bar.outline.set_visible(False)
    key = grid[0].plot([], [], color="#00C48C", lw=2, label="lesion as drawn")
    grid[0].legend(handles=key, loc="upper center", bbox_to_anchor=(0.5, -0.01), frameon=False,
                   fontsize=13)  # fmt: skip
    return figure


def main(seed: int = 0) -> None:
    """Draw the cohort, fit on some slides, and show the first of the others that has a lesion."""
    with tempfile.TemporaryDirectory() as folder:
        labels, truth = draw_all(Path(folder), seed)
        bags = read(Path(folder), labels)
        train, test = bags[np.arange(N_TRAIN)], bags[np.arange(N_TRAIN, N_TRAIN + N_TEST)]
        model = sm.mil.ABMIL(gated=True, seed=seed, progress=False).fit(train)
        positive = test.labels == "lesion"
        said = model.attribute(test).assign(lesion=inside(test, truth))
        ill = said[np.isin(said["bag"], test.bag.index[positive])]
        print(f"{N_TRAIN} slides to train, {N_TEST} to test; AUROC of test slides "
              f"{roc_auc_score(positive, model.predict_proba(test)[:, 1]):.3f}")  # fmt: skip
        for column in ("attention", "contribution_lesion"):
            each = [roc_auc_score(own["lesion"], own[column]) for _, own in ill.groupby("bag")]
            print(f"{column}: AUROC of tiles in the lesion, mean of {len(each)} slides "
                  f"{np.mean(each):.3f}, least {np.min(each):.3f}")  # fmt: skip
        name = str(test.bag.index[positive][0])  # the first one, not the finest
        with mpl.rc_context({"font.family": "sans-serif"}):
            picture(model.heatmap(test, name), truth[name]).savefig(OUT, dpi=150)
    Image.open(OUT).convert("RGB").save(OUT, optimize=True)
    print(f"slide {name}: {OUT}, {OUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
