"""The ``smalti`` command: one file per verb.

Nothing heavy is imported here, so that ``smalti --help`` answers at once. What a user can mend is
one red line and exit code 2; a bug keeps its traceback. Ctrl-C ends with code 130 and SIGTERM with
143, as a shell has them, and what can be gone on with is said in a line of the log.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import warnings
from typing import Annotated, Any

import typer

from smalti.cli import say
from smalti.cli.annotate import annotate
from smalti.cli.arrange import arrange
from smalti.cli.audit import audit
from smalti.cli.cells import cells
from smalti.cli.cite import cite
from smalti.cli.compare import compare
from smalti.cli.crew import hushed
from smalti.cli.demo import demo
from smalti.cli.doctor import doctor
from smalti.cli.expression import app as expression
from smalti.cli.features import features
from smalti.cli.fit import fit
from smalti.cli.genes import app as genes
from smalti.cli.heatmap import heatmap
from smalti.cli.integrate import integrate
from smalti.cli.methods import methods
from smalti.cli.predict import predict
from smalti.cli.tissue import tissue
from smalti.cli.words import Answering, Group, Verb, here, tell
from smalti.errors import InputError


class _Smalti(Group):
    def invoke(self, ctx: Any) -> Any:
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        with warnings.catch_warnings():
            warnings.showwarning = _note
            try:
                return super().invoke(ctx)
            except InputError as error:
                text = f"{hushed()}error: {' '.join(str(error).split())}"
                typer.secho(text, fg="red", err=True)
                raise typer.Exit(2) from error
            except KeyboardInterrupt as stop:
                if not stop.args:  # else the log said how to go on
                    typer.secho("stopped", fg="yellow", err=True)
                raise typer.Exit(128 + signal.SIGINT) from stop

    def main(self, *args: Any, **kwargs: Any) -> Any:
        with say.as_asked():
            return super().main(*args, **kwargs)


def _note(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """A warning as one line for people; those between libraries are not for them."""
    if issubclass(category, (DeprecationWarning, PendingDeprecationWarning, FutureWarning)):
        return
    tell(str(message), warning=True)


app = typer.Typer(
    cls=_Smalti,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Learn a patient, a slide or a tissue from its pieces, and see which pieces made it so.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_ANSWERS = (methods, cite, features, predict, compare, audit, tissue, doctor)
for _verb in (
    demo,
    methods,
    cite,
    features,
    cells,
    arrange,
    fit,
    predict,
    heatmap,
    integrate,
    annotate,
    compare,
    audit,
    tissue,
    doctor,
):
    app.command(cls=Answering if _verb in _ANSWERS else Verb)(_verb)
app.add_typer(expression, name="expression", cls=Group)
app.add_typer(genes, name="genes", cls=Group)


def _version(value: bool) -> None:
    if value:
        from smalti._version import __version__

        typer.echo(f"smalti {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def _in_words(record: logging.LogRecord) -> bool:
    """The log names options too, as errors and notes do."""
    record.msg, record.args = here(record.getMessage()), ()
    return not hushed()


logging.getLogger("smalti").addFilter(_in_words)


def main() -> None:
    """Entry point of the ``smalti`` command."""
    # imports make a million objects that stay: to look through them for garbage after each 700 is
    # a sixth of a short command
    gc.set_threshold(50_000)
    # without a handler the process ends where it stands, and leaves workers and half files behind
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    say.usual()
    sys.exit(app())
