"""Training on a few long bags, held in memory."""

from functools import partial

from rows import epoch_musk2 as short

WORK = "2 epochs of gated attention, 16 bags of some 2,500 x 1,024 (like slides), 16 a step"
PEER, NEEDS, GOAL, ROUNDS = "padded", "torchmil", 5, 3
EPOCHS = 2
smalti, peer = (partial(f, epochs=EPOCHS) for f in (short.smalti, short.peer))
least = partial(short.least, epochs=EPOCHS)


def data(share):
    import numpy as np

    rng = np.random.default_rng(0)
    lengths = np.exp(rng.normal(np.log(2500 * share), 1.0, 16)).clip(2, 25_000 * share)
    return short.bags_of(lengths.astype(int), 1024, rng)
