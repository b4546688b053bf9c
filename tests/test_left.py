"""What is left out is a note with its numbers, wherever the notes go."""

import copy
import json
import pickle

import numpy as np
import pytest

from smalti.datasets import planted_bags
from smalti.left import Left, kind_of, summed, vanished


def test_it_is_the_note_and_keeps_its_numbers():
    note = Left("2 cells are left out.", instances=2, donors=None)
    assert note == "2 cells are left out."
    assert json.dumps([note]) == '["2 cells are left out."]'
    for other in (pickle.loads(pickle.dumps(note)), copy.deepcopy(note)):
        assert (other, other.instances, other.bags, other.donors) == (note, 2, 0, None)
    assert note.of_no_instance().instances == 0


def test_one_finding_on_many_slides_is_summed():
    notes = [Left(f"slide '{s}': {n} tiles leave the picture.", instances=n)
             for s, n in (("a", 3), ("b", 4))]  # fmt: skip
    assert kind_of(notes[0]) == kind_of(notes[1])
    assert summed(notes, "both").instances == 7
    assert summed([*notes, Left("x", instances=None)], "all").instances is None
    assert not isinstance(summed([*notes, "a plain note"], "all"), Left)


def test_what_vanishes_has_nobody_left():
    gone = np.array([True, True, False, True])
    assert vanished(["a", "b", "b", "c"], gone, ~gone) == 2


@pytest.mark.parametrize(
    "key",
    [slice(0, 5), np.arange(10) % 3 == 0, [7, 1, 1], -1],
    ids=["slice", "mask", "list", "one"],
)
def test_a_selection_says_what_it_left_out(key):
    bags = planted_bags(10, bags_per_donor=2, seed=0)
    some = bags[key]
    own = np.unique(np.arange(10)[key])
    (left,) = some.left
    assert left.bags == 10 - len(own)
    assert left.instances == bags.n_instances - bags.lengths[own].sum()
    assert left.donors == 5 - len(np.unique(bags.donors[own]))
    assert left.asked
    assert bags.left == ()


def test_rows_that_are_not_kept_are_counted_and_an_order_leaves_nothing_out():
    bags = planted_bags(6, seed=0)
    (left,) = bags.keep(np.arange(bags.lengths[:4].sum() + 1)).left
    assert (left.bags, left.donors) == (1, 1)
    assert left.instances == bags.lengths[4:].sum() - 1
    assert bags[[3, 1, 0, 2, 5, 4]].left == ()
    (part,) = bags.keep(np.arange(bags.n_instances) != 2).left
    assert (part.instances, part.bags, part.donors) == (1, 0, 0)
