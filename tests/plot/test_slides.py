"""Pictures over slides: what stands in them, and what is said when they cannot be drawn."""

import dataclasses
import io

import numpy as np
import pytest

from smalti.datasets import planted_slides
from smalti.errors import InputError
from smalti.explain import screen_augmentations
from smalti.plot import (
    plot_contact_sheet,
    plot_gene_maps,
    plot_grad_cam,
    plot_nuclei,
    plot_tile_scores,
)
from smalti.tiles.nuclei import find_nuclei


def drawn(figure):
    """The figure drawn, as PNG, and all text in it."""
    import matplotlib.text

    buffer = io.BytesIO()
    figure.figure.savefig(buffer, format="png", dpi=40)  # of axes theirs, of a figure itself
    assert buffer.getvalue()[:4] == b"\x89PNG"
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text) if t.get_text()]


@pytest.fixture(scope="module")
def bags():
    return planted_slides(2, 36, n_genes=4, donors=2)


@pytest.fixture
def sections(tmp_path):
    """Two slides cut from pictures: light, with a dark square in the lower left corner."""
    from PIL import Image

    import smalti as sm

    for name in "AB":
        picture = np.full((96, 128, 3), (230, 190, 215), dtype=np.uint8)
        picture[64:, :32] = (100, 60, 140)
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    return sm.read_slides(tmp_path, um_per_px=0.5, tile_px=32, size=32, tissue_min=0.0)


@pytest.mark.slow
def test_gene_maps(bags):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(72, 2))
    p = y + rng.normal(size=(72, 2))
    p[:, 1] = 3.0  # says the mean
    figure = plot_gene_maps(bags, ["AAA1", "BBB1"], y, p, slide="S1", title="Two genes")
    words = drawn(figure)
    panels = figure.axes[:6]
    r = np.corrcoef(y[36:, 0], p[36:, 0])[0, 1]
    assert [a.get_title(loc="left").strip() for a in panels] == ["AAA1", "", "", "BBB1", "", ""]
    notes = [a.texts[0].get_text() for a in panels]
    assert notes[2] == f"predicted − measured, r {r:.2f}"
    assert notes[5] == "predicted − measured"  # no r of what has no spread
    assert notes[0].startswith("measured, Moran's I")
    assert notes[4] == "predicted"
    assert "Two genes" in words
    spots = figure.axes[0].collections[0]
    np.testing.assert_allclose(spots.get_array(), y[36:, 0])
    xy = bags.instance[["x_px", "y_px"]].to_numpy()[36:]
    centers = [path.get_extents().get_points().mean(0) for path in spots.get_paths()]
    np.testing.assert_allclose(centers, xy, atol=1e-6)
    low, high = figure.axes[0].get_ylim()
    assert low > high  # y runs down, as on the slide
    assert "Slide S0" in drawn(plot_gene_maps(bags, ["AAA1"], y[:, :1], p[:, :1]))


@pytest.mark.parametrize("scale", ["shared", "z"])
def test_one_colour_means_one_value_in_both_maps(bags, scale):
    rng = np.random.default_rng(0)
    y = rng.normal(5, 2, (72, 1))
    p = 5 + (y - 5) / 10  # spans a tenth
    figure = plot_gene_maps(bags, ["A"], y, p, slide="S1", scale=scale)
    measured, predicted, gap = (axes.collections[0] for axes in figure.axes[:3])
    assert measured.get_clim() == predicted.get_clim()
    spread = np.std(predicted.get_array()) / np.std(measured.get_array())
    assert spread == pytest.approx(0.1 if scale == "shared" else 1)
    np.testing.assert_allclose(
        gap.get_array(), predicted.get_array() - measured.get_array(), atol=1e-6
    )
    with pytest.raises(InputError, match="scale='own' is neither"):
        plot_gene_maps(bags, ["A"], y, p, scale="own")


@pytest.mark.slow
@pytest.mark.parametrize("gene", ["A", "ENSG00000141510-and-a-long-name"])
@pytest.mark.parametrize("n", [1, 4])
def test_no_text_of_gene_maps_lies_on_another(bags, gene, n):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    values = np.random.default_rng(0).normal(size=(72, n))
    figure = plot_gene_maps(bags, [gene] * n, values, values)
    FigureCanvasAgg(figure).draw()
    panels = figure.axes[: 3 * n]
    texts = [figure._suptitle, *(t for a in panels for t in (a._left_title, *a.texts))]
    boxes = [t.get_window_extent() for t in texts if t.get_text()]
    assert len(boxes) == 1 + 4 * n + 1  # the length of the scale bar
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[i + 1 :])


def test_gene_maps_over_a_picture(sections):
    values = np.arange(float(sections.n_instances))[:, None]
    figure = plot_gene_maps(sections, ["G"], values, values, slide="B", spot_um=16)
    assert len(figure.axes[0].images) == 1
    path = figure.axes[0].collections[0].get_paths()[0].get_extents()
    assert path.width == pytest.approx(32)  # pixels of half a micrometre
    assert not plot_gene_maps(sections, ["G"], values, values, image=False).axes[0].images


