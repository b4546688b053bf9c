"""CloudPred: shares of the clusters in each patient, and their gradient."""

WORK = "CloudPred, 20 times: shares of 10 clusters and gradient, 100 patients x 200 cells x 50"
PEER, GOAL = "loops over patients and clusters", 20
K, WIDTH, TIMES = 10, 50, 20
SIZES = ((0.25, "5,000 cells"), (1, "20,000"), (4, "80,000"), (16, "320,000"))
BOUND = (
    "the softmax and the passes over cells x clusters; products with so few columns run "
    "at a fraction of the rate of square ones."
)


def data(share):
    import numpy as np

    rng, n = np.random.default_rng(0), max(2, int(200 * share))
    means = rng.standard_normal((K, WIDTH), dtype=np.float32)
    cells = rng.standard_normal((100 * n, WIDTH), dtype=np.float32)
    return cells, means, rng.uniform(-0.3, 0.3, (K, WIDTH)).astype(np.float32)


def smalti(cells, means, logs):
    import numpy as np
    import torch

    import smalti as sm
    from smalti.batch import Batch, Shape
    from smalti.segment import Segments
    from smalti.task import Task

    method = sm.mil.CloudPred(centers=K)
    net = method.network(Shape({"x": (WIDTH,)}, Task(kind="binary", classes=(0, 1)), 100))
    net.means.data[:], net.log_variances.data[:] = torch.as_tensor(means), torch.as_tensor(logs)
    ends = torch.from_numpy(np.linspace(0, len(cells), 101).astype(int))
    batch = Batch({"x": torch.as_tensor(cells)}, Segments.of(ends))

    def run():
        for _ in range(TIMES):
            net.zero_grad()
            shares = net.features(batch)[:, :K]
            shares.square().sum().backward()
        return shares.detach()

    return run


def peer(cells, means, logs):
    import numpy as np
    import torch

    parts = torch.as_tensor(cells).chunk(100)
    means, logs = (torch.as_tensor(a).requires_grad_() for a in (means, logs))

    def run():
        for _ in range(TIMES):
            means.grad = logs.grad = None
            shares = []
            for x in parts:
                each = [-0.5 * ((x - m) ** 2 / v.exp() + v + np.log(2 * np.pi)).sum(1)
                        for m, v in zip(means, logs, strict=True)]  # fmt: skip
                shares.append(torch.stack(each, 1).softmax(1).mean(0))
            shares = torch.stack(shares)
            shares.square().sum().backward()
        return shares.detach()

    return run


def least(cells, *_):
    """Two products forward and two backward."""
    return {"float32": TIMES * 4 * 2 * len(cells) * WIDTH * K}
