"""``smalti audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from smalti.cli import options, slide_options
from smalti.cli.compare import OF_BAGS, refuse
from smalti.cli.data import open_bags
from smalti.cli.given import data_of
from smalti.cli.say import answer, say
from smalti.cli.views import read_views, refuse_one
from smalti.cli.words import in_options, read_here


def audit(
    ctx: typer.Context,
    data: options.Data,
    out: Annotated[
        Path | None, typer.Option(help="A .json of what was found.", rich_help_panel=options.WRITE)
    ] = None,
    sample: options.Sample = None,
    label: options.Label = None,
    donor: options.Donor = None,
    site: options.Site = None,
    x: options.X = None,
    cells: options.Cells = None,
    kinds: options.Kinds = None,
    obs: options.Obs = None,
    runs: options.Runs = None,
    backed: options.Backed = None,
    labels: options.Labels = None,
    id: options.Id = None,
    key: options.Key = None,
    absent: options.Absent = None,
    patches: slide_options.Patches = None,
    tile_px: slide_options.TilePx = None,
    um_per_px: slide_options.UmPerPx = None,
    kind: options.Kind = None,
    positive: options.Positive = None,
    order: options.Order = None,
    cell_type: options.CellType = None,
    covariates: options.Covariates = None,
    integrate: Annotated[
        bool,
        typer.Option(
            "--integrate", help="Look at cells of several modalities, which --label groups."
        ),
    ] = False,
    batch: options.Batch = None,
    leave_out: options.LeaveOut = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
) -> None:
    """Look for what makes scores too good: copies, leaks, batches; every comparison does it too."""
    given = {name: value for name, value in locals().items() if value is not None}
    import json

    from smalti._version import __version__
    from smalti.cli.table import say_audit
    from smalti.leaks.run import audit as run
    from smalti.system.files import atomic_write, check_free

    if out is not None:
        check_free(out, overwrite=overwrite, inputs=read_here("out"))
    if integrate:
        refuse(given, OF_BAGS, "--integrate does not use {}: leave it out.")
        bags = read_views(data_of(data), x, cells, sample=sample, donor=donor, obs=obs,
                          kinds=options.kinds_of(kinds), runs=options.listed(runs),
                          backed=backed)  # fmt: skip
        refuse_one(data_of(data), bags)
    else:
        refuse(given, ("batch", "leave_out"), "{} is for --integrate: leave it out.")
        bags = open_bags(data_of(data), sample=sample, label=label, donor=donor, site=site, x=x,
                         labels=labels, kind=kind, positive=positive, order=order,
                         cell_type=cell_type, covariates=covariates, cells=cells, kinds=kinds,
                         obs=obs, runs=runs, id=id, key=key, absent=absent, patches=patches,
                         tile_px=tile_px, um_per_px=um_per_px, backed=backed)  # fmt: skip
    say(repr(bags))
    groups: dict[str, Any] = {"label": label, "batch": batch} if integrate else {}
    if leave_out is not None:
        groups["leave_out"] = options.listed(leave_out)
    found = run(bags, seed=seed, **groups)
    note = {"smalti": __version__, "data": repr(bags), "digest": bags.digest} | found.record()
    if out is not None:
        with atomic_write(out, overwrite=overwrite) as temporary:
            temporary.write_text(json.dumps(note, indent=1), encoding="utf-8")
    # mends are for the verb that compares, and in its words
    parent = ctx.parent
    assert parent is not None
    params = parent.command.commands["compare"].params  # type: ignore[attr-defined]

    def show() -> None:
        typer.echo(f"looked for: {', '.join(found.checks)}")
        say_audit(found, lambda text: in_options(text, params))
        if not len(found):
            typer.echo("no finding, which is no proof that there is nothing")

    answer(note, show)
