"""The methods of slides beside mean, maximum and attention with one encoder, and torchmil's own.

    python benchmarks/slide_methods.py logits                 # same weights, same bags
    python benchmarks/slide_methods.py scores --sets musk1    # same folds, seeds, budget
    python benchmarks/slide_methods.py time                   # CPU seconds in turn
    python benchmarks/slide_methods.py page                   # draws the page of docs

``scores`` compares all of ``METHODS`` at their defaults, or those named (``--methods``); a method
enters by one line there. Beside those that torchmil has too (optional, ``pip install torchmil``)
stand its models, in our loop (see ``torchmil_models.py``). What a run finds is kept in ``--out``,
set by set.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from torch import Tensor, nn

import smalti as sm
from slide_methods_page import page
from smalti.batch import Batch
from torchmil_models import (
    COPIES,
    LOSSES,
    PEERS,
    EachPiece,
    TorchMIL,
    has_torchmil,
    padded,
    torchmil_model,
)

PAGE = Path(__file__).parent.parent / "docs" / "results" / "slide-methods.md"
METHODS: dict[str, dict[str, Any]] = {  # name in the tables -> method and settings
    "mean_pooling": {"name": "mean_pooling"},
    "max_pooling": {"name": "max_pooling"},
    "abmil": {"name": "abmil", "gated": True},
    "clam": {"name": "clam"},
    "clam, multi": {"name": "clam", "branches": "multi"},
    "dsmil": {"name": "dsmil"},
    "additive_mil": {"name": "additive_mil"},
    "acmil": {"name": "acmil"},
    # width and landmarks of the others' encoder, and steps of more than its one bag, for time
    "transmil": {"name": "transmil", "widths": (128,), "landmarks": 64, "batch_size": 8},
    "dtfd": {"name": "dtfd", "widths": (128,), "batch_size": 8},
}
# settings of a method that its peer is given too: all but those of the network itself
TRAINING = ("widths", "dropout", "lr", "weight_decay", "batch_size")
REFERENCE = "abmil"


# ---------------------------------------------------------------- same weights


def bags_of(lengths: list[int], width: int = 8) -> sm.Bags:
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(n, width)).astype(np.float32) for n in lengths]
    return sm.Bags.from_list(x, np.arange(len(x)) % 2)


def logits(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Largest differences of logits and of losses, of bags alone and padded together."""
    bags, rows = bags_of([1, 2, 3, 5, 16, 40, 25, 90, 17, 200] * 5), []
    for name in COPIES:
        settings = {k: v for k, v in METHODS[name].items() if k != "name"}
        model = sm.make(METHODS[name]["name"], encoder="none", standardize=False, epochs=1,
                        precision="64-true", progress=False, **settings).fit(bags)  # fmt: skip
        ours = model.network_.state_dict()
        peer = torchmil_model(name, (8,), nn.Identity()).double().eval()
        copied = {k: make(ours) for k, make in COPIES[name].items()}
        missing, _ = peer.load_state_dict(copied, strict=False)
        assert not missing, missing
        rows.append({"method": name, **differences(model, peer, bags)})
        if name == "clam":
            peer.inst_loss_fn = EachPiece()
            rows.append({"method": "clam, each piece beside its own label",
                         **differences(model, peer, bags)})  # fmt: skip
    print(pd.DataFrame(rows).to_string(), flush=True)
    return rows


