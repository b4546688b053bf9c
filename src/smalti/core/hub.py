"""Models on a hub of models: written there whole, read from there without running anything.

A repository holds what a folder of :meth:`save` holds, and a card. Of what else it may hold nothing
is fetched. One commit is one model, so that its two files always fit each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from smalti._version import __version__
from smalti.core.save import NOTE, WEIGHTS
from smalti.errors import InputError
from smalti.system.extras import need

# one slash is what is left of two in a path
_ADDRESS = re.compile(r"hf:/{1,2}(?P<repo>[^/@\s]+/[^/@\s]+)(?:@(?P<revision>\S+))?")
_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def is_address(place: str | Path) -> bool:
    """Whether this is a place on the hub, ``hf://USER/NAME``."""
    return (place if isinstance(place, str) else place.as_posix()).startswith("hf:/")


def fetched(address: str | Path) -> Path:
    """The folder of a model of the hub in the cache, fetched if it is not there.

    Parameters
    ----------
    address
        ``hf://USER/NAME``, or ``hf://USER/NAME@REVISION``: a branch, a tag or a commit.

    Raises
    ------
    InputError
        If it is no address, there is no such repository or revision, it holds no model, or the hub
        cannot be reached and the cache does not have it.
    """
    text = address if isinstance(address, str) else address.as_posix()
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise InputError(f"{text!r} is no address: hf://USER/NAME, or hf://USER/NAME@REVISION.")
    hub = need("huggingface_hub", "hub")
    with _in_our_words(found["repo"], found["revision"]):
        folder = Path(hub.snapshot_download(
            found["repo"], revision=found["revision"], allow_patterns=[NOTE, WEIGHTS],
            library_name="smalti", library_version=__version__,
        ))  # fmt: skip
    lacking = [name for name in (NOTE, WEIGHTS) if not (folder / name).exists()]
    if lacking:
        raise InputError(
            f"{text} holds no smalti model ({' and '.join(lacking)} lacking). Pickled models (.pt, "
            ".pkl, .bin) are neither fetched nor opened."
        )
    return folder


def push(
    model: Any, repo: str, *, card: str, private: bool, token: str | None, revision: str | None
) -> str:
    """Write a fitted model and its card into a repository, in one commit.

    Returns
    -------
    str
        The address of that commit.

    Raises
    ------
    InputError
        If the model could not be loaded again, the name is none, or the hub refuses or cannot be
        reached.
    """
    if not _NAME.fullmatch(repo):
        raise InputError(f"{repo!r} is no name of a repository: say USER/NAME.")
    hub = need("huggingface_hub", "hub")
    api = hub.HfApi(token=token, library_name="smalti", library_version=__version__)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        model.save(folder)  # first: what it refuses leaves nothing on the hub
        (folder / "README.md").write_text(card, encoding="utf-8")
        with _in_our_words(repo, revision):
            api.create_repo(repo, private=private, exist_ok=True)
            if revision is not None:
                api.create_branch(repo, branch=revision, exist_ok=True)
            done = api.upload_folder(
                repo_id=repo, folder_path=folder, revision=revision,
                commit_message=f"{model.name} by smalti {__version__}",
            )  # fmt: skip
    return f"hf://{repo}@{done.oid}"


@contextmanager
def _in_our_words(repo: str, revision: str | None) -> Iterator[None]:
    """What the hub's library raises, as one error that says what to do."""
    errors = need("huggingface_hub.errors", "hub")
    try:
        yield
    except errors.GatedRepoError as error:
        raise InputError(
            f"{repo!r} asks who you are: accept its terms on its page, and log in (hf auth login)."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"no repository {repo!r} on the hub, or it is private: check the name, and log in "
            "(hf auth login, or the variable HF_TOKEN)."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{repo!r} has no revision {revision!r}: leave @{revision} out for the "
                         "newest.") from error  # fmt: skip
    except errors.LocalEntryNotFoundError as error:
        raise InputError(
            f"the hub cannot be reached, and no whole copy of {repo!r} is in the cache: load it "
            "once with a connection."
        ) from error
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[-1]
        raise InputError(
            f"the hub refused {repo!r} or could not be reached ({type(error).__name__}: {said})."
        ) from error
