"""Integration on real and simulated cells: every method on the same cells, clusters and seeds.

    SMALTI_DATA=... python benchmarks/modalities.py --set citeseq --out runs/ --cache runs/cache
    SMALTI_DATA=... python benchmarks/modalities.py --set snare:0.5 --group table
    python benchmarks/modalities.py --set three --group table
    python benchmarks/modalities.py --set tied:0.5 --group halves
    python benchmarks/modalities.py --set tied-two:0.95 --group halves --data-seed 101

One group of methods at a time with --group, several with commas; killed runs go on from the
cache, and what is there already is read from it. Each run ends with the tables of
docs/results/integration.md: paired differences are to block-scaled PCA, a reference that was
chosen before any score was seen. The variants of UMINT are to be compared by their reconstruction
of held-out cells, without labels.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

import smalti as sm
from smalti.bags import Bags
from smalti.datasets import planted_batches, planted_modalities

FAST = [f"{name}:fast" for name in ("umint", "ae", "dae", "sae")]
FAST += [f"{name}:modality-fast" for name in ("ae", "dae", "sae")]


def umint(**settings):
    """The fast preset with something changed."""
    return sm.make("umint:fast", **settings)


GROUPS = {
    "fast": {name: name for name in FAST},
    "faithful": {name: name for name in ("umint", "ae", "dae", "sae")},
    "variants": {
        "umint:fast, 3600 steps": umint(min_steps=3600),
        "umint:fast, protein encoder of 64": umint(widths=(128, 64)),
        "umint:fast, protein encoder of 64, 3600 steps": umint(widths=(128, 64), min_steps=3600),
        "umint:fast, unit code": umint(unit_code=True),
        "umint:fast, width 32": umint(width=32),
        "umint:fast, no penalties": umint(l1=0.0, l2=0.0),
    },
    "widths": {
        "block_pca, width 15": sm.make("block_pca", width=15),
        "umint:fast, width 15": umint(width=15),
        "mofa, width 64": sm.make("mofa", width=64),
    },
    "halves": {
        f"{name}{how}": sm.make(name, **off)
        for name in ("umint:fast", "ae:modality-fast")
        for how, off in (("", {}), (", as encoded", {"align_halves": False}))
    }
    | {"mofa": "mofa", "mofa, aligned": sm.make("mofa", align_halves=True)},
    "table": {
        name: name
        for name in (
            "umint",
            "umint:fast",
            "ae",
            "dae",
            "sae",
            "ae:modality-fast",
            "dae:modality-fast",
            "sae:modality-fast",
            "mofa",
            "wnn",
        )
    },
    "adapters": {name: name for name in ("mofa", "wnn")},
    "totalvi": {"totalvi": "totalvi"},
}


SETS = ("citeseq", "snare", "two", "three", "tied", "tied-two", "batches")


def data(text: str, cells: int, seed: int = 0) -> tuple[Bags, str]:
    """Cells (simulated ones by a seed of theirs), and the column of their labels."""
    name, _, share = text.partition(":")
    if name not in SETS:
        raise SystemExit(f"--set {text}: choose from {', '.join(SETS)}.")
    gaps = float(share or 0)
    if name in ("two", "three"):
        features = (40, 12) if name == "two" else (40, 12, 60)
        return planted_modalities(cells, features=features, counts=True, effect=8.0,
                                  missing=gaps, seed=seed), "kind"  # fmt: skip
    if name in ("tied", "tied-two"):  # they mostly see one state, so that one tells of another
        features = (40, 12) if name == "tied-two" else (40, 12, 60)
        return planted_modalities(cells, features=features, clusters=5, tied=0.9, counts=True,
                                  effect=5.0, missing=gaps, seed=seed), "state_0"  # fmt: skip
    if name == "batches":  # two, and nothing is told of them: what they cost (batches.py corrects)
        bags = planted_batches(cells, strength=2, seed=seed)
        return (lacking(bags, gaps) if gaps else bags), "cell_type"
    root = os.environ.get("SMALTI_DATA")
    if not root:
        raise SystemExit("SMALTI_DATA is not set: it names the folder of the real data.")
    if name == "citeseq":
        bags, label = sm.read(Path(root) / "citeseq/pbmc10k_citeseq.h5ad"), "cell_type"
    else:
        file = np.load(Path(root) / "multiome/snareseq_cellline_embeddings.npz", allow_pickle=False)
        topics = file["atac_topics"] / file["atac_topics"].sum(1, keepdims=True)
        views = {"rna": file["rna_pca"], "atac": topics.astype(np.float32)}
        bags = Bags.from_rows(views, np.arange(len(topics)))
        bags, label = with_column(bags, file["cell_type"]), "cell_type"
    return (lacking(bags, gaps) if gaps else bags), label


def with_column(bags: Bags, values: np.ndarray) -> Bags:
    return dataclasses.replace(bags, instance=bags.instance.assign(cell_type=values))


def lacking(bags: Bags, share: float) -> Bags:
    """The same cells, of which some lack one modality, drawn among those."""
    rng = np.random.default_rng(0)
    gap, which = rng.random(len(bags)) < share, rng.integers(len(bags.x), size=len(bags))
    present = {name: ~(gap & (which == i)) for i, name in enumerate(bags.x)}
    views = {name: sp.csr_matrix(sp.diags(present[name].astype(np.float32)) @ view)
             if sp.issparse(view) else np.where(present[name][:, None], view, 0).astype(np.float32)
             for name, view in bags.x.items()}  # fmt: skip
    return dataclasses.replace(bags, x=views, present=present)


PROTOCOLS = {  # the algorithm that a method is meant for, then all alike
    "ari_own": "each by its own",
    "ari_kmeans": "all by k-means",
    "ari_leiden": "all by Leiden",
}
OTHERS = {
    "transfer_f1": "label transfer, F1",
    "ors": "reconstruction (ORS)",
    "halves_transfer_f1": "labels of halves, F1",
    "halves_mixing": "mixing of halves",
}


def markdown(result: sm.comparison.IntegrationComparison) -> str:
    """The two tables of a set, with 95 % intervals of the seeds."""
    there = [m for m in OTHERS if m in set(result.folds["metric"])]
    own = {m: meant_for(s) for m, s in result.settings.items()}
    names = [str(m) for m in result.ranked("ari_own")["method"]]
    rows = {m: [f"`{m}`", own.get(m, "Leiden")] for m in names}
    for metric in PROTOCOLS:
        values, gaps = scores(result, metric), answers(result, metric)
        for m in names:
            rows[m] += [values.get(m, ""), gaps.get(m, "")]
    heads = [x for title in PROTOCOLS.values() for x in (title, f"against `{REFERENCE}`")]
    first = table(["method", "meant for", *heads], rows.values())
    more = {m: scores(result, m) for m in there}
    rest = [[f"`{m}`", *(more[k].get(m, "") for k in there)] for m in names]
    return f"{first}\n\n{table(['method', *(OTHERS[k] for k in there)], rest)}"


def beside(done: Mapping[str, sm.comparison.IntegrationComparison]) -> str:
    """One column a set: the ARI of the clusters that a method is meant for, and the answer."""
    cells = {name: (scores(r, "ari_own"), answers(r, "ari_own")) for name, r in done.items()}
    methods = dict.fromkeys(m for values, _ in cells.values() for m in values)
    rows = [[f"`{m}`", *(f"{v[m].split(' ')[0]} {a.get(m, '').split(':')[0]}" if m in v else ""
                         for v, a in cells.values())] for m in methods]  # fmt: skip
    return table(["method", *done], rows)


REFERENCE = "block_pca"


def meant_for(settings: Mapping[str, Any]) -> str:
    by = sm.make(settings["method"]).clusters_by
    return {"kmeans": "k-means", "leiden": "Leiden"}[by]


def scores(result: sm.comparison.IntegrationComparison, metric: str) -> dict[str, str]:
    """Method -> its mean with the ends of its interval."""
    return {r.method: minus(f"{r.value:.3f}{between(r.value_low, r.value_high, '.2f')}")
            for r in result.intervals(metric).itertuples() if np.isfinite(r.value)}  # fmt: skip


def answers(result: sm.comparison.IntegrationComparison, metric: str) -> dict[str, str]:
    """Method -> what the paired test says, and the difference with its interval."""
    return {r.method: minus(f"{r.verdict}: {r.difference:+.3f}{between(r.low, r.high, '+.3f')}")
            for r in result.against(REFERENCE, metric).itertuples()
            if np.isfinite(r.difference)}  # fmt: skip


def between(low: float, high: float, form: str) -> str:
    """Ends of an interval, if the seeds differ at all."""
    return f" ({low:{form}} to {high:{form}})" if np.isfinite(low) else " in every seed"


def minus(text: str) -> str:
    """With signs as they are set."""
    return text.replace("-", "−")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = [f"| {' | '.join(line)} |" for line in (head, *rows)]
    return "\n".join([text[0], "|" + "---|" * len(head), *text[1:]])


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument(
        "--set", nargs="+", default=["citeseq"], metavar="SET[:GAPS]",
        help=f"{', '.join(SETS)}; with the share of cells that lack a modality behind a colon",
    )  # fmt: skip
    ask.add_argument("--group", default="fast", help=f"with commas between: {', '.join(GROUPS)}")
    ask.add_argument("--seeds", type=int, default=10)
    ask.add_argument("--cells", type=int, default=2000, help="of the simulated sets")
    ask.add_argument("--data-seed", type=int, default=0, help="of the simulated sets")
    ask.add_argument("--only", default="", help="methods whose label holds this text")
    ask.add_argument("--jobs", type=int, default=1)
    ask.add_argument("--cache", type=Path)
    ask.add_argument("--out", type=Path, help="folder for tables and report")
    args = ask.parse_args()
    groups = [GROUPS[name] for name in args.group.split(",")]
    chosen = {k: v for group in groups for k, v in group.items() if args.only in k}
    done = {}
    for name in args.set:
        bags, label = data(name, args.cells, args.data_seed)
        print(f"\n## {name}\n")
        done[name] = result = sm.compare_integration(
            chosen, bags, label=label, seeds=args.seeds, n_jobs=args.jobs, cache=args.cache
        )
        print(result)
        print(markdown(result))
        means = result.summary().pivot_table("mean", "method", "metric", sort=False)
        print(means.round(3).to_string())
        print(result.folds.groupby("method", sort=False)["seconds"].mean().round(1).to_string())
        if args.out:
            folder = args.out / name.replace(":", "-")
            result.write(folder)
            result.report(folder / "report.html", title=f"Integration: {name}, {args.group}")
    if len(done) > 1:
        print(f"\n## Sets beside one another\n\n{beside(done)}")


if __name__ == "__main__":
    main()
