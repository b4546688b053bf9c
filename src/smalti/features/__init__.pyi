from .convnet import SelfSupervised
from .default import default_encoder
from .dense import dense_features
from .encoders import Encoder, make_encoder
from .extraction import extract
from .files import write
from .morphology import describe_tile
from .nuclei import NucleiMap
from .nuclei_given import nuclei_maps
from .presets import PRESETS
from .pretrained import backbone
from .screen import Screen, screen_backbones
from .surroundings import neighbours

__all__ = [
    "PRESETS",
    "Encoder",
    "NucleiMap",
    "Screen",
    "SelfSupervised",
    "backbone",
    "default_encoder",
    "dense_features",
    "describe_tile",
    "extract",
    "make_encoder",
    "neighbours",
    "nuclei_maps",
    "screen_backbones",
    "write",
]
