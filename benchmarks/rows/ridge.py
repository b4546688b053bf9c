"""The whole path of ridge penalties, donors left out in turn."""

WORK = "ridge: 20 penalties, 3,467 genes, 3,000 tiles x 512, 8 donors left out"
PEER, NEEDS, GOAL, ROUNDS = "RidgeCV with the same folds", "scikit-learn", 10, 2
GENES, WIDTH, DONORS = 3467, 512, 8
WARM = 0.1
BOUND = (
    "decompositions, which run below the rate of products, and the products with the "
    "genes once for a fold."
)


def data(share):
    import numpy as np

    rng = np.random.default_rng(0)
    n, d, genes = max(40, int(3000 * share)), max(8, int(WIDTH * share)), max(4, int(GENES * share))
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
    """Moments, and of each fold the products with the genes and a decomposition (9 d^3)."""
    (n, d), g = x.shape, y.shape[1]
    folds = DONORS * (d * d * g + 9 * d**3) + 2 * n * d * g
    return {"float64": 2 * (n * d * d + 2 * n * d * g) + folds + 9 * d**3 + 4 * d * d * g}
