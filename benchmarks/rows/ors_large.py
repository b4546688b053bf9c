"""Overall reconstruction score of 30,000 cells: no peer, for two n x n matrices are 14 GB."""

from rows import ors
from rows.ors import least, smalti  # noqa: F401

WORK = "reconstruction score: 30,000 cells x 2,000 genes (goal: 2 s of two threads)"
ROUNDS = 3
BOUND = (
    "arithmetic: two products of a table with itself, by half, and one of both. Two "
    "threads halve the time, not the work."
)


def data(share):
    return ors.data(7.5 * share)
