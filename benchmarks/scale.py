"""Fit time and peak memory of every method from 50,000 to 1,000,000 cells, and ScRAT's naive form.

    python benchmarks/scale.py                       # the growth table; resumes from scale.csv
    python benchmarks/scale.py --versus scrat        # lazy mixup and attention against naive ones

100 patients, 50 features, 8 types. Each fit runs in a process of its own; memory is the peak above
what the process held with the data loaded. Few epochs: the times compare sizes, not methods.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

SIZES = (50_000, 200_000, 1_000_000)
METHODS = {
    "bag_mean": {}, "type_pseudobulk": {}, "type_composition": {},
    "abmil": dict(epochs=2, widths=[64]), "hier_mil": dict(epochs=2),
    "scrat": dict(epochs=1, augment=100, predict_draws=10),
    "protocell4p": dict(group="cell_type", pretrain_epochs=1, epochs=1),
    "cloudpred": dict(epochs=1, centers=10), "mixture_class": dict(centers=5),
    "mixture_patient": dict(centers=2), "mixmil": dict(epochs=5),
}  # fmt: skip


def peak():
    """Peak memory of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def cohort(n):
    """Gaussian cells of 100 patients."""
    import smalti as sm

    rng = np.random.default_rng(0)
    kind = rng.integers(8, size=n)
    x = rng.standard_normal((n, 50), dtype=np.float32)
    x[:, :8] += 2 * np.eye(8, dtype=np.float32)[kind]
    bag = np.repeat(np.arange(100), n // 100)
    types = pd.Categorical.from_codes(kind, [f"T{i}" for i in range(8)])
    return sm.Bags.from_rows(x, bag, y=(bag % 2), donor="bag",
                             instance=pd.DataFrame({"cell_type": types}))  # fmt: skip


def fit_one(name, n, settings):
    """Seconds to fit and to predict, GiB above the data."""
    import smalti as sm

    warnings.simplefilter("ignore")
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    bags, model = cohort(n), sm.make(name, accelerator="cpu", progress=False, **settings)
    sm.make(name, **settings, progress=False).fit(cohort(2000))  # libraries load at first use
    held, began = peak(), time.perf_counter()
    model.fit(bags)
    fitted = time.perf_counter()
    model.predict(bags)
    return dict(fit=fitted - began, predict=time.perf_counter() - fitted, memory=peak() - held,
                total=peak())  # fmt: skip


def apart(*call):
    """Run a function of this file in a process of its own."""
    out = subprocess.run([sys.executable, __file__, "--call", json.dumps(call)], check=False,
                         capture_output=True, text=True)  # fmt: skip
    if out.returncode:
        return {"error": (out.stderr.strip().splitlines() or ["killed"])[-1][:100]}
    return json.loads(out.stdout.splitlines()[-1])


def growth(path, names, asked):
    """The table of all methods and sizes."""
    done = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["method", "n"])
    for name in names:
        for n in asked:
            if ((done["method"] == name) & (done["n"] == n)).any():
                continue
            row = dict(method=name, n=n) | apart("fit_one", name, n, METHODS[name])
            print(row, flush=True)
            if "error" in row:  # not kept, so that the next run tries again
                continue
            done = pd.concat([done, pd.DataFrame([row])], ignore_index=True)
            done.to_csv(path, index=False)
    sizes = " | ".join(f"{n:,}" for n in asked)
    print(f"\n| method | settings | fit, s at {sizes} | grows as n^ | predict, s at {asked[-1]:,} "
          "| GiB above the data | GiB in all |")  # fmt: skip
    print("|---" * 9 + "|")
    for name in names:
        part = done[done["method"] == name].set_index("n")
        if not set(asked) <= set(part.index):
            print(f"| `{name}` | failed at some size, see above |")
            continue
        fit = [part["fit"].get(n, np.nan) for n in asked]
        power = np.log(fit[-1] / fit[-2]) / np.log(asked[-1] / asked[-2])
        said = ", ".join(f"{k}={v}" for k, v in METHODS[name].items())
        last = part.loc[asked[-1]]
        print(f"| `{name}` | {said} | " + " | ".join(f"{f:.1f}" for f in fit)
              + f" | {power:.2f} | {last['predict']:.1f} | {last['memory']:.2f} | "
              f"{last['total']:.2f} |")  # fmt: skip


