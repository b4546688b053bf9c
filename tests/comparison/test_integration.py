"""Embeddings of the same cells, scored alike."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

import smalti as sm
from smalti.bags import Bags
from smalti.comparison.page.adds import adds as adds_page
from smalti.comparison.page.clusters import clusters, halves
from smalti.comparison.splits import cell_splits
from smalti.datasets.modalities import planted_modalities
from smalti.errors import InputError
from smalti.integrate.ae import AE
from smalti.integrate.base import Integration
from smalti.integrate.block_pca import BlockPCA
from smalti.integrate.umint import UMINT
from smalti.scores import cluster, label_transfer

QUICK = ("ae", "block_pca", "dae", "sae", "umint")  # of PyTorch alone


def data(n=600, features=(40, 12), effect=8.0, **kwargs):
    return planted_modalities(n, features=features, effect=effect, counts=True, **kwargs)


def pca(**settings):
    return BlockPCA(width=8, accelerator="cpu", **settings)


def small(n=150, **kwargs):
    return data(n, **kwargs)


def run(candidates=("block_pca",), bags=None, **kwargs):
    settings = dict(label="kind", seeds=2, by=("kmeans",), progress=False) | kwargs
    return sm.compare_integration(candidates, small() if bags is None else bags, **settings)


def ari(result, method):
    return result.folds.query("method == @method and metric == 'ari_kmeans'")["value"].mean()


def length(model, z, *_):
    """One number of an embedding for its scores."""
    return {"ari_kmeans": float(np.abs(z).mean())}


@pytest.fixture
def unscored(monkeypatch):
    """For tests of what is around the scores."""
    monkeypatch.setattr("smalti.comparison.integration.embedding_scores", length)
    monkeypatch.setattr("smalti.comparison.adds.added", lambda *_: [])


@pytest.mark.usefixtures("unscored")
def test_it_is_audited(tmp_path):
    cells = planted_modalities(600, effect=2.0, n_bags=6, seed=0)
    gate = np.where(cells.table("m1")[:, 3] > 0, "high", "low")
    bags = dataclasses.replace(cells, instance=cells.instance.assign(kind=gate))
    table = run(bags=bags, candidates=[BlockPCA(width=2)], seeds=1, n_jobs=1)
    assert table.audit.kinds == {"labels cut from a modality"}
    table.write(tmp_path / "out")
    note = json.loads((tmp_path / "out" / "split.json").read_text())
    assert note["audit"]["findings"][0]["evidence"]["view"] == "m1"


def same_numbers(a, b):
    columns = [c for c in a.folds if c != "seconds"]
    pd.testing.assert_frame_equal(a.folds[columns], b.folds[columns])


# ---------------------------------------------------------------- do they integrate


def examples(features, names):
    chosen = {}
    for name, cls in sm.methods("integrate").items():
        if name in names and cls.unavailable() is None:
            chosen[f"{name} example"] = cls.example().set_params(accelerator="cpu", progress=False)
    if len(features) > 2:  # eight kinds take longer than four
        for method in chosen.values():
            if "epochs" in method.get_params():
                method.set_params(epochs=max(24, method.epochs or 0))
    return chosen


def beats_each_alone(features, names, n=600, **cells):
    chosen = examples(features, names)
    bags = data(n, features=features, **cells)
    result = run(chosen, bags, seeds=1)
    alone = max(ari(result, f"{view} alone") for view in bags.x)
    assert alone < 0.55
    for method in chosen:
        assert ari(result, method) > alone + 0.1, f"{method}\n{result}"


@pytest.mark.slow  # fits of all epochs; that it learns is of each method's contract too
@pytest.mark.parametrize("features", [(40, 12), (40, 12, 60)], ids=["two", "three"])
def test_integrations_beat_each_modality_alone(features):
    beats_each_alone(features, QUICK, n=600 if len(features) == 2 else 1200)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("features", [(40, 12), (40, 12, 60)], ids=["two", "three"])
@pytest.mark.parametrize("name", sorted(set(sm.methods("integrate")) - set(QUICK)))
def test_integrations_of_other_packages_beat_each_modality_alone(name, features):
    cls = sm.methods("integrate")[name]
    if reason := cls.unavailable():
        pytest.skip(reason)
    if name in ("totalvi", "multivi") and len(features) > 2:
        pytest.skip(f"{name} takes two modalities")
    beats_each_alone(**{"features": features, "names": (name,)} | cls.example_cells)


# ---------------------------------------------------------------- what is compared


@pytest.mark.slow  # two comparisons; who joins is in test_race too
def test_linear_baselines_join_by_themselves():
    result = run("umint:fast", small(80), seeds=1)
    there = ["umint:fast", "block_pca", "rna alone", "protein alone"]
    assert list(result.folds["method"].unique()) == there
    assert result.baselines == ("block_pca", "rna alone", "protein alone")
    own = {"block_pca": pca(seed=3), "mine": AE.example().set_params(epochs=1)}
    result = run(own, seeds=1)
    assert list(result.folds["method"].unique()) == [
        "block_pca", "mine", "block_pca (default)", "rna alone", "protein alone"]  # fmt: skip
    assert result.settings["block_pca"]["width"] == 8  # the user's own, not another
    assert set(result.embeddings) == set(result.folds["method"])
    for codes in result.embeddings.values():
        assert codes.shape[0] == 150
        assert codes.dtype == np.float32


def test_steps_that_all_candidates_share_go_for_the_baselines(unscored):
    steps = {"rna": "normalize,log1p,genes=20", "protein": "clr"}
    result = run({"mine": pca(preprocess=steps)}, seeds=1)
    said = {m: s["preprocess"] for m, s in result.settings.items()}
    assert said["block_pca"] == said["rna alone"] == said["mine"]
    assert "genes=20" in said["mine"]


def test_scores_are_of_the_embeddings():
    bags = small()
    result = run({"mine": pca()}, bags, by=("kmeans", "ward"), seeds=[4, 7])
    assert sorted(result.folds["repeat"].unique()) == [4, 7]
    (split,), _ = cell_splits(bags, [4])
    train, held = split.train, split.test
    assert len(held) == 30
    assert sorted([*train, *held]) == list(range(150))
    z = pca(seed=4).fit(dataclasses.replace(bags, donor=None)[train]).transform(bags)
    np.testing.assert_allclose(result.embeddings["mine"], z, atol=1e-6)
    for by in ("kmeans", "ward"):
        expected = adjusted_rand_score(bags.instance["kind"], cluster(z, 4, by=by, seed=4))
        value = result.folds.query(
            "method == 'mine' and repeat == 4 and metric == @metric",
            local_dict={"metric": f"ari_{by}"},
        )["value"]
        assert value.item() == pytest.approx(expected)
    assert (result.folds["n_train"] == 120).all()
    assert (result.folds["n_test"] == 30).all()


class Rows:
    """Which cells each fit saw."""

    def __init__(self, monkeypatch):
        self.seen, fit = {}, Integration.fit
        rows = self.seen

        def spy(self, X, y=None, **kwargs):
            if self.name:
                rows.setdefault((type(self).__name__, self.seed), []).append(list(X.bag.index))
            return fit(self, X, y, **kwargs)

        monkeypatch.setattr(Integration, "fit", spy)


def test_all_methods_are_fitted_on_the_same_cells(unscored, monkeypatch):
    spy = Rows(monkeypatch)
    run({"umint": UMINT.example().set_params(epochs=1), "ae": AE.example().set_params(epochs=1)})
    for seed in (0, 1):
        ours = spy.seen["UMINT", seed]
        assert ours == spy.seen["AE", seed]
        assert all(rows == ours[0] for rows in spy.seen["BlockPCA", seed])
        assert len(spy.seen["BlockPCA", seed]) == 3
        assert len(ours[0]) == 120
    assert spy.seen["UMINT", 0] != spy.seen["UMINT", 1]


@pytest.mark.parametrize(
    ("n_bags", "parts"),
    [
        pytest.param(12, False, marks=pytest.mark.slow),
        (5, False),
        (4, True),
        pytest.param(None, True, marks=pytest.mark.slow),
    ],
)
def test_donors_are_not_split_where_there_are_five(unscored, monkeypatch, n_bags, parts):
    spy = Rows(monkeypatch)
    bags = small(n_bags=n_bags)
    result = run({"mine": pca()}, bags, seeds=2)
    few = any("donors are too few to hold some out" in n for n in result.notes)
    assert few == (n_bags == 4)
    for seed in range(2):
        train = np.asarray(spy.seen["BlockPCA", seed][0])
        held = np.setdiff1d(np.arange(150), train)
        assert len(held)
        shared = set(bags.index[train]) & set(bags.index[held])
        assert bool(shared) == (parts and n_bags is not None)
    kind = bags.instance["kind"].to_numpy()  # in the order of the cells of all bags
    np.testing.assert_array_equal(result.labels, kind[result.cells])


# ---------------------------------------------------------------- labels


@pytest.mark.usefixtures("unscored")
def test_cells_without_a_group_are_embedded_and_not_scored():
    bags = small()
    named = bags.instance["kind"].to_numpy(dtype=object).copy()
    named[:20], named[20:25] = "doublet", None
    named[25:30] = np.nan
    odd = dataclasses.replace(bags, instance=pd.DataFrame({"kind": named}))
    result = run({"mine": pca()}, odd, seeds=1)
    np.testing.assert_array_equal(result.cells, np.arange(30, 150))
    assert set(result.labels) == {"0/0", "0/1", "1/0", "1/1"}
    assert len(result.embeddings["mine"]) == 120
    assert (result.folds["n_train"] == 120).all()  # they are fitted all the same
    both = run({"mine": pca()}, odd, leave_out=(), seeds=1)
    assert "doublet" in set(both.labels)
    assert len(both.cells) == 140
    assert both.digest != result.digest
    categories = dataclasses.replace(
        odd, instance=pd.DataFrame({"kind": pd.Categorical(pd.Series(named, dtype="object"))})
    )
    same_numbers(run({"mine": pca()}, categories, seeds=1), result)


def test_wrong_inputs():
    bags = small()
    with pytest.raises(InputError, match="no column 'cell_type' of the cells; there are kind"):
        run(bags=bags, label="cell_type")
    with pytest.raises(InputError, match="no column 'plate' of the cells"):
        run(bags=bags, batch="plate")
    for plates, match in (
        (["a"] * 150, "batch 'plate' is 'a' for every cell, and of one batch there is no mixing"),
        ([None, *["a", "b"] * 74, "a"], "batch 'plate' is missing for 1 cells"),
    ):
        plate = bags.instance.assign(plate=plates)
        with pytest.raises(InputError, match=match):
            run(bags=dataclasses.replace(bags, instance=plate), batch="plate")
    alone = dataclasses.replace(bags, instance=pd.DataFrame({"kind": ["a"] * 150}))
    with pytest.raises(InputError, match="column 'kind' has 1 labels: at least two"):
        run(bags=alone)
    none = dataclasses.replace(bags, instance=pd.DataFrame({"kind": ["unknown"] * 150}))
    with pytest.raises(InputError, match="has 0 labels"):
        run(bags=none)
    one = dataclasses.replace(bags, x={"rna": bags.x["rna"]})
    with pytest.raises(InputError, match="two views or more; there is 'rna'"):
        run(bags=one)
    with pytest.raises(InputError, match="is no method of smalti.integrate"):
        run(["abmil"])
    with pytest.raises(InputError, match="no method 'umnt'"):
        run(["umnt"])
    with pytest.raises(InputError, match="named twice with the same settings"):
        run([pca(), pca()])


# ---------------------------------------------------------------- failures, cache, processes


class Fails(UMINT):
    name = ""  # not to be found as a method

    def plan(self, shape):
        raise self.error


def test_a_method_that_fails_is_noted(unscored):
    told = "bad: 2 of 2 fits failed, so it is not ranked: "
    for error, text in (
        (InputError("no luck."), f"{told}no luck."),
        (RuntimeError("no memory"), f"{told}RuntimeError: no memory"),
    ):
        Fails.error = error
        result = run({"bad": Fails(), "good": pca()}, small(80))
        assert text in result.notes
        assert sum("bad" in n for n in result.notes) == 1  # once, not for each seed
        assert "bad" not in set(result.folds["method"])
        assert "good" in set(result.folds["method"])
    Fails.error = KeyError("a bug")  # is no failure of the data
    with pytest.raises(KeyError):
        run({"bad": Fails()})


def test_a_package_that_is_not_installed_is_noted(unscored, monkeypatch):
    monkeypatch.setattr(AE, "unavailable", classmethod(lambda cls: 'ae needs "x": pip install x'))
    result = run(["ae"])
    assert any('ae: 2 of 2 fits failed' in n and 'needs "x": pip install x' in n
               for n in result.notes)  # fmt: skip
    assert "block_pca" in set(result.folds["method"])


def test_nothing_can_be_run(monkeypatch):
    monkeypatch.setattr(BlockPCA, "unavailable", classmethod(lambda cls: "gone"))
    with pytest.raises(InputError, match="no method could be run. block_pca: gone"):
        run(["block_pca"])


def no_fit(*args, **kwargs):
    raise AssertionError("fitted again")


def test_a_second_call_reads_the_cache(unscored, tmp_path, monkeypatch):
    chosen = {"mine": pca(), "ae": AE.example().set_params(epochs=1, accelerator="cpu")}
    first = run(chosen, cache=tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 5 * 2
    with monkeypatch.context() as patch:
        patch.setattr(Integration, "fit", no_fit)
        second = run(chosen, cache=tmp_path)
        renamed = run({"other": pca()}, cache=tmp_path)
    pd.testing.assert_frame_equal(first.folds, second.folds)  # seconds too
    assert ari(renamed, "other") == ari(first, "mine")
    for name, codes in first.embeddings.items():
        np.testing.assert_array_equal(second.embeddings[name], codes)
    assert second.digest == first.digest
    for changed in (
        {"bags": small(seed=1)},
        {"n_clusters": 3},
        {"by": ("ward",)},
        {"label": "state_0"},
        {"seeds": [9]},
        {"candidates": {"mine": pca(clip=3.0)}},
        {"candidates": {"mine": pca(preprocess={"rna": "normalize,log1p"})}},
    ):
        with monkeypatch.context() as patch:
            patch.setattr(Integration, "fit", no_fit)
            with pytest.raises(AssertionError, match="fitted again"):
                run(**({"candidates": {"mine": pca()}, "cache": tmp_path} | changed))


@pytest.mark.slow
def test_a_comparison_that_was_killed_goes_on(unscored, tmp_path, monkeypatch):
    bags = small(80)
    whole, fit, count = run({"mine": pca()}, bags), Integration.fit, 0

    def dies(self, X, y=None, **kwargs):
        nonlocal count
        count += 1
        if count > 3:
            raise KeyboardInterrupt
        return fit(self, X, y, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Integration, "fit", dies)
        with pytest.raises(KeyboardInterrupt):
            run({"mine": pca()}, bags, cache=tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    again = run({"mine": pca()}, bags, cache=tmp_path)
    same_numbers(again, whole)
    assert len(list(tmp_path.glob("*.safetensors"))) == 8


@pytest.mark.slow
def test_two_processes_give_the_same():
    bags = small(80)
    chosen = {"mine": pca(), "umint": UMINT.example().set_params(epochs=1, accelerator="cpu")}
    one, two = run(chosen, bags), run(chosen, bags, n_jobs=2)
    same_numbers(one, two)
    for name, codes in one.embeddings.items():
        np.testing.assert_array_equal(two.embeddings[name], codes)


# ---------------------------------------------------------------- notes, tables, report


class Known(BlockPCA):
    """A method that embeds the cells that it was fitted on, and no others."""

    name = ""  # not to be found as a method
    transductive = True
    reconstructs = False

    def fit(self, X, y=None, **kwargs):
        super().fit(X, y, **kwargs)
        type(self).transductive = False
        try:
            codes = super().transform(X)
        finally:
            type(self).transductive = True
        self.network_.codes = torch.as_tensor(codes)
        return self


def test_methods_that_know_no_new_cells_are_fitted_on_all():
    result = run({"known": Known(width=4, accelerator="cpu"), "mine": pca()}, small(), seeds=1)
    note = "fitted on all cells, held-out ones included, as they place no new cells: known."
    assert note in result.notes
    rows = result.folds.query("method == 'known'")
    assert (rows["n_train"] == 150).all()
    assert rows.query("metric == 'ors'")["value"].isna().all()  # it reconstructs nothing
    assert (result.folds.query("method == 'mine'")["n_train"] == 120).all()


def test_reconstruction_of_each_modality():
    result = run({"mine": pca()}, seeds=1)
    ors = result.folds[result.folds["metric"].str.startswith("ors")]
    table = ors.pivot(index="method", columns="metric", values="value")
    assert set(table) == {"ors", "ors_rna", "ors_protein"}
    mine = table.loc["mine"]
    assert mine["ors"] == pytest.approx((mine["ors_rna"] + mine["ors_protein"]) / 2)
    alone = table.loc["rna alone"]
    assert np.isnan(alone["ors"])  # not every modality came back
    assert np.isnan(alone["ors_protein"])
    assert alone["ors_rna"] > 0.3


class Expects(BlockPCA):
    """Takes counts and decodes expected counts, which are no whole numbers."""

    name = ""  # not to be found as a method
    takes_counts = True

    def reconstruct(self, X):
        return {k: np.expm1(np.log1p(v) * 0.99) for k, v in self.inputs(X).items()}


def test_expected_counts_are_compared_after_the_log():
    result = run({"counts": Expects(preprocess=None)}, seeds=1)
    assert not any("was left out" in n for n in result.notes)
    value = result.folds.query("method == 'counts' and metric == 'ors'")["value"].item()
    assert value > 0.99


@pytest.mark.slow
def test_one_algorithm_may_be_named_alone():
    same_numbers(run({"mine": pca()}, by="kmeans", seeds=1), run({"mine": pca()}, seeds=1))


def test_gaps_are_scored_too():
    result = run({"mine": pca()}, small(missing=0.3), seeds=1)
    assert result.folds.query("method == 'mine' and metric == 'ors'")["value"].notna().all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_batches():
    pytest.importorskip("scib_metrics")
    bags = small()
    bags.instance["plate"] = np.where(np.arange(150) % 2, "a", "b")
    result = run({"mine": pca()}, bags, seeds=1, batch="plate")
    assert {"ilisi", "kbet", "graph_connectivity"} <= set(result.metrics)
    assert not {"ilisi", "kbet"} & set(run({"mine": pca()}, bags, seeds=1).metrics)


@pytest.mark.slow
def test_tables_and_report(tmp_path, monkeypatch):
    result = run({"mine": pca()}, by=("kmeans", "leiden"))
    table = result.summary()
    assert table["method"].iloc[0] in ("mine", "block_pca")
    assert set(table.query("method == 'rna alone'")["baseline"]) == {True}
    assert table["n_folds"].max() == 2
    best = result.summary("davies_bouldin")["mean"].to_numpy()
    assert (np.diff(best) >= 0).all()  # the lower the better
    with pytest.raises(InputError, match="no metric 'auc'"):
        result.summary("auc")
    assert result.metrics[0] == "ari_kmeans"
    text = str(result)
    assert "mine" in text
    assert "protein alone" in text
    assert result.facts()["cells scored"] == "150"
    assert result.facts()["seeds"] == "2"
    result.write(tmp_path / "run")
    there = {p.name for p in (tmp_path / "run").iterdir()}
    assert {"folds.csv", "summary.csv", "split.json", "cells.csv"} <= there
    kept = pd.read_csv(tmp_path / "run" / "cells.csv")
    np.testing.assert_array_equal(kept["label"], result.labels)
    note = json.loads((tmp_path / "run" / "split.json").read_text())
    assert note["digest"] == result.digest
    monkeypatch.setattr(
        "smalti.comparison.page.embeddings.absent", lambda name, _: name
    )  # maps take long
    result.report(tmp_path / "report.html", title="Kinds")
    page = (tmp_path / "report.html").read_text()
    assert "Kinds" in page
    assert "Clusters by k-means." in page


def test_own_clusters_are_by_the_algorithm_that_a_method_is_meant_for():
    umint = UMINT(width=4, epochs=1, accelerator="cpu")
    result = run({"umint": umint, "mine": pca()}, small(), seeds=1, by=("kmeans", "ward"))
    found = result.folds.pivot_table(index="method", columns="metric", values="value", sort=False)
    assert found.loc["umint", "ari_own"] == found.loc["umint", "ari_kmeans"]
    assert "ari_own" not in found or np.isnan(found.loc["mine", "ari_own"])  # Leiden was not asked
    assert "Two protocols beside each other" in str(clusters(result).parts[0])


@pytest.mark.slow  # a second of Leiden for each embedding
def test_wnn_is_scored_by_its_own_graph_of_all_cells():
    pytest.importorskip("igraph")
    bags = data(300)
    wnn = sm.integrate.WNN(components=6, neighbors=20, width=5, accelerator="cpu")
    result = run({"wnn": wnn}, bags, seeds=1, by=("kmeans", "leiden"))
    found = result.folds.query("method == 'wnn'").set_index("metric")["value"]
    assert found["ari_own"] == found["ari_leiden"] > 0.8
    assert result.folds.query("method == 'wnn'")["n_train"].iloc[0] == 240  # as all others


def test_reads_what_read_reads():
    bags = small(80)
    mapping = {k: np.asarray(v) for k, v in bags.x.items()}
    with pytest.raises(InputError, match="no column 'kind' of the cells; there are none"):
        run(bags=mapping)
    table = Bags.from_rows(mapping, np.arange(80), instance=bags.instance, features=bags.features)
    one, two = (run({"mine": pca()}, b, seeds=1) for b in (table, bags))
    same_numbers(one, two)


@pytest.mark.slow
def test_runs_without_the_extra(monkeypatch):
    for file in ("page.embeddings", "embedding"):
        monkeypatch.setattr(
            f"smalti.comparison.{file}.absent", lambda name, _: f"{name} is not there"
        )
    result = sm.compare_integration({"pca": "block_pca"}, data(80), label="kind", seeds=1)
    assert {"ari_kmeans", "ari_ward"} <= set(result.metrics)
    assert "ari_leiden" not in result.metrics
    assert any("Leiden were left out: igraph is not there" in n for n in result.notes)
    assert "cells" not in {s.name for s in result.sections()}


def test_cells_that_lack_a_modality_are_scored_beside_whole_ones():
    bags = data(200, missing=0.5, clusters=2, tied=1.0)
    result = run({"mine": pca()}, bags, seeds=1)
    (split,), _ = cell_splits(bags, [0])
    whole = np.stack(list(bags.present.values()), 1).all(1)
    a, b = split.train[whole[split.train]], split.test[~whole[split.test]]
    z, kind = result.embeddings["mine"], bags.instance["kind"].to_numpy()
    expected = label_transfer(z[a], kind[a], z[b], kind[b])["transfer_f1"]
    found = result.folds.query("method == 'mine'").set_index("metric")["value"]
    assert found["halves_transfer_f1"] == pytest.approx(expected)
    assert found["halves_mixing"] > 0.5
    assert list(halves(result).parts[0].frame["method"]) == list(result.ranked()["method"])


def test_whole_cells_have_no_halves(unscored):
    assert halves(run(seeds=1)) is None


def test_what_modalities_add_label_by_label(monkeypatch, tmp_path):
    monkeypatch.setattr("smalti.comparison.integration.embedding_scores", length)
    bags = data(300, features=(40, 12, 20), n_bags=None)
    states = bags.instance.assign(kind=bags.instance["state_1"].astype(str))  # protein alone tells
    result = run({"mine": pca()}, dataclasses.replace(bags, instance=states), seeds=2)
    adds = result.adds().query("method == 'mine'").set_index(["label", "modality"])
    np.testing.assert_allclose(adds["share"].groupby("label").sum(), 1, atol=1e-6)
    gain = adds["gain"].groupby("modality").mean()
    assert gain["protein"] > 0.3
    assert abs(gain[["rna", "atac"]]).max() < 0.1
    assert adds["share_low"].notna().all()
    (sentence,) = [s for s in result.additions() if s.startswith("rna with protein and atac added")]
    assert "block_pca" in sentence
    assert sentence in result.said()
    part = adds_page(result)
    assert list(part.parts[1].frame["modality"])[:3] == ["rna", "protein", "atac"]
    result.write(tmp_path / "out")
    assert len(pd.read_csv(tmp_path / "out" / "contributions.csv")) == 2 * 2 * 2 * 3
