"""Bilinear ridge against the whole linear system, and its tuning against refits."""

import dataclasses
import itertools

import numpy as np
import pytest

import smalti as sm
from smalti.datasets.programmes import planted_programmes
from smalti.errors import InputError
from smalti.scores.expression_metrics import pearson_slides
from smalti.solve.bilinear import BilinearPath, Side
from smalti.solve.leave_out import tuning_folds

PENALTIES = (0.01, 1.0, 300.0)
# (tiles, features, genes, width): tall and wide on either side, in all four ways
SIZES = [(40, 6, 15, 4), (12, 20, 15, 4), (40, 6, 5, 9), (12, 20, 5, 9)]


def table(n, d, g, p, seed=0):
    """Features far from 0 with unequal scales, vectors, and expression of both with noise."""
    rng = np.random.default_rng(seed)
    x = 50 + 5 * rng.normal(size=(n, d)) * rng.uniform(0.1, 10, d)
    t = 3 + rng.normal(size=(g, p)) * rng.uniform(0.2, 2, p)
    low = rng.normal(size=(d, 2)) @ rng.normal(size=(2, p))
    y = (x - 50) @ low @ t.T / 20 + 7 + rng.normal(size=g) + rng.normal(size=(n, g))
    return x, t, y


def standard(rows, *, standardize):
    """Centred rows, with s.d. 1 in each column or a mean square of 1 in all."""
    rows = rows - rows.mean(0)
    return rows / (rows.std(0) if standardize else np.sqrt((rows**2).mean()))


def kronecker(x, t, y, a, b, level=None):
    """(n, g) of the whole system: (T'T + b D) kron (X'X + a D), constants not penalised.

    ``level``: the penalty of the genes in what does not depend on the tile, the rows of constants.
    """
    xs = np.column_stack([standard(x, standardize=True), np.ones(len(x))])
    ts = np.column_stack([standard(t, standardize=False), np.ones(len(t))])
    free = [np.diag(np.append(np.ones(k.shape[1] - 1), 0.0)) for k in (xs, ts)]
    system = np.kron(ts.T @ ts + b * free[1], xs.T @ xs + a * free[0])
    wanted = (xs.T @ y @ ts).ravel("F")
    weights = np.linalg.solve(system, wanted).reshape(xs.shape[1], -1, order="F")
    if level is not None:
        alone = ts.T @ ts + level * free[1]
        weights[-1] = np.linalg.solve(alone, ts.T @ (y.mean(0)))
    return lambda xn, tn: xn @ weights @ tn.T, xs, ts, weights


def path_of(x, t, y):
    return BilinearPath(Side.of(x, standardize=True), Side.of(t, standardize=False), y)


def guess(path, x, t, *penalties):
    """A prediction by the weights on rows as they were given."""
    w = path.weights(*penalties)
    return np.column_stack([x, np.ones(len(x))]) @ w @ np.column_stack([t, np.ones(len(t))]).T


@pytest.mark.parametrize(("n", "d", "g", "p"), SIZES)
@pytest.mark.parametrize(("a", "b"), [(0.1, 0.1), (5.0, 0.3), (0.2, 40.0)])
def test_weights_solve_the_kronecker_system(n, d, g, p, a, b):
    x, t, y = table(n, d, g, p)
    predict, xs, ts, _ = kronecker(x, t, y, a, b)
    np.testing.assert_allclose(guess(path_of(x, t, y), x, t, a, b), predict(xs, ts), atol=1e-9)


@pytest.mark.parametrize(("n", "d", "g", "p"), SIZES)
def test_levels_have_a_penalty_of_their_own(n, d, g, p):
    x, t, y = table(n, d, g, p)
    predict, xs, ts, _ = kronecker(x, t, y, 2.0, 0.5, level=30.0)
    found = guess(path_of(x, t, y), x, t, 2.0, 0.5, 30.0)
    np.testing.assert_allclose(found, predict(xs, ts), atol=1e-9)
    # it moves the levels of the genes alone
    other = guess(path_of(x, t, y), x, t, 2.0, 0.5, 0.01)
    np.testing.assert_allclose(found - found.mean(0), other - other.mean(0), atol=1e-9)
    assert np.abs(found.mean(0) - other.mean(0)).max() > 0.05


def test_constants_are_free():
    """Without a penalty on them, whatever the others, the mean of all is met; and its shifts."""
    x, t, y = table(30, 5, 12, 4)
    heavy = guess(path_of(x, t, y), x, t, 1e12, 1e12)
    np.testing.assert_allclose(heavy, np.full(y.shape, y.mean()), atol=1e-6)
    shifted = guess(path_of(x + 3, t - 2, y + 100), x + 3, t - 2, 1.0, 1.0)
    np.testing.assert_allclose(shifted - 100, guess(path_of(x, t, y), x, t, 1.0, 1.0), atol=1e-9)


def test_without_penalties_it_is_least_squares():
    x, t, y = table(40, 6, 15, 4)
    xs, ts = (np.column_stack([k, np.ones(len(k))]) for k in (x, t))
    plain = xs @ np.linalg.pinv(xs) @ y @ np.linalg.pinv(ts).T @ ts.T
    np.testing.assert_allclose(guess(path_of(x, t, y), x, t, 0.0, 0.0), plain, atol=1e-8)


