"""Labels that were cut from a modality which is integrated, and labels of one batch."""

import dataclasses

import numpy as np
import pytest

import smalti as sm
from smalti.leaks.case import Case
from smalti.leaks.gated import gated, of_one_batch

CUT, BATCH = "labels cut from a modality", "labels of one batch"


@pytest.fixture(scope="module")
def cells():
    return sm.datasets.planted_modalities(1500, effect=2.0, n_bags=10, seed=0)


def said(cells, label, kind=CUT, **more):
    cells = dataclasses.replace(cells, instance=cells.instance.assign(kind=label, **more))
    case = Case(cells, {}, label="kind", batch=next(iter(more), None), leave_out=("unknown",))
    return list({CUT: gated, BATCH: of_one_batch}[kind](case))


def test_types_that_differ_in_all_modalities_are_not_cut(cells):
    assert not said(cells, cells.instance["kind"])


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_gates_on_markers_are_found(cells, noise):
    marker = cells.table("m1")[:, 3]
    gate = marker > np.median(marker)
    wrong = np.random.default_rng(0).random(len(gate)) < noise
    (found,) = said(cells, np.where(gate ^ wrong, "high", "low"))
    assert (found.severity, found.evidence["view"]) == ("leak", "m1")
    assert found.evidence["features"] == ["m1_3"]
    assert "leave" in found.mend or "left out" in found.mend


def test_cells_between_gates_tell_where_they_are_kept(cells):
    marker = cells.table("m1")[:, 3]
    low, high = np.quantile(marker, [0.45, 0.55])
    label = np.where(marker < low, "low", np.where(marker > high, "high", "unknown"))
    assert said(cells, label)


def test_clusters_of_an_embedding_are_a_doubt(cells):
    rna = cells.table("m0")
    z = np.linalg.svd(rna - rna.mean(0), full_matrices=False)[0][:, :5]
    (found,) = said(cells, np.where(z[:, 0] + z[:, 1] > 0, "a", "b"))
    assert (found.severity, found.evidence["view"]) == ("doubt", "m0")


def test_labels_of_one_batch(cells):
    kind = cells.instance["kind"].to_numpy()
    rng = np.random.default_rng(0)
    batch = rng.choice(["b1", "b2"], len(kind))
    assert not said(cells, kind, BATCH, batch=batch)
    one = kind[0]
    (found,) = said(cells, kind, BATCH, batch=np.where(kind == one, "b1", batch))
    assert found.evidence["labels"] == [one]
    assert "leave_out=" in found.mend


def test_an_audit_of_modalities_says_so(cells):
    gate = np.where(cells.table("m1")[:, 3] > 0, "high", "low")
    found = sm.audit(dataclasses.replace(cells, instance=cells.instance.assign(kind=gate)),
                     label="kind")  # fmt: skip
    assert found.kinds == {CUT}
    assert not {CUT, BATCH} & sm.audit(cells).kinds  # without labels nothing is asked


def test_a_column_that_is_not_there(cells):
    with pytest.raises(sm.InputError, match="no column 'type' of the cells; there are kind"):
        sm.audit(cells, label="type")
