import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm
from sklearn.mixture import GaussianMixture

from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.mil import CloudPred
from smalti.mil.cloudpred import em_round, start


def cells(n=3000, k=3, d=4, seed=0):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(k, d)) * 3
    return means[rng.integers(k, size=n)] + rng.normal(size=(n, d)) * rng.uniform(0.5, 1.5, d)


def test_expectation_maximisation_is_that_of_scikit_learn():
    x = cells()
    mixture = start(torch.as_tensor(x), 3, np.random.default_rng(0))
    weights, means, variances = (m.numpy() for m in mixture)
    other = GaussianMixture(3, covariance_type="diag", reg_covar=1e-5, max_iter=30, tol=0.0,
                            weights_init=weights, means_init=means,
                            precisions_init=1 / variances)  # fmt: skip
    with pytest.warns(UserWarning, match="did not converge"):  # tol=0 never does
        other.fit(x)
    for _ in range(30):
        mixture, objective = em_round(torch.as_tensor(x), *mixture)
    np.testing.assert_allclose(mixture[0], other.weights_, atol=1e-6)
    np.testing.assert_allclose(mixture[1], other.means_, atol=1e-5)
    np.testing.assert_allclose(mixture[2], other.covariances_, atol=1e-5)
    assert -objective == pytest.approx(other.score(x), abs=1e-5)


def test_density_and_responsibility_equal_the_formula():
    bags = planted_bags(30)
    model = CloudPred.example().set_params(centers=3, epochs=1).fit(bags)
    net = model.network_
    x = net.cells(torch.as_tensor(bags.table()))
    mean, sd = net.means.detach().numpy(), net.log_variances.detach().exp().sqrt().numpy()
    weight = net.log_weights.softmax(0).detach().numpy()
    each = np.stack([
        np.log(weight[k]) + norm.logpdf(x.numpy(), mean[k], sd[k]).sum(1) for k in range(3)
    ], axis=1)  # fmt: skip
    np.testing.assert_allclose(net.log_density(x).detach(), each, atol=1e-3)
    r = np.exp(each - np.logaddexp.reduce(each, axis=1, keepdims=True))
    np.testing.assert_allclose(model.forward(bags)[1]["responsibility"], r, atol=1e-3)


@pytest.mark.slow
def test_the_polynomial_is_additive_over_clusters_and_cells():
    bags = planted_bags(30)
    model = CloudPred.example().set_params(centers=3).fit(bags)
    raw, instance, bag = model.forward(bags)
    table = model.clusters().set_index("cluster")
    k = len(model.network_.used)
    share = bag["embedding"][:, :k]
    linear, quadratic = (table[c].reindex(range(k)).fillna(0).to_numpy()
                         for c in ("linear", "quadratic"))  # fmt: skip
    value = share @ linear + share**2 @ quadratic
    np.testing.assert_allclose(raw[:, 0] - value, (raw[:, 0] - value)[0], atol=1e-4)
    sums = np.bincount(bags.index, instance["contribution"][:, 0])
    np.testing.assert_allclose(sums, value, atol=1e-4)


@pytest.mark.slow
def test_unused_clusters_stay_unused():
    bags = planted_bags(30)
    model = CloudPred(centers=(2, 9), folds=2, epochs=2).fit(bags)
    used = model.network_.used.numpy()
    assert used.sum() in (2, 9)
    model = CloudPred(centers=2, epochs=2).fit(bags)
    table = model.clusters(bags)
    assert table["cluster"].tolist() == [0, 1]
    assert table["output"].tolist() == ["", ""]  # the one there is has no name
    own = model.forward(bags)[1]["cluster"]
    kinds = bags.instance["cell_type"].to_numpy()
    for k in range(2):
        counts = pd.Series(kinds[own == k]).value_counts()
        assert table["main"][k] == counts.index[0]
        assert table["share"][k] == pytest.approx(counts.iloc[0] / counts.sum())
    effect = table["linear"] + 2 * table["quadratic"] * table["weight"]
    np.testing.assert_allclose(table["effect"], effect)
    assert table["weight"].sum() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["multiclass", "ordinal"])
def test_clusters_have_a_row_for_each_output(kind):
    bags = planted_bags(18, kind=kind)
    few = dict(em_rounds=3, starts=1, max_cells=100)
    table = CloudPred(centers=2, epochs=1, **few).fit(bags).clusters()
    one = [""] if kind == "ordinal" else [str(c) for c in bags.task.classes]
    assert table["output"].tolist() == one * 2


@pytest.mark.slow
def test_the_number_of_clusters_is_chosen_in_the_training_donors():
    """Bags that are not in training change nothing."""
    bags = planted_bags(24)
    part = np.arange(18)
    one = CloudPred(centers=(2, 3), folds=2, joint=False).fit(bags[part])
    other = bags.table().copy()
    other[bags.offsets[18] :] *= 100
    import dataclasses

    two = CloudPred(centers=(2, 3), folds=2, joint=False).fit(
        dataclasses.replace(bags, x={"x": other})[part]
    )
    np.testing.assert_array_equal(one.forward(bags[part])[0], two.forward(bags[part])[0])


@pytest.mark.slow
def test_joint_training_moves_the_mixture_and_lowers_the_loss():
    bags = planted_bags(24, effect=1.5)
    alone = CloudPred(centers=3, joint=False).fit(bags)
    both = CloudPred(centers=3, epochs=4, lr=1e-2).fit(bags)
    assert not torch.equal(alone.network_.means, both.network_.means)
    history = both.history_.query("stage == 'joint'")["train_loss"]
    assert history.iloc[-1] < history.iloc[0]


@pytest.mark.parametrize("centers", [0, (), (2, 0), 2.5])
def test_wrong_numbers_of_clusters(centers):
    with pytest.raises(InputError, match="centers="):
        CloudPred(centers=centers).fit(planted_bags(20))


@pytest.mark.slow  # 36,000 cells; its terms by the formula are above
def test_a_two_sided_signature_is_found_where_a_line_cannot():
    """Disease is too few or too many cells of one type."""
    rng = np.random.default_rng(0)

    def cohort(n):
        y = np.arange(n) % 2
        share = np.where(y == 0, 0.5, np.where(rng.random(n) < 0.5, 0.2, 0.8))
        share = share + rng.normal(size=n) * 0.03
        bags = []
        for p in share:
            kind = rng.random(300) < p
            bags.append(rng.normal(size=(300, 3)) + 4 * kind[:, None])
        from smalti.bags import Bags

        return Bags.from_list([b.astype(np.float32) for b in bags], y, donor=np.arange(n))

    train, test = cohort(60), cohort(60)
    from smalti.mil import BagMean

    assert CloudPred(centers=(2, 4), epochs=5).fit(train).score(test) > 0.95
    assert BagMean().fit(train).score(test) < 0.7