# -------------------------------------------------------------------- against the naive form


def scrat_step(lazy, augment, batch):
    """One training step of ScRAT on 100 patients of 1,000 cells; peak GiB above the data."""
    import torch

    import smalti as sm
    from smalti.columns import Columns
    from smalti.core.store import Store
    from smalti.mil.scrat.method import Mixup
    from smalti.mil.scrat.transformer import EncoderBlock

    bags = cohort(100_000)
    held, began = peak(), time.perf_counter()
    torch.manual_seed(0)
    embed, block, head = (
        torch.nn.Linear(50, 128),
        EncoderBlock(128, 8, 256, 0.0),
        torch.nn.Linear(128, 1),
    )
    rng = np.random.default_rng(0)
    if lazy:
        columns = Columns.fit(bags, "cell_type", ())
        store = Store(bags, torch.device("cpu"), torch.float32, columns)
        mix = Mixup(draw=500, draws=1, augment=augment, alpha=0.5, pool=10_000, mix="different",
                    inter_only=True, n_types=8)  # fmt: skip
        units = mix.epoch(np.arange(100), bags.labels, bags.lengths, rng)[:batch]
        x = mix.batch(store, units).x.view(batch, 500, -1)
        h = block(embed(x))
    else:
        # all mixtures in advance, float64, as the released script holds them; plain attention
        table, n = bags.table().astype(np.float64), bags.n_instances
        whole = np.concatenate([table, np.zeros((augment * 10_100, 50))])
        for a in range(augment):
            one, two = rng.integers(n, size=(2, 10_000))
            share, start = rng.beta(0.5, 0.5), n + a * 10_100
            whole[start : start + 10_000] = share * table[one] + (1 - share) * table[two]
        starts = n + 10_100 * rng.integers(augment, size=batch)
        rows = starts[:, None] + rng.integers(10_000, size=(batch, 500))
        x = torch.as_tensor(whole[rows]).float()
        e = embed(x)
        query, key, value = block._heads(e)
        weights = (query @ key.transpose(2, 3) / 4.0).softmax(3)
        h = block._rest(e, weights @ value)
    loss = torch.nn.functional.softplus(head(h.mean(1))).mean()
    loss.backward()
    return dict(memory=peak() - held, seconds=time.perf_counter() - began, version=sm.__version__)


def versus_scrat():
    """Peak memory of one step, by the published sizes and by smaller ones."""
    print(
        "| mixtures | draws in a step | naive, GiB | smalti, GiB | ratio | naive, s | smalti, s |"
    )
    print("|---" * 7 + "|")
    for augment, batch in ((300, 16), (300, 64), (300, 128)):
        naive, lazy = (apart("scrat_step", v, augment, batch) for v in (False, True))
        if "error" in naive or "error" in lazy:
            print(f"| {augment} | {batch} | {naive} | {lazy} | | | |")
            continue
        print(f"| {augment} | {batch} | {naive['memory']:.2f} | {lazy['memory']:.2f} | "
              f"{naive['memory'] / lazy['memory']:.1f} | {naive['seconds']:.1f} | "
              f"{lazy['seconds']:.1f} |", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", help="with commas; all when left out")
    parser.add_argument("--cells", type=int, nargs="+", default=list(SIZES), help="two or more")
    parser.add_argument("--out", type=Path, default=Path("scale.csv"))
    parser.add_argument("--versus", choices=["scrat"])
    parser.add_argument("--call", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.call:
        name, *values = json.loads(args.call)
        print(json.dumps({"fit_one": fit_one, "scrat_step": scrat_step}[name](*values)))
    elif args.versus:
        versus_scrat()
    else:
        names = args.methods.split(",") if args.methods else list(METHODS)
        unknown = sorted(set(names) - set(METHODS))
        if unknown:
            raise SystemExit(f"no method {unknown[0]!r} here; there are {', '.join(METHODS)}.")
        growth(args.out, names, args.cells)


if __name__ == "__main__":
    main()
