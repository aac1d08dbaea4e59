"""Notes 6, the link to fine-tuning: what `blitz chapter fine-tuning` shows, on torchvision's ResNet-18."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet18

from blitz.cifar10.data import Cifar10, Split
from blitz.derived import fine_tuning
from blitz.derived.fine_tuning import FineTuning
from spec.counters import flops
from spec.harness import each_row, fault, statement
from spec.section_2_autograd.faults import by_zeroing, ignored
from spec.slim_resnet import SlimResNet

IMAGES = 5  # one of each class


def convolution(side, inputs, outputs, kernel):
    """Return the FLOPs of a convolution with `side` x `side` results in each channel, for all images."""
    return IMAGES * 2 * side**2 * inputs * outputs * kernel**2


# ResNet-18 on images of 32 x 32: the first convolution; the blocks, whose first convolution beyond 64
# channels halves the sides and has a shortcut of 1 x 1 beside it; and the head
FIRST = convolution(16, 3, 64, 7)
BODY = FIRST + 4 * convolution(8, 64, 64, 3)
for side, channels in ((4, 128), (2, 256), (1, 512)):
    BODY += convolution(side, channels // 2, channels, 3) + 3 * convolution(side, channels, channels, 3)
    BODY += convolution(side, channels // 2, channels, 1)
HEAD = convolution(1, 512, 5, 1)
COSTS = {
    # forward, the gradients of the weights, and those that are passed back to what trains
    "head only": (BODY + HEAD) + HEAD,
    "all weights": (BODY + HEAD) + (BODY + HEAD) + (BODY - FIRST + HEAD),
}
CHANGES = {"head only": 0, "all weights": 120}  # of the 60 parameters and 60 buffers below the head
AVERAGES = ("running_mean", "running_var", "num_batches_tracked")
MODES = {"train": 60, "eval": 0}  # of these buffers


@pytest.fixture
def slim(monkeypatch):
    """Take a ResNet-18 of fewer channels in the place of the real one."""
    monkeypatch.setattr(fine_tuning, "resnet18", SlimResNet)


@pytest.fixture
def begin(monkeypatch):
    """`begin(way, device)`: ten steps of one way to fine-tune a net of seven classes, on five images."""
    images = torch.randint(0, 256, (10, 3, 32, 32), dtype=torch.uint8)
    split = Split(images, torch.arange(10))
    data = Cifar10(split, split, tuple("abcdefghij"), "drawn")

    def system(way, device):
        monkeypatch.setattr(fine_tuning, "WAYS", (way,))
        pretrained = fine_tuning.resnet18(num_classes=7).state_dict()
        monkeypatch.setattr(fine_tuning, "read_resnet18", lambda path: pretrained)
        return FineTuning(data, weights=Path(__file__), seed=0, steps=10, device=torch.device(device))

    return system


def on_meta(real):
    """Return a function that makes nets without values, whose costs are those of the real ones."""

    def make(**options):
        with torch.device("meta"):
            return real(**options)

    return make


def changed(net, before):
    """Return the names of what differs from a state_dict() in a net, its head left out."""
    return [
        name
        for name, value in net.state_dict().items()
        if not name.startswith("fc.") and not value.cpu().equal(before[name].cpu())
    ]


# Faults


def always_in_train_mode(real):
    """Return a train() that ignores its argument."""
    return lambda net, mode=True: real(net)


def averages_left(real):
    """Return a batch norm that never moves its averages in train mode."""
    return lambda x, mean, var, weight, bias, training, *rest: real(
        x, *((None, None) if training else (mean, var)), weight, bias, training, *rest
    )


def old_head_kept(real):
    """Return a new_net() whose head has what the old one knew of the first classes."""

    def new_net(name, pretrained):
        net = real(name, pretrained)
        net.fc.load_state_dict({key: pretrained[f"fc.{key}"][:5] for key in ("weight", "bias")})
        return net

    return new_net


def head_frozen(real):
    """Return a new_net() that freezes the net when it has its new head."""
    return lambda name, pretrained: real(name, pretrained).requires_grad_(False)


def always(name):
    """Return a replacement for new_net() that makes the net of the training `name`."""
    return lambda real: lambda _, pretrained: real(name, pretrained)


def without_pretraining(trainings):
    """Return trainings whose first is a single step."""
    return {**trainings, "pretraining": (1, 125, 0.05)}


@statement("derived.fine-tuning-costs", notes="6 fine-tuning; 2.7")
@fault("requires_grad_ freezes nothing", nn.Module, "requires_grad_", ignored)
@fault("freezing makes the gradient zero", nn.Module, "requires_grad_", by_zeroing)
@fault("all weights means the head alone", fine_tuning, "new_net", always("head only"))
@each_row
@pytest.mark.parametrize(("way", "cost"), COSTS.items(), ids=COSTS)
def test_step_costs_what_is_trained(begin, monkeypatch, way, cost):
    """A step that trains all weights of a ResNet-18 costs as many floating-point operations as three forward
    passes, less the gradient of the images. A step that trains the last layer alone costs one forward pass
    and the gradient of this layer's weight.
    """
    monkeypatch.setattr(fine_tuning, "resnet18", on_meta(resnet18))
    steps = begin(way, "meta").steps()

    assert flops(lambda: next(steps)) == cost


@statement("derived.fine-tuning-new-head", notes="6 fine-tuning; 2.7")
@fault("the pretrained weights are not loaded", nn.Module, "load_state_dict", lambda real: lambda *_: None)
@fault(
    "the new head has seven outputs",
    nn.Linear,
    "__init__",
    lambda real: lambda layer, i, o: real(layer, i, 7),
)
@fault("the old head is kept", fine_tuning, "new_net", old_head_kept)
@fault("the new head is frozen with the rest", fine_tuning, "new_net", head_frozen)
@each_row
@pytest.mark.usefixtures("slim")
@pytest.mark.parametrize("way", CHANGES)
@pytest.mark.parametrize("old_classes", [5, 7], ids="from {} classes".format)
def test_net_is_the_pretrained_one_under_a_new_head(way, old_classes):
    """Fine-tuning starts from the pretrained weights of all layers but the last. The last layer is replaced
    by a new layer with one output for each new class. The new layer is trained, even if all other layers are
    frozen.
    """
    pretrained = SlimResNet(old_classes).state_dict()

    net = fine_tuning.new_net(way, pretrained)

    other, head = changed(net, pretrained), net.fc.weight
    old_head = head.equal(pretrained["fc.weight"][:5])
    assert (other, old_head) == ([], False)
    assert head.shape == (5, 64)
    assert (head.requires_grad, net.fc.bias.requires_grad) == (True, True)


@statement("derived.fine-tuning-frozen", notes="6 fine-tuning; 2.7")
@fault("requires_grad_ freezes nothing", nn.Module, "requires_grad_", ignored)
@fault("freezing makes the gradient zero", nn.Module, "requires_grad_", by_zeroing)
@fault("eval() does not end train()", nn.Module, "train", always_in_train_mode)
@fault("train mode leaves the averages", F, "batch_norm", averages_left)
@fault("all weights means the head alone", fine_tuning, "new_net", always("head only"))
@pytest.mark.usefixtures("slim")
class TestFrozen:
    """If a frozen ResNet-18 is in eval() mode and gets a new last layer, training changes only this layer. In
    train() mode, each batch also changes the running averages of the 20 frozen layers of batch norm.
    """

    @each_row
    @pytest.mark.parametrize(("way", "number"), CHANGES.items(), ids=CHANGES)
    def test_training_changes_all_or_nothing_below_the_head(self, begin, device, way, number):
        system = begin(way, device)
        steps = system.steps()

        next(steps)
        head = system.net.fc.weight.detach().cpu().clone()
        next(steps)

        names = changed(system.net, system.pretrained)
        assert len(names) == number
        assert not system.net.fc.weight.cpu().equal(head)

    @each_row
    @pytest.mark.parametrize(("mode", "number"), MODES.items(), ids=MODES)
    def test_batch_in_train_mode_changes_the_averages_of_frozen_layers(self, device, mode, number):
        pretrained = SlimResNet(7).state_dict()
        net = fine_tuning.new_net("head only", pretrained).to(device)

        getattr(net, mode)()
        net(torch.rand(IMAGES, 3, 32, 32, device=device))

        names = changed(net, pretrained)
        assert len(names) == number
        assert all(name.endswith(AVERAGES) for name in names)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@statement("derived.fine-tuning-beats-scratch", notes="6 fine-tuning")
@fault("the pretraining is left out", fine_tuning, "TRAININGS", without_pretraining)
def test_pretrained_net_learns_more_from_few_images(cifar10, device, measured):
    """One ResNet-18 was trained on five classes of CIFAR-10, and another has random weights. After five
    epochs on 100 images of each of five new classes, the pretrained one classifies at least 5 percentage
    points more test images correctly.
    """
    torch.manual_seed(0)
    system = FineTuning(cifar10, weights=None, seed=0, device=device)
    for _ in system.steps():
        pass
    accuracies = {name: line[name] for line in system.history for name in line if name in system.parts}

    measured |= accuracies
    assert accuracies["all weights"] >= accuracies["from scratch"] + 0.05
