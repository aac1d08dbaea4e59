"""The headings of the notes, in their order: where each statement says that it stands (`notes=`)."""

from pathlib import Path

from spec.harness.statements.notes import Notes

SPEC = Path(__file__).parent
HEADINGS = {
    "1 Tensor": [
        "1.1",  # what a tensor is
        "1.2",  # creating
        "1.3",  # attributes
        "1.4",  # operations
        "1.4 (1)",  # reshape and view
        "1.4 (2)",  # squeeze
        "1.4 (3)",  # unsqueeze
        "1.4 (4)",  # transpose
        "1.5",  # NumPy
        "1.6",  # item
        "notebook tensor",
    ],
    "2 Autograd": [
        "2.2",  # parameters
        "2.3",  # a training step
        "2.4",  # the worked example
        "2.5",  # vector-Jacobian products
        "2.6",  # the graph
        "2.7",  # what is left out of it
        "notebook autograd",
    ],
    "3 Neural networks": [
        "3.1",  # layers and functions
        "3.2",  # modules
        "3.3",  # forward
        "3 define the network",
        "3 code comments",
        "3 processing inputs",
        "3 backprop",
        "3 note",  # mini-batches
        "3 loss function",
        "3 update the weights",
        "notebook nn",
    ],
    "4 CIFAR-10": [
        "4.1",  # data in general
        "4.2",  # the data set
        "4 step 1",  # load and normalize
        "4 step 2",  # define a net
        "4 step 3",  # loss function and optimizer
        "4 step 4",  # train
        "4 step 5",  # test
        "4 GPU",
        "notebook cifar",
    ],
    "5 Data parallel": ["5", "5, its link", "dp.py"],
    "6 Derived material": [
        "6 fine-tuning",
        "6 DQN",
        "6 ImageNet",
        "6 DCGAN",
        "6 word-level LSTM",
        "notebook Simple_Grad",
    ],
    "Footnotes": ["footnote 1", "7", "footnote 2"],
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
NOTES = Notes((*sorted(SPEC.glob("section_*")), SPEC / "footnotes"), HEADINGS, RUNGS)
