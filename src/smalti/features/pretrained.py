"""Backbones of timm as encoders: by name, with their own weights, a local file, or at random."""

from __future__ import annotations

import hashlib
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from smalti.errors import InputError
from smalti.features.layer_names import of_dinov2
from smalti.features.presets import PRESETS, preset_of
from smalti.features.wheels import WHEELS, weights_of
from smalti.names import meant
from smalti.system.extras import need
from smalti.system.reading import plain_file
from smalti.system.tensors import read_any


def timm() -> Any:
    """The package."""
    return need("timm", "slides")


def backbone(
    name: str, *, weights: str = "random", seed: int | None = None
) -> tuple[nn.Module, int, Tensor, Tensor, int]:
    """A model of timm that returns pooled features.

    Parameters
    ----------
    name
        A name of timm ("resnet50.a1_in1k"), of the hub ("hf-hub:MahmoodLab/UNI"), or one of
        :data:`~smalti.features.presets.PRESETS`; "timm:" before it is allowed.
    weights
        "pretrained", "random", or the path of a .safetensors file.
    seed
        Of random weights; None: drawn from PyTorch's own stream.

    Returns
    -------
    tuple
        The module ((n, 3, size, size) to (n, width)), width, mean (3, 1, 1) and s.d. (3, 1, 1) of
        the pixels in 0 .. 1 that it wants, and size.

    Raises
    ------
    InputError
        If there is no such model, or its weights cannot be had; with the offline way.
    """
    model = _create(name, None if weights == "random" else _file(name, weights), seed)
    tokens = preset_of(name).tokens
    config = timm().data.resolve_model_data_config(model)
    mean, sd = (torch.tensor(config[k]).reshape(3, 1, 1) for k in ("mean", "std"))
    width = int(model.num_features) * (2 if tokens == "cls+mean" else 1)
    whole = model if tokens == "pooled" else _Tokens(model, tokens == "cls+mean")
    return whole.eval(), width, mean, sd, int(config["input_size"][-1])


def load_weights(model: nn.Module, name: str, weights: str) -> None:
    """Fill a model that :func:`backbone` made with its pretrained weights, or those of a file.

    Raises
    ------
    InputError
        If the weights cannot be fetched, or the file is missing or of another model.
    """
    if weights != "random":
        inner = model.net if isinstance(model, _Tokens) else model
        inner.load_state_dict(_create(name, _file(name, weights)).state_dict())


class _Tokens(nn.Module):
    """The class token of a vision transformer, and the mean of the tokens of its patches."""

    def __init__(self, net: Any, mean: bool) -> None:
        super().__init__()
        self.net, self.mean = net, mean

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.net.forward_features(x)
        if not self.mean:
            return tokens[:, 0]
        patches = tokens[:, self.net.num_prefix_tokens :]  # without registers
        return torch.cat([tokens[:, 0], patches.mean(1)], dim=1)


def _create(name: str, file: Path | None, seed: int | None = None) -> Any:
    """A model without its classifier; with the weights of a file, or random ones."""
    library, preset = timm(), preset_of(name)
    full, log = preset.model, logging.getLogger("timm")
    if full.startswith("hf-hub:"):
        _hub(full, "config.json")
    settings: dict[str, Any] = {"num_classes": 0, **preset.settings}
    if "mlp_layer" in settings:
        settings["mlp_layer"] = getattr(library.layers, settings["mlp_layer"])
    overlay: dict[str, Any] = dict(preset.pixels)
    if file is not None:  # "source": else the hub goes before the file
        settings["pretrained"] = True
        overlay |= {"file": str(file), "source": ""}
        if preset.layers == "dinov2":
            overlay["state_dict"] = of_dinov2(read_any(file, "weights")[0])
    if overlay:
        settings["pretrained_cfg_overlay"] = overlay
    level = log.level
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), _loads() as loads:
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)
        if seed is not None:
            torch.manual_seed(seed)
        try:
            model = library.create_model(full, **settings)
        except RuntimeError as error:
            if "Unknown model" in str(error) or "Invalid pretrained tag" in str(error):
                near = library.list_models(f"*{full.split('.')[0].split('_')[0]}*")[:5]
                raise InputError(
                    f"timm has no model {full!r}; near it: {', '.join(near) or 'nothing'}. "
                    f"Presets: {', '.join(PRESETS)}."
                ) from error
            text = " ".join(str(error).split())[:200]
            raise InputError(
                f"{file} does not fit {full} ({text}): name the model that the file is of."
            ) from error
        except Exception as error:  # safetensors' errors share no class with others
            raise InputError(f"{file} cannot be read ({error}): download it again.") from error
        finally:
            log.setLevel(level)
    if file is not None:
        _check_whole(model, loads, f"{file} does not fit {full}")
        model.pretrained_cfg.pop("state_dict", None)  # the model has them
    return model


_ONE = threading.Lock()


