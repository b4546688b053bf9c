"""``Bags``, the one data structure: flat tables cut into bags, never padded.

Design:

- Every view (``x["X_pca"]``, ``x["tiles"]``) is one flat array of instances; rows of a bag are
  contiguous, so a bag is a slice and no operation ever pads.
- A view is a NumPy array of any dtype and rank, a SciPy CSR matrix, or *backed*: an object with
  ``shape``, ``dtype`` and ``read(start, stop)`` that reads rows from disk when asked.
- ``len``, ``shape`` and ``[...]`` work by bag, so scikit-learn's splitters and searches take
  ``Bags`` as ``X``.
- The user's own row order is never lost: ``rows`` maps back to it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.errors import InputError
from smalti.labels import check_kind, check_order, missing, missing_words
from smalti.left import Left, vanished
from smalti.names import meant, namesakes, some
from smalti.views import (
    Picked,
    View,
    add_values,
    as_views,
    dense,
    len_,
    moved_view,
    of_bags,
    placed,
    take,
    take_rows,
)

if TYPE_CHECKING:
    from smalti.task import Task

_HASHED = 2**20  # rows of a table of instances that are hashed at a time
_COUNTED = 10_000  # of more bags a selection does not count the donors: a cell is no person


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Bags:
    """Bags of instances: patients of cells, slides of tiles, images of patches.

    Most users call :func:`smalti.read` (AnnData), :func:`smalti.read_features` (h5 folders),
    :meth:`from_rows` or :meth:`from_list`; this constructor takes data that is already flat.

    Parameters
    ----------
    x
        View name -> (n_instances, ...) rows; dense, CSR or backed.
    offsets
        (n_bags + 1,) int64. Bag i is rows ``offsets[i]:offsets[i + 1]``. No bag is empty.
    instance
        One row per instance: cell type, position, ... The index is the user's instance name.
    bag
        One row per bag: target, donor, covariates. The index is the bag id.
    rows
        (n_instances,) position of each row in the user's own table.
    features
        View name -> feature names, for the views that have them.
    target
        Column of ``bag`` to predict; several columns make the task multi-label.
    kind
        What kind of target it is (see :class:`smalti.Task`); inferred when left out.
    donor
        Column of ``bag`` that says which bags come from one donor and must never part.
    notes
        Warnings that travel with the data, e.g. samples of few cells; and what was left out
        (:attr:`left`).
    origin
        The arguments that :func:`smalti.read` was given, so that a fitted method can read the
        same table again when it writes back; and ``made``: how :func:`smalti.features.extract` made
        each view, so that it can make those of another slide.
    present
        View name -> (n_instances,) bool: which instances were measured in it. The rows of the
        others hold zeros that mean nothing. A view that is not named was measured in all.
    positive
        The positive one of two labels; by rule when left out (see :class:`smalti.Task`).
    order
        Labels from the least to the most, which makes the target ordinal.
    lacking
        View name -> (n_features,) bool: features that the data lack, and that a fitted method takes
        for their mean in training (see :meth:`Estimator.complete`).
    kinds
        View name -> what it holds, where its name does not tell: "rna", "protein", "atac",
        "cytometry", "tags" or "other". Integrations choose their steps by it.
    ids
        View name -> Ensembl id -> name, of features that the data name both ways: what a model
        that was fitted on the ids finds them by.
    site
        Column of ``bag`` that says where a bag comes from: hospital, scanner, batch.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> cells = [rng.normal(size=(n, 5)) for n in (30, 20, 40, 25)]  # one array per patient
    >>> bags = sm.Bags.from_list(cells, y=["ill", "healthy"] * 2, donor=[1, 2, 3, 4])
    >>> bags
    Bags: 4 bags of 20-40 instances, x 5, 4 donors; target: binary (2 healthy, 2 ill; positive: ill)
    >>> bags[[0, 2]].lengths.tolist()
    [30, 40]
    >>> bags[[0, 2]].labels.tolist()
    ['ill', 'ill']
    """

    x: Mapping[str, View]
    offsets: np.ndarray
    instance: pd.DataFrame
    bag: pd.DataFrame
    rows: np.ndarray
    features: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    target: str | tuple[str, ...] | None = None
    kind: str | None = None
    donor: str | None = None
    notes: tuple[str, ...] = ()
    origin: Mapping[str, Any] | None = None
    present: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    positive: Any = None
    order: tuple[Any, ...] | None = None
    lacking: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    kinds: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ids: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    site: str | None = None

    # ---------------------------------------------------------------- making

    @classmethod
    def from_rows(
        cls,
        x: Any,
        bag_id: Any,
        *,
        y: Any = None,
        target: str | Sequence[str] | None = None,
        kind: str | None = None,
        positive: Any = None,
        order: Sequence[Any] | None = None,
        donor: Any = None,
        site: Any = None,
        instance: pd.DataFrame | None = None,
        bag: pd.DataFrame | None = None,
        bag_columns: Sequence[str] = (),
        features: Mapping[str, Sequence[str]] | None = None,
        notes: Sequence[str] = (),
        present: Mapping[str, Any] | None = None,
        kinds: Mapping[str, str] | None = None,
    ) -> Bags:
        """Build from one row per instance, in any order.

        Parameters
        ----------
        x
            (n_instances, ...) array, CSR matrix or data frame, or a mapping of view names to them.
        bag_id
            (n_instances,) the bag each row belongs to. Bags keep the order of first appearance.
        y
            Target: (n_instances,) constant within each bag, or a mapping from bag id.
        target
            Instead of ``y``: a column (or columns) of ``bag`` or ``instance``.
        kind
            Kind of the target; inferred when left out.
        positive
            The positive one of two labels. When left out the one that does not mean control
            ("healthy", "ctrl", "no", ...); where none or both do, the last in sorted order.
        order
            Labels from the least to the most; an ordered categorical has them already.
        donor
            (n_instances,) array, mapping from bag id, or a column name.
        site
            Where each comes from (hospital, scanner, batch), given as a donor is.
        instance
            Columns of the instances, in the order of ``x``.
        bag
            Columns of the bags, indexed by bag id.
        bag_columns
            More columns of ``instance`` that are constant in each bag, for the bag table.
        features
            View name -> feature names.
        notes
            Warnings to keep with the data.
        present
            View name -> (n_instances,) bool, for views that not all instances were measured in.
        kinds
            View name -> what it holds (see :class:`Bags`).

        Raises
        ------
        InputError
            If lengths disagree, a bag has two targets or two donors, ``positive`` is no label, or
            ``order`` lacks one or names another.

        Examples
        --------
        >>> import smalti as sm
        >>> import numpy as np
        >>> x = np.arange(12.0).reshape(6, 2)  # rows in any order
        >>> patient = ["a", "b", "a", "a", "b", "b"]
        >>> bags = sm.Bags.from_rows(x, patient, y={"a": "ill", "b": "ctrl"}, donor="bag")
        >>> bags
        Bags: 2 bags of 3-3 instances, x 2, 2 donors; target: binary (1 ctrl, 1 ill; positive: ill)
        >>> bags.rows.tolist()  # where each row was
        [0, 2, 3, 1, 4, 5]
        """
        views, names = as_views(x)
        names.update({k: tuple(map(str, v)) for k, v in (features or {}).items()})
        n = {len_(v) for v in views.values()}
        ids = np.asarray(bag_id)
        if ids.ndim != 1 or {len(ids)} != n:
            raise InputError(
                f"bag_id has shape {ids.shape} but the features have {sorted(n)} rows: "
                "give one bag id per row."
            )
        if pd.isna(ids).any():
            raise InputError(
                f"bag_id is missing in {int(pd.isna(ids).sum())} rows (first: row "
                f"{int(np.flatnonzero(pd.isna(ids))[0])}): drop these rows or fill the id in."
            )
        if not len(ids):
            raise InputError("no bags: the features have no rows.")
        codes, labels = pd.factorize(ids)
        rows = np.argsort(codes, kind="stable")
        offsets = np.concatenate([[0], np.bincount(codes, minlength=len(labels)).cumsum()])
        obs = pd.DataFrame(index=pd.RangeIndex(len(ids))) if instance is None else instance
        if len(obs) != len(ids):
            raise InputError(f"instance has {len(obs)} rows, the features {len(ids)}.")
        table = pd.DataFrame(index=pd.Index(labels, name="bag"))
        if bag is not None:
            absent = table.index.difference(bag.index)
            if len(absent):
                raise InputError(
                    f"the bag table has no row for {_some(absent)}: add it, or drop these bags."
                )
            twice = bag.index[bag.index.duplicated()].intersection(table.index)
            if len(twice):
                raise InputError(
                    f"the bag table has several rows for {_some(twice)}: a bag has one."
                )
            table = bag.loc[table.index].copy()

        def to_bag(column: str, values: Any) -> None:
            table[column] = _by_bag(column, values, codes, table.index)

        if isinstance(donor, str):
            if donor not in table and not (donor == "bag" and "bag" not in obs):
                to_bag(donor, _column(obs, donor, "instance", table))
        elif donor is not None:
            to_bag("donor", donor)
            donor = "donor"
        if isinstance(site, str):
            if site not in table:
                to_bag(site, _column(obs, site, "instance", table))
        elif site is not None:
            to_bag("site", site)
            site = "site"
        if y is not None:
            if target is not None:
                raise InputError("give y or target, not both.")
            target = "target"
            to_bag(target, y)
        of_target = [target] if isinstance(target, str) else target or ()
        for column in (*of_target, *bag_columns):
            if column not in table:
                to_bag(column, _column(obs, column, "instance", table))
        bags = cls(
            x={k: take(v, rows) for k, v in views.items()},
            offsets=offsets.astype(np.int64),
            instance=obs.iloc[rows],
            bag=table,
            rows=rows,
            features=names,
            target=target if target is None or isinstance(target, str) else tuple(target),
            kind=kind,
            donor=donor,
            site=site,
            notes=tuple(notes),
            present={k: np.asarray(v, dtype=bool)[rows] for k, v in (present or {}).items()},
            kinds=dict(kinds or {}),
        )
        return bags.say(positive, order)

    @classmethod
    def from_list(
        cls,
        x: Sequence[Any],
        y: Any = None,
        *,
        donor: Any = None,
        site: Any = None,
        **kwargs: Any,
    ) -> Bags:
        """Build from one array per bag.

        Parameters
        ----------
        x
            One (n_i, ...) array per bag.
        y
            (n_bags,) target, or (n_bags, n_labels) for several labels.
        donor
            (n_bags,) donor of each bag.
        site
            (n_bags,) where each comes from: hospital, scanner, batch.
        **kwargs
            As in :meth:`from_rows`: ``kind``, ``positive``, ``order``, ``instance``, ``bag``,
            ``features``.

        Raises
        ------
        InputError
            If a bag is empty or the bags do not share their feature shape.

        Examples
        --------
        >>> import smalti as sm
        >>> import numpy as np
        >>> images = [np.zeros((n, 1, 8, 8), dtype=np.uint8) for n in (3, 5)]
        >>> sm.Bags.from_list(images, y=[0.3, 1.7], kind="regression")
        Bags: 2 bags of 3-5 instances, x 1x8x8; target: regression (0.3 to 1.7)
        """
        if not len(x):
            raise InputError("no bags: the list is empty.")
        arrays = [np.asarray(a) for a in x]
        for i, a in enumerate(arrays):
            if a.ndim < 2:
                raise InputError(f"bag {i} has shape {a.shape}: expected (instances, features).")
            if not len(a):
                raise InputError(f"bag {i} is empty: drop it, or give it at least one instance.")
            if a.shape[1:] != arrays[0].shape[1:]:
                raise InputError(
                    f"bag {i} has features of shape {a.shape[1:]}, bag 0 {arrays[0].shape[1:]}: "
                    "all bags must share one feature space."
                )
        ids = np.repeat(np.arange(len(arrays)), [len(a) for a in arrays])
        table = kwargs.pop("bag", None)
        table = (
            pd.DataFrame(index=pd.RangeIndex(len(arrays), name="bag"))
            if table is None
            else (table.reset_index(drop=True))
        )
        if len(table) != len(arrays):
            raise InputError(f"the bag table has {len(table)} rows for {len(arrays)} bags.")
        told = {"donor": donor, "site": site}
        given = {k: v for k, v in told.items() if v is not None and not isinstance(v, str)}
        for name, values in given.items():
            if len(values) != len(arrays):
                raise InputError(f"{name} has {len(values)} values for {len(arrays)} bags.")
        target = kwargs.pop("target", None)
        if y is not None:
            values = _target(y)
            if len(values) != len(arrays):
                raise InputError(f"y has {len(values)} values for {len(arrays)} bags.")
            if values.ndim == 2:
                target = [f"target_{j}" for j in range(values.shape[1])]
                table[target] = values
            else:
                target = "target"
                table[target] = values
        for name, values in given.items():
            table[name] = np.asarray(values)
        told |= {name: name for name in given}
        return cls.from_rows(
            np.concatenate(arrays), ids, target=target, bag=table, **told, **kwargs
        )

    def __post_init__(self) -> None:
        check_kind(self.kind)
        sizes = {"bag": (len(self.bag), len(self)), "instance": (len(self.instance), None),
                 "rows": (len(self.rows), None)}  # fmt: skip
        for name, (has, needs) in sizes.items():
            needs = self.n_instances if needs is None else needs
            if has != needs:
                raise InputError(f"{name} has {has} rows, the bags need {needs}.")
        empty = np.flatnonzero(np.diff(self.offsets) <= 0)
        if len(empty):
            raise InputError(
                f"bag {self.bag.index[empty[0]]!r} is empty: drop it, or give it an instance."
            )
        for name, there in self.present.items():
            if name not in self.x or there.shape != (self.n_instances,):
                raise InputError(f"present[{name!r}] must be a view's, one value per instance.")
        for name, view in self.x.items():
            if len_(view) != self.offsets[-1]:
                raise InputError(
                    f"view {name!r} has {len_(view)} rows, the bags need {self.offsets[-1]}."
                )
            names = self.features.get(name)
            if names is not None and len(view.shape) == 2 and len(names) != view.shape[1]:
                raise InputError(
                    f"view {name!r} has {view.shape[1]} features and {len(names)} names of them: "
                    "give one name for each, or none."
                )

    # ---------------------------------------------------------------- reading

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_bags, n_features of the first view), as scikit-learn asks."""
        return (len(self), *next(iter(self.x.values())).shape[1:])

    @property
    def n_instances(self) -> int:
        """Number of instances in all bags."""
        return int(self.offsets[-1])

    @property
    def lengths(self) -> np.ndarray:
        """(n_bags,) instances per bag."""
        return np.diff(self.offsets)

    @property
    def index(self) -> np.ndarray:
        """(n_instances,) the bag of each instance, as a position."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def left(self) -> tuple[Left, ...]:
        """What was left out on the way here, step by step: by readers, ``[...]`` and ``keep``."""
        return tuple(note for note in self.notes if isinstance(note, Left))

    def __getitem__(self, key: Any) -> Bags:
        """Some bags, in the order asked for: positions, a mask or a slice."""
        if isinstance(key, tuple):  # scikit-learn writes bags[key, ...]
            key = key[0]
        bags = np.arange(len(self))[key]
        bags = np.atleast_1d(bags)
        picked = Picked(self.offsets[bags], self.lengths[bags])
        return dataclasses.replace(
            self,
            notes=self._selected(bags, self.n_instances - int(self.lengths[np.unique(bags)].sum())),
            x={k: of_bags(v, picked) for k, v in self.x.items()},
            offsets=np.concatenate([[0], self.lengths[bags].cumsum()]),
            instance=take_rows(self.instance, picked),
            bag=self.bag.iloc[bags],
            rows=picked.of_array(self.rows),
            present={k: picked.of_array(v) for k, v in self.present.items()},
            kind=self._kept_kind,
        )

    def keep(self, instances: Any) -> Bags:
        """The same bags with some of their instances: positions or a mask; empty bags are gone."""
        rows = np.unique(np.arange(self.n_instances)[instances])
        lengths = np.bincount(self.index[rows], minlength=len(self))
        bags = np.flatnonzero(lengths)
        return dataclasses.replace(
            self,
            notes=self._selected(bags, self.n_instances - len(rows)),
            x={k: take(v, rows) for k, v in self.x.items()},
            offsets=np.concatenate([[0], lengths[bags].cumsum()]),
            instance=self.instance.iloc[rows],
            bag=self.bag.iloc[bags],
            rows=self.rows[rows],
            present={k: v[rows] for k, v in self.present.items()},
            kind=self._kept_kind,
        )

    def _selected(self, bags: np.ndarray, instances: int) -> tuple[str, ...]:
        """Notes, and that a selection left instances out; ``bags`` are positions that stay."""
        if not instances:
            return self.notes
        gone = len(self) - len(np.unique(bags))
        what = f"{gone:,} of {len(self):,} bags" if gone else \
            f"{instances:,} of {self.n_instances:,} instances"  # fmt: skip
        donors = 0 if not gone else None
        if gone and self.donor is not None and len(self) <= _COUNTED:
            inside = np.isin(np.arange(len(self)), bags)
            names = self.bag.get(self.donor, self.bag.index)
            donors = vanished(names.to_numpy(), ~inside, inside)
        note = Left(f"{what} were left out by a selection.", instances=instances, bags=gone,
                    donors=donors, asked=True)  # fmt: skip
        return (*self.notes, note)

    def __iter__(self) -> Iterator[Bags]:
        return (self[[i]] for i in range(len(self)))

    def view(self, name: str | None = None) -> tuple[str, View]:
        """Name and rows of a view; the first when no name is given.

        Raises
        ------
        InputError
            If there is no view of that name.
        """
        if name is None:
            return next(iter(self.x.items()))
        if name not in self.x:
            raise InputError(f"no view {name!r}; there are {sorted(self.x)}.{meant(name, self.x)}")
        return name, self.x[name]

    def only(self, views: str | Sequence[str]) -> Bags:
        """The same bags with some of their views, in the order named.

        Raises
        ------
        InputError
            If none is named, or there is no such view.
        """
        names = [views] if isinstance(views, str) else list(views)
        if not names:
            raise InputError(f"no view is named; there are {sorted(self.x)}.")
        x = {name: self.view(name)[1] for name in names}
        return dataclasses.replace(
            self, x=x, features={k: v for k, v in self.features.items() if k in x},
            present={k: v for k, v in self.present.items() if k in x},
            lacking={k: v for k, v in self.lacking.items() if k in x},
            kinds={k: v for k, v in self.kinds.items() if k in x},
        )  # fmt: skip

    def table(self, name: str | None = None) -> np.ndarray:
        """A view as one dense array in memory, (n_instances, ...)."""
        view = self.view(name)[1]
        return dense(view if hasattr(view, "__getitem__") else view.read(0, self.n_instances))

    def scatter(self, values: np.ndarray, n: int | None = None) -> np.ndarray:
        """Put values of the instances back into the order of the user's table.

        ``values`` (n_instances, ...) to (n, ...); ``n`` is the length of that table. Rows that are
        in no bag become NaN.
        """
        values = np.asarray(values)
        n = int(self.rows.max()) + 1 if n is None else n
        gaps = len(np.unique(self.rows)) < n  # bags may be repeated, so len(values) says nothing
        kind = np.result_type(values.dtype, np.float32) if gaps else values.dtype
        out = np.full((n, *values.shape[1:]), np.nan if gaps else 0, dtype=kind)
        out[self.rows] = values
        return out

    def share(self, move: Callable[[np.ndarray], np.ndarray]) -> None:
        """Move large tables to where worker processes see them: in place, for one copy is enough.

        They are arrays of the same numbers afterwards. One that is held elsewhere too stays there.

        Parameters
        ----------
        move
            From an array, of any shape, to the same in memory that workers see
            (:func:`smalti.system.mapped.shared`).
        """
        for name in list(self.x):
            # one at a time: the memory of one goes before the next is copied
            object.__setattr__(self, "x", {**self.x, name: moved_view(self.x[name], move)})

    # ---------------------------------------------------------------- target

    def with_target(
        self,
        y: Any,
        kind: str | None = None,
        *,
        positive: Any = None,
        order: Sequence[Any] | None = None,
    ) -> Bags:
        """The same bags with another target, one row of ``y`` per bag.

        ``kind``, ``positive`` and ``order`` are as in :meth:`from_rows`.

        Raises
        ------
        InputError
            If ``y`` has not one row per bag, or does not fit what is said of it.
        """
        values = _target(y)
        if len(values) != len(self):
            raise InputError(
                f"Found input variables with inconsistent numbers of samples: "
                f"{len(self)} bags but {len(values)} targets."
            )
        table = self.bag.copy()
        if values.ndim == 2:
            names = tuple(f"target_{j}" for j in range(values.shape[1]))
            table[list(names)] = values
            target: str | tuple[str, ...] = names
        else:
            table["target"] = values
            target = "target"
        other = dataclasses.replace(self, bag=table, target=target, kind=kind, positive=None,
                                    order=None)  # fmt: skip
        return other.say(positive, order)

    def with_instance(self, columns: Mapping[str, Any]) -> Bags:
        """The same bags with more columns of the instances, or others of the same names.

        Parameters
        ----------
        columns
            Name -> (n_instances,) values, in the order of the bags' instances.

        Raises
        ------
        InputError
            If a column has another length.

        Examples
        --------
        >>> import smalti as sm
        >>> bags = sm.datasets.planted_bags(4, seed=0)
        >>> bags = bags.with_instance({"half": ["a", "b"] * (bags.n_instances // 2)
        ...                            + ["a"] * (bags.n_instances % 2)})
        >>> sorted(set(bags.instance["half"]))
        ['a', 'b']
        """
        table = self.instance.copy()
        for name, values in columns.items():
            if len(values) != self.n_instances:
                raise InputError(
                    f"{name!r} has {len(values):,} values for {self.n_instances:,} instances: give "
                    "one for each, in the order of the bags."
                )
            table[name] = values.array if isinstance(values, pd.Series) else values
        return dataclasses.replace(self, instance=table)

    def say(self, positive: Any = None, order: Sequence[Any] | None = None) -> Bags:
        """The same bags, with what is said of their target: its positive class, or its order.

        Raises
        ------
        InputError
            If ``positive`` is no label, ``order`` lacks one or names another, or the kind of target
            has no such thing.
        """
        if positive is None and order is None and (self.kind != "ordinal" or self.target is None):
            return self
        if self.target is None:
            raise InputError("positive= and order= are of a target: name it (label=, target= or "
                             "y=), or leave them out.")  # fmt: skip
        bags = dataclasses.replace(
            self, positive=self.positive if positive is None else positive,
            order=self.order if order is None else tuple(order),
        )  # fmt: skip
        labels = self._target_column()
        labels = labels[~missing(labels)] if isinstance(labels, pd.Series) else labels
        different = pd.unique(pd.Series(np.ravel(labels))).tolist()
        if order is not None:
            check_order(different, order, f"target {self.target!r}")
        if len(different) > 1:  # bags to be predicted may well be all alike
            bags._as_task(labels, self.kind)
        return bags

    @cached_property
    def task(self) -> Task | None:
        """What is to be predicted, or None."""
        return None if self.target is None else self.as_task()

    def as_task(self, kind: str | None = None) -> Task:
        """The target as a task, of another kind where a method asks for one.

        Raises
        ------
        InputError
            If there is no target, or the labels do not make such a task.
        """
        return self._as_task(self._target_column(), kind or self.kind)

    def _target_column(self) -> Any:
        """Labels with the order of their categories; an array of several columns."""
        values = self.labels  # which says what is not there
        return self.bag[self.target] if isinstance(self.target, str) else values

    def _as_task(self, labels: Any, kind: str | None) -> Task:
        from smalti.task import Task

        positive, order = self.positive, self.order
        if kind != self.kind:  # what was said is of the kind that the bags have
            positive = positive if kind == "binary" else None
            order = order if kind in ("binary", "ordinal") else None
        return Task.infer(labels, column=self.target or "target", kind=kind, positive=positive,
                          order=order)  # fmt: skip

    @cached_property
    def _kept_kind(self) -> str | None:
        """The kind that parts of these bags keep: they may hold too few labels to tell."""
        try:
            return self.kind if self.task is None else self.task.kind
        except InputError:
            return self.kind

    @property
    def labels(self) -> np.ndarray:
        """Target as the user wrote it: (n_bags,), or (n_bags, n_labels) for several.

        Raises
        ------
        InputError
            If the bags have no target, or one of its columns is missing.
        """
        if self.target is None:
            raise InputError("these bags have no target: name it (label=, target= or y=).")
        columns = [self.target] if isinstance(self.target, str) else list(self.target)
        for column in columns:
            _column(self.bag, column, "bag")
        values = self.bag[columns].to_numpy()
        return self.bag[columns[0]].to_numpy() if isinstance(self.target, str) else values

    @property
    def donors(self) -> np.ndarray:
        """(n_bags,) donor of each bag, as integers.

        Raises
        ------
        InputError
            If no donor column was named, or a donor is missing.
        """
        if self.donor is None:
            raise InputError(
                "no donor: samples of one donor on both sides of a split leak. Name the column "
                "with donor=...; where every bag is its own donor, say donor='bag'."
            )
        if self.donor == "bag" and "bag" not in self.bag:
            return np.arange(len(self))
        return pd.factorize(self._whole_column("donor", self.donor))[0]

    @property
    def sites(self) -> np.ndarray:
        """(n_bags,) site of each bag, as integers.

        Raises
        ------
        InputError
            If no site column was named, or a site is missing.
        """
        if self.site is None:
            raise InputError("no site: name the column of hospitals, scanners or batches, site=...")
        return pd.factorize(self._whole_column("site", self.site))[0]

    def _whole_column(self, what: str, name: str) -> pd.Series:
        """A column of the bags without gaps."""
        column = _column(self.bag, name, "bag")
        gone = missing(column)
        if gone.any():
            raise InputError(
                f"{what} column {name!r} is missing for bag {_some(self.bag.index[gone])} "
                f"(written {missing_words(column)}): fill it in, or drop the bag."
            )
        return column

    # ---------------------------------------------------------------- checking

    def check(self) -> Bags:
        """Look for features that no method can use; returns the bags themselves.

        Raises
        ------
        InputError
            If there are no bags or a view has no features; if two features have one name; if a
            value is NaN or infinite, or too large for float32: the view, the feature and the bag
            are named.
        """
        if not len(self):
            raise InputError("there are no bags: was every one of them left out?")
        for name, view in self.x.items():
            if not np.prod(view.shape[1:]):
                raise InputError(
                    f"view {name!r} has no features (its shape is {tuple(view.shape)}): leave it "
                    "out, or read it again."
                )
            _refuse_namesakes(name, self.features.get(name) or ())
            self._check_values(name, view)
        return self

    def _check_values(self, name: str, view: View) -> None:
        base: Any = getattr(view, "base", view)
        if hasattr(base, "moments"):  # of files, which are kept: what is read now is read once
            found = base.moments(getattr(view, "picked", None))
            # no value lies farther from the mean than the root of all squared deviations
            if (np.abs(found.mean) + np.sqrt(found.square) < np.finfo(np.float32).max).all():
                return
        for start, part in placed(view):
            values = part.data if sp.issparse(part) else np.asarray(part)
            if values.dtype.kind != "f" or _fits_float32(values).all():
                continue
            dense = part.toarray() if sp.issparse(part) else values
            where = tuple(np.argwhere(~_fits_float32(dense))[0])
            row = start + int(where[0])
            feature = self.features.get(name, ())
            named = repr(feature[where[1]]) if len(feature) else f"at {tuple(map(int, where[1:]))}"
            bag = self.bag.index[[self.index[row]]].tolist()[0]  # as Python writes it
            at = f"feature {named}, row {int(self.rows[row])}, bag {bag!r}"
            if np.isfinite(dense[where]):
                raise InputError(
                    f"view {name!r} holds {dense[where]:.3g}, which float32, what methods compute "
                    f"in, cannot: {at}. Rescale the feature, or take its logarithm."
                )
            raise InputError(
                f"view {name!r} contains NaN or infinity: {at}. Impute or drop it first; no method "
                "here accepts missing values encoded as NaN."
            )

    @cached_property
    def digest(self) -> str:
        """SHA-256 (16 hexadecimal digits) of features, slices and bag table."""
        sha = hashlib.sha256(self.rows_digest.encode())
        sha.update(np.ascontiguousarray(self.offsets).tobytes())
        sha.update(self.bag.to_csv().encode())
        return sha.hexdigest()[:16]

    @cached_property
    def asked_digest(self) -> str:
        """SHA-256 (16 digits) of all that a fit may read: what is kept of a fit hangs on it.

        Beside :attr:`digest`: which columns are target and donor, the kind of target, its classes
        in order (so which is positive), the columns of the instances (cell types, positions); and
        what the views were said to hold.
        """
        try:
            classes = () if self.task is None else self.task.classes
        except InputError:  # a method may read the labels as another kind
            classes = (self.positive, self.order)
        asked: tuple[Any, ...] = (self.target, self._kept_kind, list(map(str, classes)),
                                  self.donor, list(map(str, self.instance.columns)))  # fmt: skip
        if self.kinds:
            asked = (*asked, dict(self.kinds))
        sha = hashlib.sha256(f"{self.digest} {asked!r}".encode())
        if len(self.instance.columns):
            for start in range(0, self.n_instances, _HASHED):
                part = self.instance.iloc[start : start + _HASHED]
                rows = pd.util.hash_pandas_object(part, index=False)
                sha.update(np.ascontiguousarray(rows.to_numpy()).tobytes())
        return sha.hexdigest()[:16]

    @cached_property
    def rows_digest(self) -> str:
        """SHA-256 of the features alone: of which instances, in which order."""
        sha = hashlib.sha256()
        for name, view in sorted(self.x.items()):
            sha.update(f"{name}{view.shape}{view.dtype}".encode())
            add_values(sha, view)
        for name, there in sorted(self.present.items()):
            sha.update(name.encode() + np.packbits(there).tobytes())
        return sha.hexdigest()

    def __repr__(self) -> str:
        if not len(self):
            return "Bags: no bags"
        parts = [self._counted()]
        for name, view in self.x.items():
            gaps = f" ({self.present[name].sum():,} measured)" if name in self.present else ""
            parts.append(f"{name} {'x'.join(map(str, view.shape[1:]))}{gaps}")
        donors, target = self._described()
        text = f"Bags: {', '.join(parts)}{f', {donors}' if donors else ''}"
        return f"{text}; {target}" if target else text

    def _repr_html_(self) -> str:
        from smalti.notebook import card

        if not len(self):
            return card("no bags", above="Bags")
        donors, target = self._described()
        facts = {
            "target": target,
            "donors": donors.removesuffix(" donors"),
            "site": self.site or "",
        }
        views = [
            {"view": name, "features": "×".join(f"{n:,}" for n in view.shape[1:]),
             "type": str(view.dtype),
             "measured": f"{self.present[name].sum():,}" if name in self.present else "all"}
            for name, view in self.x.items()
        ]  # fmt: skip
        return card(
            self._counted(), above="Bags", table=pd.DataFrame(views),
            facts={k: v for k, v in facts.items() if v},
            folded={
                f"{len(self.bag.columns)} columns of bags": map(str, self.bag.columns),
                f"{len(self.instance.columns)} columns of instances":
                    map(str, self.instance.columns),
                f"{len(self.notes)} note{'s' * (len(self.notes) > 1)}": map(str, self.notes),
            },
        )  # fmt: skip

    def _counted(self) -> str:
        """How many bags there are, of how many instances."""
        lengths = self.lengths
        if len(self) > 1 and lengths.max() == 1:
            return f"{len(self):,} bags of one instance"
        return f"{len(self):,} bags of {lengths.min():,}-{lengths.max():,} instances"

    def _described(self) -> tuple[str, str]:
        """Donors and target in words; empty where there are none."""
        donors = target = ""
        try:
            if self.donor is not None:
                donors = f"{len(np.unique(self.donors)):,} donors"
            if self.task is not None:
                target = self.task.describe(self.labels)
        except InputError as error:  # e.g. a few bags of a larger set, with one label
            target = str(error).split(":")[0]
        return donors, target


# -------------------------------------------------------------------- helpers


def as_bags(x: Any, y: Any = None, **said: Any) -> Bags:
    """Read what a user may pass to ``fit`` or ``predict`` as bags.

    ``Bags`` stay, and keep their own target where ``y`` is just that; a list of 2-D arrays is one
    bag each; a 2-D array (or data frame, or CSR) is bags of one instance. What is ``said`` of the
    target (kind, positive, order) is as in :meth:`Bags.with_target`.

    Raises
    ------
    InputError
        If there is no bag, or two columns of a data frame have one name.
    """
    from sklearn.utils.validation import check_array

    if isinstance(x, Bags):
        if y is not None and not _is_own(x, y):
            return x.with_target(y, **said)
        positive, order = said.get("positive"), said.get("order")
        return x if positive is None and order is None else x.say(positive, order)
    if isinstance(x, (list, tuple)) and not len(x):
        raise InputError("no bags: the list is empty.")
    ragged = isinstance(x, (list, tuple)) and all(np.ndim(a) >= 2 for a in x)
    if ragged or (isinstance(x, np.ndarray) and x.ndim > 2):
        bags = Bags.from_list(x)
    else:
        names = (
            {"x": tuple(x.columns)}
            if isinstance(x, pd.DataFrame) and all(isinstance(c, str) for c in x.columns)
            else {}
        )
        _refuse_namesakes("x", names.get("x", ()))
        table = check_array(x, accept_sparse="csr", dtype="numeric")
        if not sp.issparse(table) and table.dtype.kind not in "fiub":
            table = table.astype(float)
        bags = Bags.from_rows(table, np.arange(table.shape[0]), features=names)
    return bags if y is None else bags.with_target(y, **said)


def _is_own(bags: Bags, y: Any) -> bool:
    """Whether these are the labels that the bags have, as scikit-learn passes them on."""
    if bags.target is None or isinstance(getattr(y, "dtype", None), pd.CategoricalDtype):
        return False  # categories may be ordered anew
    return np.array_equal(bags.labels, np.asarray(y))


def _refuse_namesakes(name: str, features: Sequence[str]) -> None:
    twice = namesakes(features)
    if twice:
        raise InputError(
            f"view {name!r} has {len(twice)} names that several features bear: {some(twice)}. "
            "Nothing else tells them apart: make the names unique (adata.var_names_make_unique())."
        )


def _fits_float32(values: np.ndarray) -> np.ndarray:
    """Whether each value, of any shape, is finite as float32, in which methods compute."""
    with np.errstate(over="ignore"):
        return np.isfinite(values.astype(np.float32, copy=False))


def _column(
    table: pd.DataFrame, column: str, where: str, other: pd.DataFrame | None = None
) -> pd.Series:
    if column not in table:
        there = sorted(map(str, [*table.columns, *(() if other is None else other.columns)]))
        raise InputError(
            f"no column {column!r} in the {where} table; there are {', '.join(there)}."
            f"{meant(column, there)}"
        )
    return table[column]


def _target(y: Any) -> Any:
    """Values as an array, each as it is; categories keep their order (a target is ordinal then)."""
    if isinstance(getattr(y, "dtype", None), pd.CategoricalDtype):
        return pd.Categorical(y)
    values = np.asarray(y)
    if values.ndim not in (1, 2):
        raise InputError(
            f"a target of shape {values.shape}: give one value a bag, (n_bags,), or for several "
            "labels (n_bags, n_labels)."
        )
    if values.ndim == 1 and values.dtype.kind in "US" and isinstance(y, (list, tuple)):
        return np.array(y, dtype=object)  # NumPy makes a text of every number beside a text
    if values.ndim == 1 or values.shape[1] == 1:
        return values.reshape(-1)
    try:
        values.astype(float)
    except ValueError as error:
        raise InputError(
            f"a target of shape {values.shape} that holds text ({str(values.flat[0])!r}): several "
            "labels of a bag are 0 or 1 each; of one label give one value a bag."
        ) from error
    return values


def _by_bag(column: str, values: Any, codes: np.ndarray, index: pd.Index) -> Any:
    """Reduce a column of the instances to the bags, where each bag has just one value."""
    if isinstance(values, Mapping):
        absent = [i for i in index if i not in values]
        if absent:
            raise InputError(f"{column!r} has no value for bag {_some(absent)}.")
        return [values[i] for i in index]
    values = _target(values)
    if values.ndim == 2:
        raise InputError(
            f"{column!r} has the shape {values.shape}: give one value an instance. Several labels "
            "are columns of bag= or instance=, which target=[...] names."
        )
    series = pd.Series(values)
    if len(series) != len(codes):
        raise InputError(f"{column!r} has {len(series)} values for {len(codes)} instances.")
    series = series.reset_index(drop=True)
    kinds, _ = pd.factorize(series, use_na_sentinel=False)
    first = np.zeros(len(index), dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    wrong = np.flatnonzero(kinds != kinds[first[codes]])
    if len(wrong):
        bag = codes[wrong[0]]
        both = series.iloc[[first[bag], wrong[0]]].tolist()
        raise InputError(
            f"bag {index.tolist()[bag]!r} has two values of {column!r} "
            f"({both[0]!r} and {both[1]!r}): a bag "
            "has one. Mend the column, or use a bag id that parts them."
        )
    return series.iloc[first].array


def _some(names: Any) -> str:
    names = [repr(n) for n in pd.Index(names).tolist()]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
