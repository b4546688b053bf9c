"""``smalti demo``: from nothing to a report with pictures, without a network.

The digits that scikit-learn ships are put into bags by the rule of the ABMIL paper: a bag is
positive if it holds a 9. Nobody tells the methods which image it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli import options
from smalti.cli.say import say
from smalti.cli.words import made_here

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from smalti.bags import Bags
    from smalti.comparison.phenotype_table import Comparison
    from smalti.mil.base import Method
    from smalti.report.section import Drawing

_SHOWN = 6  # bags in the picture
_SETTINGS = {"epochs": 30, "batch_size": 4, "lr": 1e-3}
_NOT = (
    "Attention says where a network looked, not whether an instance spoke for or against the "
    "class; among several equal key instances it may choose one. It is not a contribution: "
    "attribute() has a column of that name for the positive class."
)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for report and pictures.")] = Path(
        "smalti-demo"
    ),
    dataset: Annotated[
        str, typer.Option(help="digits (no network needed) or another named set, e.g. musk1.")
    ] = "digits",
    bags: Annotated[int, typer.Option(min=20, help="Bags of digits to train on.")] = 200,
    quick: Annotated[bool, typer.Option("--quick", help="Few bags, few epochs: a trial.")] = False,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    overwrite: options.Overwrite = False,
) -> None:
    """Train on bags of digits, compare methods, look at the attention: report.html."""
    import torch

    from smalti.cli.table import show
    from smalti.comparison.phenotype import compare
    from smalti.core.registry import make
    from smalti.report.section import Section
    from smalti.scores.table import is_run
    from smalti.system.files import atomic_write, check_free

    # networks this small gain nothing from a second thread, and lose much on a busy machine
    torch.set_num_threads(1)
    check_free(out, overwrite=overwrite, ours=is_run)
    train, test = _data(dataset, 60 if quick else bags, seed)
    settings = _SETTINGS | {"seed": seed} | ({"epochs": 8} if quick else {})
    chosen = {
        "gated ABMIL": make("abmil", gated=True, **settings),
        "mean pooling": make("mean_pooling", **settings),
        "max pooling": make("max_pooling", **settings),
    }
    say(f"{train!r}\n5-fold comparison, by donor, of {len(chosen)} methods and baselines ...")
    folds, n_jobs = (2, 1) if quick else (5, -1)
    result = compare(chosen, train, folds=folds, seed=seed, n_jobs=n_jobs)
    show(result)
    say("fitting on all training bags ...")
    fitted = {name: method.fit(train) for name, method in chosen.items()}
    attention, drawings, text = _pictures(result, fitted, test, dataset)
    result.write(out, overwrite=overwrite)
    title = "Which bag of digits holds a 9?" if dataset == "digits" else f"Methods on {dataset}"
    shown = Section("new", "On new bags", tuple(drawings))
    sections = [shown, *result.sections()]
    result.report(out / "report.html", **made_here(), sections=sections, text=text, title=title)
    with atomic_write(out / "attention.png", overwrite=True) as temporary:
        attention.savefig(temporary, format="png", dpi=110, facecolor="white")
    say("\n".join(["", *text, "", f"report: {out / 'report.html'}"]))


def _data(dataset: str, n: int, seed: int) -> tuple[Bags, Bags]:
    """Training bags and test bags, which share no image and no donor."""
    from smalti.datasets import digit_bags, load

    if dataset == "digits":
        return digit_bags(n, split="train", seed=seed), digit_bags(n, split="test", seed=seed + 1)
    from smalti.comparison.splits import donor_folds

    whole = load(dataset)
    parted = donor_folds(whole, folds=5, seed=seed)[0]
    return whole[parted.train], whole[parted.test]


def _pictures(
    result: Comparison, fitted: dict[str, Method], test: Bags, dataset: str
) -> tuple[Figure, list[Drawing], list[str]]:
    """The picture of attention, all drawings, and the findings in words."""
    from sklearn.metrics import roc_auc_score

    from smalti.plot import plot_history, plot_roc
    from smalti.report.section import Drawing

    main = next(iter(fitted))
    predictions = _predict(fitted, test)
    positive = fitted[main].task_.positive
    areas = {m: roc_auc_score(test.labels == positive, part[f"p_{positive}"])
             for m, part in predictions.groupby("method", sort=False)}  # fmt: skip
    text = [
        f"On {len(test)} test bags made of "
        f"{'images' if dataset == 'digits' else 'instances'} that no training bag holds: AUROC "
        + ", ".join(f"{m} {a:.3f}" for m, a in areas.items()) + ".",
    ]  # fmt: skip
    picture, found = _attention(fitted[main], test)
    best = max(areas, key=lambda m: areas[m])
    drawings = [
        Drawing("attention", picture, alt=f"Images of test bags by attention of {main}.",
                caption=f"{main} on test bags. {_NOT}"),
        Drawing("test-roc", plot_roc(predictions),
                alt=f"ROC curves of the test bags; the best is {best}'s, {areas[best]:.2f}.",
                caption="The methods fitted on all training bags, asked about the test bags."),
        Drawing("training", plot_history({m: f.history_ for m, f in fitted.items()}),
                alt="Losses of the training bags fall over the epochs.",
                caption="Loss of the training bags; it says nothing about new bags."),
    ]  # fmt: skip
    return picture, drawings, text + found


def _predict(fitted: dict[str, Method], test: Bags) -> Any:
    import pandas as pd

    from smalti.cli.predict import predictions

    parts = [
        predictions(model, test).reset_index().assign(method=name, true=test.labels)
        for name, model in fitted.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _attention(model: Method, test: Bags) -> tuple[Figure, list[str]]:
    """The picture of some test bags, and how well attention finds the key instances."""
    import numpy as np
    from sklearn.metrics import roc_auc_score

    from smalti.plot import plot_attention, plot_bags

    p = model.task_.probabilities(model.forward(test)[0])[:, 1]
    positive = test.labels == model.task_.positive
    shown = test[_some(positive)]
    frame = model.attribute(shown)
    captions = [
        f"true: {'positive' if t else 'negative'}\npredicted: {v:.0%} positive"
        for t, v in zip(positive[_some(positive)], p[_some(positive)], strict=True)
    ]
    if "key" not in test.instance:
        return plot_attention(shown, frame, captions=captions), []
    whole = test[np.flatnonzero(positive)]
    weight, key = model.attribute(whole)["attention"], whole.instance["key"].to_numpy()
    area = roc_auc_score(key, weight)
    found = [
        f"Attention ranks the 9s above the other images of positive test bags with AUROC "
        f"{area:.3f}, though no image was ever labelled: instances {len(key):,}, of which "
        f"{int(key.sum()):,} are 9s.",
        _NOT,
    ]
    title = f"Told only which bags hold a 9, attention ranks the 9s with AUROC {area:.2f}"
    return plot_bags(shown, frame, key="key", captions=captions, title=title), found


def _some(positive: np.ndarray) -> np.ndarray:
    """Positions of a few bags, positive ones first; taken in order, not by how well they look."""
    import numpy as np

    n = _SHOWN - 2
    return np.concatenate([np.flatnonzero(positive)[:n], np.flatnonzero(~positive)[:2]])