@torch.no_grad()
def differences(model: Any, peer: nn.Module, bags: sm.Bags) -> dict[str, float]:
    x, offsets = torch.as_tensor(bags.table()).double(), torch.as_tensor(bags.offsets)
    y = torch.as_tensor(model.task_.encode(bags.labels))
    wanted = torch.as_tensor(model.forward(bags)[0][:, 0])
    batch = Batch({"x": x}, sm.segment.Segments.of(offsets))
    losses = LOSSES[type(model).name](model, model.network_.train()(batch), y)
    full, mask = padded(x, offsets)
    long = np.flatnonzero(bags.lengths >= 16)  # of shorter ones pieces are in both of its sets

    def logit(x: Tensor, mask: Tensor) -> Tensor:
        return peer.predict(x, mask, return_inst_pred=False).reshape(-1)

    def loss(i: int, n: int) -> Tensor:
        terms = peer.compute_loss(y[i : i + 1], full[i : i + 1, :n], mask[i : i + 1, :n])[1]
        return sum(terms.values()).reshape(())

    alone = torch.cat([logit(full[[i], :n], mask[[i], :n]) for i, n in enumerate(bags.lengths)])
    own = torch.stack([loss(i, bags.lengths[i]) for i in long])
    with_pads = torch.stack([loss(i, full.shape[1]) for i in long])

    def far(a: Tensor, b: Tensor) -> float:
        return float((a - b).abs().max())

    return {"logit, bag alone": far(alone, wanted), "logit, padded": far(logit(full, mask), wanted),
            "loss, bag alone": far(own, losses[long]),
            "loss, padded": far(with_pads, losses[long])}  # fmt: skip


# ---------------------------------------------------------------- scores


def glas(args: argparse.Namespace) -> sm.Bags:
    from glas import images, seen_by

    data = Path(os.environ["SMALTI_DATA"])
    return seen_by(images(data), "lite0 dense", Path(args.cache) / "features")


def digits(args: argparse.Namespace) -> sm.Bags:
    bags = sm.datasets.mnist_bags(args.bags or 100, seed=0)
    flat = np.asarray(next(iter(bags.x.values()))).reshape(bags.n_instances, -1)
    return dataclasses.replace(bags, x={"pixels": flat.astype(np.float32)})


def planted(args: argparse.Namespace) -> sm.Bags:
    """One piece in twelve tells, in bags of some 100; two bags a donor."""
    return sm.datasets.planted_bags(args.bags or 120, mean_length=100.0, n_features=16,
                                    witness_rate=0.08, effect=2.0, bags_per_donor=2,
                                    seed=0)  # fmt: skip


SETS: dict[str, Callable[[argparse.Namespace], sm.Bags]] = {
    "planted": planted,
    "musk1": lambda args: sm.datasets.load("musk1"),
    "elephant": lambda args: sm.datasets.load("elephant"),
    "mnist": digits,
    "glas": glas,
}


STEPS = {"glas": "scale,pca=32", "mnist": "pca=32"}  # fitted in the fold, of all methods


def peer_of(name: str, method: Any, budget: dict[str, Any]) -> TorchMIL:
    """torchmil's model of a method, trained as that is."""
    same = {k: getattr(method, k) for k in TRAINING}
    if name == "transmil":
        same["dropout"] = 0.0  # it is of the attention there, not of the encoder
    return TorchMIL(model=name, **same, **budget)


def contenders(args: argparse.Namespace, with_peers: bool) -> dict[str, Any]:
    budget = {"epochs": args.epochs, "progress": False}
    asked = dict.fromkeys([REFERENCE, *(args.methods or METHODS)])
    found = {name: sm.make(**METHODS.get(name, {"name": name}), **budget) for name in asked}
    if with_peers:
        there = [n for n in args.peers if n in asked]
        found |= {f"torchmil {n}": peer_of(n, found[n], budget) for n in there}
        if "clam" in there:
            found["torchmil clam, mended"] = clone(found["torchmil clam"]).set_params(mended=True)
    return found


def command(name: str, args: argparse.Namespace) -> str:
    """What makes the scores of a set again."""
    numbers = ("folds", "repeats", "epochs", "bags")
    said = [f"--{k} {getattr(args, k)}" for k in numbers if getattr(args, k)]
    said += [f"--{k} {' '.join(getattr(args, k))}" for k in ("methods", "peers") if
             getattr(args, k)]  # fmt: skip
    return " ".join(["benchmarks/slide_methods.py scores --sets", name, *said])


def gap(table: pd.DataFrame, method: str) -> dict[str, Any]:
    row = table.set_index("method").loc[method]
    return {"difference": float(row["difference"]), "low": float(row["low"]),
            "high": float(row["high"]), "verdict": str(row["verdict"])}  # fmt: skip


