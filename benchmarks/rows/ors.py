"""Overall reconstruction score, cells as many as an n x n matrix allows."""

WORK = "reconstruction score: 4,000 cells x 2,000 genes"
PEER = "both n x n matrices of distances"
GENES = 2000
SIZES = ((1, "4,000 cells"), (2.5, "10,000"), (7.5, "30,000"), (25, "100,000"))


def data(share):
    import numpy as np

    rng, n = np.random.default_rng(0), max(40, int(4000 * share))
    x = rng.standard_normal((n, GENES), dtype=np.float32)
    y = x + 0.3 * rng.standard_normal((n, GENES), dtype=np.float32)
    return x, y


def smalti(x, y):
    from smalti.scores import reconstruction_score

    return lambda: reconstruction_score(x, y)


def peer(x, y):
    import numpy as np

    def distances(x):
        square = (x * x).sum(1)
        return square[:, None] + square - 2 * (x @ x.T)

    x, y = x.astype(np.float64), y.astype(np.float64)
    return lambda: np.corrcoef(distances(x).ravel(), distances(y).ravel())[0, 1]


def least(x, y):
    """Products of columns, or of fewer rows; those of a table with itself by half."""
    n, d = x.shape
    return {"float32": 4 * n * d * min(n, d)}
