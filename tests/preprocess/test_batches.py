"""Steps that correct batches: by hand, for new cells, and where they are refused."""

import dataclasses

import numpy as np
import pytest

import smalti as sm
from smalti.preprocess import at_hand, by_company, fit_steps, steps_of

CELLS = sm.datasets.planted_batches(200, strength=2, features=(60, 8), seed=0)
LOG = "normalize,log1p"


def rna(cells, *steps):
    """The RNA alone after steps, as they were fitted on it."""
    alone = dataclasses.replace(cells, x={"rna": cells.x["rna"]},
                                features={"rna": cells.features["rna"]})  # fmt: skip
    return fit_steps(steps_of(",".join(steps)), alone)


def renamed(cells, name):
    return dataclasses.replace(cells, instance=cells.instance.assign(batch=name))


def batch_gap(table, cells):
    """Root mean square distance of the means of two batches."""
    first = (cells.instance["batch"] == "b1").to_numpy()
    return np.sqrt(np.square(table[first].mean(0) - table[~first].mean(0)).mean())


def test_each_batch_is_scaled_by_its_own_training_cells():
    _, before = rna(CELLS, LOG)
    steps, after = rna(CELLS, LOG, "scale_batch=batch")
    x, z = before.table(), after.table()
    for name in ("b1", "b2"):
        at = (CELLS.instance["batch"] == name).to_numpy()
        np.testing.assert_allclose(z[at], (x[at] - x[at].mean(0)) / x[at].std(0), atol=2e-4)
    some = before[np.arange(7)]  # of known batches: no matter who came with whom
    np.testing.assert_array_equal(steps[-1].transform(some).table(), z[:7])


def test_a_new_batch_is_scaled_by_its_own_cells_and_needs_two():
    _, before = rna(CELLS, LOG)
    step = sm.preprocess.ScaleBatch().fit(before)
    with pytest.warns(UserWarning, match="200 cells are of batches .* 'batch': b9.* came with"):
        z = step.transform(renamed(before, "b9")).table()
    x = before.table()
    np.testing.assert_allclose(z, (x - x.mean(0)) / x.std(0), atol=2e-4)
    with pytest.raises(sm.InputError, match="batch 'b9' of column 'batch' has one cell"):
        step.transform(renamed(before, "b9")[np.arange(1)])


@pytest.mark.parametrize("step", ["harmony", "combat"])
def test_a_correction_at_hand_moves_batches_together_and_takes_no_other_cells(step):
    _, before = rna(sm.datasets.planted_batches(200, strength=1, features=(60, 8)), LOG)
    fitted, after = rna(sm.datasets.planted_batches(200, strength=1, features=(60, 8)), LOG, step)
    assert batch_gap(after.table(), after) < 0.7 * batch_gap(before.table(), before)
    assert after.features == before.features
    again = fitted[-1].transform(before).table()
    np.testing.assert_array_equal(again, after.table())
    for others in (before[np.arange(100)], before[np.arange(200)[::-1]], renamed(before, "b3")):
        with pytest.raises(sm.InputError, match=f"{step} corrects the cells that it was fitted on"):
            fitted[-1].transform(others)


def test_combat_is_that_of_scanpy():
    scanpy = pytest.importorskip("scanpy")
    _, before = rna(CELLS, LOG)
    data = scanpy.AnnData(before.table().astype(float), obs=CELLS.instance.astype(str))
    data.obs["batch"] = data.obs["batch"].astype("category")
    scanpy.pp.combat(data, key="batch")
    np.testing.assert_allclose(rna(CELLS, LOG, "combat=batch")[1].table(), data.X, atol=1e-4)


def test_combat_refuses_counts():
    with pytest.raises(sm.InputError, match="combat takes log values, and these are raw counts"):
        rna(CELLS, "combat")


def test_harmony_of_components_is_harmonypys():
    harmonypy = pytest.importorskip("harmonypy")
    _, before = rna(CELLS, LOG, "pca=10")
    z = before.table().astype(float)
    found = harmonypy.run_harmony(
        z - z.mean(0), CELLS.instance, ["batch"], verbose=False, random_state=0, ncores=1
    )
    found = np.asarray(found.Z_corr)
    found = found if found.shape == z.shape else found.T
    got = rna(CELLS, LOG, "pca=10", "harmony")[1].table()
    np.testing.assert_allclose(got, found + z.mean(0), atol=1e-4)


