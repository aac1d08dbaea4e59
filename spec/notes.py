"""The headings of the notes, in their order: where each statement says that it stands (`notes=`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from spec.harness.statements.notes import Measured, Notes, Picture

SPEC = Path(__file__).parent
HEADINGS = {
    "1 Tensor": {
        "1.1": "1.1 What a tensor is",
        "1.2": "1.2 Creating tensors",
        "1.3": "1.3 Attributes",
        "1.4": "1.4 Operations",
        "1.4 (1)": "1.4 (1) reshape and view",
        "1.4 (2)": "1.4 (2) squeeze",
        "1.4 (3)": "1.4 (3) unsqueeze",
        "1.4 (4)": "1.4 (4) transpose",
        "1.5": "1.5 NumPy",
        "1.6": "1.6 item",
        "notebook tensor": "The notebook on tensors",
    },
    "2 Autograd": {
        "2.2": "2.2 Parameters",
        "2.3": "2.3 A training step",
        "2.4": "2.4 The worked example",
        "2.5": "2.5 Vector-Jacobian products",
        "2.6": "2.6 The graph",
        "2.7": "2.7 What is left out of the graph",
        "notebook autograd": "The notebook on autograd",
    },
    "3 Neural networks": {
        "3.1": "3.1 Layers and functions",
        "3.2": "3.2 Modules",
        "3.3": "3.3 forward",
        "3 define the network": "3 Define the network",
        "3 code comments": "3 The comments in the code",
        "3 processing inputs": "3 Process inputs",
        "3 backprop": "3 Backpropagation",
        "3 note": "3 The note on mini-batches",
        "3 loss function": "3 Loss function",
        "3 update the weights": "3 Update the weights",
        "notebook nn": "The notebook on neural networks",
    },
    "4 CIFAR-10": {
        "4.1": "4.1 Data in general",
        "4.2": "4.2 The data set",
        "4 step 1": "4 Step 1: load and normalize",
        "4 step 2": "4 Step 2: define a net",
        "4 step 3": "4 Step 3: loss function and optimizer",
        "4 step 4": "4 Step 4: train",
        "4 step 5": "4 Step 5: test",
        "4 GPU": "4 On a GPU",
        "notebook cifar": "The notebook on CIFAR-10",
    },
    "5 Data parallel": {
        "5": "5 DataParallel",
        "5, its link": "5 The linked tutorial",
        "dp.py": "The script dp.py",
    },
    "6 Derived material": {
        "6 fine-tuning": "6 Fine-tuning",
        "6 DQN": "6 DQN",
        "6 ImageNet": "6 ImageNet",
        "6 DCGAN": "6 DCGAN",
        "6 word-level LSTM": "6 Word-level LSTM",
        "notebook Simple_Grad": "The notebook on second derivatives",
    },
    "Footnotes": {
        "footnote 1": "Footnote 1: zero_grad of a net and of an optimizer",
        "7": "7 References",
        "footnote 2": "Footnote 2: ExponentialLR",
    },
}
RUNGS = {
    "1 Tensor": "kernels",
    "2 Autograd": "autograd",
    "3 Neural networks": "autograd",
    "4 CIFAR-10": "training",
    "5 Data parallel": "parallel",
    "6 Derived material": "autograd",
    "Footnotes": "autograd",
}
NEEDS = {"cifar10": "CIFAR-10", "gymnasium": "Gymnasium"}  # by fixture


def _pictures(measured: Measured) -> Mapping[str, Sequence[Picture]]:
    from spec.pictures import pictures  # which imports matplotlib

    return pictures(measured)


NOTES = Notes(
    folders=(*sorted(SPEC.glob("section_*")), SPEC / "footnotes"),
    headings=HEADINGS,
    rungs=RUNGS,
    needs=NEEDS,
    chinese=SPEC / "zh.toml",
    pictures=_pictures,
)
