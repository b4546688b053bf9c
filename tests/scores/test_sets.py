"""Methods over several data sets."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from smalti.errors import InputError
from smalti.plot import plot_forest
from smalti.scores import Scores, differences_over_sets, holm, wilcoxon_over_sets


@dataclasses.dataclass(kw_only=True)
class Table(Scores):
    @property
    def metrics(self):
        return ("roc_auc", "log_loss")


def sets(n=8, gain=0.1):
    rng, out = np.random.default_rng(0), {}
    for i in range(n):
        base = rng.uniform(0.5, 0.8, 6)
        values = {"base": base, "ours": base + gain + rng.normal(0, 0.02, 6),
                  "other": base + rng.normal(0, 0.02, 6)}  # fmt: skip
        rows = [{"method": m, "repeat": 0, "fold": f, "metric": k, "value": v if k == "roc_auc" else
                 1 - v, "n_train": 40, "n_test": 8, "seconds": 1.0}
                for m, vs in values.items() for f, v in enumerate(vs)
                for k in ("roc_auc", "log_loss")]  # fmt: skip
        out[f"set {i}"] = Table(folds=pd.DataFrame(rows), digest="d", settings={},
                                baselines=("base",), notes=(), about="")  # fmt: skip
    return out


def test_a_row_is_the_paired_difference_of_its_set_and_the_family_is_the_sets():
    tables = sets(3)
    found = differences_over_sets(tables, "ours", "base")
    assert found["set"].tolist() == list(tables)
    one = tables["set 1"].against("base").set_index("method").loc["ours"]
    row = found.iloc[1]
    assert (row["low"], row["high"], row["p"]) == (one["low"], one["high"], one["p"])
    assert row["family"] == 3
    np.testing.assert_allclose(found["p_holm"], holm(found["p"]))
    assert set(found["verdict"]) == {"better"}
    axes = plot_forest(found, margin=0.01)
    assert [t.get_text() for t in axes.get_yticklabels()] == list(tables)
    with pytest.raises(InputError, match="no method 'none' in the comparison of 'set 0'"):
        differences_over_sets(tables, "none", "base")
    with pytest.raises(InputError, match="no difference to draw"):
        plot_forest(found[:0])


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss"])
def test_signed_ranks_over_eight_sets(metric):
    tables = sets()
    found = wilcoxon_over_sets(tables, metric).set_index(["method", "reference"])
    assert len(found) == 3
    means = {
        m: [t.of(m)[metric]["mean"] for t in tables.values()] for m in ("ours", "base", "other")
    }
    for (one, two), row in found.iterrows():
        gap = np.subtract(means[one], means[two])
        assert row["p"] == pytest.approx(stats.wilcoxon(gap).pvalue)
        assert row["difference"] == pytest.approx(np.median(gap))
        if "ours" in (one, two):
            assert row["verdict"] == ("better" if one == "ours" else "worse")
            assert row["p_holm"] == pytest.approx(3 * 2 / 2**8)  # all eight one way
    assert "not told apart" in set(found["verdict"])


def test_seven_sets_are_too_few():
    with pytest.raises(InputError, match="7 data sets: a test over sets needs 8"):
        wilcoxon_over_sets(sets(7))
    with pytest.raises(InputError, match="no comparison was given"):
        differences_over_sets({}, "ours", "base")
