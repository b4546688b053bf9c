"""``compare``: methods on the same folds, with the baselines that everyone should have to beat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from sklearn.pipeline import Pipeline

from smalti.bags import Bags
from smalti.comparison import learning, recalibration
from smalti.comparison.cells import Cells
from smalti.comparison.cohort import COMPARED, TEST, TRAINING, Cohort, type_column
from smalti.comparison.company import check_groups
from smalti.comparison.contrast import check_together, contrasted
from smalti.comparison.explained import explanations_of
from smalti.comparison.flow import flow_of
from smalti.comparison.lineup import Lineup, line_up, name_of, of_search
from smalti.comparison.permuted import COLUMNS, check_asked, race_permuted
from smalti.comparison.phenotype_fit import Folds, metrics_of
from smalti.comparison.phenotype_table import Comparison
from smalti.comparison.protocols import (
    EXTERNAL,
    SITES,
    WHOLE,
    Protocol,
    external,
    protocol_of,
)
from smalti.comparison.race import race
from smalti.comparison.search.base import Choosing
from smalti.core.registry import methods
from smalti.errors import InputError
from smalti.labels import missing
from smalti.leaks.confounding import technical
from smalti.leaks.run import audit
from smalti.left import Left
from smalti.mil.base import Method
from smalti.mil.covariates import Covariates
from smalti.task import Task

Candidate: TypeAlias = str | Method | Pipeline | Choosing


def compare(
    candidates: Iterable[Candidate] | Mapping[str, Candidate],
    bags: Bags,
    *,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    splits: Sequence[Any] | pd.DataFrame | str | Path | None = None,
    test: Bags | None = None,
    views: str | Sequence[str] | None = None,
    preprocess: Any = None,
    covariates: Sequence[str] = (),
    n_jobs: int | None = None,
    progress: bool | None = None,
    cache: str | Path | None = None,
    scheduler: str | None = None,
    attributions: bool = False,
    explain: bool = False,
    permutations: int | Mapping[str, int] = 0,
    learning_curve: learning.Asked = False,
    recalibrate: str | None = None,
    contrast: str | None = None,
) -> Comparison:
    """Fit and score methods on the same splits by donor.

    Parameters
    ----------
    candidates
        Names or instances of methods, or scikit-learn pipelines that end in one; a mapping gives
        them labels of your own. A :class:`smalti.Search` of one, or a search of scikit-learn
        (whose inner folds are then by donor), chooses settings anew in each fold, by the training
        donors alone; the method as it was given runs beside it. The baselines (majority, bag mean,
        bag statistics; pseudobulk where the features are counts, type means and composition where
        there is a cell type) always run too, two with the covariates that are named (alone, and
        beside bag means), and one with the columns of the bags alone that say how they were made
        (batch, site, date).
    bags
        With a target and a donor.
    folds, repeats, seed
        Repeated stratified k-fold grouped by donor. Each fit gets its own seed.
    splits
        Another protocol: "leave-one-donor-out", where AUROC is NaN (one donor has no rank) and
        methods are ranked by log loss; "leave-one-site-out" (no donor of the site trains); or
        "preserved-sites": ``folds`` of whole sites, with as equal numbers of each class as can be.
        Or your own: pairs of training and test positions; a table with the columns ``bag`` (or
        ``donor``) and ``fold``, perhaps ``repeat``; or the name of a column of the bags that holds
        the fold (see :func:`smalti.comparison.given_folds`).
    test
        Bags of another source: methods are fitted once on all of ``bags``, and scored on these
        (external validation). A donor in both is an error.
    views
        Views for all methods that name none of their own, side by side; those that take counts
        alone read the first of them. The first of the bags when left out.
    preprocess
        Steps for all methods that have none of their own, fitted on the training donors of each
        fold: "normalize,log1p,genes=2000,scale,pca=50" (see :mod:`smalti.preprocess`).
    covariates
        Columns of the bags (age, stage) for all methods that can read some and name none of their
        own; what they say alone is a baseline, whether a method reads them or not.
    n_jobs
        Worker processes; 1: none, -1: every core, None: as many as make it end sooner.
    progress
        Show a bar; None: on a terminal or in a notebook, elsewhere a line of the log for each fit.
    cache
        Folder that keeps what each fit predicts as it is done; a comparison that was killed goes on
        from it.
    scheduler
        Address of a Dask scheduler, such as tcp://10.0.0.1:8786: its workers fit, on other
        machines (the extra "dask").
    attributions
        Keep what the models of the first repeat say of the instances that they were not fitted on,
        for :meth:`Comparison.heatmap` and the slides of a report, and test it
        (:attr:`Comparison.explanations`): do predictions hang on the instances that are scored
        high, do two repeats agree, what do high scores go with.
    explain
        The same, and each fit of the first repeat is made twice more, with another seed and with
        labels permuted between donors: whether the scores are chance, or the same without any
        meaning of the labels.
    permutations
        Fit the cheapest candidate again with labels in other places, so many times (20 or more),
        or label -> how many: :meth:`Comparison.above_chance`. Labels change places between donors,
        within donors that have several, within sites where there are; folds are dealt anew.
    learning_curve
        Would more donors help? Fit the cheapest candidate again on 25, 50 and 75 % of the training
        donors of each fold, class by class, and score it on the same test bags:
        :meth:`Comparison.learning_curve`. Or shares of your own, (0.3, 0.6); or label -> True or
        shares.
    recalibrate
        "sigmoid" or "isotonic": probabilities of every method are read by a map that is fitted
        within each fold, on predictions of training donors that were left out in turn, which takes
        six fits for one. Isotonic takes a hundred training donors or more, and makes ties. Of times
        until an event "cox": curves are those of a Cox model of the risks of left-out donors.
    contrast
        "donor": samples of one donor are held against each other (before and after, control and
        stimulated, two sites of one body). Donors whose samples have one label are left out, and
        methods are ranked by how often the samples of a left-out donor are in the right order
        (:meth:`Comparison.within_donors`).

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If no donor is named, a candidate is no method, every fit of every method fails, or a donor
        of ``test`` is among the others.

    Examples
    --------
    >>> import smalti as sm
    >>> bags = sm.datasets.planted_bags(24, seed=0)
    >>> table = sm.compare(["mifv"], bags, folds=3, n_jobs=1, progress=False)
    >>> {"mifv", "bag_mean", "majority"} <= set(table.folds["method"])  # baselines always run
    True
    """
    arena, lineup = prepared(
        candidates, bags, folds=folds, repeats=repeats, seed=seed, splits=splits, test=test,
        views=views, preprocess=preprocess, covariates=covariates, attributions=attributions,
        explain=explain, permutations=permutations, learning_curve=learning_curve,
        recalibrate=recalibrate, contrast=contrast,
    )  # fmt: skip
    protocol, bags = arena.protocol, arena.bags
    test = None if test is None else arena.test_bags
    outcome = race(arena, lineup, n_jobs=n_jobs, progress=progress, cache=cache,
                   scheduler=scheduler)  # fmt: skip
    split = {(s.repeat, s.fold): s for s in protocol.splits}
    predictions = [
        arena.predictions(split[repeat, fold], answer).assign(method=label)
        for (label, repeat, fold), answer in outcome.answers.items()
    ]
    frame = pd.concat(predictions, ignore_index=True)

    def dealt(other: Bags) -> Folds:
        parts = protocol_of(other, splits, folds=folds, repeats=repeats, seed=seed)
        return Folds(other, parts, False, other, recalibrate=recalibrate, contrast=contrast)

    permuted = (pd.DataFrame(columns=COLUMNS), "", 0.0) if not permutations else race_permuted(
        permutations, bags, lineup, outcome, dealt, seed=seed, n_jobs=n_jobs, progress=progress,
        cache=cache, scheduler=scheduler,
    )  # fmt: skip
    parts = {COMPARED: bags} if test is None else {TRAINING: bags, TEST: test}
    cohort = Cohort.of(parts, lineup.methods.values())
    attributed = arena.attributed(split, outcome.answers)
    curve = pd.DataFrame(columns=learning.COLUMNS)
    if learning_curve:
        fewer = learning.smaller(arena, learning_curve, seed)
        again = learning.chosen(learning_curve, lineup, outcome.seconds())
        raced = race(fewer, again, n_jobs=n_jobs, progress=progress, cache=cache,
                     scheduler=scheduler)  # fmt: skip
        curve = learning.with_all(fewer.tidy(raced), arena, outcome.folds)
    return Comparison(
        **outcome.table(lineup, (*_warnings(parts), *protocol.notes)), digest=arena.split_digest,
        about=arena.about, task=arena.task, protocol=protocol.name, recalibrated=recalibrate,
        contrast=contrast,
        predictions=frame[["method", *frame.columns.drop("method")]],
        attributions=attributed,
        explanations=explanations_of(arena.test_bags, arena.task, split, outcome.answers),
        permuted=permuted[0], exchanged=permuted[1], least=permuted[2], learning=curve,
        cells=_cells(arena, attributed, cohort, lineup, seed), cohort=cohort,
        flow=flow_of(parts, cohort.classes(), protocol.splits),
        audit=audit(bags if views is None else bags.only(views), lineup.methods, seed=seed),
    )  # fmt: skip


def _warnings(parts: dict[str, Bags]) -> list[str]:
    """Notes of all bags; what a user chose to leave out is in the flow."""
    every = dict.fromkeys(note for bags in parts.values() for note in bags.notes)
    return [note for note in every if not (isinstance(note, Left) and note.asked)]


def _cells(
    arena: Folds, attributed: dict[str, pd.DataFrame], cohort: Cohort, lineup: Lineup, seed: int
) -> Cells | None:
    """Instances by score, where methods said something of them."""
    groups = np.asarray(next(iter(cohort.tested.classes().values())), dtype=object)
    column = type_column(arena.test_bags, list(lineup.methods.values()))
    return Cells.of(arena.test_bags, attributed, arena.task, groups, column, seed=seed)


def prepared(
    candidates: Any,
    bags: Bags,
    *,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    splits: Any = None,
    test: Bags | None = None,
    views: Any = None,
    preprocess: Any = None,
    covariates: Sequence[str] = (),
    attributions: bool = False,
    explain: bool = False,
    permutations: int | Mapping[str, int] = 0,
    learning_curve: learning.Asked = False,
    recalibrate: str | None = None,
    contrast: str | None = None,
) -> tuple[Folds, Lineup]:
    """What a comparison of these arguments fits: its arena, and who takes part.

    Raises
    ------
    InputError
        As :func:`compare` does before the first fit.
    """
    if bags.task is None:
        raise InputError("these bags have no target: name it (label=, target= or y=).")
    if test is not None and splits is not None:
        raise InputError("test= is one split, of training and test: leave splits= out.")
    if test is not None and permutations:
        raise InputError("permutations= deals bags anew, test= says which test: leave one out.")
    bags = contrasted(bags, contrast)
    task = bags.task
    assert task is not None
    test = None if test is None else contrasted(test, contrast)
    protocol = (external(bags, test) if test is not None else
                protocol_of(bags, splits, folds=folds, repeats=repeats, seed=seed))  # fmt: skip
    if contrast is not None:
        check_together(bags if test is None else test, protocol.splits)
    lineup = line_up(candidates, Method)
    lineup.beside_searched(metrics_of(task.kind, protocol.name)[0])
    _read_covariates(lineup, tuple(covariates))
    _add_baselines(lineup, bags if views is None else bags.only(views), covariates)
    _add_site(lineup, bags, protocol)
    _fit_out(lineup, task, views, preprocess)
    arena = Folds(bags, protocol, attributions, bags if test is None else test, explain,
                  recalibrate, contrast)  # fmt: skip
    check_groups(lineup, arena)
    check_asked(permutations, bags, lineup)
    recalibration.check(recalibrate, task)
    if recalibrate is not None:
        lineup.notes.append(
            f"probabilities of all methods are recalibrated ({recalibrate}), by predictions of "
            "training donors that were left out in turn within each fold."
        )
    if learning_curve:
        learning.check_asked(learning_curve, lineup)
        learning.smaller(arena, learning_curve, seed)
    return arena, lineup


def _read_covariates(lineup: Lineup, covariates: tuple[str, ...]) -> None:
    """Give columns to those that can read some and name none."""
    for label, method in list(lineup.methods.items()) if covariates else ():
        if getattr(of_search(method), "covariates", None) == ():
            usual = label == name_of(method)
            of_search(method).set_params(covariates=covariates)
            if usual:
                lineup.rename(label, name_of(method))


def _add_baselines(lineup: Lineup, bags: Bags, named: Iterable[str] = ()) -> None:
    """The baselines that can use these bags, and what the covariates alone say."""
    for cls in methods().values():
        reason = cls().unfit_for(bags) if cls.baseline else None
        if reason:
            told = [c for c in bags.instance if not is_numeric_dtype(bags.instance[c])]
            if told or "cell_type" not in reason:  # nothing that could be a type: nothing is amiss
                lineup.notes.append(f"baseline {cls.name} was left out: {reason}.")
        elif cls.baseline:
            lineup.add_baseline(cls())
    # whoever reads covariates must beat a baseline that reads them too, and what they say alone
    read = set(named).union(*(getattr(m, "covariates", ()) for m in lineup.methods.values()))
    for cls in methods().values() if read else ():
        if cls is Covariates or (cls.baseline and "covariates" in cls().get_params()):
            lineup.add_baseline(cls().set_params(covariates=tuple(sorted(read))))

    made = tuple(c for c in bags.bag if c not in _named(bags) and technical(str(c))
                 and 1 < len(pd.unique(bags.bag[c])) <= len(bags) / 2
                 and not missing(bags.bag[c]).any())  # fmt: skip
    if made:  # what of the label lies in how the bags were made
        lineup.add_control(Covariates(covariates=made), f"{' + '.join(made)} alone")


def _named(bags: Bags) -> set[Any]:
    """Columns that say what is predicted, of whom and where: a site has a row of its own."""
    target = bags.target if isinstance(bags.target, tuple) else (bags.target,)
    return {*target, bags.donor, bags.site}


def _add_site(lineup: Lineup, bags: Bags, protocol: Protocol) -> None:
    """What the site alone says of the target, where test bags are of sites that trained."""
    if bags.site is None:
        return
    if protocol.name in (SITES, WHOLE, EXTERNAL):
        return  # of a site that it has not seen it knows nothing
    if len(np.unique(bags.sites)) < 2:
        lineup.notes.append(f"all bags are of one {bags.site}, which says nothing of the target.")
        return
    lineup.add_control(Covariates(covariates=(bags.site,)), "site alone")


def _fit_out(lineup: Lineup, task: Task, views: Any, preprocess: Any) -> None:
    """Give views and steps to those without; leave out those that cannot learn this target."""
    read = None if views is None else (views,) if isinstance(views, str) else tuple(views)
    for label, method in list(lineup.methods.items()):
        if read is not None and method.views is None:
            method.set_params(views=read[:1] if method.takes_counts else read)
        if preprocess is not None and method.preprocess is None and not method.takes_counts:
            method.set_params(preprocess=preprocess)
        if method.task and _other_scale(method.task, task.kind):
            lineup.drop(label, f"{label} has task={method.task!r}, the target is {task.kind}: "
                        "left out.")  # fmt: skip
        elif task.kind not in method.kinds:
            lineup.drop(label, f"{label} cannot learn a {task.kind} target and was left out.")


def _other_scale(one: str, two: str) -> bool:
    """Whether predictions of one kind cannot be scored as the other."""
    return one != two and bool({one, two} & {"regression", "multilabel", "binomial"})
