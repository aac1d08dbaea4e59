"""A minimal implementation of what the notes teach.

Explanations are read, and used, by the module: `blitz.layout` (strides and views), `blitz.tape` (reverse-mode
differentiation), `blitz.graph` and `blitz.graph_drawing` (what autograd records).
"""

from blitz.checkpoint import load_weights, save_weights
from blitz.data import Cifar10, Images, Split, batches, load, loader, normalize
from blitz.errors import BlitzError, CheckpointError, DataError
from blitz.gradients import freeze, jacobian, unfreeze, vjp
from blitz.nets import CifarNet, Net, shapes
from blitz.optim import sgd_step
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
    "freeze",
    "jacobian",
    "load",
    "load_weights",
    "loader",
    "normalize",
    "save_weights",
    "sgd_step",
    "shapes",
    "unfreeze",
    "vjp",
]
