"""What searches came to, in numbers and words."""

import numpy as np
import pandas as pd
import pytest

from smalti.comparison.search.table import as_frame, chosen, optimism, searches, sentences
from smalti.scores.headline import signed


def note(fold, inner, lr, metric="roc_auc", **more):
    return {"method": "a searched", "repeat": 0, "fold": fold, "metric": metric, "inner": inner,
            "trials": 3, "failed": 1, "folds": 2, "unit": "donor", "how": "",
            "chosen": {"lr": lr} | more}  # fmt: skip


def scores(metric, **values):
    return pd.DataFrame([
        {"method": m.replace("_", " "), "repeat": 0, "fold": i, "metric": k, "value": v}
        for m, found in values.items() for i, v in enumerate(found) for k in (metric, "accuracy")
    ])  # fmt: skip


@pytest.mark.parametrize(("metric", "sign"), [("roc_auc", 1), ("log_loss", -1)])
def test_optimism_is_how_much_better_the_inner_score_is(metric, sign):
    frame = as_frame([note(0, 0.9, 0.1, metric), note(1, 0.7, 0.1, metric)], {"a searched": "a"})
    folds = scores(metric, a_searched=(0.6, 0.8), a=(0.5, 0.7))
    found = searches(frame, folds)
    np.testing.assert_allclose(found["optimism"], [0.3 * sign, -0.1 * sign])
    one = optimism(frame, folds).iloc[0]
    ends = sorted([0.3 * sign, -0.1 * sign])
    np.testing.assert_allclose(one[["inner", "outer", "optimism", "low", "high", "unsearched"]]
                               .astype(float), [0.8, 0.7, 0.1 * sign, *ends, 0.6])  # fmt: skip
    (said,) = sentences(frame, folds)
    name = {"roc_auc": "AUROC", "log_loss": "log loss"}[metric]
    assert said == (
        f"a searched: settings that had {name} 0.800 inside the folds have 0.700 on donors who "
        f"took no part, an optimism of {signed(0.1 * sign, 3)} (fold by fold "
        f"{signed(ends[0], 3)} to {signed(ends[1], 3)}); as given it has 0.600"
    )


def test_a_score_that_the_table_has_not_is_not_compared():
    frame = as_frame([note(0, 0.9, 0.1, "f1")], {})
    folds = scores("roc_auc", a_searched=(0.6,))
    assert searches(frame, folds)["optimism"].isna().all()
    assert sentences(frame, folds) == []


def test_values_are_counted_the_most_frequent_first():
    notes = [note(0, 0.9, 0.1, widths=[8]), note(1, 0.9, 0.2, widths=[8]),
             note(2, 0.9, 0.2, widths=[8])]  # fmt: skip
    found = chosen(as_frame(notes, {}))
    assert found.drop(columns="method").to_numpy().tolist() == [
        ["lr", "0.2", 2, 3], ["lr", "0.1", 1, 3], ["widths", "[8]", 3, 3],
    ]  # fmt: skip
    assert chosen(as_frame([], {})).empty
    assert optimism(as_frame([], {}), scores("roc_auc", a=(0.5,))).empty
