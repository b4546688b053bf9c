"""Are the p-values of key_groups true? Simulated cohorts of every design of donors and labels.

    python benchmarks/key_groups.py --cohorts 2000 --out key_groups.csv

A cohort is one number per sample, the contribution of one type of cells: a level of the donor
(s.d. 1.5) and noise of the sample (s.d. 1), both skewed; a planted type is shifted by the label.
No model is fitted: what is tested is the test. One p per cohort, 999 permutations. Columns: share
of null cohorts with p <= 0.05, and its standard error; p of a Kolmogorov-Smirnov test against
uniform p, where p can take 200 values and more; power, the share of p <= 0.05 where a type is
planted (shift 1.5); and what the null share is if samples are permuted as if each were a donor.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from smalti.scores.exchange import Exchange

Cohort = tuple[np.ndarray, np.ndarray, np.ndarray]


def one_sample(rng, n=30):
    """Every donor has one sample."""
    return np.arange(n), rng.permutation(np.arange(n) % 2)


def one_label(rng, n=30):
    """One to four samples of a donor, all of one label."""
    donor = np.repeat(np.arange(n), rng.integers(1, 5, n))
    return donor, rng.permutation(np.arange(n) % 2)[donor]


def three_samples(rng, n=20):
    """Three samples of a donor, all of one label."""
    donor = np.repeat(np.arange(n), 3)
    return donor, rng.permutation(np.arange(n) % 2)[donor]


def paired(rng, n=16):
    """A control and a treated sample of each donor."""
    return np.repeat(np.arange(n), 2), np.tile([0, 1], n)


def few_pairs(rng):
    """The same of eight donors: all 256 arrangements."""
    return paired(rng, 8)


def third_mixed(rng, n=24):
    """A third of the donors have both labels, the others one or two samples of one."""
    donor, y = paired(rng, n // 3)
    alone = np.repeat(np.arange(n - n // 3), rng.integers(1, 3, n - n // 3))
    return np.r_[donor, alone + n], np.r_[y, rng.permutation(np.arange(n - n // 3) % 2)[alone]]


def two_to_one(rng, n=16):
    """Three samples of a donor, one or two of them treated."""
    return np.repeat(np.arange(n), 3), (np.arange(3) < rng.integers(1, 3, n)[:, None]).ravel()


def two_controls(rng, n=16):
    """Two control samples and a treated one of each donor."""
    return np.repeat(np.arange(n), 3), np.tile([0, 0, 1], n)


def more_of_the_ill(rng):
    """Twenty-four of one sample, eight ill ones of five: the label tells how many."""
    donor = np.repeat(np.arange(32), np.where(np.arange(32) < 24, 1, 5))
    return donor, (donor >= 24).astype(int)


def more_of_the_well(rng):
    """Twenty-four of five samples, eight ill ones of one."""
    donor = np.repeat(np.arange(32), np.where(np.arange(32) < 24, 5, 1))
    return donor, (donor >= 24).astype(int)


def three_against_three(rng):
    """Six donors: all 20 arrangements, none tells much."""
    return np.arange(6), np.arange(6) % 2


def values_in_donors(rng, n=16):
    """A number as target, two samples of each donor."""
    return np.repeat(np.arange(n), 2), rng.normal(size=2 * n)


DESIGNS = (one_sample, one_label, three_samples, paired, few_pairs, third_mixed, two_to_one,
           two_controls, more_of_the_ill, more_of_the_well, three_against_three,
           values_in_donors)  # fmt: skip


def cohort(design, rng, shift=0.0) -> Cohort:
    """Contributions (n, 1), labels and donors of the samples, in any order."""
    donor, y = design(rng)
    donor = np.unique(donor, return_inverse=True)[1]
    level = 1.5 * (rng.exponential(size=donor.max() + 1) - 1)
    value = level[donor] + rng.exponential(size=len(donor)) - 1 + shift * y
    order = rng.permutation(len(donor))
    return value[order, None], y[order].astype(float), donor[order]


def p_values(design, cohorts, seed, shift=0.0, alone=False) -> np.ndarray:
    """(cohorts,) one p of each; ``alone``: as if each sample were a donor."""
    p = np.empty(cohorts)
    for i in range(cohorts):
        rng = np.random.default_rng([seed, DESIGNS.index(design), i])
        values, y, donors = cohort(design, rng, shift)
        exchange = Exchange.of(y, np.arange(len(y)) if alone else donors)
        p[i] = exchange.test(values, y, 999, seed=i).p[0]
    return p


def row(design, cohorts) -> dict[str, object]:
    """What is said of one design."""
    p = p_values(design, cohorts, 0)
    share = float((p <= 0.05).mean())
    return {
        "design": design.__doc__.rstrip("."), "p <= 0.05": share,
        "s.e.": np.sqrt(0.05 * 0.95 / cohorts),
        "uniform": stats.kstest(p, "uniform").pvalue if len(np.unique(p)) >= 200 else np.nan,
        "power": float((p_values(design, cohorts // 4, 1, 1.5) <= 0.05).mean()),
        "samples permuted": float((p_values(design, cohorts // 4, 0, alone=True) <= 0.05).mean()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohorts", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = []
    for design in DESIGNS:
        rows.append(row(design, args.cohorts))
        print(pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1), flush=True)
    table = pd.DataFrame(rows)
    if args.out is not None:
        table.to_csv(args.out, index=False)
    print(table.round(4).to_string(index=False))


if __name__ == "__main__":
    main()
