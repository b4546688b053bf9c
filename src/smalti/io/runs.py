"""Where the files of a run of Space Ranger lie: in outs/ or not, flat, with a prefix, packed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from smalti.errors import InputError

_MATRICES = ("filtered_feature_bc_matrix.h5", "filtered_feature_bc_matrix",
             "raw_feature_bc_matrix.h5", "raw_feature_bc_matrix", "matrix.mtx")  # fmt: skip
_POSITIONS = ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv")
_JOINS = "_-."  # between a prefix and the name that Space Ranger gave


@dataclasses.dataclass(frozen=True)
class Run:
    """The files of one section.

    Attributes
    ----------
    folder
        Where they are.
    name
        Of the slide.
    prefix
        What their names begin with ("GSM123_S1_", as GEO has them).
    beside
        Folders to look in where a file is not in ``folder``.
    """

    folder: Path
    name: str
    prefix: str = ""
    beside: tuple[Path, ...] = ()

    def file(self, *names: str) -> Path | None:
        """The first of the names that is there, packed (.gz) or not; None where none is.

        Raises
        ------
        InputError
            If several files may be it.
        """
        folders = [f for top in (self.folder, *self.beside)
                   for f in (top / f"{self.prefix}spatial", top / "spatial", top)]  # fmt: skip
        for name in (f"{name}{packed}" for name in names for packed in ("", ".gz")):
            for folder in dict.fromkeys(folders):
                for whole in (f"{self.prefix}{name}", name):
                    if (folder / whole).exists():
                        return folder / whole
                found = [] if self.prefix else list(_ending(folder, name))
                if len(found) > 1:
                    raise InputError(
                        f"{folder} has several files that may be {name}: {found[0].name}, "
                        f"{found[1].name}: keep that of this section."
                    )
                if found:
                    return found[0]
        return None

    def needed(self, *names: str) -> Path:
        """The same, where one must be there.

        Raises
        ------
        InputError
            If none is.
        """
        found = self.file(*names)
        if found is None:
            raise InputError(f"{self.folder} has no {self.prefix}{names[0]}: copy it there.")
        return found

    @property
    def counts(self) -> Path | None:
        """The matrix: an .h5, a folder, or a matrix.mtx with its tables beside it."""
        return self.file(*_MATRICES)

    @property
    def positions(self) -> Path | None:
        """The table of spots."""
        return self.file(*_POSITIONS)


def _ending(folder: Path, name: str) -> Iterator[Path]:
    """Files whose names are a prefix and ``name``."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.name.endswith(name) and path.name[: -len(name)].endswith(tuple(_JOINS)):
                yield path


def runs_of(folder: Path) -> list[Run]:
    """The runs in a folder: one, or one for each prefix; none where there are no spots.

    A matrix without spots, as of single cells, is no run.
    """
    top = folder / "outs" if (folder / "outs" / "spatial").is_dir() else folder
    name = top.parent.name if top.name == "outs" else top.name
    run = Run(top, name)
    names = [f"{matrix}{packed}" for matrix in _MATRICES for packed in ("", ".gz")]
    if any((top / matrix).exists() for matrix in names):
        return [run] if (top / "spatial").is_dir() or run.positions else []
    prefixes = {path.name.removesuffix(matrix)
                for matrix in names for path in _ending(top, matrix)}  # fmt: skip
    if len(prefixes) == 1 and (top / "spatial").is_dir():
        return [run]
    runs = [Run(top, prefix.rstrip(_JOINS), prefix) for prefix in sorted(prefixes)]
    return [run for run in runs if run.positions is not None]
