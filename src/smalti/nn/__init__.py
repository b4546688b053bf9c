"""Layers used by two methods or more."""

from smalti.nn.attention import Attention
from smalti.nn.encoders import encoder
from smalti.nn.noise import Dropout
from smalti.nn.scale import Standardize

__all__ = ["Attention", "Dropout", "Standardize", "encoder"]
