"""Which files of a heat map an earlier run has made of the same model and slide."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

FOLDER = ".drawn"
"""Beside the files: a note of each slide, which is written when they are whole."""


def digest_of(path: Path) -> str:
    """Of the content of a file, or of all in a folder."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    sha = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            sha.update(file.name.encode() + hashlib.file_digest(opened, "sha256").digest())
    return sha.hexdigest()


class Drawn:
    """The files of one slide.

    Parameters
    ----------
    out
        Their folder.
    name
        Of the slide.
    asked
        What they depend on, beside the slide.
    slide
        Its picture and its feature file; one may be None.
    """

    def __init__(
        self, out: Path, name: str, asked: Mapping[str, Any],
        slide: tuple[Path | None, Path | None],
    ) -> None:  # fmt: skip
        self.out, self.name, self.asked, self.slide = out, name, asked, slide
        self.note = out / FOLDER / f"{name}.json"

    @cached_property
    def key(self) -> str:
        """Digest of all that the files depend on."""
        from smalti._version import __version__
        from smalti.tiles.open import open_image

        picture, features = self.slide
        own = [None if picture is None else open_image(picture).digest(),
               None if features is None else digest_of(features)]  # fmt: skip
        text = json.dumps([__version__, own, dict(self.asked)], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def _kinds(self) -> list[str]:
        """Kinds of file that were made of the same."""
        try:
            said = json.loads(self.note.read_text("utf-8"))
            return list(said["kinds"]) if said["key"] == self.key else []
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def left(self, endings: Mapping[str, str]) -> list[str]:
        """Those of some kinds (with their endings) that are not there, or of another thing."""
        kinds = self._kinds()
        return [k for k, end in endings.items()
                if k not in kinds or not (self.out / f"{self.name}{end}").exists()]  # fmt: skip

    def keep(self, kinds: Mapping[str, str]) -> None:
        """Note that these are whole."""
        from smalti.system.files import atomic_write

        note = {"key": self.key, "kinds": sorted({*self._kinds(), *kinds})}
        with atomic_write(self.note, overwrite=True) as temporary:
            temporary.write_text(json.dumps(note), encoding="utf-8")
