"""What the audit of leaks finds, and how often it speaks where there is nothing.

    python benchmarks/audit.py --part copies --repeats 20
    python benchmarks/audit.py --part clean --repeats 200
    python benchmarks/audit.py --part gated --repeats 20
    python benchmarks/audit.py --part integrations --repeats 200

copies: a share of the cells of each donor is copied into another, with noise. fitted: embeddings
of the whole cohort. names: donors under two names. tiles: tiles that overlap over a split. clean:
cohorts without any leak, with donor effects, unequal sizes, names such as S1_a and D10, effects of
the label or none; kinds that speak all the same. gated: labels of cells that were cut from a
modality which is integrated. integrations: cells whose types differ in all modalities by
themselves; kinds that speak all the same. real: kinds found in real sets. speed: one large cohort.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

import smalti as sm
from smalti.bags import Bags
from smalti.leaks.case import Case
from smalti.leaks.gated import gated as cut


def cohort(seed, donors=24, cells=60, features=30, kind="normal"):
    """A clean cohort, each differently: bags, and the table that they were made of."""
    rng = np.random.default_rng([seed, 5])
    sizes = np.maximum(5, rng.lognormal(np.log(cells), 0.5, donors)).astype(int)
    y = rng.permutation(np.arange(donors) % 2)
    rows = np.repeat(np.arange(donors), sizes)
    types = rng.choice(4, len(rows), p=[0.4, 0.3, 0.25, 0.05])
    level = rng.normal(0, 1, (4, features))[types] + 0.3 * rng.normal(size=(donors, features))[rows]
    if seed % 2:  # an effect in one type, along one direction
        level += np.where(types == 1, y[rows], 0)[:, None] * rng.normal(0, 0.5, features)
    if kind == "counts":
        x = rng.poisson(np.exp(level - 1)).astype(np.float32)
    else:
        x = (level + rng.normal(size=level.shape)).astype(np.float32)
    names = [
        [f"S{i // 2}_{'ab'[i % 2]}" for i in range(donors)],
        [f"D{i}" for i in range(1, donors + 1)],
        [f"{'patient' if y[i] else 'donor'}_{i // 2 + 1}{'' if i % 2 else 'x'}"
         for i in range(donors)],
        [f"P{i // 3}_rep{i % 3}" for i in range(donors)],
    ][seed % 4]  # fmt: skip
    table = pd.DataFrame({
        "person": names, "label": np.where(y == 1, "ill", "well"), "age": rng.normal(50, 9, donors),
        "sex": rng.choice(["f", "m"], donors), "batch": rng.choice(["b1", "b2", "b3"], donors),
        "date": [f"2024-0{rng.integers(1, 7)}-1{rng.integers(10)}" for _ in range(donors)],
    }, index=[f"bag{i}" for i in range(donors)])  # fmt: skip
    return Bags.from_rows(
        x,
        table.index.to_numpy()[rows],
        target="label",
        donor="person",
        bag=table,
        instance=pd.DataFrame({"cell_type": np.array(list("TBNM"))[types]}),
    )


def with_rows(bags, x):
    """The same bags with other features."""
    return dataclasses.replace(bags, x={"x": np.asarray(x)})


def copied(bags, share, noise, rng):
    """A share of the cells of each donor take the place of cells of the next one."""
    x = bags.x["x"].copy()
    spread = x.std(0)
    for i in range(0, len(bags), 2):
        here, there = (np.arange(*bags.offsets[[k, k + 1]]) for k in (i, i + 1))
        n = max(1, round(share * min(len(here), len(there))))
        rows = bags.x["x"][rng.choice(here, n, replace=False)]
        x[rng.choice(there, n, replace=False)] = rows + noise * spread * rng.normal(size=rows.shape)
    return with_rows(bags, x)


def embeddings(bags, rng):
    """Name -> bags whose features were fitted on all of them."""
    x = bags.x["x"].astype(float)
    centred = x - x.mean(0)
    pca = centred @ np.linalg.svd(centred, full_matrices=False)[2][:10].T
    turned = pca @ np.linalg.qr(rng.normal(size=(10, 10)))[0]
    kept = np.sort(rng.permutation(len(x))[: int(0.95 * len(x))])
    unit = centred / x.std(0)
    return {
        "PCA": with_rows(bags, pca), "PCA, float16": with_rows(bags, pca.astype(np.float16)),
        "PCA, turned": with_rows(bags, turned),
        "PCA, turned, float16": with_rows(bags, turned.astype(np.float16)),
        "PCA, 5 % of the cells left out after it": part(bags, pca, kept),
        "PCA, two donors left out after it": with_rows(bags, pca)[np.arange(2, len(bags))],
        "z-scores": with_rows(bags, unit), "z-scores, at most 3": with_rows(bags, unit.clip(-3, 3)),
        "centred": with_rows(bags, centred),
        "0 to 1": with_rows(bags, (x - x.min(0)) / (x.max(0) - x.min(0))),
    }  # fmt: skip


def part(bags, x, kept):
    """Bags of some of the rows."""
    return Bags.from_rows(
        x[kept], bags.bag.index.to_numpy()[bags.index[kept]], target="label", donor="person",
        bag=bags.bag,
    )  # fmt: skip


ALIASES = {
    "case": str.lower, "spaces": lambda s: f" {s} ", "sign": lambda s: s.replace("_", "-"),
    "affix": lambda s: f"Patient {s}", "zeros": lambda s: s.replace("S", "S0"),
    "visit (not looked for)": lambda s: f"{s}_v2",
}  # fmt: skip


def renamed(bags, change):
    """Pairs of bags become one donor, under two names."""
    names = bags.bag["person"].tolist()
    names[1::2] = [change(n) for n in names[::2]]
    return dataclasses.replace(bags, bag=bags.bag.assign(person=names))


def table(rows, head):
    """Print markdown."""
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


def copies(repeats, cells):
    """Share found: of copies, by share and noise."""
    rows = []
    for share in (1.0, 0.1, 0.01):
        for noise in (0.0, 0.01, 0.1, 0.5):
            found = [
                "copies" in sm.audit(copied(cohort(s, cells=cells), share, noise,
                                            np.random.default_rng(s))).kinds
                for s in range(repeats)
            ]  # fmt: skip
            rows.append([f"{share:.0%}", f"{noise:.0%}", f"{np.mean(found):.2f}"])
    table(rows, ["cells copied", "noise, of an s.d.", "found"])


def fitted(repeats, cells):
    """Share found: of embeddings of the whole cohort."""
    found = {}
    for s in range(repeats):
        for name, bags in embeddings(cohort(s, cells=cells), np.random.default_rng(s)).items():
            found.setdefault(name, []).append("fitted on the cohort" in sm.audit(bags).kinds)
    table([[k, f"{np.mean(v):.2f}"] for k, v in found.items()], ["features", "found"])


def names(repeats, cells):
    """Share found: of donors under two names."""
    rows = []
    for name, change in ALIASES.items():
        found = [
            "donor names" in sm.audit(renamed(cohort(4 * s, cells=cells), change)).kinds
            for s in range(repeats)
        ]
        rows.append([name, f"{np.mean(found):.2f}"])
    table(rows, ["alias by", "found"])


def clean(repeats, cells):
    """Kinds that speak where there is nothing."""
    said, start = {}, time.time()
    for s in range(repeats):
        audit = sm.audit(cohort(s, cells=cells, kind=("normal", "counts")[s // 4 % 2]))
        said = {k: said.get(k, 0) + (k in audit.kinds) for k in audit.checks}
    table([[k, f"{n} of {repeats}"] for k, n in said.items()], ["kind", "speaks"])
    print(f"\n{(time.time() - start) / repeats:.2f} s a cohort")


def tiles(repeats, cells):
    """Share found: of test tiles that overlap with training tiles of the same slide."""
    slides = sm.datasets.planted_slides(2, 100, n_genes=12, seed=0)  # tiles 100 µm apart
    column = slides.instance["x_um"].rank(method="dense").to_numpy()
    split = (np.flatnonzero(column > 5), np.flatnonzero(column <= 5))
    rows = []
    for share in (0, 0.1, 0.25, 0.5):
        wide = slides.bag.assign(tile_um=100 / (1 - share))
        (found,) = sm.audit(dataclasses.replace(slides, bag=wide), splits=[split])
        said = found.evidence
        rows.append([f"{share:.0%}", f"{said['overlap']} of {said['tested']}",
                     f"{said['beside']} of {said['tested']}"])  # fmt: skip
    table(rows, ["overlap of neighbours", "overlap is said of", "neighbours are said of"])


def modalities(seed, n, effect=None):
    """Cells of two modalities of six types, each cohort differently: bags, and values of both."""
    rng = np.random.default_rng([seed, 9])
    effect = rng.uniform(0.5, 3) if effect is None else effect
    types, donor = rng.choice(6, n, p=rng.dirichlet(np.full(6, 2.0))), rng.integers(12, size=n)

    def noise(d):
        spread = rng.lognormal(0, 0.3, size=(6, d))[types] if seed % 4 == 3 else 1.0
        return spread * {0: rng.normal, 1: lambda size: rng.standard_t(4, size=size) / np.sqrt(2),
                         2: lambda size: rng.gamma(3, 1 / np.sqrt(3), size=size),
                         3: rng.normal}[seed % 4](size=(n, d))  # fmt: skip

    def values(d, effect):
        level = effect * rng.normal(size=(6, d)) * (rng.random(d) < 0.6)
        return level[types] + 0.2 * rng.normal(size=(12, d))[donor] + noise(d)

    protein, rna = values(20, effect), values(200, effect / 3)
    views = {"rna": rna, "protein": protein}
    if seed // 4 % 2:  # counts
        depth = rng.lognormal(0, 0.3, size=(n, 1))
        views = {"rna": rng.poisson(np.exp(rna.clip(-5, 4) - 1) * depth),
                 "protein": rng.poisson(np.exp(protein.clip(-4, 6) + 3) * depth)}  # fmt: skip
    batch = np.array(["b1", "b2", "b3"])[donor % 3]
    bags = Bags.from_rows({k: v.astype(np.float32) for k, v in views.items()}, donor, donor="bag",
                          instance=pd.DataFrame({"cell_type": types.astype(str), "batch": batch}),
                          )  # fmt: skip
    # from_rows puts the cells of a bag side by side
    return bags, {k: np.log1p(bags.table(k)) if seed // 4 % 2 else bags.table(k) for k in views}


def relabelled(bags, labels, wrong, rng):
    """The same cells with other labels, a share of them of any group."""
    labels = np.where(rng.random(len(labels)) < wrong, rng.permutation(labels), labels)
    return dataclasses.replace(bags, instance=bags.instance.assign(cell_type=labels.astype(str)))


def gates(protein, k, rng):
    """Types by thresholds of k proteins near their middle, one after another as gates go."""
    chosen = rng.permutation(protein.shape[1])[:k]
    labels = np.zeros(len(protein), int)
    for i, j in enumerate(chosen):  # cells below all gates so far are cut again
        labels[(labels == 0) & (protein[:, j] > np.quantile(protein[:, j], 0.7))] = i + 1
    return labels


def gated(repeats, cells):
    """Share found: of labels that were cut from a modality."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    rows = []
    for n in (1000 * cells // 60, 3000 * cells // 60, 10_000 * cells // 60):
        found = {}
        for s in range(repeats):
            bags, values = modalities(s, n, effect=1.0)
            rng = np.random.default_rng(s)
            made = {(f"gates on {k} proteins", w): gates(values["protein"], k, rng)
                    for k in (2, 5) for w in (0.0, 0.05, 0.2)}  # fmt: skip
            made |= {(f"{k} k-means clusters of a PCA of {view}", 0.0): KMeans(
                k, n_init=1, random_state=s).fit_predict(PCA(20).fit_transform(values[view]))
                for view in values for k in (6, 12)}  # fmt: skip
            made["the types themselves", 0.0] = bags.instance["cell_type"].to_numpy()
            for what, labels in made.items():
                case = Case(relabelled(bags, labels, what[1], rng), {}, label="cell_type")
                found.setdefault(what, []).append(any(cut(case)))
        rows += [[n, what, f"{wrong:.0%}", f"{np.mean(v):.2f}"]
                 for (what, wrong), v in found.items()]  # fmt: skip
    table(rows, ["cells", "labels", "labels at random", "found"])


def integrations(repeats, cells):
    """Kinds that speak of cells whose types differ in all modalities by themselves."""
    said = {}
    for s in range(repeats):
        bags, _ = modalities(s, (1000, 3000, 10_000)[s % 3])
        audit = sm.audit(bags, label="cell_type", batch="batch")
        said = {k: said.get(k, 0) + (k in audit.kinds) for k in audit.checks}
    table([[k, f"{n} of {repeats}"] for k, n in said.items()], ["kind", "speaks"])


def real(repeats, cells):
    """Kinds found in real sets: SMALTI_DATA names their folder."""
    import cohorts

    rows = [[name, said(sm.audit(cohorts.read(name)[0]))] for name in cohorts.SETS]
    for name in ("musk1", "fox", "elephant", "birds", "mutagenesis1", "newsgroups2"):
        rows.append([name, said(sm.audit(sm.datasets.load(name)))])
    path = Path(os.environ["SMALTI_DATA"]) / "her2st" / "her2st_5sections_counts.h5ad"
    slides = sm.read(path, sample="slide", donor="patient")
    for by in ("donor", "slide"):
        split = [(np.flatnonzero(~test), np.flatnonzero(test))
                 for test in sides(slides, by)]  # fmt: skip
        rows.append([f"her2st, by {by}", said(sm.audit(slides, splits=split))])
    cells = sm.read(Path(os.environ["SMALTI_DATA"]) / "citeseq" / "pbmc10k_citeseq.h5ad",
                    x={"rna": "X", "protein": "obsm/protein_expression"})  # fmt: skip
    rows.append(["CITE-seq, integrated", said(sm.audit(cells, label="cell_type"))])
    table(rows, ["set", "found"])


def sides(slides, by):
    """Whether each tile is tested, donor by donor or slide by slide."""
    units = (slides.donors if by == "donor" else np.arange(len(slides)))[slides.index]
    return [units == unit for unit in np.unique(units)]


def said(audit):
    """Kinds, in words."""
    return ", ".join(f"{f.kind} ({f.severity})" for f in audit) or "nothing"


def speed(repeats, cells):
    """Seconds of a large cohort: 100 donors, 50 features."""
    bags = cohort(0, donors=100, cells=70 * cells, features=50)
    for _ in range(repeats):
        start, busy = time.time(), time.process_time()
        sm.audit(bags)
        print(f"{bags.n_instances:,} cells: {time.time() - start:.1f} s, of which a core was busy "
              f"{time.process_time() - busy:.1f} s")  # fmt: skip


def main():
    """One part."""
    parts = {
        f.__name__: f
        for f in (copies, fitted, names, tiles, clean, gated, integrations, real, speed)
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=[*parts], required=True)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--cells", type=int, default=60, help="of a donor, median")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    parts[args.part](args.repeats, args.cells)


if __name__ == "__main__":
    main()
