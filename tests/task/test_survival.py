"""The losses of a survival target, beside loops and three packages."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import quad

import smalti as sm
from smalti.errors import InputError
from smalti.system.torchvision_shim import mend_torchvision
from smalti.task.survival import partial_likelihood

N, WIDTH = 120, 3


@pytest.fixture(scope="module")
def cohort():
    """Features, and times in whole weeks, so that many are tied; some entered late."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, WIDTH))
    hazard = np.exp(x @ [1.0, -0.5, 0.0])
    time = rng.exponential(20 / hazard)
    gone = rng.uniform(2, 40, N)
    event = time <= gone
    time = np.ceil(np.minimum(time, gone))
    entry = np.where(rng.random(N) < 0.3, np.floor(time * rng.random(N) * 0.9), 0.0)
    strata = rng.integers(3, size=N)
    return pd.DataFrame(x, columns=list("abc")).assign(
        time=time, event=event.astype(int), entry=entry, strata=strata
    )


def columns(cohort, *names):
    return [torch.as_tensor(cohort[n].to_numpy(float)) for n in names]


def loss_of(cohort, score, *, entry=False, strata=False):
    time, event, start, stratum = columns(cohort, "time", "event", "entry", "strata")
    return partial_likelihood(
        score, time, event, start if entry else 0 * start, stratum if strata else 0 * stratum
    )


def naive(cohort, score, entry, strata):
    """Efron's likelihood as it is written in books."""
    time, event, start, stratum = (cohort[n].to_numpy(float) for n in
                                   ("time", "event", "entry", "strata"))  # fmt: skip
    total = 0.0
    for s in np.unique(stratum) if strata else [None]:
        inside = np.ones(len(time), bool) if s is None else stratum == s
        for t in np.unique(time[inside & (event == 1)]):
            have = inside & (event == 1) & (time == t)
            risk = inside & (time >= t) & ((start < t) if entry else True)
            d = have.sum()
            total -= score[have].sum()
            for i in range(d):
                total += np.log(np.exp(score[risk]).sum() - i / d * np.exp(score[have]).sum())
    return total


@pytest.mark.parametrize("entry", [False, True])
@pytest.mark.parametrize("strata", [False, True])
def test_cox_is_the_loop(cohort, entry, strata):
    score = np.random.default_rng(1).normal(size=N) * 3
    found = loss_of(cohort, torch.as_tensor(score), entry=entry, strata=strata)
    assert found.sum() == pytest.approx(naive(cohort, score, entry, strata), rel=1e-11)
    assert (found[cohort["event"].to_numpy() == 0] == 0).all()


@pytest.mark.parametrize("entry", [False, True])
@pytest.mark.parametrize("strata", [False, True])
def test_cox_is_that_of_lifelines(cohort, entry, strata):
    lifelines = pytest.importorskip("lifelines")
    fitter = lifelines.CoxPHFitter()
    kept = [*"abc", "time", "event", *["entry"] * entry, *["strata"] * strata]
    fitter.fit(cohort[kept], "time", "event", entry_col="entry" if entry else None,
               strata=["strata"] if strata else None,
               fit_options={"precision": 1e-12})  # fmt: skip
    beta = torch.tensor(fitter.params_.to_numpy(), requires_grad=True)
    x = torch.as_tensor(cohort[list("abc")].to_numpy())
    loss = loss_of(cohort, x @ beta, entry=entry, strata=strata).sum()
    assert loss.item() == pytest.approx(-fitter.log_likelihood_, rel=1e-8)
    # its optimum is ours: Efron's ties, or the gradient would not be 0 there
    (gradient,) = torch.autograd.grad(loss, beta)
    assert gradient.abs().max() < 1e-6
    assert beta[0] > 0.5  # which raises the hazard: a higher score is a higher risk


