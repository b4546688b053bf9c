"""Whether training came to rest: to stop there, or to say once that it did not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

_SHARE = 0.05  # of the whole fall, in the last tenth: more is no rest
_LEAST = 0.001  # of the first loss: less is no fall
_ERRORS = 2.0  # standard errors of a difference between means of noisy losses


def is_flat(losses: Sequence[float], window: int, tolerance: float) -> bool:
    """Whether the training loss falls by less than a share of itself over some epochs.

    Means of ``window`` epochs are compared, as the loss of one epoch is noisy.

    Parameters
    ----------
    losses
        (n_epochs,) mean training loss of each epoch.
    window
        Epochs.
    tolerance
        The share.
    """
    if len(losses) < 2 * window:
        return False
    before, last = np.reshape(losses[-2 * window :], (2, window)).mean(1)
    return bool(before - last < tolerance * abs(before))


def still_falling(
    losses: Sequence[float], schedule: Callable[[float], float] | None = None
) -> bool:
    """Whether the training loss was still falling when its epochs were over.

    The mean of the last tenth is set against that of the tenth before, in shares of the fall from
    the first epoch to the last. Tenths are of what the learning rate sums to, not of the epochs:
    under a rate that goes down to 0 every loss ends flat.

    Parameters
    ----------
    losses
        (n_epochs,) mean training loss of each epoch.
    schedule
        Epoch -> factor of the learning rate; None: constant.
    """
    loss = np.asarray(losses, dtype=np.float64)
    rate = np.ones(len(loss)) if schedule is None else np.array(
        [schedule(epoch + 0.5) for epoch in range(len(loss))]
    )  # fmt: skip
    done = np.cumsum(rate) / rate.sum()
    before, last = loss[(done > 0.8) & (done <= 0.9)], loss[done > 0.9]
    if not len(before) or not len(last):
        return bool(len(loss) > 1 and loss[-1] < loss[0])  # a handful of epochs
    gap = before.mean() - last.mean()
    error = 0.0
    if min(len(before), len(last)) > 2:
        error = np.sqrt(before.var(ddof=1) / len(before) + last.var(ddof=1) / len(last))
    fall = loss[0] - last.mean()
    return bool(gap > max(_SHARE * fall, _LEAST * abs(loss[0]), _ERRORS * error))
