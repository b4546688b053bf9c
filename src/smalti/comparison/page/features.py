"""Section of a modality's prediction: its features one by one."""

from __future__ import annotations

from typing import Any

from smalti.comparison.page.rows import leading
from smalti.report.section import Drawing, Folded, Section, Table

_DRAWN = 40  # features; more cannot be read


def features(table: Any) -> Section:
    """Correlation of each feature by the leading methods: a drawing and a table."""
    from smalti.plot import plot_features

    shown = [*dict.fromkeys([*leading(table, 4), *table.baselines])]
    wide = table.by_feature()[[m for m in shown if m in set(table.features["method"])]]
    wide = wide.sort_values(wide.columns[0], ascending=False)
    parts = (
        Drawing(
            "feature-dots", plot_features(wide.head(_DRAWN)),
            alt=f"Correlation of {min(len(wide), _DRAWN)} features of {table.target}, predicted "
                "and measured, by method.",
            caption="A dot is a method: Pearson correlation of predicted and measured values over "
                    "held-out cells, mean over the seeds"
                    + (f"; the best {_DRAWN} features." if len(wide) > _DRAWN else "."),
        ),
        Folded(f"All {len(wide):,} features",
               (Table("by-feature", wide.reset_index(), "Pearson correlation by method."),)),
    )  # fmt: skip
    return Section("features", f"Features of {table.target}, one by one", parts)