def test_cox_and_its_gradient_are_those_of_torchsurv(cohort):
    """Of its function behind the checks, which turn everything to float32."""
    mend_torchvision()  # torchsurv imports it by torchmetrics
    cox = pytest.importorskip("torchsurv.loss.cox")
    time, event = columns(cohort, "time", "event")
    score = torch.randn(N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    score.requires_grad_()
    order = torch.argsort(time)
    torch.set_default_dtype(torch.float64)  # of its sums
    try:
        other = -cox._partial_likelihood_efron(
            score[order], event[order].bool(), time[order], False
        ).sum()
    finally:
        torch.set_default_dtype(torch.float32)
    ours = loss_of(cohort, score).sum()
    assert ours.item() == pytest.approx(other.item(), rel=1e-10)
    one, two = (torch.autograd.grad(v, score)[0] for v in (ours, other))
    assert (one - two).abs().max() < 1e-10


def test_the_optimum_of_scikit_survival_is_ours(cohort):
    linear = pytest.importorskip("sksurv.linear_model")
    y = np.array(list(zip(cohort["event"] == 1, cohort["time"], strict=True)),
                 dtype=[("event", bool), ("time", float)])  # fmt: skip
    x = cohort[list("abc")].to_numpy()
    model = linear.CoxPHSurvivalAnalysis(ties="efron", tol=1e-14, n_iter=200).fit(x, y)
    beta = torch.tensor(model.coef_, requires_grad=True)
    loss = loss_of(cohort, torch.as_tensor(x) @ beta).sum()
    (gradient,) = torch.autograd.grad(loss, beta)
    assert gradient.abs().max() < 1e-8


def test_scores_far_apart_are_no_trouble(cohort):
    score = torch.linspace(-300, 300, N, dtype=torch.float64, requires_grad=True)
    loss = loss_of(cohort, score).sum()
    (gradient,) = torch.autograd.grad(loss, score)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def task_of(cohort, model, *, entry=False):
    names = ("time", "event", "entry") if entry else ("time", "event")
    labels = cohort[list(names)].to_numpy()
    task = sm.Task.infer(labels, column=names)
    return task.as_model(labels, model), labels


def test_a_time_and_an_event_are_a_survival_target(cohort):
    task, labels = task_of(cohort, "cox")
    assert task.kind == "survival"
    assert task.describe(labels).startswith("time, event: survival (")
    assert sm.Task.infer(cohort[["event", "event"]].assign(event=[0, 1] * 60)).kind == "multilabel"


@pytest.mark.parametrize("entry", [False, True])
def test_weibull_is_the_density_and_what_is_left_of_it(cohort, entry):
    task, labels = task_of(cohort, "weibull", entry=entry)
    raw = torch.tensor([[0.3, 0.2]], dtype=torch.float64).repeat(N, 1)
    found = task.loss(raw, torch.as_tensor(task.encode(labels)))
    k = np.exp(0.2) / task.scale
    middle = np.exp(task.center - task.scale * 0.3)  # a higher score is a shorter life
    t, event = labels[:, 0].astype(float), labels[:, 1].astype(float)
    start = labels[:, 2].astype(float) if entry else np.zeros(N)
    hazard = k / middle * (t / middle) ** (k - 1)
    expected = (t / middle) ** k - (start / middle) ** k - event * np.log(hazard)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    curve = task.curves(raw[:1].numpy(), [5.0, 30.0])[0]
    np.testing.assert_allclose(curve, np.exp(-((np.array([5, 30]) / middle) ** k)), rtol=1e-10)
    area = quad(lambda s: np.exp(-((s / middle) ** k)), 0, 30)[0]
    assert task.restricted_mean(raw[:1].numpy(), 30.0)[0] == pytest.approx(area, rel=1e-5)


def test_the_optimum_of_weibull_is_that_of_lifelines(cohort):
    lifelines = pytest.importorskip("lifelines")
    fitter = lifelines.WeibullAFTFitter().fit(cohort[[*"abc", "time", "event"]], "time", "event")
    task, labels = task_of(cohort, "weibull")
    place = fitter.params_["lambda_"]
    middle = cohort[list("abc")].to_numpy() @ place[list("abc")].to_numpy() + place["Intercept"]
    shape = float(fitter.params_["rho_"].iloc[0])
    raw = np.column_stack([(task.center - middle) / task.scale,
                           np.full(N, shape + np.log(task.scale))])  # fmt: skip
    loss = task.loss(torch.as_tensor(raw), torch.as_tensor(task.encode(labels)))
    assert float(loss.sum()) == pytest.approx(-fitter.log_likelihood_, rel=1e-8)


@pytest.mark.parametrize("entry", [False, True])
def test_discrete_hazards_are_the_loop(cohort, entry):
    task, labels = task_of(cohort, "discrete", entry=entry)
    raw = np.random.default_rng(2).normal(size=(N, task.n_outputs))
    found = task.loss(torch.as_tensor(raw), torch.as_tensor(task.encode(labels)))
    hazard = 1 / (1 + np.exp(-raw))
    edges = [0.0, *task.cuts]
    for i, row in enumerate(labels.astype(float)):
        time, event, start = row[0], row[1], row[2] if entry else 0.0
        expected = 0.0
        for k, (low, high) in enumerate(itertools.pairwise(edges)):
            if event and low < time <= high:
                expected -= np.log(hazard[i, k])
            elif time >= high and low >= start:
                expected -= np.log(1 - hazard[i, k])
        assert float(found[i]) == pytest.approx(expected, rel=1e-10), i


def test_the_optimum_of_discrete_hazards_is_the_life_table(cohort):
    """Without features, deaths over those at risk at the start who were not censored inside."""
    task, labels = task_of(cohort, "discrete")
    bias = torch.zeros(task.n_outputs, dtype=torch.float64, requires_grad=True)
    target = torch.as_tensor(task.encode(labels))
    optimizer = torch.optim.LBFGS([bias], max_iter=200, tolerance_grad=1e-12)

    def closure():
        optimizer.zero_grad()
        loss = task.loss(bias.expand(N, -1), target).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    time, event = labels[:, 0].astype(float), labels[:, 1].astype(float)
    for k, (low, high) in enumerate(zip([0.0, *task.cuts], task.cuts, strict=False)):
        died = ((event == 1) & (time > low) & (time <= high)).sum()
        through = ((time >= high) & ~((event == 1) & (time == high))).sum()
        assert bias[k].sigmoid().item() == pytest.approx(died / (died + through), abs=1e-6)


def test_curves_of_cox_are_those_of_scikit_survival(cohort):
    linear = pytest.importorskip("sksurv.linear_model")
    y = np.array(list(zip(cohort["event"] == 1, cohort["time"], strict=True)),
                 dtype=[("event", bool), ("time", float)])  # fmt: skip
    x = cohort[list("abc")].to_numpy()
    model = linear.CoxPHSurvivalAnalysis(ties="efron", tol=1e-12).fit(x, y)
    task, labels = task_of(cohort, "cox")
    raw = (x @ model.coef_)[:, None]
    task = task.settled(raw, task.encode(labels))
    at = np.unique(cohort["time"])[:-1]
    found = task.curves(raw, at)
    expected = np.array([f(at) for f in model.predict_survival_function(x)])
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    assert task.decide(raw).mean() == pytest.approx(0, abs=1e-9)
    area = np.diff([0.0, *at[at < 20], 20.0]) @ np.concatenate([[1.0], found[0, at < 20]])
    assert task.restricted_mean(raw[:1], 20.0)[0] == pytest.approx(area, rel=1e-8)


@pytest.mark.parametrize("model", ["cox", "discrete", "weibull"])
def test_a_higher_raw_is_an_earlier_event(cohort, model):
    task, labels = task_of(cohort, model)
    raw = np.zeros((2, task.n_outputs))
    raw[1] += 1.0 if model == "discrete" else 0.0
    raw[1, 0] = 1.0
    task = task.settled(np.zeros((N, task.n_outputs)), task.encode(labels))
    risk, curves = task.decide(raw), task.curves(raw, [5.0, 15.0])
    assert risk[1] > risk[0]
    assert (curves[1] < curves[0]).all()
    assert task.restricted_mean(raw, 20.0)[1] < task.restricted_mean(raw, 20.0)[0]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[1.0, 2], [2.0, 1]], "as R codes"),
        ([[1.0, 2], [2.0, 1], [3.0, 0]], "several causes compete"),
        ([[1.0, "maybe"], [2.0, "dead"]], "'maybe'"),
        ([[-1.0, 1], [2.0, 0]], "from 0 on"),
        ([[np.nan, 1], [2.0, 0]], "missing for 1 of 2"),
        ([["long", 1], ["short", 0]], "cannot be a time"),
        ([[1.0, 0], [2.0, 0]], "no event was seen"),
        ([[1.0, 1, 1.0], [2.0, 0, 0.0]], "at or after"),
    ],
)
def test_what_is_no_survival_is_refused(values, words):
    with pytest.raises(InputError, match=words):
        sm.Task.infer(np.array(values, dtype=object), kind="survival")


def test_one_column_is_refused():
    with pytest.raises(InputError, match="needs two: the time"):
        sm.Task.infer([1.0, 2.0, 3.5], kind="survival")


@pytest.mark.parametrize("words", [("1:DECEASED", "0:LIVING"), ("Dead", "alive"), (True, False)])
def test_events_are_read_as_tables_have_them(words):
    task = sm.Task.infer(np.array([[12.5, words[0]], [3.0, words[1]]], dtype=object))
    assert task.encode(np.array([[5.0, words[0]], [6.0, words[1]]], dtype=object))[:, 1].tolist() \
        == [1.0, 0.0]  # fmt: skip
