"""Stain normalisation against plain code, made slides, and slides that must not know each other."""

import numpy as np
import pytest

import smalti as sm
from smalti.errors import InputError
from smalti.tiles import Colours, Normalizer, measure_colours, normalized
from smalti.tiles.normalize import METHODS, REFERENCE
from smalti.tiles.stain import vahadane

Image = pytest.importorskip("PIL.Image")
skimage = pytest.importorskip("skimage")
PINK = np.array([[0.6, 0.7, 0.38], [0.1, 0.95, 0.3]])
BLUE = np.array([[0.75, 0.6, 0.25], [0.25, 0.9, 0.35]])


def made(stains, strength=1.0, side=120, seed=0):
    """A picture whose stains are known: pixels hold one of the two, or both."""
    stains = stains / np.linalg.norm(stains, axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    amount = 0.25 + rng.gamma(2, 0.3, size=(side * side, 2))
    amount *= rng.random((side * side, 2)) < 0.6
    light = 255 * np.exp(-strength * amount @ stains)
    return np.rint(light).clip(0, 255).astype(np.uint8).reshape(side, side, 3), stains


@pytest.mark.parametrize("stains", [PINK, BLUE])
@pytest.mark.parametrize("how", ["macenko", "vahadane"])
def test_stains_of_a_made_slide(stains, how):
    rgb, true = made(stains)
    found = measure_colours(rgb, how).stains
    assert np.sum(found * true, axis=1).min() > 0.99


@pytest.mark.slow
def test_vahadane_is_the_least_of_its_cost():
    """No worse than scikit-learn's solver of the same problem, from the same start."""
    from sklearn.decomposition import DictionaryLearning

    rgb, _ = made(PINK, side=24)
    density = -np.log(np.maximum(rgb.reshape(-1, 3), 1) / 255.0)
    density = density[(density > 0.15).all(1)]

    def cost(stains):
        amount = np.maximum(density @ np.linalg.pinv(stains), 0)
        for _ in range(200):
            for k in (0, 1):
                rest = density - np.outer(amount[:, 1 - k], stains[1 - k])
                amount[:, k] = np.maximum(rest @ stains[k] - 0.1, 0)
        return 0.5 * ((density - amount @ stains) ** 2).sum() + 0.1 * amount.sum()

    peer = DictionaryLearning(
        2, alpha=0.1, fit_algorithm="cd", transform_algorithm="lasso_cd", positive_code=True,
        positive_dict=True, random_state=0, max_iter=100, dict_init=np.array([[0.65, 0.7, 0.29],
        [0.07, 0.99, 0.11]]), code_init=np.maximum(density @ np.linalg.pinv(PINK), 0),
    ).fit(density)  # fmt: skip
    theirs = peer.components_ / np.linalg.norm(peer.components_, axis=1, keepdims=True)
    ours = vahadane(rgb)[:2]
    assert cost(ours) <= cost(theirs[np.argsort(-theirs[:, 0])]) * 1.001


def test_reinhard_is_plain_code():
    (source, _), (target, _) = made(PINK, side=30), made(BLUE, side=30, seed=1)
    lms = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])

    def lab(rgb):
        out = np.empty((len(rgb), 3))
        for i, pixel in enumerate(rgb):
            a, b, c = np.log10(lms @ ((pixel.astype(float) + 1) / 256))
            out[i] = (a + b + c) / np.sqrt(3), (a + b - 2 * c) / np.sqrt(6), (a - b) / np.sqrt(2)
        return out

    s, t = lab(source.reshape(-1, 3)), lab(target.reshape(-1, 3))
    moved = (s - s.mean(0)) / s.std(0) * t.std(0) + t.mean(0)
    out = Normalizer(measure_colours(source, "reinhard"), measure_colours(target, "reinhard"))
    got = lab(out(source).reshape(-1, 3))
    inside = (out(source).reshape(-1, 3) > 2).all(1) & (out(source).reshape(-1, 3) < 253).all(1)
    np.testing.assert_allclose(got[inside], moved[inside], atol=0.02)


@pytest.mark.parametrize("how", METHODS)
def test_slides_of_two_laboratories_look_alike(how):
    """The same tissue, stained otherwise and paler."""
    (a, _), (b, _) = made(PINK), made(BLUE, strength=0.6)
    target = measure_colours(a, how)
    got = Normalizer(measure_colours(b, how), target)(b)
    before = np.abs(a.astype(float) - b).mean()
    assert np.abs(a.astype(float) - got).mean() < 0.35 * before
    own = Normalizer(target, target)(a)
    # sparse factors lie inside the cone of the pixels: what is outside is brought to its edge
    assert np.abs(own.astype(float) - a).mean() < (6 if how == "vahadane" else 2)
    if how != "reinhard":
        np.testing.assert_array_equal(Normalizer(target, target)(a * 0 + 255), 255)


@pytest.fixture
def slides(tmp_path):
    for k, (stains, strength) in enumerate([(PINK, 1.0), (BLUE, 0.7)]):
        rgb = np.full((160, 160, 3), 250, np.uint8)
        rgb[20:140, 20:140] = made(stains, strength, seed=k)[0]
        Image.fromarray(rgb).save(tmp_path / f"s{k}.png")
    return sm.read_slides(tmp_path, um_per_px=1.0, tile_px=40, size=20, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("how", METHODS)
def test_each_slide_is_measured_by_itself(slides, how):
    target = None if how != "reinhard" else made(PINK)[0]
    both = normalized(slides, how, stain_target=target)
    alone = normalized(slides[[1]], how, stain_target=target)
    n = slides.offsets[1]
    np.testing.assert_array_equal(both.x["tile"].read(n, slides.n_instances),
                                  alone.x["tile"].read(0, alone.n_instances))  # fmt: skip
    means = [both.x["tile"].read(*p).mean((0, 2, 3)) for p in ((0, n), (n, 2 * n))]
    plain = [slides.x["tile"].read(*p).mean((0, 2, 3)) for p in ((0, n), (n, 2 * n))]
    share = 0.75 if how == "reinhard" else 0.5  # it knows no stains, only means and spreads
    assert np.abs(means[0] - means[1]).max() < share * np.abs(plain[0] - plain[1]).max()
    assert both.x["tile"].digest() != slides.x["tile"].digest()  # a cache of features knows


def test_a_model_that_cuts_tiles_anew_keeps_the_colours(slides):
    from smalti.core.scale import TileScale, _cut

    both = normalized(slides)
    cut = _cut(both, both.x["tile"], TileScale((20.0, 20.0), (1.0, 1.0), (1.0, 1.0)))
    assert cut.recolour == both.x["tile"].recolour


def test_what_cannot_be_normalised(slides, tmp_path):
    with pytest.raises(InputError, match="reinhard has no fixed reference"):
        normalized(slides, "reinhard")
    with pytest.raises(InputError, match="stain='gcn'"):
        normalized(slides, "gcn")
    with pytest.raises(InputError, match="the target was measured by 'macenko'"):
        normalized(slides, "vahadane", stain_target=REFERENCE["macenko"])
    with pytest.raises(InputError, match="not cut from pictures"):
        normalized(sm.datasets.planted_slides(1, 4, images=True))
    white = tmp_path / "w"
    white.mkdir()
    Image.fromarray(np.full((80, 80, 3), 250, np.uint8)).save(white / "pale.png")
    pale = sm.read_slides(white, um_per_px=1.0, tile_px=40, tissue_min=0.0, progress=False)
    with pytest.raises(InputError, match="pale.png cannot be measured"):
        normalized(pale)
    assert isinstance(REFERENCE["macenko"], Colours)
