"""EfficientNet-Lite0, morphology and both on drawn tiles: planted genes, and a planted phenotype.

    python benchmarks/encoders.py [--seeds 4] [--cache runs/cache]

Genes: `planted_slides`, whose genes follow density, size and eosin of the drawn nuclei; ridge, each
donor left out. Programme DDD follows a field that no tile shows and is not asked. Phenotype: bags
of tiles of the same kind; a fifth of the tiles of a case have larger nuclei, or denser ones;
bag_mean, folds by bag. The drawings know only these looks, and morphology measures each by name:
what is better here need not be better on tissue. A seed is a data set of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import ttest_rel

import smalti as sm
from smalti.datasets.slides import draw_tile

LITE = "efficientnet-lite0"
ENCODERS = (LITE, "morphology", f"{LITE}+morphology")
LOOKS = {"density": 0, "size": 1}
TILES, SHARE, SHIFT = 10, 0.2, 2.0


def cases(look: str, seed: int, n: int) -> sm.Bags:
    """Bags of drawn tiles, half of them cases."""
    rng = np.random.default_rng([seed, LOOKS[look]])
    label = np.repeat(np.arange(n) % 2, TILES)
    fields = rng.normal(0, 0.7, size=(n * TILES, 3))
    fields[:, LOOKS[look]] += SHIFT * label * (np.tile(np.arange(TILES), n) < SHARE * TILES)
    tiles = np.stack([draw_tile(f, 64, rng)[0] for f in fields])
    bag = np.repeat([f"B{i:02d}" for i in range(n)], TILES)
    table = pd.DataFrame({"case": np.arange(n) % 2, "donor": np.unique(bag), "um_per_px": 1.0},
                         index=np.unique(bag))  # fmt: skip
    return sm.Bags.from_rows({"tile": tiles}, bag, target="case", donor="donor", bag=table)


def phenotype(look: str, seed: int, n: int, cache: Path) -> dict[str, float]:
    """Encoder -> AUROC of left-out bags, mean over folds."""
    bags, out = cases(look, seed, n), {}
    for encoder in ENCODERS:
        own = sm.features.extract(bags, encoder, cache=cache, progress=False)
        own = dataclasses.replace(own, x={"x": own.table(f"X_{encoder}")}, features={})
        found = sm.compare(["bag_mean"], own, folds=4, n_jobs=1, progress=False).folds
        found = found[(found["method"] == "bag_mean") & (found["metric"] == "roc_auc")]
        out[encoder] = float(found["value"].mean())
    return out


def genes(seed: int, tiles: int, cache: Path) -> dict[str, float]:
    """Encoder -> mean Pearson within a slide of the genes that tiles can tell."""
    bags = sm.datasets.planted_slides(6, tiles, donors=3, images=True, law_seed=seed, seed=seed)
    for encoder in ENCODERS:
        bags = sm.features.extract(bags, encoder, cache=cache, progress=False)
    names = tuple(g for g in bags.features["counts"] if not g.startswith("DDD"))
    rows = {e: sm.make("ridge", x=f"X_{e}") for e in ENCODERS}
    found = sm.compare_expression(rows, bags, genes=names, n_jobs=1, progress=False).folds
    found = found[found["metric"] == "pcc_slide"].groupby("method")["value"].mean()
    return {e: float(found[e]) for e in ENCODERS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--bags", type=int, default=24)
    parser.add_argument("--tiles", type=int, default=25, help="of a slide with genes")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    args = parser.parse_args()
    jobs = {"genes, Pearson within a slide": lambda seed: genes(seed, args.tiles, args.cache)} | {
        f"a fifth of the tiles, {look}, AUROC": lambda seed, look=look: phenotype(
            look, seed, args.bags, args.cache) for look in LOOKS
    }  # fmt: skip
    for what, job in jobs.items():
        found = pd.DataFrame([job(seed) for seed in range(args.seeds)])
        said = ", ".join(f"{e} {found[e].mean():.3f} ± {found[e].std():.3f}" for e in ENCODERS)
        print(f"{what}: {said}")
        for other in ENCODERS[1:]:
            test = ttest_rel(found[other], found[LITE])
            low, high = test.confidence_interval(0.95)
            word = "better" if low > 0 else "worse" if high < 0 else "not told apart"
            gap = (found[other] - found[LITE]).mean()
            print(f"  {other} - {LITE}: {gap:+.3f} ({low:+.3f} to {high:+.3f}), {word}", flush=True)


if __name__ == "__main__":
    main()
