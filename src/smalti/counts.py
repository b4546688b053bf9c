"""Whether a table holds raw counts."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from smalti.views import View, read_rows

_LOOKED_AT = 1_000_000  # values by which a table is told to be counts


def count_problem(view: View) -> str | None:
    """Why a table is not raw counts, or None.

    The first rows are looked at, up to a million values.
    """
    rows = max(1, min(int(view.shape[0]), _LOOKED_AT // max(1, int(np.prod(view.shape[1:])))))
    part = read_rows(view, 0, rows)
    values = part.data if sp.issparse(part) else np.asarray(part)
    if not values.size:
        return None
    if values.min() < 0:
        return f"there are negative values (least: {values.min():.3g})"
    if (values != np.round(values)).any():
        like = "logs" if values.max() < 20 else "normalised counts"
        return f"not all values are whole numbers; they look like {like}, or like corrected counts"
    return None
