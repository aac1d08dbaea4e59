"""A minimal implementation of what the notes teach.

It has four rooms: `blitz.explained` (explanations that run, such as strides, reverse-mode differentiation and
what autograd records), `blitz.cifar10`, `blitz.training`, and `blitz.commands` (what a person types).

A public name is imported when it is first asked for: PyTorch takes seconds, and `blitz --help` does without.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from blitz.cifar10.data import Cifar10, Images, Split, batches, load, loader, normalize
    from blitz.errors import BlitzError, CheckpointError, DataError
    from blitz.explained.freezing import freeze, unfreeze
    from blitz.explained.sgd import sgd_step
    from blitz.training.checkpoint import load_weights, save_weights
    from blitz.training.evaluation import Evaluation, evaluate
    from blitz.training.fit import Training, fit
    from blitz.training.muon import Muon
    from blitz.training.nets import CifarNet, Net, WhitenedNet, shapes
    from blitz.training.recipes import RECIPES, Recipe, net_for

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
    "load",
    "load_weights",
    "loader",
    "net_for",
    "normalize",
    "save_weights",
    "sgd_step",
    "shapes",
    "unfreeze",
]

_HOMES = {
    "training.checkpoint": {"load_weights", "save_weights"},
    "cifar10.data": {"Cifar10", "Images", "Split", "batches", "load", "loader", "normalize"},
    "errors": {"BlitzError", "CheckpointError", "DataError"},
    "training.evaluation": {"Evaluation", "evaluate"},
    "explained.freezing": {"freeze", "unfreeze"},
    "training.nets": {"CifarNet", "Net", "WhitenedNet", "shapes"},
    "training.muon": {"Muon"},
    "explained.sgd": {"sgd_step"},
    "training.recipes": {"RECIPES", "Recipe", "net_for"},
    "training.fit": {"Training", "fit"},
}

if not typing.TYPE_CHECKING:

    def __getattr__(name):
        for module, names in _HOMES.items():
            if name in names:
                return getattr(importlib.import_module(f"blitz.{module}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__all__})
