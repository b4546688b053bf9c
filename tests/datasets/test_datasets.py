"""Digit bags by the paper's rule, simulated truth, and named sets fetched with a checksum."""

import functools
import hashlib
import http.server
import os
import threading

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from smalti import datasets
from smalti.datasets import (
    digit_bags,
    image_bags,
    mnist_bags,
    planted_bags,
    planted_modalities,
    registry,
)
from smalti.errors import InputError


def test_the_papers_rule():
    bags = digit_bags(400, seed=3)
    nines = np.bincount(bags.index, weights=bags.instance["key"], minlength=400)
    assert (bags.labels[::2] == 1).all()
    assert (bags.labels[1::2] == 0).all()
    np.testing.assert_array_equal(nines > 0, bags.labels == 1)
    assert (bags.instance["key"] == (bags.instance["digit"] == 9)).all()
    assert bags.lengths.mean() == pytest.approx(9.5, abs=0.3)  # int() cuts half an instance
    assert bags.lengths.std() == pytest.approx(2.0, abs=0.3)
    assert bags.table().shape[1:] == (1, 8, 8)
    assert 0 <= bags.table().min() <= bags.table().max() <= 1


def test_positive_bags_follow_the_conditional_law():
    """Accepting random bags with a 9 is not the same as planting one 9."""
    bags = digit_bags(4000, mean_length=5, std_length=0, seed=0)
    nines = np.bincount(bags.index, weights=bags.instance["key"])[::2]
    p = 0.1002  # share of 9s in the training half
    expected = 5 * p / (1 - (1 - p) ** 5)
    assert nines.mean() == pytest.approx(expected, abs=0.03)


def test_train_and_test_share_no_image():
    as_rows = [{tuple(r) for r in digit_bags(300, split=s).table().reshape(-1, 64)}
               for s in ("train", "test")]  # fmt: skip
    assert len(as_rows[0] & as_rows[1]) <= 2  # two pairs of the source are equal to the pixel


def test_images_that_cannot_make_bags_are_refused():
    images, digits = np.zeros((4, 1, 2, 2), "f4"), np.array([1, 2, 9, 9])
    assert len(image_bags(images, digits, 4)) == 4
    for other, match in (([1, 2, 3, 4], "must show 9 and other"), ([9] * 4, "show 9"),
                         ([1, 9], "4 images but 2")):  # fmt: skip
        with pytest.raises(InputError, match=match):
            image_bags(images, np.array(other), 4)
    with pytest.raises(InputError, match="n_bags=0"):
        digit_bags(0)
    with pytest.raises(InputError, match="'valid' is not 'train'"):
        digit_bags(split="valid")


def test_mnist_from_arrays_and_from_a_file_is_normalised(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    y = np.arange(40) % 10
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    bags = mnist_bags(6, images=(x, y))
    assert mnist_bags(6, path=tmp_path / "mnist.npz").digest == bags.digest
    assert bags.table().dtype == np.float32
    known = ((x.astype(float) / 255 - 0.1307) / 0.3081).reshape(40, -1)
    one = bags.table()[0].reshape(-1)
    assert np.abs(known - one).max(1).min() < 1e-5
    (tmp_path / "mnist.npz").write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(InputError, match=r"mnist\.npz is cut short or damaged"):
        mnist_bags(6, path=tmp_path / "mnist.npz")


def test_seed_of_law_and_seed_of_sample_are_apart():
    a, b, c = planted_bags(seed=1), planted_bags(seed=2), planted_bags(seed=1, law_seed=1)
    means = [x.table()[x.instance["key"].to_numpy()].mean(0) for x in (a, b, c)]
    key = dict(zip("abc", means, strict=True))
    cosine = lambda u, v: u @ v / np.linalg.norm(u) / np.linalg.norm(v)  # noqa: E731
    assert cosine(key["a"], key["b"]) > 0.98
    assert abs(cosine(key["a"], key["c"])) < 0.9
    assert planted_bags(seed=1).digest == a.digest


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "ordinal", "regression"])
def test_planted_targets_are_what_the_instances_say(kind):
    bags = planted_bags(60, kind=kind, bags_per_donor=2)
    share = np.bincount(bags.index, weights=bags.instance["key"]) / bags.lengths
    y = bags.labels
    if kind == "regression":
        assert np.corrcoef(share, y)[0, 1] > 0.9
    elif kind == "multilabel":
        np.testing.assert_array_equal(share > 0, y.any(1))
    elif kind != "ordinal":
        np.testing.assert_array_equal(share > 0, y > 0)
    for d in np.unique(bags.donors):
        assert len(np.unique(y[bags.donors == d], axis=0)) == 1