@pytest.mark.slow
def test_gene_maps_of_tiles_in_memory():
    drawn_tiles = planted_slides(2, 9, n_genes=4, images=True, size=16)[[1]]
    y = np.random.default_rng(0).normal(size=(9, 1))
    figure = plot_gene_maps(drawn_tiles, ["AAA1"], y, y)
    assert not figure.axes[0].images


def test_errors_of_gene_maps(bags):
    y = np.zeros((72, 2))
    with pytest.raises(InputError, match="no slide 'S9'; there are S0, S1"):
        plot_gene_maps(bags, ["a", "b"], y, y, slide="S9")
    with pytest.raises(InputError, match=r"predicted has shape \(72, 1\): give \(72, 2\)"):
        plot_gene_maps(bags, ["a", "b"], y, y[:, :1])
    with pytest.raises(InputError, match="no gene"):
        plot_gene_maps(bags, [], y[:, :0], y[:, :0])
    lost = dataclasses.replace(bags, instance=bags.instance.drop(columns="x_px"))
    with pytest.raises(InputError, match="x_px and y_px"):
        plot_gene_maps(lost, ["a", "b"], y, y)


@pytest.mark.slow
def test_tile_scores(sections):
    n = sections.n_instances
    at = sections.instance[["x_px", "y_px"]].to_numpy()
    values = ((at[:, 0] < 32) & (at[:, 1] > 64)).astype(float)
    mask = np.zeros((96, 128))
    mask[64:, :32] = 1
    figure = plot_tile_scores(sections, values, bag="A", mask=mask, title="Where it looks")
    assert {"A", "attention", "Where it looks"} <= set(drawn(figure))
    heat = np.asarray(figure.axes[1].images[1].get_array())
    step = 96 // len(heat)  # of a pixel of the map, in those of the slide
    np.testing.assert_array_equal(np.kron(heat, np.ones((step, step))) == 1, mask == 1)
    signed = plot_tile_scores(sections, values - 0.5, label="contribution")
    shown = signed.axes[1].images[1]
    assert shown.get_clim() == (-0.5, 0.5)
    assert "contribution" in drawn(signed)
    with pytest.raises(InputError, match="no slide 'C'; there are A, B"):
        plot_tile_scores(sections, values, bag="C")
    with pytest.raises(InputError, match=f"values has 3 numbers for {n} tiles"):
        plot_tile_scores(sections, values[:3])


def test_tile_scores_need_pictures(bags):
    with pytest.raises(InputError, match="not cut from a picture: read them with read_slides"):
        plot_tile_scores(bags, np.zeros(72))


def test_grad_cam():
    images = np.random.default_rng(0).integers(0, 255, (3, 3, 16, 16), dtype=np.uint8)
    cams = np.random.default_rng(0).random((3, 2, 16, 16))
    figure = plot_grad_cam(images, cams, ["EPCAM", "CD3E"])
    assert {"tile", "EPCAM", "CD3E"} <= set(drawn(figure))
    np.testing.assert_array_equal(figure.axes[4].images[1].get_array(), cams[1, 0])
    with pytest.raises(
        InputError, match=r"maps of shape \(3, 2, 16, 16\) do not fit 3 tiles and 1"
    ):
        plot_grad_cam(images, cams, ["EPCAM"])


@pytest.mark.slow
def test_nuclei():
    tiles = planted_slides(1, 5, images=True).x["tile"].transpose(0, 2, 3, 1)
    found = [find_nuclei(t, 1.0) for t in tiles]
    words = drawn(plot_nuclei(tiles, found))
    assert [w for w in words if "nucle" in w] == [f"{len(f.centroids)} nuclei" for f in found]
    with pytest.raises(InputError, match="5 tiles and nuclei of 4"):
        plot_nuclei(tiles, found[:4])
    with pytest.raises(InputError, match="0 tiles"):
        plot_nuclei([], [])


@pytest.mark.slow
def test_contact_sheet():
    tiles = planted_slides(1, 9, images=True, size=32).x["tile"]
    found = screen_augmentations(tiles, ["d4", "color_jitter=0.5", "mixup"], n=9)
    words = drawn(found.contact_sheet())
    assert {"original", "d4", "color jitter 0.5", "mixup", "accepted: symmetry", "rejected",
            "rejected: changes target"} <= set(words)  # fmt: skip
    for ratio in found.table["ratio"].dropna():
        assert f"{ratio:.2f}" in words
    axes = plot_contact_sheet(found.examples, found.table, title="Mine")
    assert "Mine" in drawn(axes)
    assert len(axes.images) == 4 * 6
    with pytest.raises(InputError, match="as many tiles for every candidate"):
        plot_contact_sheet({**found.examples, "d4": tiles[:2]}, found.table)
