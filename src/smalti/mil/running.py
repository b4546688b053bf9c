"""A fitted network on bags that its steps have been through, whole or in parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from smalti.bags import Bags
from smalti.batch import Batch, Output
from smalti.core.instances import as_array
from smalti.core.store import Store, pack

_BUDGET = 200_000  # instances in one step of a prediction


class Running:
    """The network of a fitted method, and bags as it reads them.

    Parameters
    ----------
    model
        Fitted.
    bags
        After its steps.
    """

    def __init__(self, model: Any, bags: Bags) -> None:
        self.model, self.bags = model, bags
        self.network = model.network_.eval().to(model._dtype)
        self.device = next(
            (t.device for t in self.network.state_dict().values()), torch.device("cpu")
        )
        columns = model.columns_
        if not model.group_predicts:
            columns = dataclasses.replace(columns, group=None)
        self.store = Store(bags, self.device, model._dtype, columns, sparse=model.sparse)
        self.most = self.store.most(_BUDGET)  # instances of a batch

    def whole(self) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Raw predictions, and the named tensors of instances and bags.

        (n_bags, n_outputs), then by name (n_instances, ...) and (n_bags, ...).
        """
        raw: list[np.ndarray] = []
        instance: dict[str, list[np.ndarray]] = {}
        bag: dict[str, list[np.ndarray]] = {}
        packs = pack(np.arange(len(self.bags)), self.bags.lengths, 4096, self.most)
        for out in self._outputs(self.store.stream(packs)):
            raw.append(as_array(out.raw))
            for named, parts in ((out.instance, instance), (out.bag, bag)):
                for name, values in named.items():
                    parts.setdefault(name, []).append(as_array(values))
        joined = [{k: np.concatenate(v) for k, v in d.items()} for d in (instance, bag)]
        return np.concatenate(raw), joined[0], joined[1]

    def parts(self, rows: Iterable[np.ndarray], bags: np.ndarray) -> np.ndarray:
        """(k, n_outputs) raw predictions of bags of which some instances are left.

        Parameters
        ----------
        rows
            Of each part, the (n,) instances that are left, as positions among those of all bags.
        bags
            (k,) the bag that each part is of.
        """
        raw = [as_array(out.raw) for out in self._outputs(self._packed(rows, bags))]
        return np.concatenate(raw)

    def _packed(self, rows: Iterable[np.ndarray], bags: np.ndarray) -> Iterator[Batch]:
        held: list[np.ndarray] = []
        start = n = 0
        for i, part in enumerate(rows):
            if held and n + len(part) > self.most:
                yield self._batch(held, bags[start:i])
                held, start, n = [], i, 0
            held.append(part)
            n += len(part)
        if held:
            yield self._batch(held, bags[start:])

    def _batch(self, rows: list[np.ndarray], bags: np.ndarray) -> Batch:
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in rows])])
        return self.store.parts(np.concatenate(rows), offsets, bags)

    def _outputs(self, batches: Iterable[Batch]) -> Iterator[Output]:
        return map(self._output, batches)  # which holds no batch while the next is made

    @torch.inference_mode()
    def _output(self, batch: Batch) -> Output:
        half = self.model.precision == "bf16-mixed"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            out: Output = self.network(batch)
        return out
