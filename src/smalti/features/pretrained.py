"""Backbones of timm as encoders: by name, with their own weights, a local file, or at random."""

from __future__ import annotations

import hashlib
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from smalti.errors import InputError
from smalti.system.extras import need
from smalti.system.reading import plain_file

# short name -> name in timm (or on the hub) and what its constructor must be told
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "coatnet": ("coatnet_rmlp_1_rw2_224.sw_in12k_ft_in1k", {}),
    "convnextv2": ("convnextv2_large.fcmae_ft_in22k_in1k", {}),
    "xcit": ("xcit_large_24_p16_224.fb_in1k", {}),
    "resnet50": ("resnet50.a1_in1k", {}),
    "densenet121": ("densenet121.tv_in1k", {}),
    "dino": ("vit_small_patch16_224.dino", {}),
    "uni": ("hf-hub:MahmoodLab/UNI", {"init_values": 1e-5, "dynamic_img_size": True}),
    "gigapath": ("hf-hub:prov-gigapath/prov-gigapath", {}),
    "h-optimus-0": ("hf-hub:bioptimus/H-optimus-0",
                    {"init_values": 1e-5, "dynamic_img_size": False}),
    "h0-mini": ("hf-hub:bioptimus/H0-mini", {}),
    "phikon": ("hf-hub:1aurent/vit_base_patch16_224.owkin_pancancer", {}),
}  # fmt: skip


def timm() -> Any:
    """The package."""
    return need("timm", "vision")


def backbone(
    name: str, *, weights: str = "random", seed: int | None = None
) -> tuple[nn.Module, int, Tensor, Tensor, int]:
    """A model of timm that returns pooled features.

    Parameters
    ----------
    name
        A name of timm ("resnet50.a1_in1k"), of the hub ("hf-hub:MahmoodLab/UNI"), or one of
        :data:`PRESETS`; "timm:" before it is allowed.
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
    model = _create(
        name, None if weights == "random" else _file(name, weights),
        seed if weights == "random" else 1,
    )  # fmt: skip
    model.eval()
    config = timm().data.resolve_model_data_config(model)
    mean, sd = (torch.tensor(config[k]).reshape(3, 1, 1) for k in ("mean", "std"))
    return model, int(model.num_features), mean, sd, int(config["input_size"][-1])


def load_weights(model: nn.Module, name: str, weights: str) -> None:
    """Fill a model that :func:`backbone` made with its pretrained weights, or those of a file.

    Raises
    ------
    InputError
        If the weights cannot be fetched, or the file is missing or of another model.
    """
    if weights != "random":
        model.load_state_dict(_create(name, _file(name, weights), 1).state_dict())


def _full(name: str) -> tuple[str, dict[str, Any]]:
    """Name in timm or on the hub, and arguments of the constructor."""
    short = name.removeprefix("timm:")
    return PRESETS.get(short, (short, {}))


def _create(name: str, file: Path | None, seed: int | None) -> Any:
    """A model without its classifier; with the weights of a file, or random ones.

    timm loads what fits and only logs what does not, so a file of another model would leave random
    weights behind: what did not move is looked for.
    """
    library, (full, extra) = timm(), _full(name)
    overlay = {} if file is None else {"pretrained_cfg_overlay": {"file": str(file)}}
    if full.startswith("hf-hub:"):
        _hub(full, "config.json")
    log = logging.getLogger("timm")
    level = log.level
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)
        if seed is not None:
            torch.manual_seed(seed)
        try:
            if file is None:
                return library.create_model(full, num_classes=0, **extra)
            loaded = library.create_model(full, pretrained=True, num_classes=0, **extra, **overlay)
            torch.manual_seed(seed or 0)
            blank = library.create_model(full, num_classes=0, **extra).state_dict()
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
    weights = {k: p for k, p in loaded.named_parameters() if p.ndim > 1}
    still = [k for k, p in weights.items() if blank[k].std() > 0 and torch.equal(blank[k], p)]
    if still:
        raise InputError(
            f"{file} does not fit {full}: it has no weights for {len(still)} of {len(weights)} "
            f"layers (first: {still[0]}). Name the model that the file is of."
        )
    return loaded


def _file(name: str, weights: str) -> Path:
    """The .safetensors file of the weights: the user's own, or from the hub."""
    if weights == "pretrained":
        full = _full(name)[0]
        if full.startswith("hf-hub:"):
            return _hub(full, "model.safetensors")
        config = timm().models.get_pretrained_cfg(full)
        repository = getattr(config, "hf_hub_id", None)
        if repository is None:
            raise InputError(f"timm knows no weights of {full!r}: name a tag, or weights='random'.")
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
    hub, repository = need("huggingface_hub", "vision"), full.removeprefix("hf-hub:")
    try:
        return Path(hub.hf_hub_download(repository, name, local_files_only=True))
    except Exception:  # noqa: BLE001 - not there yet
        pass
    try:
        hub.HfApi().model_info(repository, timeout=10)  # fails at once where there is no network
        return Path(hub.hf_hub_download(repository, name))
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