def scores(args: argparse.Namespace) -> dict[str, Any]:
    """For each set, AUROC of left-out donors, beside the reference and beside torchmil."""
    chosen, out = contenders(args, has_torchmil()), {}
    for name in args.sets:
        bags = SETS[name](args)
        table = sm.compare(chosen, bags, folds=args.folds, repeats=args.repeats, n_jobs=1,
                           preprocess=STEPS.get(name), progress=False,
                           cache=f"{args.cache}/{name}")  # fmt: skip
        means = table.intervals("roc_auc").set_index("method").dropna(subset="value")
        beside, rows = table.against(REFERENCE, "roc_auc"), []
        for method, row in means.iterrows():
            found = {"method": str(method), "value": float(row["value"]),
                     "low": float(row["value_low"]), "high": float(row["value_high"])}  # fmt: skip
            if method != REFERENCE:
                found["to reference"] = gap(beside, str(method))
            for end in ("", ", mended"):
                if (peer := f"torchmil {method}{end}") in means.index:  # else it failed
                    found[f"to torchmil{end}"] = gap(table.against(peer, "roc_auc"), str(method))
            rows.append(found)
        steps = f"; {STEPS[name]} in the fold" if name in STEPS else ""
        about = f"{table.about}{steps}; {args.folds} folds by donor; {args.epochs} epochs"
        if failed := [n for n in chosen if n not in means.index]:
            about += f"; failed there: {', '.join(failed)}"
        out[name] = {"about": about, "command": command(name, args), "rows": rows}
        print(f"\n{name}: {about}\n{pd.json_normalize(rows).round(3).to_string()}", flush=True)
    return out


# ---------------------------------------------------------------- time


def timed(args: argparse.Namespace) -> list[dict[str, Any]]:
    """CPU seconds of a fit of a few epochs, in turn: of bags that differ in length as slides do."""
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.normal(np.log(args.tiles), 0.7, args.bags or 16)).astype(int) + 20
    bags = bags_of(lengths.tolist(), args.width)
    settings = {"epochs": 2, "widths": (128,), "batch_size": 4, "progress": False,
                "accelerator": "cpu"}  # fmt: skip
    chosen = {name: METHODS.get(name, {"name": name}) for name in args.methods or METHODS}
    if has_torchmil():
        chosen |= {f"torchmil {n}": {"model": n} for n in PEERS if n in chosen}
    spent: dict[str, list[float]] = {name: [] for name in chosen}
    torch.set_num_threads(1)
    for round_ in range(args.rounds + 1):
        for name, what in chosen.items():
            began = time.process_time()
            (sm.make if "name" in what else TorchMIL)(**(what | settings)).fit(bags)
            if round_:  # the first warms up
                spent[name].append(time.process_time() - began)
    rows = []
    for name, each in spent.items():
        row: dict[str, Any] = {"method": name, "seconds": each}
        if f"torchmil {name}" in spent:
            row["ratios"] = [b / a for a, b in zip(each, spent[f"torchmil {name}"], strict=True)]
        rows.append(row)
        print(name, [round(s, 3) for s in each], flush=True)
    said = f"{len(bags)} bags of {lengths.min()} to {lengths.max()} x {args.width}"
    return [{"about": said, "rows": rows}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["logits", "scores", "time", "page"])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--methods", nargs="+", help="any of smalti; by default all listed here")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), help="of torchmil, in scores")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--bags", type=int, help="of the sets that are made here")
    parser.add_argument("--tiles", type=int, default=800, help="of a bag that is timed")
    parser.add_argument("--width", type=int, default=256, help="of a tile that is timed")
    parser.add_argument("--rounds", type=int, default=5, help="of timing")
    parser.add_argument("--cache", default="runs/slide_methods")
    parser.add_argument("--out", type=Path, default=PAGE.with_suffix(".json"))
    args = parser.parse_args()
    kept = json.loads(args.out.read_text()) if args.out.exists() else {}
    if args.part == "page":
        args.out.with_suffix(".md").write_text(page(kept, REFERENCE), encoding="utf-8")
        return
    if args.part == "scores":
        kept["scores"] = kept.get("scores", {}) | scores(args)
    elif args.part == "time":
        kept["time"] = timed(args)
    elif has_torchmil():
        kept["logits"] = logits(args)
    args.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
