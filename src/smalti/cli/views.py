"""Cells of several modalities on the command line: reading them, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smalti.cli import options
from smalti.cli.given import data_of
from smalti.cli.say import say
from smalti.cli.words import here, tell
from smalti.errors import InputError

if TYPE_CHECKING:
    from smalti.bags import Bags

FILES = (".h5mu", ".h5ad", ".zarr")
TABLES = (".csv", ".tsv", ".parquet")


def to_embed(data: list[Path], out: Path, obs: Path | None, runs: str | None) -> Any:
    """What is read, and what a result is written into: the file as it is, or what files come to.

    Raises
    ------
    InputError
        If ``out`` has not the ending of the data, nor that of a table.
    """
    from smalti.io.gather import is_gathered
    from smalti.io.open import holds_mudata, to_write

    if out.suffix not in (*FILES, *TABLES):
        raise InputError(f"--out {out} is none of {', '.join((*FILES, *TABLES))}.")
    given = data_of(data)
    if obs is None and out.suffix in TABLES and isinstance(given, list):
        return given  # nothing is written into what they come to
    if obs is not None or is_gathered(given):
        given = to_write(given, out, obs=obs, runs=options.listed(runs))
    elif runs is not None:
        raise InputError("runs= names several runs, and the data are one.")
    many = holds_mudata(given) if isinstance(given, Path) else hasattr(given, "mod")
    own = ".h5mu" if many else ".h5ad"
    if out.suffix not in (*TABLES, own, ".zarr"):
        raise InputError(f"--out {out.name} must end in {own} or .zarr, as the data does.")
    return given


def say_modalities(taken: Iterable[Any]) -> None:
    """A line for each modality: what it was taken for, and its steps; a note where in doubt."""
    for one in taken:
        if one.doubtful:
            tell(f"{one}.")
        else:
            say(here(str(one)))


def read_views(
    data: Any,
    x: str | None,
    cells: str | None,
    *,
    sample: str | None = None,
    donor: str | None = None,
    kinds: dict[str, str] | None = None,
    obs: Path | None = None,
    runs: list[str] | None = None,
    backed: bool | None = None,
) -> Bags:
    """Cells of several modalities."""
    from smalti.io.anndata import read

    return read(data, x=options.views_of(x), cells=cells, sample=sample, donor=donor, kinds=kinds,
                obs=obs, runs=runs, backed=backed)  # fmt: skip


def refuse_one(data: Any, bags: Bags) -> None:
    """Refuse a file that was read as one modality, in the words of the command line.

    Raises
    ------
    InputError
        If it was.
    """
    from smalti.io.open import open_table

    if len(bags.x) < 2:
        table = open_table(data)
        keys, name = ", ".join(table.there()), table.name.rpartition("/")[2]
        raise InputError(
            f"two modalities or more are integrated, and of {name} one was read, "
            f"{next(iter(bags.x))!r}: name them, such as --x X,obsm/KEY; there are {keys}."
        )