@contextmanager
def _loads() -> Iterator[list[tuple[nn.Module, Any]]]:
    """Modules that are filled meanwhile, each with the names that found no partner.

    timm loads what fits, logs the rest and tells nobody, so that a file of another model would
    leave random weights behind, or half of itself.
    """
    found: list[tuple[nn.Module, Any]] = []
    with _ONE:
        plain = nn.Module.load_state_dict

        def noted(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            keys = plain(self, *args, **kwargs)
            found.append((self, keys))
            return keys

        nn.Module.load_state_dict = noted  # type: ignore[method-assign]
        try:
            yield found
        finally:
            nn.Module.load_state_dict = plain  # type: ignore[method-assign]


def _check_whole(model: Any, loads: list[tuple[nn.Module, Any]], problem: str) -> None:
    """Refuse a file that lacks layers, or has tensors that no layer took but the classifier's."""
    keys = next((keys for module, keys in reversed(loads) if module is model), None)
    if keys is None:
        raise InputError(f"{problem}: timm read nothing of it.")
    named = model.pretrained_cfg.get("classifier") or ()
    heads = tuple(f"{h.split('.')[0]}." for h in ((named,) if isinstance(named, str) else named))
    layers = {k for k, _ in model.named_parameters()}
    absent = [k for k in keys.missing_keys if k in layers or ".running_" in k]
    left = [k for k in keys.unexpected_keys if not k.startswith(heads)]
    said = [
        f"{text} (first: {tensors[0]})"
        for text, tensors in ((f"it lacks {len(absent)} tensors of the model", absent),
                              (f"it has {len(left)} that no layer takes", left))
        if tensors
    ]  # fmt: skip
    if said:
        raise InputError(f"{problem}: {', '.join(said)}. Name the model that the file is of.")


def _file(name: str, weights: str) -> Path:
    """The .safetensors file of the weights: the user's own, or from the hub."""
    if weights == "pretrained":
        if name.removeprefix("timm:") in WHEELS:
            return weights_of(name.removeprefix("timm:"))
        preset = preset_of(name)
        full = preset.model
        if preset.repository is not None:
            return _hub(f"hf-hub:{preset.repository}", "model.safetensors")
        if full.startswith("hf-hub:"):
            return _hub(full, "model.safetensors")
        config = timm().models.get_pretrained_cfg(full)
        repository = getattr(config, "hf_hub_id", None)
        if repository is None:
            near = meant(full, timm().list_models(pretrained=True))
            raise InputError(
                f"timm knows no weights of {full!r}: name a tag, or weights='random'.{near}"
            )
        tag = full if "." in full else f"{full}.{config.tag}"
        repository = f"{repository}{tag}" if repository.endswith("/") else repository
        return _hub(f"hf-hub:{repository}", "model.safetensors")
    path = Path(weights)
    if path.suffix != ".safetensors":
        raise InputError(
            f"weights={weights!r} is neither 'pretrained', 'random' nor a .safetensors file. "
            "Pickled weights (.pt, .pth, .bin) are never opened: convert them where you trust "
            "them, safetensors.torch.save_file(state_dict, 'x.safetensors')."
        )
    return plain_file(path)


def _hub(full: str, name: str) -> Path:
    """A file of a repository of the hub: from its cache, or fetched; never a pickle."""
    hub, repository = need("huggingface_hub", "slides"), full.removeprefix("hf-hub:")
    try:
        return Path(hub.hf_hub_download(repository, name, local_files_only=True))
    except Exception:  # noqa: BLE001 - not there yet
        pass
    try:
        hub.HfApi().model_info(repository, timeout=10)  # fails at once where there is no network
        return Path(hub.hf_hub_download(repository, name))
    except hub.errors.EntryNotFoundError as error:
        raise InputError(
            f"{repository} has no {name} on the hub. Pickled weights (.bin) are never opened: "
            "convert them where you trust them, safetensors.torch.save_file(state_dict, "
            "'x.safetensors'), and say weights='x.safetensors'."
        ) from error
    except Exception as error:  # the hub raises nearly anything where it cannot be reached
        raise _offline(repository, error) from error


def weights_digest(weights: str, seed: int) -> str:
    """What tells one set of weights from another, for a cache."""
    if weights == "random":
        return f"random {seed}"
    if weights == "pretrained":
        return "pretrained"
    sha = hashlib.sha256()
    with Path(weights).open("rb") as file:
        while block := file.read(2**24):
            sha.update(block)
    return sha.hexdigest()


def _offline(name: str, error: Exception) -> InputError:
    text = " ".join(str(error).split())[:160]
    return InputError(
        f"the weights of {name} cannot be fetched ({type(error).__name__}: {text}). Where there is "
        "no network: download model.safetensors of that model elsewhere (gated models need an "
        "account), and say weights='path/to/model.safetensors'. Without any weights: encoder="
        "'morphology'; as a control: weights='random'."
    )
