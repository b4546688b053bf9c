from .batches import planted_batches
from .cohorts import driver_cohort, proportion_cohort
from .digits import digit_bags, image_bags, mnist_bags
from .mixmil_simulation import mixmil_bags
from .modalities import planted_modalities
from .pictured import pictured_cells
from .programmes import planted_programmes
from .registry import folds, load, names
from .simulate import planted_bags
from .slides import planted_slides
from .studies import planted_pairs, planted_sites

__all__ = [
    "digit_bags",
    "driver_cohort",
    "folds",
    "image_bags",
    "load",
    "mixmil_bags",
    "mnist_bags",
    "names",
    "pictured_cells",
    "planted_bags",
    "planted_batches",
    "planted_modalities",
    "planted_pairs",
    "planted_programmes",
    "planted_sites",
    "planted_slides",
    "proportion_cohort",
]
