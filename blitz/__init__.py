"""A minimal implementation of what the notes teach.

Explanations are read, and used, by the module: `blitz.layout` (strides and views), `blitz.tape` (reverse-mode
differentiation), `blitz.graph` and `blitz.graph_drawing` (what autograd records).

A public name is imported when it is first asked for: PyTorch takes seconds, and `blitz --help` does without.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from blitz.checkpoint import load_weights, save_weights
    from blitz.data import Cifar10, Images, Split, batches, load, loader, normalize
    from blitz.errors import BlitzError, CheckpointError, DataError
    from blitz.evaluation import Evaluation, evaluate
    from blitz.gradients import freeze, jacobian, unfreeze, vjp
    from blitz.nets import CifarNet, Net, WhitenedNet, net_for, shapes
    from blitz.optim import Muon, sgd_step
    from blitz.recipes import RECIPES, Recipe
    from blitz.training import Training, fit

__all__ = [
    "RECIPES",
    "BlitzError",
    "CheckpointError",
    "Cifar10",
    "CifarNet",
    "DataError",
    "Evaluation",
    "Images",
    "Muon",
    "Net",
    "Recipe",
    "Split",
    "Training",
    "WhitenedNet",
    "batches",
    "evaluate",
    "fit",
    "freeze",
    "jacobian",
    "load",
    "load_weights",
    "loader",
    "net_for",
    "normalize",
    "save_weights",
    "sgd_step",
    "shapes",
    "unfreeze",
    "vjp",
]

_HOMES = {
    "checkpoint": {"load_weights", "save_weights"},
    "data": {"Cifar10", "Images", "Split", "batches", "load", "loader", "normalize"},
    "errors": {"BlitzError", "CheckpointError", "DataError"},
    "evaluation": {"Evaluation", "evaluate"},
    "gradients": {"freeze", "jacobian", "unfreeze", "vjp"},
    "nets": {"CifarNet", "Net", "WhitenedNet", "net_for", "shapes"},
    "optim": {"Muon", "sgd_step"},
    "recipes": {"RECIPES", "Recipe"},
    "training": {"Training", "fit"},
}

if not typing.TYPE_CHECKING:

    def __getattr__(name):
        for module, names in _HOMES.items():
            if name in names:
                return getattr(importlib.import_module(f"blitz.{module}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__all__})
