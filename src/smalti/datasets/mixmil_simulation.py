"""The simulation of MixMIL: attention and values are linear in the instances."""

from __future__ import annotations

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError


def mixmil_bags(
    n_bags: int = 1000,
    *,
    n_outputs: int = 10,
    n_features: int = 30,
    length: int = 50,
    trials: int = 2,
    attention_variance: float = 0.8,
    effect_variance: float = 0.5,
    intercept: float = -1.0,
    law_seed: int = 0,
    seed: int = 0,
) -> Bags:
    """Binomial targets from a linear attention and a linear value of each instance.

    Instances are standard normal over the root of their width. For each output, attention is the
    softmax over the bag of a linear score of variance ``attention_variance``; the bag's effect u is
    the attended mean of a linear value, of variance ``effect_variance`` over the bags;
    logit = ``intercept`` + u, and the target counts ``trials`` Bernoulli draws.

    Parameters
    ----------
    n_bags, length
        Bags, and instances of each.
    n_outputs
        Targets, each with weights of its own.
    n_features
        Width of an instance.
    trials
        Draws that a target counts.
    attention_variance, effect_variance, intercept
        As above; the defaults are the authors'.
    law_seed, seed
        Seeds of the weights, and of instances and targets. Instances and u are standardised over
        the sample, as published: cut one sample for training and test bags on one exact scale.

    Returns
    -------
    Bags
        Kind "binomial". Truth: bag columns ``u_0``, ... (the effects), instance columns
        ``weight_0``, ... (the attention) and ``key_0``, ... (bool: in the top tenth of it).

    Raises
    ------
    InputError
        For numbers that make no bags.

    References
    ----------
    Engelmann et al. (2024). Mixed models with multiple instance learning. AISTATS.
    """
    if min(n_bags - 1, n_outputs, n_features, length, trials) < 1:
        raise InputError("n_bags must be at least 2; outputs, features, length and trials 1.")
    # a stream of its own for the law, also where both seeds are equal
    law, rng = np.random.default_rng([law_seed, 1]), np.random.default_rng(seed)
    gamma, beta = law.normal(size=(2, n_features, n_outputs))
    x = rng.normal(size=(n_bags * length, n_features))
    x = (x - x.mean(0)) / x.std(0) / np.sqrt(n_features)
    score = x @ gamma
    score = (score * np.sqrt(attention_variance) / score.std(0)).reshape(n_bags, length, -1)
    weight = np.exp(score - score.max(1, keepdims=True))
    weight /= weight.sum(1, keepdims=True)
    u = (weight * (x @ beta).reshape(n_bags, length, -1)).sum(1)
    u = (u - u.mean(0)) / u.std(0) * np.sqrt(effect_variance)
    y = rng.binomial(trials, 1 / (1 + np.exp(-intercept - u)))
    names = [f"target_{j}" for j in range(n_outputs)]
    table = pd.DataFrame(y, columns=names)
    table[[f"u_{j}" for j in range(n_outputs)]] = u
    weight = weight.reshape(-1, n_outputs)
    truth = pd.DataFrame(weight, columns=[f"weight_{j}" for j in range(n_outputs)])
    truth[[f"key_{j}" for j in range(n_outputs)]] = weight > np.quantile(weight, 0.9, axis=0)
    return Bags.from_rows(
        x.astype(np.float32), np.repeat(np.arange(n_bags), length), bag=table, instance=truth,
        target=names, kind="binomial", donor="bag",
    )  # fmt: skip