def test_laws_that_no_bag_can_follow_are_refused():
    for ask, match in (
        (dict(kind="multiclass", n_features=2, n_classes=6), "needs 5 directions"),
        (dict(kind="multilabel", n_features=1), "needs 2 directions"),
        (dict(kind="regression", witness_rate=0.9), "up to 0.5"),
        (dict(kind="counts"), "not one of"),
        (dict(n_bags=0), "at least 1"),
    ):
        with pytest.raises(InputError, match=match):
            planted_bags(**ask)


# ---------------------------------------------------------------- named sets


def write_julia(path, n=12):
    """A file laid out as Julia's JLD does it."""
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(3, k + 1)).astype("f4") for k in range(n)]
    bits = np.dtype([("chunks_", h5py.ref_dtype), ("len_", "<i8"), ("dims_", h5py.ref_dtype)])
    with h5py.File(path, "w") as file:
        refs = file.create_group("_refs")

        def packed(name, values):
            words = np.zeros(-(-len(values) // 64) * 8, np.uint8)
            raw = np.packbits(values, bitorder="little")
            words[: len(raw)] = raw
            chunk = refs.create_dataset(f"{name}c", data=words.view("<u8"))
            return np.array((chunk.ref, len(values), chunk.ref), dtype=bits)

        x = [refs.create_dataset(f"x{i}", data=p).ref for i, p in enumerate(parts)]
        file.create_dataset("X", data=np.array(x, dtype=h5py.ref_dtype))
        file.create_dataset("y", data=packed("y", np.arange(n) % 2 == 1))
        folds = []
        for k in range(2):
            one = refs.create_dataset(f"b{k}", data=packed(f"b{k}", np.arange(n) % 2 == k))
            group = refs.create_dataset(f"f{k}", data=np.array([one.ref], dtype=h5py.ref_dtype))
            folds.append(group.ref)
        file.create_dataset("folds", data=np.array(folds, dtype=h5py.ref_dtype))
    return parts


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A server on loopback with one made-up set, and an empty cache."""
    folder = tmp_path / "served"
    folder.mkdir()
    parts = write_julia(folder / "Musk1.jld")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("SMALTI_MIRROR", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("SMALTI_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SMALTI_DATA", raising=False)
    digest = hashlib.sha256((folder / "Musk1.jld").read_bytes()).hexdigest()
    yield folder, parts, digest
    server.shutdown()
    server.server_close()


def known(monkeypatch, digest):
    entry = list(registry._SETS["musk1"])
    entry[1] = digest
    monkeypatch.setitem(registry._SETS, "musk1", tuple(entry))


def test_a_set_is_fetched_checked_and_kept(mirror, monkeypatch):
    folder, parts, digest = mirror
    known(monkeypatch, digest)
    bags = datasets.load("musk1")
    np.testing.assert_array_equal(bags.table(), np.concatenate([p.T for p in parts]))
    assert bags.labels.tolist() == [0, 1] * 6
    tests = datasets.folds("musk1")
    assert tests.shape == (2, 1, 12)
    assert tests[0, 0].tolist() == [False, True] * 6  # the file marks the training bags
    (folder / "Musk1.jld").unlink()
    assert datasets.load("musk1").digest == bags.digest  # from the cache


def test_a_cohort_is_fetched_as_its_authors_have_it(mirror, monkeypatch):
    obs = pd.DataFrame({"sampleID": list("aabbcc"), "Cell_type": [1, 2, 1, 1, 2, 2],
                        "status": ["<30", "<30", "30-60", "30-60", ">60", ">60"],
                        "sex": [0, 0, 1, 1, 0, 0], "Age": [70.0, 70.0, 31.5, 31.5, 44.0, 44.0]},
                       index=[str(i) for i in range(6)])  # fmt: skip
    served = mirror[0] / registry._KIDNEY_FILE
    ad.AnnData(np.arange(12, dtype="f4").reshape(6, 2), obs=obs).write_h5ad(served)
    with pytest.raises(InputError, match="not the file that was expected"):
        datasets.load("kidney")
    digest = hashlib.sha256(served.read_bytes()).hexdigest()
    monkeypatch.setattr(registry, "_KIDNEY_SHA", digest)
    bags = datasets.load("kidney")
    assert bags.labels.tolist() == ["reduced", "reduced", "normal"]
    assert bags.task.classes == ("normal", "reduced")
    assert "status" not in bags.bag
    assert "status" not in bags.instance
    assert bags.instance["Age"].tolist() == obs["Age"].tolist()
    np.testing.assert_array_equal(bags.table()[:, 0], [0, 2, 4, 6, 8, 10])


def test_another_file_than_expected_is_refused(mirror, monkeypatch):
    actual = mirror[2]
    with pytest.raises(
        InputError, match=rf"Musk1\.jld.*not the file that was expected.*{actual}.*delete"
    ):
        datasets.load("musk1")
    assert registry._SETS["musk1"][1] != actual


def test_a_damaged_file_in_the_cache_is_fetched_anew(mirror, monkeypatch, tmp_path):
    known(monkeypatch, mirror[2])
    bags = datasets.load("musk1")
    (tmp_path / "cache" / "Musk1.jld").write_bytes(b"half")
    assert datasets.load("musk1").digest == bags.digest


def test_base_url_goes_before_the_mirror(mirror, monkeypatch):
    known(monkeypatch, mirror[2])
    served = os.environ["SMALTI_MIRROR"]
    monkeypatch.setenv("SMALTI_MIRROR", "http://127.0.0.1:9/")
    assert len(datasets.load("musk1", base_url=served)) == 12


def test_local_files_go_first_and_damage_is_named(tmp_path):
    (tmp_path / "mil_benchmarks").mkdir()
    path = tmp_path / "mil_benchmarks" / "fox.npz"
    folds = np.eye(3, dtype=bool)[None]
    np.savez(path, X=np.arange(8.0).reshape(4, 2), bag_id=[0, 1, 0, 2], bag_label=[0, 1, 1],
             folds_test=np.packbits(folds, axis=-1))  # fmt: skip
    bags = datasets.load("fox", folder=tmp_path)
    np.testing.assert_array_equal(bags.table()[:, 0], [0, 4, 2, 6])
    np.testing.assert_array_equal(datasets.folds("fox", folder=tmp_path), folds)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"fox\.npz is cut short or damaged"):
        datasets.load("fox", folder=tmp_path)


def test_a_cache_that_cannot_be_made_is_named(mirror, monkeypatch, tmp_path):
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("SMALTI_CACHE", str(tmp_path / "taken" / "cache"))
    with pytest.raises(InputError, match="cannot make the folder.*SMALTI_CACHE"):
        datasets.load("musk1")


def test_without_network_the_offline_way_is_told(mirror, monkeypatch):
    monkeypatch.setenv("SMALTI_MIRROR", "http://127.0.0.1:9/")
    with pytest.raises(InputError, match=r"Offline: get it on another machine, put it at .*Musk1"):
        datasets.load("musk1")
    with pytest.raises(InputError, match=r"train-images.*Offline"):
        mnist_bags(4)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(InputError, match="musk1.*digits, mnist"):
        datasets.load("musk9")
    assert "digits" in datasets.names()


@pytest.mark.slow
@pytest.mark.data
def test_real_sets(data):
    bags = datasets.load("musk1", folder=data)
    assert (len(bags), bags.n_instances, bags.labels.sum()) == (92, 476, 47)
    tests = datasets.folds("musk1", folder=data)
    assert (tests.sum(1) == 1).all()  # each bag tested once in each repeat
    digits = mnist_bags(20, path=data / "mnist" / "mnist.npz")
    assert digits.table().shape[1:] == (1, 28, 28)


def test_tied_modalities_see_one_state_and_an_effect_of_0_is_noise():
    bags = planted_modalities(300, tied=1.0, effect=(8.0, 0.0), clusters=3)
    assert (bags.instance["state_0"] == bags.instance["state_1"]).all()
    part = bags.instance["state_0"].to_numpy()
    seen, blind = (np.stack([bags.table(v)[part == k].mean(0) for k in range(3)]).std(0).mean()
                   for v in ("m0", "m1"))  # fmt: skip
    assert seen > 3 * blind
    half = planted_modalities(2000, tied=0.5).instance
    assert 0.7 < (half["state_0"] == half["state_1"]).mean() < 0.8
