"""Layers used by two methods or more."""

from smalti.core.noise import Dropout
from smalti.nn.attention import Attention
from smalti.nn.encoders import encoder
from smalti.nn.scale import Standardize

__all__ = ["Attention", "Dropout", "Standardize", "encoder"]
