"""The best of many, on what it was not chosen by."""

from __future__ import annotations

import numpy as np


def chosen_gap(
    methods: np.ndarray,
    rivals: np.ndarray,
    groups: np.ndarray,
    *,
    lower_is_better: bool = False,
    draws: int = 500,
    seed: int = 0,
) -> float:
    """What the best of many methods is ahead by, on parts that did not choose it.

    The best of many is picked by scores that luck has had a part in, so its own mean is too high.
    As in the bootstrap bias correction of Tsamardinos et al. (2018), parts are drawn with
    replacement, the best method and the best rival are picked on those, and compared on the parts
    that were not drawn. Here a part is a test fold, and folds of one repeat alone are drawn
    together: no donor is on both sides.

    Parameters
    ----------
    methods, rivals
        (n_parts, n_methods) and (n_parts, n_rivals) scores; parts with a NaN are left out.
    groups
        (n_parts,) the repeat of each part.
    lower_is_better
        Whether the least is the best.
    draws, seed
        Of each repeat, and the seed of them.

    Returns
    -------
    float
        Mean over draws and repeats of the difference, method less rival; NaN where no repeat has
        two parts.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> luck = np.random.default_rng(0).normal(size=(10, 30))
    >>> means = luck[:, :-1].mean(0).max() - luck[:, -1].mean()
    >>> bool(sm.scores.chosen_gap(luck[:, :-1], luck[:, -1:], np.zeros(10)) < means)
    True
    """
    sign = -1.0 if lower_is_better else 1.0
    scores = sign * np.hstack([methods, rivals])
    there = np.isfinite(scores).all(1)
    scores, groups = scores[there], np.asarray(groups)[there]
    rng = np.random.default_rng([seed, 41])
    gaps = []
    for group in np.unique(groups):
        own = scores[groups == group]  # (n, n_methods + n_rivals)
        if len(own) < 2:
            continue
        drawn = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), draws)  # (draws, n)
        drawn = drawn[(drawn == 0).any(1)]
        inside, left = drawn @ own, (drawn == 0).astype(float)
        outside = left @ own / left.sum(1, keepdims=True)
        k, at = methods.shape[1], np.arange(len(drawn))
        best, rival = inside[:, :k].argmax(1), k + inside[:, k:].argmax(1)
        gaps.append(np.mean(outside[at, best] - outside[at, rival]))
    return sign * float(np.mean(gaps)) if gaps else float("nan")
