"""The same slides bag after bag, as CLAM trains: no padding on either side."""

from rows import epoch_musk2 as short
from rows import epoch_slides
from rows.epoch_slides import EPOCHS, data, least, smalti  # noqa: F401

WORK = epoch_slides.WORK
PEER, GOAL, ROUNDS = "CLAM's loop: a slide a step, in memory", 1, 3
BOUND = (
    "the same products on either side: a slide is long enough for the rate of the machine "
    "by itself, and nothing is padded."
)


def peer(arrays, labels):
    from peers import Gated, loop_step

    net = Gated(arrays[0].shape[1], short.HIDDEN)
    return short.trained(loop_step, net, arrays, labels, EPOCHS, 1)
