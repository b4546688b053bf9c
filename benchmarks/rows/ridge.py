"""The whole path of ridge penalties, donors left out in turn."""

WORK = "ridge: 20 penalties, 3,467 genes, 800 tiles x 1,024, 5 donors left out"
PEER, NEEDS, GOAL, ROUNDS = "RidgeCV with the same folds", "scikit-learn", 10, 2
GENES, WIDTH, DONORS = 3467, 1024, 5
WARM = 0.1
BOUND = (
    "decompositions, which run below the rate of products, and the products with the "
    "genes once for a fold."
)


def data(share):
    import numpy as np

    rng = np.random.default_rng(0)
    n, d, genes = max(40, int(800 * share)), max(8, int(WIDTH * share)), max(4, int(GENES * share))
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / d**0.5
    y = x[:, :20] @ rng.normal(size=(min(20, d), genes)) + 5 * rng.normal(size=(n, genes))
    return x, y, np.arange(n) % DONORS, np.logspace(-1, 6, 20)


def smalti(x, y, donors, alphas):
    from smalti.solve.ridge import ridge_path, tune

    def run():
        alpha = alphas[tune(x, y, donors, tuple(alphas)).argmin()]
        weight, intercept = ridge_path(x, y).solution(alpha)
        return [alpha, *(x[0] @ weight + intercept)[:100]]

    return run


def peer(x, y, donors, alphas):
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import LeaveOneGroupOut
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = list(LeaveOneGroupOut().split(x, groups=donors))

    def run():
        model = make_pipeline(StandardScaler(), RidgeCV(alphas=alphas, cv=folds)).fit(x, y)
        return [model[-1].alpha_, *model.predict(x[:1])[0][:100]]

    return run


def least(x, y, *_):
    """Of each fold and of all rows, n x n: products, a decomposition (9 n^3), the genes once."""
    (n, d), g = x.shape, y.shape[1]
    rest = n - n // DONORS
    fold = 3 * d * rest**2 + 9 * rest**3 + rest**2 * g + 2 * (n - rest) * rest * g
    return {"float64": DONORS * fold + 3 * d * n**2 + 9 * n**3 + 2 * n**2 * g + 2 * n * d * g}
