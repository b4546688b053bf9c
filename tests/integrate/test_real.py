"""Real cells of two modalities."""

import numpy as np
import pytest

import smalti as sm
from smalti.bags import Bags
from smalti.scores import cluster, cluster_scores

pytestmark = [pytest.mark.data, pytest.mark.slow]  # fits of thousands of cells


def ari(labels, codes):
    known = labels != "unknown"
    found = cluster(codes[known], len(np.unique(labels[known])))
    return cluster_scores(labels[known], found)["ari"]


@pytest.mark.parametrize("name", ["umint:fast", "ae:modality-fast", "block_pca"])
def test_types_of_blood_cells(data, name):
    bags = sm.read(data / "citeseq" / "pbmc10k_citeseq.h5ad")
    assert list(bags.x) == ["rna", "protein_expression"]
    part = bags[np.random.default_rng(0).permutation(len(bags))[:2500]]
    model = sm.make(name, progress=False, accelerator="cpu").fit(part)
    assert [s.step.name for s in model.steps_] == ["normalize", "log1p", "genes", "clr"]
    labels = part.instance["cell_type"].astype(str).to_numpy()
    assert ari(labels, model.transform(part)) > 0.6  # 0.73 and 0.72 of all cells; RNA alone 0.59
    rest = bags[np.arange(100)]
    np.testing.assert_allclose(model.transform(rest)[:5], model.transform(rest[:5]), atol=1e-4)


def test_parameters_of_the_published_network(data):
    bags = sm.read(data / "citeseq" / "pbmc10k_citeseq.h5ad")[:300]
    model = sm.make("umint:fast", min_steps=1, progress=False).fit(bags)
    count = model.parameter_count()
    assert count["umint"] == 532_298  # 2,000 genes, 14 proteins at [128, 10] -> 64
    assert count["saving"] == 2 * (2000 * 10 + 14 * 128)


def test_cell_lines_by_rna_and_chromatin(data):
    file = np.load(data / "multiome" / "snareseq_cellline_embeddings.npz", allow_pickle=False)
    topics = file["atac_topics"] / file["atac_topics"].sum(1, keepdims=True)
    half = np.random.default_rng(0).random(len(topics)) < 0.5
    views = {"rna": file["rna_pca"], "atac": np.where(half[:, None], 0, topics)}
    whole = {"rna": file["rna_pca"], "atac": topics}
    model = sm.make("block_pca")
    assert ari(file["cell_type"], model.fit(whole).transform(whole)) > 0.85
    bags = Bags.from_rows(views, np.arange(len(topics)), present={"atac": ~half})
    assert ari(file["cell_type"], model.fit(bags).transform(bags)) > 0.8


@pytest.mark.slow  # four fits of real cells
@pytest.mark.parametrize("views", [None, "rna", "protein_expression"])
def test_labels_of_left_out_cells_are_as_sure_as_they_say(data, views):
    """The labels are gates on the proteins; of cells of one donor, as there is no other."""
    bags = sm.read(data / "citeseq" / "pbmc10k_citeseq.h5ad")[::3]
    held = np.arange(len(bags)) % 2 == 0
    model = sm.Annotator("block_pca").fit(bags.keep(~held))
    new = bags.keep(held & (bags.instance["cell_type"] != "unknown").to_numpy())
    found = model.annotate(new if views is None else new.only(views))
    right = (found["nearest"] == new.instance["cell_type"].to_numpy()).to_numpy()
    p = found["confidence"].to_numpy()
    assert right.mean() > 0.95
    assert sm.scores.calibration(right, p, draws=2)["ece"] < 0.05
    assert found["unknown"].mean() < 0.12
