"""MixMIL as its authors simulated it: epochs, without the start."""

WORK = "MixMIL: 20 epochs of 1,000 bags of 50 x 30, 10 outputs, 8 draws"
PEER, NEEDS, GOAL, ROUNDS = "the authors' own", "mixmil", 5, 3
EPOCHS, LENGTH, WIDTH, OUTPUTS, DRAWS = 20, 50, 30, 10, 8
BOUND = (
    "the likelihood has no closed form, whatever the target: an effect is standardised "
    "over the bags of its step, so that it is a ratio of two forms in the drawn weights; "
    "the divergence has one, and it is used. All draws and outputs are one product. Arithmetic "
    "and memory take a fifth of a step at the least; the rest are some hundred small operations, "
    "passes over rows x draws x outputs, and Python (benchmarks/mixmil_roofline.py)."
)


def data(share):
    import numpy as np

    rng, n = np.random.default_rng(0), max(70, int(1000 * share))
    x = rng.standard_normal((n, LENGTH, WIDTH), dtype=np.float32) / WIDTH**0.5
    return x, rng.binomial(2, 0.4, (n, OUTPUTS))


def smalti(x, y):
    import numpy as np
    import pandas as pd

    import smalti as sm

    names = [f"y{j}" for j in range(OUTPUTS)]
    bags = sm.Bags.from_rows(
        x.reshape(-1, WIDTH), np.repeat(np.arange(len(x)), LENGTH),
        bag=pd.DataFrame(y, columns=names), target=names, kind="binomial", donor="bag",
    )  # fmt: skip

    def fit(epochs):
        sm.mil.MixMIL(epochs=epochs, draws=DRAWS, accelerator="cpu", progress=False).fit(bags)

    return lambda: fit(EPOCHS + 1), lambda: fit(1)


def peer(x, y):
    import torch
    from mixmil import MixMIL

    x, y = torch.as_tensor(x), torch.as_tensor(y).float()
    ones, model = torch.ones(len(x), 1), MixMIL(WIDTH, 1, OUTPUTS, "binomial", n_trials=2)
    bags = list(x)  # of any length each, as the package takes them

    def run():
        model.train(bags, ones, y, n_epochs=EPOCHS, verbose=False)

    return run


def least(x, y):
    """Scores and values of each draw and output, and the gradients of both sets of weights."""
    rows, columns = x.shape[0] * LENGTH, OUTPUTS * DRAWS
    return {"float32": EPOCHS * 4 * 2 * rows * WIDTH * columns}
