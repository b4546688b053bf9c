"""Many fits as one job: folds x repeats x seeds of small models.

Patients are few, so the same small model is trained hundreds of times. Fits know nothing of one
another: each has its own order, noise, validation and early stopping, so that it gives the same
alone, among others, and in another process.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from sklearn.base import clone

from smalti.bags import Bags
from smalti.core.training import jobs_for
from smalti.mil.base import Method
from smalti.system.mapped import shared
from smalti.system.progress import Progress
from smalti.system.workers import WorkerLost, run_queue

Job = tuple[Method, np.ndarray]


def fit_many(
    jobs: Sequence[Job],
    bags: Bags,
    *,
    n_jobs: int | None = None,
    progress: bool | None = None,
) -> list[Method]:
    """Fit many methods, each on its own part of the same bags.

    Parameters
    ----------
    jobs
        Pairs of a method (not changed) and the (n_train,) positions of its training bags, or a
        (n_bags,) mask of them.
    bags
        All bags.
    n_jobs
        1: all here, one after another. More, or -1 for every core: in so many processes of one
        thread each. None: begin here, and go to processes once the rest would be done sooner
        there; with a GPU, all here.
    progress
        Show a bar; None: on a terminal or in a notebook.

    Returns
    -------
    list of Method
        Fitted clones, in the order of the jobs.

    Raises
    ------
    InputError
        If ``n_jobs`` is 0 or below -1, the bags are not sound, or a method cannot be fitted.
    WorkerLost
        If the process of a fit was killed; the message says of which. It is raised once all others
        have ended, and holds them: ``error.kept`` has a model for each position in ``jobs``.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> bags = sm.datasets.planted_bags(20, seed=0)
    >>> halves = np.arange(10), np.arange(10, 20)
    >>> jobs = [(sm.mil.MeanPooling(epochs=2, seed=s), half) for half in halves for s in range(2)]
    >>> models = sm.fit_many(jobs, bags, n_jobs=1, progress=False)
    >>> [model.seed for model in models]
    [0, 1, 0, 1]
    """
    bags.check()
    jobs = [(clone(m).set_params(progress=False), np.asarray(i)) for m, i in jobs]
    n_jobs = jobs_for((m for m, _ in jobs), n_jobs)
    answers: dict[int, Method | WorkerLost] = {}
    with Progress(progress, "fits") as bar:
        bar.start("", len(jobs))
        # the bags are in every call, but their large arrays are there once, and mapped
        work = functools.partial(_fit, bags)
        share = functools.partial(bags.share, shared)
        for i, answer in run_queue(work, jobs, n_jobs, share=share):
            answers[i] = answer
            bar.advance()
    lost = {i: a for i, a in sorted(answers.items()) if isinstance(a, WorkerLost)}
    fitted = {i: a for i, a in answers.items() if not isinstance(a, WorkerLost)}
    if lost:
        first, why = next(iter(lost.items()))
        others = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
        error = WorkerLost(
            f"fit {first} (counted from 0) of {len(jobs)}, {jobs[first][0].name}{others}: {why}. "
            "Where memory ran out, fewer processes help: n_jobs."
        )
        error.kept = fitted
        raise error from why
    return [fitted[i] for i in range(len(jobs))]


def _fit(bags: Bags, job: Job) -> Method:
    method, members = job
    return method.fit(bags[members])
