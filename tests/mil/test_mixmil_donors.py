"""MixMIL with a random intercept of each donor."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

import smalti as sm
from smalti.batch import Batch
from smalti.core import noise
from smalti.errors import InputError
from smalti.mil import MixMIL
from smalti.segment import Segments

pytestmark = pytest.mark.filterwarnings("ignore:mixmil")
DONORS, EACH = 30, 6


def cohort(level=2.0, seed=0, kind="regression"):
    """Bags whose target is a slope along their mean, a level of the donor (s.d.) and noise (1)."""
    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(DONORS), EACH)
    x = [rng.normal(size=(12, 3)) for _ in donor]
    known = 1.5 * np.array([a.mean(0)[0] for a in x]) * 12**0.5
    y = known + level * rng.normal(size=DONORS)[donor] + rng.normal(size=len(donor))
    y = y if kind == "regression" else (y > 0).astype(int)
    return sm.Bags.from_list(x, y=y, donor=donor, kind=kind), y - known


def fitted(bags, **settings):
    how = {"epochs": 300, "lr": 0.03, "progress": False, "donor_intercept": True} | settings
    return MixMIL(**how).fit(bags)


@pytest.mark.slow
def test_spreads_within_and_between_donors_are_found():
    bags, rest = cohort()
    model = fitted(bags)
    by = rest.reshape(DONORS, EACH)
    within = by.var(1, ddof=1).mean()
    between = by.mean(1).var(ddof=1) - within / EACH  # analysis of variance
    scale, net = model.task_.scale, model.network_
    assert net.log_noise.exp().item() * scale == pytest.approx(within**0.5, rel=0.1)
    # the posterior is a mean field, and the prior's s is a little small by it
    assert (0.5 * net.log_level_prior).exp().item() * scale == pytest.approx(between**0.5, rel=0.2)
    levels = net.level.detach().numpy()[:, 0]
    assert np.corrcoef(levels, by.mean(1))[0, 1] > 0.95
    without = fitted(bags, donor_intercept=False)
    assert without.network_.log_noise.exp().item() * scale > 1.5 * within**0.5


def test_without_it_nothing_is_drawn_or_kept():
    bags, _ = cohort()
    net = fitted(bags, epochs=2, donor_intercept=False).network_
    assert not any("level" in name for name in net.state_dict())


def test_divergence_is_that_of_torch_and_one_draw_is_of_all_bags_of_a_donor():
    net = fitted(cohort(kind="binary")[0], epochs=5).network_
    prior = Normal(0.0, (0.5 * net.log_level_prior).exp())
    want = kl_divergence(Normal(net.level, net.log_level_sd.exp()), prior).sum()
    assert net.level_divergence().item() == pytest.approx(want.item(), rel=1e-4)
    batch = Batch(
        {}, Segments.of(torch.tensor([0, 1, 2, 3])), bag={"donor": torch.tensor([4, 2, 4])}
    )
    with noise.drawn_from(torch.Generator().manual_seed(0)), torch.no_grad():
        drawn = net.draw_levels(batch)
    assert drawn.shape == (3, net.n_draws, 1)
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


def test_a_prediction_knows_no_donor(tmp_path):
    bags, _ = cohort(kind="binary")
    model = fitted(bags, epochs=5)
    names = dataclasses.replace(bags, donor=None, bag=bags.bag.drop(columns="donor"))
    want = model.predict_proba(bags)
    assert np.array_equal(model.predict_proba(names), want)
    np.testing.assert_allclose(model.predict_proba(bags[[7]]), want[[7]], atol=1e-6)
    model.save(tmp_path / "model")
    assert np.array_equal(sm.load(tmp_path / "model").predict_proba(names), want)


@pytest.mark.parametrize(
    ("donor", "words"),
    [("bag", "each donor has one bag"), (None, "no donor: samples of one donor")],
)
def test_who_has_no_donors_is_told(donor, words):
    bags = dataclasses.replace(cohort()[0], donor=donor)
    bags = dataclasses.replace(bags, bag=bags.bag.drop(columns="donor"))
    with pytest.raises(InputError, match=words):
        fitted(bags, epochs=1)


@pytest.mark.parametrize("kind", ["ordinal", "multiclass"])
def test_other_targets_take_it(kind):
    bags, _ = cohort()
    cut = np.digitize(bags.labels, np.quantile(bags.labels, [0.3, 0.7]))
    order = [0, 1, 2] if kind == "ordinal" else None
    model = fitted(bags.with_target(cut, kind=kind, order=order), epochs=3)
    assert model.predict_proba(bags).shape == (len(bags), 3)
