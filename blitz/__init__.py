"""A minimal implementation of what the notes teach."""

from blitz.checkpoint import load_weights, save_weights
from blitz.data import Cifar10, Images, Split, batches, load, loader, normalize
from blitz.errors import BlitzError, CheckpointError, DataError
from blitz.nets import CifarNet, Net, shapes
from blitz.recipes import RECIPES, Recipe
from blitz.training import Evaluation, Training, evaluate, fit

__all__ = [
    "RECIPES",
    "BlitzError",
    "CheckpointError",
    "Cifar10",
    "CifarNet",
    "DataError",
    "Evaluation",
    "Images",
    "Net",
    "Recipe",
    "Split",
    "Training",
    "batches",
    "evaluate",
    "fit",
    "load",
    "load_weights",
    "loader",
    "normalize",
    "save_weights",
    "shapes",
]
