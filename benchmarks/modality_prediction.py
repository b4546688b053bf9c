"""One modality from the others: integrations that impute beside ridge and nearest cells.

    SMALTI_DATA=... python benchmarks/modality_prediction.py --out runs/ --cache runs/cache
    python benchmarks/modality_prediction.py --set tied

Of CITE-seq protein from RNA, or with --target the other way.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import smalti as sm
from smalti.datasets import planted_modalities

METHODS = {
    "umint:fast": sm.make("umint:fast"),
    "umint:fast, drop=0.3": sm.make("umint:fast", drop=0.3),
    "umint:fast, as encoded": sm.make("umint:fast", align_halves=False),
    "ae:modality-fast": sm.make("ae:modality-fast"),
    "mofa": sm.make("mofa"),
    "block_pca": sm.make("block_pca"),
}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--set", choices=("citeseq", "tied"), default="citeseq")
    ask.add_argument("--target", help="view to predict; protein where left out")
    ask.add_argument("--seeds", type=int, default=5)
    ask.add_argument("--cells", type=int, default=2000, help="of the simulated set")
    ask.add_argument("--only", default="", help="methods whose label holds this text")
    ask.add_argument("--cache", type=Path)
    ask.add_argument("--out", type=Path, help="folder for tables and report")
    args = ask.parse_args()
    if args.set == "tied":
        bags = planted_modalities(args.cells, clusters=5, tied=0.9, effect=5.0, counts=True)
    elif root := os.environ.get("SMALTI_DATA"):
        bags = sm.read(Path(root) / "citeseq/pbmc10k_citeseq.h5ad")
    else:
        raise SystemExit("SMALTI_DATA is not set: it names the folder of the real data.")
    target = args.target or next(v for v in bags.x if v.startswith("protein"))
    chosen = {k: m for k, m in METHODS.items() if args.only in k}
    result = sm.compare_modality_prediction(
        chosen, bags, target=target, seeds=args.seeds, n_jobs=1, cache=args.cache
    )
    print(result)
    print(result.folds.groupby("method", sort=False)["seconds"].mean().round(1).to_string())
    print(result.by_feature().round(3).to_string())
    if args.out:
        result.write(args.out)
        result.report(args.out / "report.html", title=f"Prediction of {target}: {args.set}")


if __name__ == "__main__":
    main()
