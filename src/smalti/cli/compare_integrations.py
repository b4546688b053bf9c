"""``smalti compare --integrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smalti.cli import options
from smalti.cli.views import read_views, refuse_one, say_modalities
from smalti.cli.words import keep_config, made_here, read_here
from smalti.errors import InputError


def compare_integrations(
    data: Any,
    out: Path,
    methods: str,
    *,
    label: str | None,
    predict: str | None,
    x: str | None,
    cells: str | None,
    kinds: str | None,
    obs: Path | None,
    runs: list[str] | None,
    backed: bool | None,
    title: str,
    sample: str | None,
    donor: str | None,
    preprocess: str | None,
    settings: dict[str, Any],
    overwrite: bool,
    dry_run: bool,
    **more: Any,
) -> None:
    """Run ``smalti compare --integrate``.

    ``more`` is for ``compare_integration``; with ``predict``, for ``compare_modality_prediction``.

    Raises
    ------
    InputError
        If no groups to score by are named, or a method is named twice.
    """
    from smalti.cli.table import say_plan, show
    from smalti.comparison import integration, modality_prediction, planning
    from smalti.preprocess import given_modalities, modalities, steps_of
    from smalti.scores.table import is_run
    from smalti.system.files import check_free

    if label is None and predict is None:
        raise InputError("name the column of known groups to score by, --label NAME.")
    if preprocess is not None:
        settings["preprocess"] = options.steps_by_view(preprocess)
    names = [n.strip() for n in methods.split(",") if n.strip()]
    if len(set(names)) < len(names):
        raise InputError(f"--methods {methods} names a method twice.")
    chosen = dict(zip(names, options.make_methods(methods, settings), strict=True))
    check_free(out, overwrite=overwrite, ours=is_run, inputs=read_here("out"))
    bags = read_views(data, x, cells, sample=sample, donor=donor, kinds=options.kinds_of(kinds),
                      obs=obs, runs=runs, backed=backed)  # fmt: skip
    refuse_one(data, bags)
    given = settings.get("preprocess")
    say_modalities(modalities(bags) if given is None else given_modalities(bags, steps_of(given)))
    compare: Any = integration.compare_integration
    plan: Any = planning.plan_integration
    question = {"label": label} if predict is None else {"target": predict}
    if predict is not None:
        compare = modality_prediction.compare_modality_prediction
        plan = planning.plan_modality_prediction
        more = {k: more[k] for k in ("seeds", "cache", "n_jobs", "scheduler")}
    if dry_run:
        asked = {k: v for k, v in more.items() if k not in ("n_jobs", "scheduler")}
        found = plan(chosen, bags, **asked, **question)
        say_plan(found, out)
        return
    result = compare(chosen, bags, **more, **question)
    what = "Integration" if predict is None else f"Prediction of {predict}"
    result.write(out, overwrite=overwrite)
    keep_config(out)
    result.report(out / "report.html", **made_here(), title=f"{what} of {title}")
    show(result, out)
