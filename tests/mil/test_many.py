"""Many fits as one job: each as it would be alone, in order, and named where it is lost."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

import smalti as sm
from smalti import mil
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.mil import many
from smalti.system.workers import WorkerLost


@pytest.mark.slow
def test_fits_in_processes_are_those_alone_to_the_bit():
    bags = planted_bags(30)
    abmil = dict(widths=(8,), epochs=6, batch_size=8, validation=0.25, patience=2)
    methods = mil.ABMIL(**abmil), mil.MixMIL(epochs=3)
    own = dict(accelerator="cpu", progress=False)
    jobs = [(clone(m).set_params(seed=s, **own), np.arange(s, 30 - s))
            for m in methods for s in (0, 1)]  # fmt: skip
    fitted = sm.fit_many(jobs, bags, n_jobs=2)
    for (method, members), found in zip(jobs, fitted, strict=True):
        assert not hasattr(method, "network_")  # clones were fitted
        alone = method.fit(bags[members])
        assert found.seed == method.seed
        assert found.history_.to_csv() == alone.history_.to_csv()
        np.testing.assert_array_equal(found.forward(bags)[0], alone.forward(bags)[0])


def test_a_lost_fit_is_named_and_the_others_are_kept(monkeypatch):
    def lost(work, jobs, n_jobs, share):
        yield 1, WorkerLost("its process was lost: killed")
        yield 0, work(jobs[0])

    monkeypatch.setattr(many, "run_queue", lost)
    jobs = [(mil.BagMean(), np.arange(20)), (mil.Majority(), np.arange(20))]
    with pytest.raises(WorkerLost, match=r"fit 1 .* of 2, majority: its process was lost.*n_jobs"
                       ) as raised:  # fmt: skip
        sm.fit_many(jobs, planted_bags(20))
    kept = raised.value.kept
    assert list(kept) == [0]
    assert len(kept[0].predict(planted_bags(20))) == 20


@pytest.mark.parametrize(("given", "used"), [(None, 1), (3, 3)])
def test_fits_share_one_gpu_only_if_told_to(monkeypatch, given, used):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(many, "run_queue",
                        lambda work, jobs, n, share: asked.append(n) or [(0, jobs[0])])  # fmt: skip
    for accelerator in ("auto", "cpu"):
        job = (mil.ABMIL(accelerator=accelerator), np.arange(20))
        many.fit_many([job], planted_bags(20), n_jobs=given)
    assert asked == [used, given]


def test_no_jobs_and_bad_numbers_of_them():
    bags = planted_bags(20)
    assert sm.fit_many([], bags) == []
    with pytest.raises(InputError, match="n_jobs=0"):
        sm.fit_many([(mil.BagMean(), np.arange(20))], bags, n_jobs=0)
