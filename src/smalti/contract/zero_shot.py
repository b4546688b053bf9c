"""Further checks of methods that predict genes that they were not fitted on."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from smalti.bags import Bags
from smalti.contract.expression import _refused, _short, by_vectors
from smalti.core.load import load
from smalti.datasets.programmes import planted_programmes
from smalti.expression.base import ExpressionMethod
from smalti.genes.vectors import GeneVectors


def _data(n_genes: int = 14) -> tuple[Bags, GeneVectors]:
    return planted_programmes(3, 16, n_genes=n_genes)


def check_unseen_genes(cls: type[ExpressionMethod]) -> None:
    """A gene is predicted alike alone, among others, in any order, and by a saved model."""
    bags, vectors = _data()
    seen, unseen = vectors.names[:9], vectors.names[9:]
    if not cls.zero_shot:
        model: Any = _short(cls, genes=seen).fit(_with_images(cls, bags))
        _refused(lambda: model.predict(_with_images(cls, bags), unseen), unseen[0])
        two = model.predict(_with_images(cls, bags), seen[:2])
        np.testing.assert_allclose(two, model.predict(_with_images(cls, bags))[:, :2], atol=1e-6)
        return
    model = _short(cls, genes=seen)
    if by_vectors(cls):
        model.vectors = vectors
    model.fit(bags)
    together = model.predict(bags, unseen)
    assert together.shape == (bags.n_instances, len(unseen))
    assert np.isfinite(together).all(), "not finite"
    for j, gene in enumerate(unseen):
        np.testing.assert_allclose(model.predict(bags, [gene])[:, 0], together[:, j], atol=1e-4,
                                   err_msg="genes see each other")  # fmt: skip
    mixed = (unseen[2], seen[1], unseen[0])
    out = model.predict(bags, mixed)
    np.testing.assert_allclose(out[:, [0, 2]], together[:, [2, 0]], atol=1e-4)
    np.testing.assert_allclose(out[:, 1], model.predict(bags)[:, 1], atol=1e-4,
                               err_msg="a seen gene among unseen ones")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        np.testing.assert_array_equal(load(Path(folder) / "model").predict(bags, mixed), out)


def check_genes_by_vectors(cls: type[ExpressionMethod]) -> None:
    """The same vector gives the same prediction; a gene without one is refused by name."""
    if not by_vectors(cls):
        return
    bags, vectors = _data()
    names = (*vectors.names[:-1], "TWIN")
    x = vectors.x.copy()
    x[-1] = x[-2]
    twins = dataclasses.replace(vectors, names=names, x=x, tokens=None, offsets=None)
    model: Any = _short(cls, genes=names[:9], vectors=twins).fit(bags)
    one, two = model.predict(bags, (names[-2], "TWIN")).T
    np.testing.assert_allclose(one, two, atol=1e-5, err_msg="one vector, two predictions")
    _refused(lambda: model.predict(bags, ["NOPE7"]), "NOPE7")
    _refused(lambda: _short(cls, vectors=None).fit(bags), "vectors")
    found = model.nearness((names[0], "TWIN"))
    assert found["seen"].tolist() == [True, False]
    assert found["nearest"][0] != names[0], "a gene is its own neighbour"


def _with_images(cls: type[ExpressionMethod], bags: Bags) -> Bags:
    """The slides with a view that the method can read."""
    if not cls.images:
        return bags
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 255, (bags.n_instances, 3, 32, 32), dtype=np.uint8)
    return dataclasses.replace(bags, x={"tile": tiles, **bags.x})
