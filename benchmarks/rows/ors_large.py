"""Overall reconstruction score of 30,000 cells: no peer, for two n x n matrices are 14 GB."""

from rows import ors
from rows.ors import least, smalti  # noqa: F401

WORK = "reconstruction score: 30,000 cells x 2,000 genes"


def data(share):
    return ors.data(7.5 * share)
