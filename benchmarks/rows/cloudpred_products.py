"""CloudPred's shares against the plain expansion of the square, product by product."""

from rows.cloudpred import TIMES, WIDTH, WORK, data, least, smalti  # noqa: F401

PEER, GOAL = "the square expanded into three terms", 1


def peer(cells, means, logs):
    import numpy as np
    import torch

    x, index = torch.as_tensor(cells), torch.arange(100).repeat_interleave(len(cells) // 100)
    means, logs = (torch.as_tensor(a).requires_grad_() for a in (means, logs))

    def run():
        for _ in range(TIMES):
            means.grad = logs.grad = None
            precision = (-logs).exp()
            square = (x * x) @ precision.T - 2 * x @ (precision * means).T
            square = square + (precision * means * means).sum(1)
            joint = -0.5 * (square + logs.sum(1) + WIDTH * np.log(2 * np.pi))
            shares = torch.zeros(100, len(means)).index_add(0, index, joint.softmax(1))
            shares = shares / (len(x) // 100)
            shares.square().sum().backward()
        return shares.detach()

    return run
