"""blitz/training/weights.py: weights under the names of a net, and as others wrap them."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

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
    "in a bare dict": (dict(WEIGHTS), ""),
    "as parameters": (OrderedDict(NET.named_parameters()), ""),
    "by DataParallel": (behind("module."), "behind the prefix 'module.'"),
    "by torch.compile": (behind("_orig_mod."), "behind the prefix '_orig_mod.'"),
    "by both": (behind("module._orig_mod."), "behind the prefix 'module._orig_mod.'"),
    "by AveragedModel": (
        torch.optim.swa_utils.AveragedModel(NET).state_dict(),
        "behind the prefix 'module.'",
    ),
    "in a class of one's own": (behind("net."), "behind the prefix 'net.'"),
    "in a checkpoint": ({"model": WEIGHTS, "optimizer": OPTIMIZER, "epoch": 3}, "in the entry 'model'"),
    "under another name": ({"model_state_dict": WEIGHTS, "loss": 0.3}, "in the entry 'model_state_dict'"),
    "by Lightning": (
        {"state_dict": behind("model."), "optimizer_states": [OPTIMIZER], "global_step": 9},
        "in the entry 'state_dict' behind the prefix 'model.'",
    ),
    "twice": (
        {"checkpoint": {"net": behind("module.")}},
        "in the entry 'checkpoint.net' behind the prefix 'module.'",
    ),
}


@pytest.mark.parametrize(("content", "wrapping"), WRAPPED.values(), ids=WRAPPED)
def test_weights_are_found_wherever_they_are_wrapped(content, wrapping):
    """They come back by the names of the net, and what they were taken out of is told."""
    number, weights = find(content, [Net(), NET])

    assert (number, weights.wrapping) == (1, wrapping)
    torch.testing.assert_close(weights.tensors, dict(WEIGHTS), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_weights_of_another_precision_are_taken(dtype):
    """Counters of BatchNorm may have become floats with the rest."""
    net = nn.BatchNorm2d(3)

    _, weights = find({name: tensor.to(dtype) for name, tensor in net.state_dict().items()}, [net])

    net.load_state_dict(weights.tensors)
    assert net.weight.dtype == torch.float32


REFUSED = {
    "a list": ([WEIGHTS], "^holds a list, not a state_dict$"),
    "a tensor": (torch.ones(2), "^holds a Tensor, not a state_dict$"),
    "numbers": ({"epoch": 3, "loss": 0.1}, "^holds a dict of epoch, loss, and no weights$"),
    "nothing": ({}, "^holds a dict of nothing, and no weights$"),
    "an optimizer's state": (OPTIMIZER, "^holds the state of an optimizer, not the weights of a net$"),
    "one weight less": (
        {name: tensor for name, tensor in WEIGHTS.items() if name != "fc3.bias"},
        r"^holds the weights of another net: it has nothing where CifarNet has fc3\.bias \(10,\)$",
    ),
    "one weight more": (
        {**WEIGHTS, "fc4.bias": torch.ones(2)},
        r"^holds the weights of another net: it has fc4\.bias \(2,\) where CifarNet has nothing$",
    ),
    "other shapes": (
        behind("module.", Net().state_dict()),
        r"it has module\.conv1\.weight \(6, 1, 3, 3\), module\.conv1\.bias \(6,\), .* and 7 more where "
        r"CifarNet has conv1\.weight \(6, 3, 5, 5\), conv1\.bias \(6,\), .* and 7 more$",
    ),
    "quantized weights": (
        {name: tensor.to(torch.int8) for name, tensor in WEIGHTS.items()},
        r"it has conv1\.weight \(6, 3, 5, 5\) torch\.int8, .* where CifarNet has conv1\.weight \(6, 3",
    ),
    "weights twice": (
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
    """The sentence is true of the file, and names both sides where a net was meant."""
    with pytest.raises(ValueError, match=message):
        find(content, [CifarNet()])


def test_weights_of_two_nets_in_one_file_are_not_guessed_between():
    """A teacher and its student may both be nets that are known."""
    content = {"teacher": Net().state_dict(), "student": WEIGHTS}

    with pytest.raises(ValueError, match=r"^holds weights in the entry 'teacher' and in the entry 'student'"):
        find(content, [Net(), CifarNet()])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (CLASSES, CLASSES),
        (("plane", "car", *CLASSES[2:]), CLASSES),
        (("plane", "car", *CLASSES[2:9], "van"), ("plane", "car", *CLASSES[2:9], "van")),
    ],
    ids=["official", "of the notes", "one's own"],
)
def test_remembered_classes_come_back(names, expected):
    """By the names that folders of the same names get when they are read."""
    weights = NET.state_dict()
    remember(weights, classes=names)

    assert find(weights, [NET])[1].classes == expected


@pytest.mark.parametrize("names", [["disc", "ring"], ("disc", "ring")], ids=["list", "tuple"])
def test_classes_that_stand_beside_the_weights_are_found(names):
    """As many people save them in their checkpoints."""
    content = {"checkpoint": {"net": WEIGHTS}, "classes": names}

    assert find(content, [NET])[1].classes == ("disc", "ring")


@pytest.mark.parametrize("classes", [None, 10, {"cat": 3}, [1, 2], ["a\x1b[2J"]], ids=repr)
def test_what_names_no_classes_is_not_taken_for_them(classes):
    """A number of classes, for example, or words to a terminal."""
    assert find({"net": WEIGHTS, "classes": classes}, [NET])[1].classes is None


@pytest.mark.parametrize("metadata", [{}, {"": 3}, {"": {"version": 1}}, [1]], ids=str)
def test_any_metadata_is_survived(metadata):
    """A file may have been made by anything."""
    weights = OrderedDict(WEIGHTS)
    weights._metadata = metadata

    assert find(weights, [NET])[1].classes is None
