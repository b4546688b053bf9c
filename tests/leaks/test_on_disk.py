"""A leak is found on disk as it is in memory; what is too large is said to be unseen."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.preprocess import sequence


@pytest.fixture
def path(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 8)).astype(np.float32) * np.linspace(3, 1, 8, dtype=np.float32)
    obs = pd.DataFrame({"donor": np.repeat([f"d{i}" for i in range(12)], 50)},
                       index=[f"c{i}" for i in range(600)])  # fmt: skip
    obs["state"] = np.where(obs["donor"].str[1:].astype(int) % 2, "ill", "well")
    table = ad.AnnData(x - x.mean(0), obs=obs)  # centred over all donors
    table.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def findings(path, backed):
    bags = sm.read(path, sample="donor", donor="donor", label="state", backed=backed)
    return sm.audit(bags)


def test_what_was_fitted_on_the_cohort_is_found_on_disk(path):
    here, there = (list(map(str, findings(path, backed))) for backed in (False, True))
    assert here == there
    assert any("fitted on the whole cohort" in text for text in there)


def test_what_is_too_large_to_be_held_is_said_to_be_unseen(path, monkeypatch):
    monkeypatch.setattr(sequence, "room", lambda: 0)
    kinds = [finding.kind for finding in findings(path, True)]
    assert "not looked into" in kinds
    assert "not looked into" not in [finding.kind for finding in findings(path, False)]


def test_labels_that_were_cut_out_of_a_modality_are_found_on_disk(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3000, 6)).astype(np.float32), rng.normal(size=(3000, 4))
    obs = pd.DataFrame({"type": np.where(x[:, 2] > 0.3, "a", "b")},
                       index=[f"c{i}" for i in range(3000)])  # fmt: skip
    table = ad.AnnData(x, obs=obs)
    table.obsm["other"] = y.astype(np.float32)
    table.write_h5ad(tmp_path / "a.h5ad")
    monkeypatch.setattr(sequence, "room", lambda: 0)
    told = []
    for backed in (False, True):
        bags = sm.read(tmp_path / "a.h5ad", x=["X", "obsm/other"], backed=backed, columns=["type"])
        told.append([f.kind for f in sm.audit(bags, label="type") if f.kind != "not looked into"])
    assert told[0] == told[1]
    assert told[0]
