"""Folders of language models: from disk or from the hub's cache, and never a pickle among them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from smalti.errors import InputError
from smalti.system.extras import need
from smalti.system.reading import read_json, reading

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_WANTED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
_OTHER = ("onnx", "openvino", "gguf", "coreml")  # copies of the weights for other programs
_CONVERT = (
    "convert it where you trust it, model.save_pretrained(folder, safe_serialization=True), and "
    "name that folder"
)


def model_folder(name: str) -> Path:
    """The folder of a model: the user's own, or what the hub has under that name.

    Parameters
    ----------
    name
        A folder, or the name of a repository of the Hugging Face hub ("org/model"), which is taken
        from the hub's cache on this machine or fetched; only weights in safetensors are.

    Raises
    ------
    InputError
        If there is no such folder and the hub cannot be reached, with the offline way; or the
        folder lacks weights in safetensors, or asks for code of its own.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if not name or folder.is_absolute() or name.startswith((".", "~")) or folder.exists():
            raise InputError(
                f"no folder {name!r} of a model: name one that has config.json and "
                "model.safetensors."
            )
        folder = _from_hub(name)
    return _checked(folder, name)


def _checked(folder: Path, name: str) -> Path:
    files = _files(folder, "*.safetensors")
    pickles = [p for kind in _PICKLES for p in _files(folder, kind)]
    # a pickle beside weights that are read instead of it does no harm
    alone = [p for p in pickles if not any(f.parent == p.parent for f in files)]
    if alone:
        raise InputError(
            f"model {name!r} has pickled weights only ({alone[0].relative_to(folder)}), which are "
            f"never opened: {_CONVERT}."
        )
    if not files:
        raise InputError(f"model {name!r} has no weights (.safetensors): download it again whole.")
    for module in _modules(folder):
        if not module.startswith("sentence_transformers."):
            # old versions of sentence-transformers run such code of a local folder unasked
            raise InputError(
                f"model {name!r} brings code of its own ({module}), which is never run: take a "
                "model made of the library's modules."
            )
    return folder


def _files(folder: Path, pattern: str) -> list[Path]:
    found = (p for p in folder.rglob(pattern) if p.is_file())
    return sorted(p for p in found if not set(p.relative_to(folder).parts) & set(_OTHER))


def _modules(folder: Path) -> list[str]:
    """What sentence-transformers would import."""
    file = folder / "modules.json"
    if not file.exists():
        return []
    said = read_json(file)
    with reading(file, mend="download the model again"):
        return [str(m["type"]) for m in said]


def _from_hub(name: str) -> Path:
    """A repository's files in the hub's cache; fetched if they are not there."""
    hub = need("huggingface_hub", "text")
    wanted = {"allow_patterns": _WANTED, "ignore_patterns": [f"{o}/*" for o in _OTHER]}
    try:
        folder = Path(hub.snapshot_download(name, local_files_only=True, **wanted))
        if _files(folder, "*.safetensors"):
            return folder
    except Exception:  # noqa: BLE001 - not there yet
        pass
    try:
        hub.HfApi().model_info(name, timeout=10)  # fails at once where there is no network
        return Path(hub.snapshot_download(name, **wanted))
    except Exception as error:  # the hub raises nearly anything where it cannot be reached
        text = " ".join(str(error).split())[:160]
        raise InputError(
            f"the model {name!r} is no folder here, and cannot be fetched "
            f"({type(error).__name__}: {text}). Where there is no network: copy its folder "
            "(config.json, tokenizer, model.safetensors) from elsewhere and name it, "
            "'sentence:path/to/folder' or 'states:path/to/folder'; or take encoder='tfidf', which "
            "needs no weights."
        ) from error


def folder_digest(folder: Path) -> str:
    """SHA-256 (24 digits) of the weights, the settings and the tokenizer."""
    sha = hashlib.sha256()
    for file in sorted(p for kind in _WANTED for p in _files(folder, kind)):
        sha.update(f"{file.relative_to(folder).as_posix()} {file.stat().st_size}\n".encode())
        with file.open("rb") as stream:
            while block := stream.read(2**24):
                sha.update(block)
    return sha.hexdigest()[:24]
