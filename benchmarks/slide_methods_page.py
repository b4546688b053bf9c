"""The page of docs that ``slide_methods.py page`` draws from what it measured."""

from __future__ import annotations

import statistics
from typing import Any

INTRO = """\
# Methods of slides

CLAM, DSMIL, additive MIL, ACMIL, TransMIL and DTFD-MIL beside mean, maximum and gated attention
(`abmil`) with the same encoder and head: the same bags, folds by donor, seeds, optimiser and
epochs, and nothing tuned (`transmil` and `dtfd` keep their own learning rate and dropout, and take
eight bags a step). Where torchmil (1.0.2, Apache-2.0) has the method, its own model runs in the
same loop, with its own forward pass, padding and loss, and with the same encoder, learning rate and
steps. Nothing here is typed: the page is drawn from
[slide-methods.json](slide-methods.json) by `python benchmarks/slide_methods.py page`.
"""

LOGITS = """\
## Same weights, same bags

`benchmarks/slide_methods.py logits`: the weights of a fitted method are given to torchmil's
model, in float64. Largest difference of the raw prediction, and of the loss, over 50 bags of 1 to
200 pieces (losses of those of 16 and more); a bag alone, and padded to the longest.
"""

DIFFER = """\
Its losses are taken in float32, hence 1e-7. Where it differs:

- **CLAM's loss.** torchmil hands the margin loss its labels as a column, which is spread over the
  rows: each of the 2B pieces is set beside the labels of all 2B, not beside its own. With each
  piece beside its own label (second row of CLAM) the losses agree. Further, the loss of pieces is
  a sum over the bags of a step where that of bags is a mean, and both count alike (paper: 0.7 and
  0.3); in bags of fewer than 2B pieces one piece is among the most and the least attended, and is
  taught both.
- **Padding.** torchmil's DSMIL takes its maximum over padded rows too, so that a prediction
  depends on the longest bag of its batch; its CLAM samples pieces among padded rows in training.
  Here bags are slices of one tensor, and nothing is padded.
- **DSMIL** there adds the losses of both streams where the authors take their mean.
- **TransMIL and DTFD-MIL**: what is equal and what is not, by the same weights, is
  [a page of its own](slide-parity.md). torchmil's TransMIL knows no mask and its DTFD-MIL deals
  padded rows into pseudo-bags of their own, so both get their bags one by one here.
- torchmil has one branch only, two classes only, and neither additive MIL nor ACMIL: for these,
  for several branches and for all kinds of target the reference is a loop over bags in NumPy
  (`tests/mil/test_slide_methods.py`).
"""

SCORES = """\
## Scores

AUROC of donors left out, mean over folds and repeats with its 95 % interval; differences by the
corrected resampled t-test on the same folds, their 95 % interval of each alone, the verdict over
all methods of the table (Holm; within 0.01 is equal). "Mended" is torchmil's CLAM with each piece
beside its own label, means in place of sums, 0.7 and 0.3, and the mask handed on. `bag_mean`,
`bag_statistics` and `majority` are the baselines of every comparison. `type_composition` and
`type_pseudobulk`, of planted bags, read simulated types of cells that name the pieces that tell:
they bound what can be had there, and are no rivals. By default `dtfd` trains for 200 epochs at a
rate of 1e-4; more than the epochs given here were not tried. torchmil's CLAM as it is stops with an
error once some pieces are far from the margin, where its loss meets the labels that are spread over
the rows, and then has no row.
"""

TIME = """\
## Time

`benchmarks/slide_methods.py time`: CPU seconds of a fit on one thread, in turn, median and range.
{about}, two epochs, 4 bags a step.
"""

TITLES = {
    "planted": "Planted bags: one piece in twelve tells",
    "musk1": "Musk1",
    "elephant": "Elephant",
    "mnist": "MNIST-bags, pixels as vectors",
    "glas": "GlaS: colon glands, benign against malignant, folds by patient",
}


def of_range(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def with_interval(row: dict[str, Any]) -> str:
    if row["low"] != row["low"]:  # all folds are equal
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


def difference(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    return f"{found['difference']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f}), " \
        f"{found['verdict']}"  # fmt: skip


def table_of(rows: list[dict[str, str]]) -> list[str]:
    head = list(rows[0])
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head),
            *(f"| {' | '.join(row[c] for c in head)} |" for row in rows), ""]  # fmt: skip


def told_apart(rows: list[dict[str, Any]], reference: str) -> str:
    """Which rows differ, in words."""
    said = []
    for key, whom in (("to reference", f"`{reference}`"), ("to torchmil", "torchmil's own")):
        found = [r for r in rows if key in r]
        names = [f"`{r['method']}` ({r[key]['verdict']})" for r in found
                 if r[key]["verdict"] in ("better", "worse")]  # fmt: skip
        if found:
            said.append(f"Told apart from {whom}: {', '.join(names) or 'none'}.")
    return " ".join(said) + "\n"


def page(kept: dict[str, Any], reference: str) -> str:
    parts = [INTRO]
    if "scores" in kept:
        parts.append(SCORES)
    for name, found in kept.get("scores", {}).items():
        rows = [{"method": f"`{r['method']}`",
                 "AUROC": with_interval(r),
                 f"less `{reference}`": difference(r.get("to reference")),
                 "less torchmil's": difference(r.get("to torchmil")),
                 "less torchmil's, mended": difference(r.get("to torchmil, mended"))}
                for r in found["rows"]]  # fmt: skip
        parts += [f"### {TITLES.get(name, name)}\n", f"`{found['command']}`. {found['about']}.\n",
                  "\n".join(table_of(rows))]  # fmt: skip
        parts.append(told_apart(found["rows"], reference))
        parts.append(f"![AUROC with intervals, and differences](figures/{name}.svg)\n")
    for found in kept.get("time", []):
        rows = [{"method": f"`{r['method']}`", "CPU seconds": of_range(r["seconds"]),
                 "torchmil's / ours": of_range(r["ratios"]) if "ratios" in r else ""}
                for r in found["rows"]]  # fmt: skip
        parts += [TIME.format(**found), "\n".join(table_of(rows))]
    if "logits" in kept:
        cells = [{k: v if isinstance(v, str) else f"{v:.0e}" for k, v in row.items()}
                 for row in kept["logits"]]  # fmt: skip
        parts += [LOGITS, "\n".join(table_of(cells)), DIFFER]
    return "\n".join(parts).rstrip("\n") + "\n"
