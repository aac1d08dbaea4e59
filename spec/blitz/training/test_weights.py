"""blitz/training/weights.py: weights under the names of a net, and as others wrap them."""

from collections import OrderedDict

import pytest
import torch

from blitz.cifar10.classes import CLASSES
from blitz.training.nets import CifarNet, Net
from blitz.training.weights import find, remember

NET = CifarNet()
WEIGHTS = NET.state_dict()
OPTIMIZER = torch.optim.SGD(NET.parameters(), lr=0.1).state_dict()


def behind(prefix, weights=WEIGHTS):
    """Return weights whose names begin with a prefix."""
    return {prefix + name: tensor for name, tensor in weights.items()}


WRAPPED = {
    "as they are": (WEIGHTS, ""),
    "in another precision": ({name: tensor.double() for name, tensor in WEIGHTS.items()}, ""),
    "by DataParallel": (behind("module."), "behind the prefix 'module.'"),
    "by AveragedModel": (
        torch.optim.swa_utils.AveragedModel(NET).state_dict(),
        "behind the prefix 'module.'",
    ),
    "in a checkpoint": ({"model": WEIGHTS, "optimizer": OPTIMIZER, "epoch": 3}, "in the entry 'model'"),
    "by Lightning": (
        {"state_dict": behind("model."), "optimizer_states": [OPTIMIZER], "global_step": 9},
        "in the entry 'state_dict' behind the prefix 'model.'",
    ),
    "twice": (
        {"checkpoint": {"net": behind("module.")}},
        "in the entry 'checkpoint.net' behind the prefix 'module.'",
    ),
    "by a training of ours": ({"model": WEIGHTS, "optimizer": OPTIMIZER, "settings": {}}, ""),
}


@pytest.mark.parametrize(("content", "wrapping"), WRAPPED.values(), ids=WRAPPED)
def test_weights_are_found_wherever_they_are_wrapped(content, wrapping):
    """They come back by the names of the net, and what they were taken out of is told."""
    number, weights = find(content, [Net(), NET])

    assert (number, weights.wrapping) == (1, wrapping)
    torch.testing.assert_close(weights.tensors, dict(WEIGHTS), check_dtype=False)


REFUSED = {
    "a list": ([WEIGHTS], "^holds a list, not a state_dict$"),
    "numbers": ({"epoch": 3, "loss": 0.1}, "^holds a dict of epoch, loss, and no weights$"),
    "nothing": ({}, "^holds a dict of nothing, and no weights$"),
    "one weight less": (
        {name: tensor for name, tensor in WEIGHTS.items() if name != "fc3.bias"},
        r"^holds the weights of another net: it has nothing where CifarNet has fc3\.bias \(10,\)$",
    ),
    "one weight more": (
        {**WEIGHTS, "fc4.bias": torch.ones(2)},
        r"^holds the weights of another net: it has fc4\.bias \(2,\) where CifarNet has nothing$",
    ),
    "another shape": (
        {**WEIGHTS, "conv1.weight": torch.ones(6, 1, 3, 3)},
        r"it has conv1\.weight \(6, 1, 3, 3\) where CifarNet has conv1\.weight \(6, 3, 5, 5\)$",
    ),
    "other names": (
        {name.upper(): tensor for name, tensor in WEIGHTS.items()},
        r"it has CONV1\.WEIGHT \(6, 3, 5, 5\), CONV1\.BIAS \(6,\), .* and 7 more where "
        r"CifarNet has conv1\.weight \(6, 3, 5, 5\), conv1\.bias \(6,\), .* and 7 more$",
    ),
    "quantized weights": (
        {name: tensor.to(torch.int8) for name, tensor in WEIGHTS.items()},
        r"it has conv1\.weight \(6, 3, 5, 5\) torch\.int8, .* where CifarNet has conv1\.weight \(6, 3",
    ),
    "two entries": (
        {"model": WEIGHTS, "ema": WEIGHTS},
        "^holds weights in the entry 'model' and in the entry 'ema': save only those that you mean$",
    ),
    "two prefixes": (
        {**behind("net."), **behind("ema."), "epoch": 3},
        r"^holds weights behind the prefix 'net\.' and behind the prefix 'ema\.': save only those",
    ),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_what_holds_no_weights_of_the_net_is_described(content, message):
    """The sentence is true of the file, and names both sides where a net was meant, here the first."""
    with pytest.raises(ValueError, match=message):
        find(content, [CifarNet(), Net()])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("plane", "car", *CLASSES[2:]), CLASSES),
        (("plane", "car", *CLASSES[2:9], "van"), ("plane", "car", *CLASSES[2:9], "van")),
    ],
    ids=["of the notes", "one's own"],
)
def test_remembered_classes_come_back(names, expected):
    """By the names that folders of the same names get when they are read."""
    weights = NET.state_dict()
    remember(weights, classes=names)

    assert find(weights, [NET])[1].classes == expected


@pytest.mark.parametrize(
    ("classes", "expected"),
    [(["disc", "ring"], ("disc", "ring")), (10, None), ({"cat": 3}, None), (["a\x1b[2J"], None)],
    ids=["names", "their number", "a dict", "an order to the terminal"],
)
def test_classes_that_stand_beside_the_weights_are_found(classes, expected):
    """As many people save them in their checkpoints; what names none is not taken for them."""
    content = {"checkpoint": {"net": WEIGHTS}, "classes": classes}

    assert find(content, [NET])[1].classes == expected


@pytest.mark.parametrize("metadata", [{"": 3}, [1]], ids=str)
def test_any_metadata_is_survived(metadata):
    """A file may have been made by anything."""
    weights = OrderedDict(WEIGHTS)
    weights._metadata = metadata

    assert find(weights, [NET])[1].classes is None