@pytest.mark.parametrize(("n", "d", "g", "p"), SIZES)
def test_constant_columns_change_nothing(n, d, g, p):
    x, t, y = table(n, d, g, p)
    still = np.insert(x, 2, 1234.5, axis=1), np.insert(t, 1, 0.1, axis=1)
    more = 0.3 * (p + 1) / p  # the mean square of vectors is over all their numbers
    found = guess(path_of(*still, y), *still, 0.7, more)
    np.testing.assert_allclose(found, guess(path_of(x, t, y), x, t, 0.7, 0.3), atol=1e-8)
    wild = still[0].copy()
    wild[:, 2] = 9e4  # what was constant in training says nothing of new tiles
    np.testing.assert_allclose(guess(path_of(*still, y), wild, still[1], 0.7, more), found,
                               atol=1e-7)  # fmt: skip


@pytest.mark.parametrize(("n", "d", "g", "p"), SIZES)
def test_errors_are_those_of_predictions(n, d, g, p):
    x, t, y = table(n + 10, d, g + 4, p)
    y[n:, g] = 5.0  # a left-out gene that does not vary there counts nothing
    path = path_of(x[:n], t[:g], y[:n, :g])
    held = y[n:, g:]
    found = path.errors(x[n:], t[g:], held, PENALTIES, PENALTIES)
    assert found.shape == (3, 3)
    for (i, a), (j, b) in itertools.product(enumerate(PENALTIES), repeat=2):
        out = guess(path, x[n:], t[g:], a, b)
        about, wanted = out - out.mean(0), held - held.mean(0)
        each = ((about - wanted) ** 2).sum(0)[1:] / (wanted**2).sum(0)[1:]
        assert found[i, j] == pytest.approx(each.mean(), rel=1e-9), (a, b)


def test_errors_of_genes_that_all_stand_still_are_unknown():
    x, t, y = table(20, 4, 10, 3)
    path = path_of(x[:15], t[:8], y[:15, :8])
    assert np.isnan(path.errors(x[15:], t[8:], np.ones((5, 2)), (1.0,), (1.0, 2.0))).all()


@pytest.mark.parametrize(("n", "d", "g", "p"), SIZES)
def test_level_errors_are_those_of_mean_predictions(n, d, g, p):
    """On the training tiles, where the other parts of a prediction have mean 0."""
    x, t, y = table(n, d, g + 4, p)
    path = path_of(x, t[:g], y[:, :g])
    found = path.level_errors(t[g:], y[:, g:], PENALTIES)
    wanted = y[:, g:].mean(0)
    for value, level in zip(found, PENALTIES, strict=True):
        out = guess(path, x, t[g:], 1.0, 1.0, level).mean(0)
        whole = ((wanted - y[:, :g].mean()) ** 2).sum()
        assert value == pytest.approx(((out - wanted) ** 2).sum() / whole, rel=1e-9)


# ---------------------------------------------------------------- the method


def unit(t):
    return t / np.linalg.norm(t, axis=1, keepdims=True)


# the best three are (30, 3, 30) and (100, 10, 10): an exchange of two would show
@pytest.mark.parametrize(
    ("vague", "grid"), [(0.4, (0.3, 3.0, 30.0, 300.0)), (1.5, (1.0, 10.0, 100.0, 1000.0))]
)
def test_the_tuned_penalties_are_the_best_of_refits(vague, grid):
    bags, vectors = planted_programmes(6, 16, n_genes=24, vague=vague)
    model = sm.make("bilinear", vectors=vectors, alphas=grid, x="X_planted", progress=False)
    model.fit(bags)
    x = bags.table("X_planted").astype(np.float64)
    x = (x - x.mean(0)) / x.std(0)
    t, y = unit(vectors.x.astype(np.float64)), model.measured(bags)
    groups, part = tuning_folds(bags)[0], np.random.default_rng(0).permutation(24) % 3
    assert len(np.unique(groups)) == 3  # donors
    error, level = np.zeros((4, 4)), np.zeros(4)
    for group, k in itertools.product(np.unique(groups), range(3)):
        out, gone = groups == group, part == k
        path = path_of(x[~out], t[~gone], y[~out][:, ~gone])
        held = y[out][:, gone].astype(np.float64)
        wanted = held - held.mean(0)
        seen = y[~out][:, ~gone].mean()
        for (i, a), (j, b) in itertools.product(enumerate(grid), repeat=2):
            made = guess(path, x[out], t[gone], a, b)
            left = ((made - made.mean(0) - wanted) ** 2).sum(0)
            error[i, j] += (left / (wanted**2).sum(0)).mean()
        for j, c in enumerate(grid):  # on tiles whose mean features are those of training
            made = guess(path, x[~out], t[gone], 1.0, 1.0, c).mean(0)
            level[j] += ((made - held.mean(0)) ** 2).sum() / ((held.mean(0) - seen) ** 2).sum()
    i, j = np.unravel_index(error.argmin(), error.shape)
    wanted = (grid[i], grid[j], grid[int(level.argmin())])
    np.testing.assert_allclose(model.network_.penalties.numpy(), wanted)
    assert i != j


