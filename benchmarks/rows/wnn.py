"""Weighted nearest neighbours on the same points."""

WORK = "WNN: 2,000 cells, views of 30 and 20 components, 20 neighbours of 200 candidates"
PEER, NEEDS, ROUNDS = "pp.neighbors", "muon", 2
NEAR, CANDIDATES = 20, 200
SIZES = ((1, "2,000 cells"), (2.5, "5,000"), (5, "10,000"), (10, "20,000"))
BOUND = "muon compiles its search anew in each call; without that, distances and sorting."


def data(share):
    import numpy as np

    rng, n = np.random.default_rng(0), max(250, int(2000 * share))
    kind, points = rng.integers(8, size=n), []
    for d in (30, 20):
        x = (4 * rng.standard_normal((8, d))[kind] + rng.standard_normal((n, d))).astype(np.float32)
        points.append(x / np.linalg.norm(x, axis=1, keepdims=True))
    return points


def smalti(*points):
    from smalti.solve.weighted_neighbors import WeightedNeighbors

    return lambda: WeightedNeighbors.of(points, NEAR - 1, NEAR + 1, CANDIDATES).weights[:20]


def peer(*points):
    import anndata
    import muon
    import scanpy

    tables = {}
    for i, x in enumerate(points):
        tables[f"view{i}"] = table = anndata.AnnData(x)
        table.obs_names = [str(j) for j in range(len(x))]
        table.var_names = [f"{i}_{j}" for j in range(x.shape[1])]
        scanpy.pp.neighbors(table, n_neighbors=NEAR, use_rep="X", transformer="sklearn")
        table.obsp["distances"].sort_indices()  # as its Jaccard index takes for granted

    def run():
        both = muon.MuData(tables)
        muon.pp.neighbors(both, n_neighbors=NEAR, n_multineighbors=CANDIDATES)
        return both.obs[[f"{k}:mod_weight" for k in tables]].to_numpy()[:20]

    return run


def least(*points):
    """All distances of both views: here the products of the search."""
    n = len(points[0])
    return {"float32": sum(2 * n * n * p.shape[1] for p in points)}
