"""``smalti cite``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli import complete, options
from smalti.cli.say import answer


def cite(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="Methods (see smalti methods), or model folders.",
            autocompletion=complete.methods,
        ),
    ],
    allow: options.Allow = None,
) -> None:
    """Print what to cite for methods or models, as BibTeX."""
    from smalti.core.citation import citation
    from smalti.core.load import load

    # a folder of that name is a model only if it holds one
    models = [load(w, allow=allow) if (Path(w) / "model.json").exists() else w for w in what]
    found = citation(*models)
    answer({"bibtex": found}, lambda: typer.echo(found, nl=False))
