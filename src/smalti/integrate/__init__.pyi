# Made by `make stubs` from the files of this folder; do not edit.

from .ae import AE
from .annotator import Annotator
from .base import Integration
from .block_pca import BlockPCA
from .dae import DAE
from .embed import Embed
from .mofa import MOFA
from .multigrate import Multigrate
from .multivi import MultiVI
from .network import NetworkIntegration
from .sae import SAE
from .totalvi import TotalVI
from .umint import UMINT
from .wnn import WNN

__all__ = [
    "AE",
    "DAE",
    "MOFA",
    "SAE",
    "UMINT",
    "WNN",
    "Annotator",
    "BlockPCA",
    "Embed",
    "Integration",
    "MultiVI",
    "Multigrate",
    "NetworkIntegration",
    "TotalVI",
]
