"""Mean curves of test folds: their areas are the scores of the table."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from smalti.errors import InputError
from smalti.scores import mean_curves


def predictions(parts=4, n=15, seed=0, tied=False):
    rng = np.random.default_rng(seed)
    rows = []
    for fold in range(parts):
        truth = rng.permutation(np.arange(n) % 3 == 0)
        p = np.clip(0.3 * truth + rng.uniform(0, 0.7, n), 0, 1)
        p = np.round(p, 1) if tied else p
        rows.append(pd.DataFrame({"fold": fold, "donor": np.arange(n) + n * fold, "p_n": 1 - p,
                                  "true": np.where(truth, "y", "n"), "p_y": p}))  # fmt: skip
    return pd.concat(rows, ignore_index=True).assign(method="a")


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("kind", "score"), [
    ("roc", roc_auc_score), ("precision_recall", average_precision_score),
])  # fmt: skip
def test_the_area_of_the_mean_curve_is_the_mean_of_the_areas(kind, score, tied):
    frame = predictions(tied=tied)
    wanted = np.mean([score(part["true"] == "y", part["p_y"]) for _, part in frame.groupby("fold")])
    found = mean_curves(frame, kind)
    assert found["area"].iloc[0] == pytest.approx(wanted, abs=1e-6)
    assert set(found["parts"]) == {4}
    assert found[["low", "high"]].isna().all(None)
    assert found["x"].is_monotonic_increasing
    assert (found["x"].iloc[0], found["x"].iloc[-1]) == (0, 1)


def test_a_part_of_one_class_has_no_curve():
    frame = predictions()
    frame.loc[frame["fold"] == 1, "true"] = "n"
    assert set(mean_curves(frame)["parts"]) == {3}
    with pytest.raises(InputError, match="both classes"):
        mean_curves(frame[frame["fold"] == 1])
    with pytest.raises(InputError, match="binary"):
        mean_curves(frame.drop(columns="p_n"))


def test_bands_of_folds_are_wider_with_fewer_to_train_and_with_less_freedom():
    frame = predictions()
    width = [np.nanmean(b["high"] - b["low"]) for b in (
        mean_curves(frame, bands=["a"], n_train=45), mean_curves(frame, bands=["a"], n_train=15),
        mean_curves(frame, bands=["a"], n_train=15, freedom=1))]  # fmt: skip
    assert width == sorted(width)
    wide = mean_curves(frame, bands=["a"], n_train=15, freedom=1)
    assert wide["low"].min() >= 0
    assert wide["high"].max() <= 1
    assert mean_curves(frame, bands=["b"], n_train=45)["low"].isna().all()


@pytest.mark.slow
def test_one_part_alone_draws_its_donors_with_all_their_bags():
    frame = predictions(parts=1, n=40)
    band = mean_curves(frame, bands=["a"])
    assert ((band["low"] <= band["y"] + 1e-9) & (band["y"] <= band["high"] + 1e-9)).mean() > 0.9
    whole = mean_curves(frame.assign(donor=frame["donor"] // 4), bands=["a"])
    assert (whole["high"] - whole["low"]).mean() > 0
    pd.testing.assert_frame_equal(band, mean_curves(frame, bands=["a"]))  # the same draws
