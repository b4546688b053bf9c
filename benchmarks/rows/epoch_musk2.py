"""Training on many short bags."""

WORK = "10 epochs of gated attention, 102 bags of 1 to 1,044 x 166 (like Musk2), 16 a step"
PEER, NEEDS, GOAL = "padded", "torchmil", 3
HIDDEN, STEP, EPOCHS, WIDTH = 128, 16, 10, 166


def data(share):
    import numpy as np

    rng = np.random.default_rng(1)
    lengths = np.exp(rng.normal(np.log(14.0), 1.6, max(16, int(102 * share)))).astype(int) + 1
    lengths = (lengths * 65 / lengths.mean()).astype(int).clip(1, 1044)
    lengths[:2] = 1, 1044
    return bags_of(lengths, WIDTH, rng)


def bags_of(lengths, width, rng):
    """Normal features and labels in turn."""
    import numpy as np

    arrays = [rng.standard_normal((n, width), dtype=np.float32) for n in lengths]
    return arrays, np.arange(len(arrays)) % 2


def smalti(arrays, labels, epochs=EPOCHS, step=STEP):
    """Fits, and their start apart: what is timed are epochs after the first."""
    import smalti as sm

    bags = sm.Bags.from_list(arrays, labels)
    settings = dict(gated=True, encoder="none", standardize=False, attention_width=HIDDEN,
                    accelerator="cpu", batch_size=step, max_instances=10**9, lr=1e-4,
                    progress=False)  # fmt: skip

    def fit(epochs):
        sm.mil.ABMIL(epochs=epochs, **settings).fit(bags)

    return lambda: fit(epochs + 1), lambda: fit(1)


def peer(arrays, labels, epochs=EPOCHS, step=STEP):
    from torchmil.models import ABMIL

    from peers import torchmil_step

    model = ABMIL(in_shape=(arrays[0].shape[1],), att_dim=HIDDEN, gated=True)
    return trained(torchmil_step, model, arrays, labels, epochs, step)


def trained(loss, net, arrays, labels, epochs, step):
    """Epochs of Adam, so many bags a step."""
    import numpy as np
    import torch

    x, y = [torch.from_numpy(a) for a in arrays], torch.from_numpy(labels).float()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, fused=True)
    order = np.random.default_rng(0)

    def run():
        for _ in range(epochs):
            turn = order.permutation(len(x))
            for i in range(0, len(x), step):
                group = turn[i : i + step]
                optimizer.zero_grad()
                loss(net, [x[j] for j in group], y[group]).backward()
                optimizer.step()

    return run


def least(arrays, labels, epochs=EPOCHS):
    """Two maps to the hidden units, forward and the gradient of their weights."""
    rows, width = sum(map(len, arrays)), arrays[0].shape[1]
    return {"float32": epochs * 2 * 2 * rows * width * 2 * HIDDEN}
