"""Integration on real and simulated cells: every method on the same cells, clusters and seeds.

    SMALTI_DATA=... python benchmarks/modalities.py --set citeseq --out runs/ --cache runs/cache
    SMALTI_DATA=... python benchmarks/modalities.py --set snare --gaps 0.5
    python benchmarks/modalities.py --set three
    python benchmarks/modalities.py --set tied --gaps 0.5 --group halves
    python benchmarks/modalities.py --set tied-two --gaps 0.95 --group halves --data-seed 101

One group of methods at a time with --group; killed runs go on from the cache. The
variants of UMINT are to be compared by their reconstruction of held-out cells, without labels.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path

import numpy as np
import scipy.sparse as sp

import smalti as sm
from smalti.bags import Bags
from smalti.datasets import planted_modalities

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
    "adapters": {name: name for name in ("mofa", "wnn")},
    "totalvi": {"totalvi": "totalvi"},
}


def data(name: str, gaps: float, cells: int, seed: int = 0) -> tuple[Bags, str]:
    """Cells (simulated ones by a seed of theirs), and the column of their labels."""
    if name in ("two", "three"):
        features = (40, 12) if name == "two" else (40, 12, 60)
        return planted_modalities(cells, features=features, counts=True, effect=8.0,
                                  missing=gaps, seed=seed), "kind"  # fmt: skip
    if name in ("tied", "tied-two"):  # they mostly see one state, so that one tells of another
        features = (40, 12) if name == "tied-two" else (40, 12, 60)
        return planted_modalities(cells, features=features, clusters=5, tied=0.9, counts=True,
                                  effect=5.0, missing=gaps, seed=seed), "state_0"  # fmt: skip
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


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument(
        "--set", choices=("citeseq", "snare", "two", "three", "tied", "tied-two"), default="citeseq"
    )
    ask.add_argument("--group", choices=tuple(GROUPS), default="fast")
    ask.add_argument("--gaps", type=float, default=0.0, help="share of cells lacking a modality")
    ask.add_argument("--seeds", type=int, default=10)
    ask.add_argument("--cells", type=int, default=2000, help="of the simulated sets")
    ask.add_argument("--data-seed", type=int, default=0, help="of the simulated sets")
    ask.add_argument("--only", default="", help="methods whose label holds this text")
    ask.add_argument("--jobs", type=int, default=1)
    ask.add_argument("--cache", type=Path)
    ask.add_argument("--out", type=Path, help="folder for tables and report")
    args = ask.parse_args()
    chosen = {k: v for k, v in GROUPS[args.group].items() if args.only in k}
    bags, label = data(args.set, args.gaps, args.cells, args.data_seed)
    result = sm.compare_integration(
        chosen, bags, label=label, seeds=args.seeds, n_jobs=args.jobs, cache=args.cache
    )
    print(result)
    wide = result.summary().pivot_table(index="method", columns="metric", values="mean", sort=False)
    print(wide.round(3).to_string())
    print(result.folds.groupby("method", sort=False)["seconds"].mean().round(1).to_string())
    if args.out:
        result.write(args.out)
        result.report(args.out / "report.html", title=f"Integration: {args.set}, {args.group}")


if __name__ == "__main__":
    main()
