"""Many small fits, as cross-validation asks for."""

WORK = "a fit of 100 epochs on 92 bags of 2 to 40 x 166 (like Musk1)"
PEER, GOAL, ROUNDS = "as usually written: a bag a step, SGD", 15, 3
EPOCHS, WIDTH = 100, 166
BOUND = (
    "products of some 160 rows, which run below the rate of large ones, and in each step some "
    "hundred small operations: masks of dropout, slices, the optimiser."
)


def data(share):
    import numpy as np

    rng = np.random.default_rng(0)
    lengths = np.exp(rng.normal(1.5, 0.6, 92)).astype(int).clip(2, 40)
    arrays = [rng.standard_normal((n, WIDTH), dtype=np.float32) for n in lengths]
    return arrays, np.arange(92) % 2, max(1, int(EPOCHS * share))


def smalti(arrays, labels, epochs):
    import smalti as sm

    bags = sm.Bags.from_list(arrays, labels)

    def run():
        sm.mil.ABMIL(epochs=epochs, accelerator="cpu", progress=False).fit(bags)

    return run


def peer(arrays, labels, epochs):
    import torch

    from peers import usual_fit

    x, y = [torch.from_numpy(a) for a in arrays], torch.from_numpy(labels).float()

    def run():
        usual_fit(x, y, epochs)

    return run


def least(arrays, labels, epochs):
    """Forward, gradients of the weights, and of what each layer but the first reads."""
    rows, first, others = sum(map(len, arrays)), WIDTH * 256, 256 * 128 + 128 * 64 + 64 * 64
    return {"float32": epochs * rows * 2 * (2 * first + 3 * others)}
