from .augmentation import Screening, screen_augmentations
from .gene_cams import gene_cam, gene_cam_faithfulness
from .grad_cams import cam_faithfulness, grad_cam
from .groups import key_groups

__all__ = [
    "Screening",
    "cam_faithfulness",
    "gene_cam",
    "gene_cam_faithfulness",
    "grad_cam",
    "key_groups",
    "screen_augmentations",
]
