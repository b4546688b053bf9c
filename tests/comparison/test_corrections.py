"""Each method on each input: who takes part, what is fitted on what, and what the page says."""

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import NearestNeighbors

import smalti as sm
from smalti.comparison.corrections import check_corrections, correct
from smalti.comparison.lineup import line_up
from smalti.comparison.page.batches import batches, changes, verdict
from smalti.comparison.page.order import INTEGRATION
from smalti.integrate.base import Integration
from smalti.preprocess import spec_text, steps_of
from smalti.report.section import Drawing, Folded, Table

ALL = ("none", "scaled", "harmony")
CELLS = sm.datasets.planted_batches(160, strength=2, shared=3, features=(40, 8), seed=0)


def mixing(z, batch, labels):
    """As batch_mixing answers, which has tests of its own and takes seconds."""
    near = NearestNeighbors(n_neighbors=10).fit(z).kneighbors(return_distance=False)
    other = float((batch[near] != batch[:, None]).mean())
    same = float((labels[near] == labels[:, None]).mean())
    return {"ilisi": other, "kbet": other, "graph_connectivity": same, "unique_purity": same}


@pytest.fixture(scope="module")
def table():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("smalti.comparison.embedding.batch_mixing", mixing)
        return sm.compare_integration(
            {"mine": sm.integrate.BlockPCA(width=6)}, CELLS, batch="batch", corrections=ALL,
            by="kmeans", seeds=2, n_jobs=1, progress=False,
        )  # fmt: skip


def test_every_method_is_there_on_every_input(table):
    names = set(table.folds["method"])
    for method in ("mine", "block_pca", "rna alone", "protein alone"):
        assert {method, *(f"{method}, {c}" for c in ALL[1:])} <= names
    assert table.corrections["mine, harmony"] == ("mine", "harmony")
    assert {"ilisi", "kbet", "graph_connectivity", "unique_purity", "fmi_kmeans", "silhouette",
            "davies_bouldin"} <= set(table.metrics)  # fmt: skip
    scaled = table.settings["rna alone, scaled"]["preprocess"]
    assert "scale_batch=batch" in scaled
    assert "protein" not in scaled


def test_what_has_seen_all_cells_is_fitted_on_them_and_said(table):
    n = table.folds.groupby("method")["n_train"].first()
    assert n["mine, harmony"] == n["rna alone, harmony"] == 160
    assert n["mine, scaled"] == n["mine"] < 160
    said = next(note for note in table.notes if note.startswith("fitted on all cells"))
    assert "mine, harmony; block_pca, harmony" in said
    assert "scaled" not in said


def test_whose_scores_hang_on_the_company_of_a_cell_is_said(table):
    said = next(note for note in table.notes if "scale_batch scales a batch" in note)
    assert said.startswith("mine, scaled; ")
    assert "harmony" not in said


def test_what_a_modality_adds_is_told_of_one_input(table):
    told = table.additions()
    assert len(told) == 2  # protein to RNA and RNA to protein, uncorrected both
    assert not [line for line in told if ", scaled" in line or "harmony" in line]


def test_scaling_mixes_the_batches_of_the_simulation(table):
    mean = table.summary().pivot_table(index="method", columns="metric", values="mean")
    assert mean.loc["mine, scaled", "kbet"] > mean.loc["mine", "kbet"] + 0.1


def test_the_page_sets_labels_against_mixing(table):
    section = batches(table)
    drawing, found = section.parts
    assert "Mixing of batches" in drawing.alt
    assert set(found.frame["correction"]) == set(ALL[1:])
    row = found.frame.query("method == 'mine' and correction == 'scaled'").iloc[0]
    wide = table.folds.pivot_table(index=["repeat", "method"], columns="metric", values="value")
    gap = wide.xs("mine, scaled", level="method") - wide.xs("mine", level="method")
    assert row["mixing"] == pytest.approx(
        gap[["ilisi", "kbet", "graph_connectivity"]].to_numpy().mean()
    )
    assert row["ari_kmeans"] == pytest.approx(gap["ari_kmeans"].mean())
    assert batches in INTEGRATION


UP, DOWN, BOTH = np.array([0.1, 0.2]), np.array([-0.1, -0.2]), np.array([-0.1, 0.1])


@pytest.mark.parametrize(("gaps", "words"), [
    ((UP, UP), "batches mix better, labels told apart better"),
    ((UP, BOTH, BOTH), "batches mix better, labels not worse in every seed"),
    ((UP, DOWN), "over-corrected: batches mix better, labels told apart worse"),
    ((UP, UP, DOWN), "over-corrected: batches mix better, types of one batch told apart worse"),
    ((BOTH, UP), "batches mix no better in every seed"),
    ((DOWN, DOWN), "batches mix worse, labels told apart worse"),
])  # fmt: skip
def test_verdicts(gaps, words):
    assert verdict(*gaps) == words


def test_without_corrections_nothing_is_told_of_them(table):
    import dataclasses

    plain = dataclasses.replace(table, corrections={})
    wide = plain.folds.pivot_table(index=["method", "repeat"], columns="metric", values="value")
    wide = wide.reset_index().rename(columns={"method": "label"})
    assert not len(changes(plain, wide, "ari_kmeans"))
    assert isinstance(wide, pd.DataFrame)
    assert batches(plain).parts[1].soft


@pytest.mark.parametrize(("asked", "batch", "words"), [
    (["mnn"], "batch", "corrections='mnn': there are none, scaled, harmony, combat"),
    ("none", None, "name their column, batch=COLUMN"),
])  # fmt: skip
def test_what_is_no_correction_is_refused(asked, batch, words):
    with pytest.raises(sm.InputError, match=words):
        check_corrections(asked, batch)


def test_a_method_of_counts_has_no_corrected_input():
    lineup = line_up({"counts": sm.integrate.TotalVI(), "own": sm.make("umint")}, Integration)
    made = correct(lineup, CELLS, "batch", ["none", "combat"])
    assert set(made) == {"counts", "own", "own, combat"}
    assert "counts reads counts" in lineup.notes[0]
    spec = spec_text(steps_of(lineup.methods["own, combat"].preprocess))
    assert "genes=2000,combat=batch" in spec
    assert "clr=cell,combat=batch" in spec


def test_of_many_rows_one_picture_is_open_and_indices_fold(table):
    parts = {s.name: s.parts for s in table.sections()}
    shown = [p for p in parts["scores"] if isinstance(p, Drawing)]
    folded = [p for p in parts["scores"] if isinstance(p, Folded)]
    assert len(shown) == 1
    assert len(folded) == (1 if len([m for m in table.titles if m in table.metrics]) > 1 else 0)
    more = parts["clusters"][-1]
    assert "shape" in {part.name for part in more.parts if isinstance(part, Table)}
