"""How often intervals of a cross-validated score hold the truth.

Cohorts of donors of two classes that differ in one of ten features of their bag means; one sample a
donor, or three; ridge regression on the labels, five folds by donor, five repeats. The truth is
known in closed form, for two estimands: "model", the AUROC of the model fitted on all donors, on
new donors; "procedure", the mean AUROC of models fitted on four fifths as many donors. Brier
scores are those of the clipped ridge predictions, on 4,000 new samples.

    python benchmarks/intervals.py --cohorts 1000 --out coverage.csv    # goes on where it stopped
    python benchmarks/intervals.py --part power --cohorts 1000          # verdicts, right and wrong
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from smalti.scores.intervals import donor_bootstrap, nested_interval, resampled_interval
from smalti.scores.statistics import corrected_test
from smalti.scores.verdicts import judge

FEATURES, FOLDS, REPEATS = 10, 5, 5
EFFECTS = {
    "none at all": 0.0,
    "middle": 1.0,
    "strong": 2.5,
}  # between the classes, in s.d. of a sample
SHARED = 0.5  # of the variance of a sample is that of its donor


def samples(n, effect, per_donor, rng):
    """Samples, labels and donors; half of the donors are of each class."""
    y = np.repeat(np.arange(n) % 2, per_donor)
    between = rng.normal(size=(n, FEATURES)).repeat(per_donor, 0) * np.sqrt(SHARED)
    x = between + rng.normal(size=(len(y), FEATURES)) * np.sqrt(1 - SHARED)
    x[:, 0] += effect * (y - 0.5)
    return x, y, np.repeat(np.arange(n), per_donor)


def ridge(x, y, weights):
    """(m, 1 + d) coefficients of ridge fits with (m, n) weights of the samples."""
    one = np.column_stack([np.ones(len(x)), x])
    gram = np.einsum("mn,ni,nj->mij", weights, one, one, optimize=True)
    gram[:, range(1, one.shape[1]), range(1, one.shape[1])] += 3.0
    return np.linalg.solve(gram, ((weights * y) @ one)[..., None])[..., 0]


def predict(coef, x):
    return np.clip(coef[..., :1] + coef[..., 1:] @ x.T, 0, 1)


def raw(coef, x):
    return coef[..., :1] + coef[..., 1:] @ x.T


def true_auc(coef, effect):
    """On new donors: a difference of two normal scores."""
    w = coef[..., 1:]
    return stats.norm.cdf(w[..., 0] * effect / (np.sqrt(2) * np.linalg.norm(w, axis=-1)))


def dealt(n, rng):
    """(n,) folds of donors, stratified by class (even and odd)."""
    fold = np.empty(n, int)
    for c in (0, 1):
        rows = np.arange(c, n, 2)
        fold[rng.permutation(rows)] = np.arange(len(rows)) % FOLDS
    return fold


def auc(y, s):
    r = stats.rankdata(s)
    k = y.sum()
    return (r[y == 1].sum() - k * (k + 1) / 2) / (k * (len(y) - k))


def per_donor(loss, donor):
    return np.bincount(donor, loss) / np.bincount(donor)


def fold_aucs(x, y, folds):
    """Coefficients of all folds, (repeats, n) predictions of left-out samples, AUROC by fold."""
    train = (folds[:, None] != np.arange(FOLDS)[:, None]).reshape(-1, len(y)).astype(float)
    coef = ridge(x, y, train)
    left = np.take_along_axis(raw(coef, x).reshape(REPEATS, FOLDS, -1), folds[:, None], 1)[:, 0]
    return coef, left, np.array([auc(y[own], left[r, own]) for r in range(REPEATS)
                                 for own in (folds[r] == f for f in range(FOLDS))])  # fmt: skip


def nested(x, y, donor, n, rng, repeats):
    """The numbers that nested cross-validation is made of."""
    inner, outer, spread = [], [], []
    for _ in range(repeats):
        fold = dealt(n, rng)[donor]
        masks = [(fold != i) & (fold != j) for i in range(FOLDS) for j in range(FOLDS) if i != j]
        two = predict(ridge(x, y, np.array(masks, float)), x)
        one = predict(ridge(x, y, np.array([fold != i for i in range(FOLDS)], float)), x)
        pairs = [(i, j) for i in range(FOLDS) for j in range(FOLDS) if i != j]
        for i in range(FOLDS):
            loss = np.concatenate([
                per_donor((two[at] - y) ** 2, donor)[np.unique(donor[fold == j])]
                for at, (a, j) in enumerate(pairs) if a == i
            ])  # fmt: skip
            held = per_donor((one[i] - y) ** 2, donor)[np.unique(donor[fold == i])]
            inner.append(loss.mean())
            outer.append(held.mean())
            spread.append(held.var(ddof=1) / len(held))
    return inner, outer, spread


def cohort(n, effect, per_donor_, seed, fresh):
    """Interval by candidate, and the truths of this cohort."""
    rng = np.random.default_rng([seed, n, per_donor_, int(10 * effect)])
    x, y, donor = samples(n, effect, per_donor_, rng)
    folds = np.array([dealt(n, rng)[donor] for _ in range(REPEATS)])  # (repeats, samples)
    coef, left, v = fold_aucs(x, y, folds)
    n_test, n_train = n / FOLDS, n - n / FOLDS
    losses = [((np.clip(left[r, folds[r] == f], 0, 1) - y[folds[r] == f]) ** 2).mean()
              for r in range(REPEATS) for f in range(FOLDS)]  # fmt: skip
    rows = np.tile(y, REPEATS), left.ravel(), np.tile(donor, REPEATS)
    repeat = np.repeat(np.arange(REPEATS), len(y))
    each = per_donor(((np.clip(left, 0, 1) - y) ** 2).mean(0), donor)
    error = each.std(ddof=1) / np.sqrt(n)
    pairs = (n_test * per_donor_ / 2) ** 2
    sizes, one = (n_train, n_test), {"freedom": FOLDS - 1}
    naive = stats.t.ppf(0.975, len(v) - 1) * v.std(ddof=1) / np.sqrt(len(v))
    out = {
        ("auc", "naive t"): (v.mean() - naive, v.mean() + naive),
        ("auc", "corrected t"): resampled_interval(v, *sizes),
        ("auc", "corrected t, logit"): resampled_interval(v, *sizes, logit=True, pairs=pairs),
        ("auc", "corrected t, one repeat"): resampled_interval(v[:FOLDS], *sizes),
        ("auc", "corrected t, K - 1"): resampled_interval(v, *sizes, **one),
        ("auc", "corrected t, K - 1, logit"): resampled_interval(v, *sizes, logit=True,
                                                                 pairs=pairs, **one),
        ("auc", "donor bootstrap, pooled"): donor_bootstrap(*rows, repeat, draws=300)[1:],
        ("auc", "donor bootstrap, in folds"): donor_bootstrap(
            *rows, FOLDS * repeat + folds.ravel(), draws=300)[1:],
        ("brier", "corrected t"): resampled_interval(losses, *sizes),
        ("brier", "corrected t, K - 1"): resampled_interval(losses, *sizes, **one),
        ("brier", "nested"): nested_interval(*nested(x, y, donor, n, rng, 10),
                                             np.mean(losses), error, FOLDS)[1:],
    }  # fmt: skip
    whole = ridge(x, y, np.ones((1, len(y))))
    # a rival that reads other features as good: their difference is 0, and no verdict is right
    other = samples(n, effect, per_donor_, rng)[0]
    gap = v - fold_aucs(other, y, folds)[2]
    for name, more in (("corrected t", {}), ("corrected t, K - 1", one)):
        out["difference", name] = resampled_interval(gap, *sizes, **more)
    rival = ridge(other, y, np.ones((1, len(y))))
    fx, fy = fresh
    truth = {("difference", "model"): (true_auc(whole, effect) - true_auc(rival, effect))[0],
             ("difference", "procedure"): 0.0,
             ("auc", "model"): true_auc(whole, effect)[0],
             ("auc", "procedure"): true_auc(coef, effect).mean(),
             ("brier", "model"): ((predict(whole, fx) - fy) ** 2).mean(),
             ("brier", "procedure"): ((predict(coef[:FOLDS], fx) - fy) ** 2).mean()}  # fmt: skip
    return out, truth


def design(n, name, per_donor_, cohorts):
    """Coverage of each candidate in one design."""
    effect = EFFECTS[name]
    fresh = samples(4000, effect, 1, np.random.default_rng(99))[:2]
    runs = [cohort(n, effect, per_donor_, seed, fresh) for seed in range(cohorts)]
    rows = []
    for metric, candidate in runs[0][0]:
        ends = np.array([out[metric, candidate] for out, _ in runs])
        own = np.array([truth[metric, "model"] for _, truth in runs])
        mean = np.mean([truth[metric, "procedure"] for _, truth in runs])
        for estimand, target in (("model", own), ("procedure", np.full(cohorts, mean))):
            held = (ends[:, 0] <= target) & (target <= ends[:, 1])
            rows.append({"donors": n, "effect": name, "samples": per_donor_, "metric": metric,
                         "candidate": candidate, "estimand": estimand, "coverage": held.mean(),
                         "undefined": np.isnan(ends[:, 0]).mean(),
                         "width": np.nanmean(ends[:, 1] - ends[:, 0]),
                         "truth": target.mean()})  # fmt: skip
    return rows


RIVALS = {  # effects of a method and of its rival, of a middle worth of the latter
    "alike": (1.0, 1.0), "a little": (1.4, 1.0), "clearly": (1.8, 1.0), "a lot": (2.5, 1.0),
}  # fmt: skip


def verdict(n, effects, seed):
    """What a table says of two methods on one cohort of one sample a donor, and both true AUROCs.

    They read features of their own, as two modalities would be; the same folds.
    """
    rng = np.random.default_rng([seed, n, *(int(10 * e) for e in effects), 7])
    folds = np.array([dealt(n, rng) for _ in range(REPEATS)])
    values, truths = [], []
    for effect in effects:
        x, y, _ = samples(n, effect, 1, rng)
        coef, _, v = fold_aucs(x, y, folds)
        values.append(v)
        truths.append(true_auc(coef, effect).mean())
    found = corrected_test(values[0] - values[1], n - n / FOLDS, n / FOLDS, freedom=FOLDS - 1)
    return judge(pd.DataFrame([found]), margin=0.01)["verdict"].iloc[0], truths


def power(args):
    """Shares of the verdicts of one method against one rival."""
    rows = []
    for n, name in itertools.product(args.donors, RIVALS):
        said = [verdict(n, RIVALS[name], seed) for seed in range(args.cohorts)]
        words = pd.Series([word for word, _ in said]).value_counts(normalize=True)
        one, two = np.mean([truths for _, truths in said], axis=0)
        rows.append({"donors": n, "rival": name, "AUROC": one, "of the rival": two}
                    | {k: words.get(k, 0.0) for k in ("better", "worse", "practically equal",
                                                      "not told apart", "not tested")})  # fmt: skip
        print(pd.DataFrame(rows).tail(1).round(3).to_string(header=len(rows) == 1), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohorts", type=int, default=1000)
    parser.add_argument("--donors", type=int, nargs="*", default=[20, 40, 100, 200])
    parser.add_argument("--samples", type=int, nargs="*", default=[1, 3])
    parser.add_argument("--effects", nargs="*", default=list(EFFECTS), choices=list(EFFECTS))
    parser.add_argument("--out", type=Path, default=Path("coverage.csv"))
    parser.add_argument("--part", choices=["intervals", "power"], default="intervals")
    args = parser.parse_args()
    if args.part == "power":
        return power(args)
    done = pd.read_csv(args.out) if args.out.exists() else pd.DataFrame()
    for n, name, k in itertools.product(args.donors, args.effects, args.samples):
        if len(done) and ((done["donors"] == n) & (done["effect"] == name)
                          & (done["samples"] == k)).any():  # fmt: skip
            continue
        rows = pd.DataFrame(design(n, name, k, args.cohorts))
        done = pd.concat([done, rows], ignore_index=True)
        done.to_csv(args.out, index=False)
        print(f"{n} donors, {name}, {k} a donor: done", flush=True)
    table = done.pivot_table("coverage", ["metric", "candidate", "estimand", "samples"],
                             ["donors", "effect"], sort=False)  # fmt: skip
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
