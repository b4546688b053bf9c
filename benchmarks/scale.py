"""Fit time and peak memory of every method from 50,000 to 1,000,000 cells, and against naive forms.

    python benchmarks/scale.py                       # the growth table; resumes from scale.csv
    python benchmarks/scale.py --versus scrat        # lazy mixup and attention against naive ones
    python benchmarks/scale.py --versus cloudpred    # one product against loops
    python benchmarks/scale.py --versus mixmil       # a step, against the authors' package

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
from itertools import pairwise
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


# -------------------------------------------------------------------- against naive forms


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


def best_of(function, repeats=5):
    """Least seconds of some runs."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - began)
    return min(seconds), result


def versus_cloudpred():
    """Shares of the clusters and their gradient: one product against loops."""
    import torch

    from smalti.core.store import Store
    from smalti.mil import CloudPred

    print("| cells a patient | clusters | loops, ms | smalti, ms | ratio | largest difference |")
    print("|---" * 6 + "|")
    for n, k in ((20_000, 10), (20_000, 25), (100_000, 25)):
        bags = cohort(n)
        net = CloudPred(centers=k, starts=1, joint=False, em_rounds=5, max_cells=5_000).fit(
            bags).network_  # fmt: skip
        batch = Store(bags, torch.device("cpu"), torch.float32).batch(np.arange(100))

        def loops(net=net, batch=batch, k=k):
            x, ends = net.cells(batch.x), batch.segments.offsets.tolist()
            weight, var = net.log_weights.log_softmax(0), net.log_variances.exp()
            out = []
            for start, stop in pairwise(ends):
                each = []
                for j in range(k):
                    d = x[start:stop] - net.means[j]
                    quadratic = -0.5 * (d * d / var[j] + var[j].log() + np.log(2 * np.pi))
                    each.append(weight[j] + quadratic.sum(1))
                out.append(torch.stack(each, 1).softmax(1).mean(0))
            shares = torch.stack(out)
            net.zero_grad()
            shares.square().sum().backward()
            return shares.detach()

        def ours(net=net, batch=batch, k=k):
            shares = net.features(batch)[:, :k]
            net.zero_grad()
            shares.square().sum().backward()
            return shares.detach()

        (slow, a), (fast, b) = best_of(loops, 3), best_of(ours)
        print(f"| {n // 100} | {k} | {slow * 1e3:.0f} | {fast * 1e3:.1f} | {slow / fast:.1f} | "
              f"{(a - b).abs().max():.1e} |", flush=True)  # fmt: skip


def versus_mixmil():
    """An epoch of the simulation of the authors (1,000 bags of 50, 10 outputs)."""
    from smalti.datasets import mixmil_bags
    from smalti.mil import MixMIL

    def an_epoch(run, few, many):
        return (best_of(lambda: run(many), 3)[0] - best_of(lambda: run(few), 3)[0]) / (many - few)

    bags = mixmil_bags(1000)
    ours = an_epoch(lambda n: MixMIL(epochs=n, progress=False).fit(bags), 1, 21)
    print(f"smalti: {ours * 1e3:.0f} ms an epoch of 16 steps", flush=True)
    try:
        import torch
        from mixmil import MixMIL as Theirs
    except ImportError as error:
        print(f"the authors' package cannot be imported ({error}): no ratio")
        return
    ragged = [torch.as_tensor(b.table()) for b in bags]
    f, y = torch.ones(1000, 1), torch.as_tensor(bags.labels).float()
    model = Theirs.init_with_mean_model(ragged, f, y, likelihood="binomial", n_trials=2)
    for what, x in (("list of bags", ragged), ("one tensor of equal bags", torch.stack(ragged))):
        theirs = an_epoch(lambda n, x=x: model.train(x, f, y, n_epochs=n, verbose=False), 1, 6)
        print(
            f"mixmil, {what}: {theirs * 1e3:.0f} ms an epoch; ratio {theirs / ours:.1f}", flush=True
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", help="with commas; all when left out")
    parser.add_argument("--cells", type=int, nargs="+", default=list(SIZES), help="two or more")
    parser.add_argument("--out", type=Path, default=Path("scale.csv"))
    parser.add_argument("--versus", choices=["scrat", "cloudpred", "mixmil"])
    parser.add_argument("--call", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.call:
        name, *values = json.loads(args.call)
        print(json.dumps({"fit_one": fit_one, "scrat_step": scrat_step}[name](*values)))
    elif args.versus:
        {"scrat": versus_scrat, "cloudpred": versus_cloudpred, "mixmil": versus_mixmil}[
            args.versus
        ]()
    else:
        names = args.methods.split(",") if args.methods else list(METHODS)
        unknown = sorted(set(names) - set(METHODS))
        if unknown:
            raise SystemExit(f"no method {unknown[0]!r} here; there are {', '.join(METHODS)}.")
        growth(args.out, names, args.cells)


if __name__ == "__main__":
    main()
