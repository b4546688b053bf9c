"""Maps of three genes over a section that no fit has seen: measured, predicted, difference.

``SMALTI_DATA=... python benchmarks/gene_maps.py --out gene_maps.png``. The genes are
those that ridge predicts best when the training sections are left out in turn.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import smalti as sm
from her2st import slides
from smalti.comparison.expression_fit import best_predicted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slide", default="C3")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--out", type=Path, default=Path("gene_maps.png"))
    parser.add_argument("--spots", type=int, help="of a section, the first; for a trial")
    args = parser.parse_args()
    bags, genes = slides(Path(os.environ["SMALTI_DATA"]), args.cache, 785, args.spots)
    of_donor = bags.bag["patient"] == bags.bag.loc[args.slide, "patient"]
    train = bags[(of_donor & (bags.bag.index != args.slide)).to_numpy()]
    test = bags[(bags.bag.index == args.slide).nonzero()[0]]
    model = sm.expression.Ridge(x="X_morphology", genes=genes).fit(train)
    best = best_predicted(train, "X_morphology", model.measured(train), 3)
    names = [model.genes_[i] for i in best]
    figure = sm.plot.plot_gene_maps(
        test, names, model.measured(test)[:, best], model.predict(test)[:, best], spot_um=100,
        title=f"Section {args.slide}, not in training",
    )  # fmt: skip
    figure.savefig(args.out)
    print(f"{', '.join(names)}: {args.out}")


if __name__ == "__main__":
    main()
