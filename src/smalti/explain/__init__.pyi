from .augmentation import Screening, screen_augmentations
from .explanations import Explanations
from .gene_cams import gene_cam, gene_cam_faithfulness
from .grad_cams import cam_faithfulness, grad_cam
from .groups import key_groups
from .high_scores import enrichment
from .one_model import faithfulness
from .to_features import FeatureAttributions, feature_attributions

__all__ = [
    "Explanations",
    "FeatureAttributions",
    "Screening",
    "cam_faithfulness",
    "enrichment",
    "faithfulness",
    "feature_attributions",
    "gene_cam",
    "gene_cam_faithfulness",
    "grad_cam",
    "key_groups",
    "screen_augmentations",
]
