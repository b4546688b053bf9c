from .dataset import BagDataset, collate
from .donors import data_module

__all__ = ["BagDataset", "collate", "data_module"]