@pytest.mark.parametrize(
    ("given", "steps"),
    [({}, 3), ({"alpha": 1.0}, 3), ({"alpha": 1.0, "beta": 2.0, "level": 3.0}, 1)],
)
def test_tuning_is_a_step_for_each_fold(given, steps):
    """Which is what a bar counts; nothing to choose is one step, in which nothing is fitted."""
    bags, vectors = planted_programmes(6, 9, n_genes=12)
    model = sm.make("bilinear", vectors=vectors, x="X_planted", progress=False, **given).fit(bags)
    assert (model.history_["stage"] == "tuning").sum() == steps  # donors
    found = dict(zip(("alpha", "beta", "level"), model.network_.penalties.tolist(), strict=True))
    assert given.items() <= found.items()


def test_a_prediction_is_the_kronecker_solution_on_unit_vectors():
    bags, vectors = planted_programmes(4, 16, n_genes=20)
    seen, new = vectors.names[:14], vectors.names[14:]
    model = sm.make("bilinear", vectors=vectors, genes=seen, x="X_planted", progress=False,
                    alpha=20.0, beta=2.0, level=0.5).fit(bags)  # fmt: skip
    x = bags.table("X_planted").astype(np.float64)
    t = unit(vectors.x.astype(np.float64))
    y = model.measured(bags).astype(np.float64)
    _, xs, _, weights = kronecker(x, t[:14], y, 20.0, 2.0, level=0.5)
    center, size = t[:14].mean(0), np.sqrt(((t[:14] - t[:14].mean(0)) ** 2).mean())
    ts = np.column_stack([(t[14:] - center) / size, np.ones(6)])
    np.testing.assert_allclose(model.predict(bags, new), xs @ weights @ ts.T, atol=2e-5)


def test_meaning_predicts_unseen_genes_and_its_absence_does_not():
    bags, vectors = planted_programmes(6, 36, n_genes=60, vague=0.4)
    test = bags.donors == 2
    train, held = bags[np.flatnonzero(~test)], bags[np.flatnonzero(test)]
    seen, unseen = vectors.names[:45], vectors.names[45:]
    reached = {}
    for name, given in (("meaning", vectors), ("random", "random")):
        model = sm.make("bilinear", vectors=given, genes=seen, x="X_planted", progress=False)
        out = model.fit(train).predict(held, unseen)
        each = pearson_slides(out, model.measured(held, unseen), held.index)
        reached[name] = np.nanmean(each)
    assert reached["meaning"] > 0.6
    assert abs(reached["random"]) < 0.35  # what all genes share is left
    assert reached["meaning"] > reached["random"] + 0.3


def test_large_offsets_of_features_cost_no_more_than_rounding():
    bags, vectors = planted_programmes(4, 16, n_genes=20)
    # in steps of 1/16, which single precision holds next to 2**18
    x = np.round(bags.table("X_planted") * 16) / 16
    one, two = (dataclasses.replace(bags, x={**bags.x, "X_planted": (x + far).astype(np.float32)})
                for far in (0, 2**18))  # fmt: skip
    made = [sm.make("bilinear", vectors=vectors, genes=vectors.names[:14], x="X_planted",
                    progress=False).fit(b).predict(b, vectors.names[14:])
            for b in (one, two)]  # fmt: skip
    np.testing.assert_allclose(made[1], made[0], atol=0.03)
    assert np.corrcoef(made[0].ravel(), made[1].ravel())[0, 1] > 0.9999


def test_constant_features_and_vectors_in_a_fit():
    bags, vectors = planted_programmes(4, 16, n_genes=20)
    still = np.insert(bags.table("X_planted"), 0, 77.7, axis=1)
    both = dataclasses.replace(
        bags, x={**bags.x, "X_planted": still.astype(np.float32)},
        features={**bags.features, "X_planted": [f"f{i}" for i in range(still.shape[1])]},
    )  # fmt: skip
    made = [sm.make("bilinear", vectors=vectors, genes=vectors.names[:14], x="X_planted",
                    progress=False).fit(b).predict(b, vectors.names[14:])
            for b in (bags, both)]  # fmt: skip
    np.testing.assert_allclose(made[1], made[0], atol=1e-4)
    one = dataclasses.replace(vectors, x=np.ones_like(vectors.x), tokens=None, offsets=None)
    model = sm.make("bilinear", vectors=one, x="X_planted", progress=False).fit(bags)
    out = model.predict(bags)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out, np.repeat(out[:, :1], 20, axis=1), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"alpha": -1.0}, "alpha=-1"), ({"beta": -0.1}, "beta=-0.1"), ({"level": -3.0}, "level=-3"),
     ({"genes": ("G0", "G1", "G2")}, "3 seen genes are too few")],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_work(settings, word):
    bags, vectors = planted_programmes(3, 9, n_genes=10)
    with pytest.raises(InputError, match=word):
        sm.make("bilinear", vectors=vectors, progress=False, **settings).fit(bags)
