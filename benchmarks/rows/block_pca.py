"""Block PCA against scikit-learn's PCA of the same standardised table.

scikit-learn's own choice for this shape is randomised: half the time, and approximate.
"""

WORK = "block PCA: 64 components of 20,000 cells x (2,000 genes + 25 proteins)"
PEER, NEEDS = "StandardScaler and PCA(covariance_eigh)", "scikit-learn"
GENES, PROTEINS, WIDTH = 2000, 25, 64
SIZES = ((0.5, "10,000 cells"), (1, "20,000"), (2, "40,000"), (4, "80,000"))


def data(share):
    import numpy as np

    rng, n = np.random.default_rng(0), max(100, int(20_000 * share))
    z = rng.standard_normal((n, 20), dtype=np.float32)
    tables = [z @ rng.standard_normal((20, d), dtype=np.float32) for d in (GENES, PROTEINS)]
    return [t + 4 * rng.standard_normal(t.shape, dtype=np.float32) for t in tables]


def smalti(rna, protein):
    import numpy as np

    import smalti as sm

    bags = sm.Bags.from_rows({"rna": rna, "protein": protein}, np.arange(len(rna)) * 10 // len(rna))
    settings = dict(width=WIDTH, preprocess=None, clip=None, progress=False, accelerator="cpu")
    return lambda: abs(sm.integrate.BlockPCA(**settings).fit(bags).transform(bags)[:10, :8])


def peer(rna, protein):
    import numpy as np
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    def run():
        x = np.hstack([StandardScaler().fit_transform(t) / t.shape[1] ** 0.5
                       for t in (rna, protein)])  # fmt: skip
        return abs(PCA(WIDTH, svd_solver="covariance_eigh").fit_transform(x)[:10, :8])

    return run


def least(rna, protein):
    """Half of a covariance, its reduction to a band (4/3 d^3) in double, and the scores."""
    n, d = len(rna), GENES + PROTEINS
    return {"float32": n * d * d + 2 * n * d * WIDTH, "float64": 4 / 3 * d**3}