@pytest.mark.parametrize(("word", "wrong"), [
    ("scale_batch=site", "no column 'site'"), ("harmony=unique_", "no column 'unique_'"),
])  # fmt: skip
def test_a_column_that_is_not_there_is_named(word, wrong):
    with pytest.raises(sm.InputError, match=wrong):
        rna(CELLS, LOG, word)


def test_one_batch_leaves_nothing_to_correct():
    with pytest.raises(sm.InputError, match="column 'batch' is 'b1' for every cell"):
        rna(renamed(CELLS, "b1"), LOG, "harmony")


def test_cells_that_were_not_measured_have_no_say():
    there = np.arange(200) % 4 > 0
    gaps = dataclasses.replace(CELLS, present={"protein": there}, x={
        **CELLS.x, "protein": np.where(there[:, None], CELLS.x["protein"], 0)})  # fmt: skip
    spec = {"protein": "clr,combat"}
    got = fit_steps(steps_of(spec), gaps)[1].table("protein")
    whole = fit_steps(steps_of(spec), CELLS[np.flatnonzero(there)])[1].table("protein")
    np.testing.assert_allclose(got[there], whole, atol=1e-5)
    assert not got[~there].any()


def test_a_batch_may_be_a_column_of_the_bags():
    bag = CELLS.bag.assign(run=CELLS.instance["batch"].to_numpy())
    bags = dataclasses.replace(CELLS, bag=bag)
    a, b = (fit_steps(steps_of({"protein": f"clr,scale_batch={c}"}), bags)[1].table("protein")
            for c in ("run", "batch"))  # fmt: skip
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("step", ["harmony", "combat"])
def test_before_a_method_for_patients_it_is_refused(step):
    bags = sm.Bags.from_rows({"x": CELLS.x["rna"]}, np.arange(200) // 10, instance=CELLS.instance)
    bags = bags.with_target([0, 1] * 10)
    steps = {"x": f"{LOG},{step}"}
    with pytest.raises(
        sm.InputError, match=f"{step} corrects only the cells .* bag_mean must take"
    ):
        sm.mil.BagMean(preprocess=steps).fit(bags)
    inside = sm.integrate.BlockPCA(width=4, preprocess={"rna": f"{LOG},{step}"})
    with pytest.raises(sm.InputError, match=f"{step} takes only the cells"):
        sm.integrate.Embed(inside).fit(CELLS)


def test_what_takes_no_other_cells_is_asked_in_one_place():
    assert at_hand({"rna": f"{LOG},harmony=batch", "protein": "clr,combat"}) == [
        "harmony",
        "combat",
    ]
    assert at_hand("auto") == at_hand(f"{LOG},scale_batch") == []
    assert sm.integrate.BlockPCA(preprocess="log1p,combat").at_hand() == "combat"
    assert sm.integrate.WNN().at_hand() == ""


def test_a_step_by_whose_company_cells_come_out_is_asked_in_one_place():
    assert by_company({"rna": f"{LOG},scale_batch=batch", "protein": "clr"}) == ["scale_batch"]
    inside = sm.integrate.BlockPCA(preprocess={"rna": f"{LOG},scale_batch"})
    assert by_company([sm.integrate.Embed(inside)]) == ["embed"]
    assert by_company([sm.integrate.Embed("block_pca")]) == by_company("auto") == []
    assert by_company(f"{LOG},harmony") == []  # which takes no new cell at all


@pytest.mark.parametrize("step", ["scale_batch=batch", "harmony=batch", "combat=batch"])
def test_a_model_with_the_step_comes_back(step, tmp_path):
    spec = {"rna": f"{LOG},{step}", "protein": f"clr,{step}"}
    model = sm.integrate.BlockPCA(width=4, preprocess=spec, progress=False).fit(CELLS)
    model.save(tmp_path / "model")
    again = sm.load(tmp_path / "model")
    np.testing.assert_array_equal(again.transform(CELLS), model.transform(CELLS))
