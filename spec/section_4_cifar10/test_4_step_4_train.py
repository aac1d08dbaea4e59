"""Notes 4, step 4: the loop that trains the net, and the file that keeps it."""

import copy
import io
import math
import zipfile

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, Optimizer

from blitz.training.nets import CifarNet
from spec.harness import ANSWERED, fault, statement
from spec.section_4_cifar10.faults import given, giving


def make_training(device):
    """Return the net of the notes in float64, its loss and its optimizer."""
    net = CifarNet().to(device).double()
    return net, nn.CrossEntropyLoss(), SGD(net.parameters(), lr=0.001, momentum=0.9)


def copy_of_each(saved):
    """Return a copy of a tensor, or of each tensor in a list."""
    return saved.clone() if isinstance(saved, torch.Tensor) else [tensor.clone() for tensor in saved]


def file_of(saved):
    """Return a file in memory that holds what torch.save made of `saved`."""
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    return file


def size_of(saved):
    """Return how many bytes torch.save makes of `saved`."""
    return len(file_of(saved).getvalue())


@pytest.fixture
def batches(device):
    """Two batches of four normalised images in float64 with their labels."""
    images = torch.rand(2, 4, 3, 32, 32, dtype=torch.float64, device=device) * 2 - 1
    return [(inputs, torch.tensor([3, 8, 8, 0], device=device)) for inputs in images]


@statement("cifar.zero-grad-in-loop", notes="4 step 4")
@fault("zero_grad does nothing", Optimizer, "zero_grad", lambda real: lambda self, set_to_none=True: None)
@fault("the loss grows", SGD, "__init__", given(maximize=True))
@fault("backward does nothing", torch.Tensor, "backward", lambda real: lambda loss: None)
class TestZeroGradInLoop:
    """With `optimizer.zero_grad()` in each training iteration, `.grad` holds the gradient of the current
    batch alone. Twenty such iterations on one batch lower the loss of this batch.
    """

    def test_gradient_is_that_of_its_own_batch_alone(self, device, batches):
        net, criterion, optimizer = make_training(device)
        alone = torch.autograd.grad(criterion(net(batches[1][0]), batches[1][1]), list(net.parameters()))

        for inputs, labels in batches:
            optimizer.zero_grad()
            criterion(net(inputs), labels).backward()

        torch.testing.assert_close([parameter.grad for parameter in net.parameters()], list(alone))

    def test_twenty_iterations_on_one_batch_lower_its_loss(self, device, batches):
        net, criterion, optimizer = make_training(device)
        inputs, labels = batches[0]
        losses = []

        for _ in range(20):
            optimizer.zero_grad()
            loss = criterion(net(inputs), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

        assert losses[-1] < losses[0]


@statement("cifar.loss-item", notes="4 step 4")
@fault("item gives a tensor", torch.Tensor, "item", lambda real: torch.Tensor.detach)
@fault("item gives an int", torch.Tensor, "item", giving(int))
@fault("the loss is detached", F, "cross_entropy", giving(torch.Tensor.detach))
class TestLossItem:
    """`loss.item()` returns a Python float, which a running loss can add up. Without `item()`, the sum of the
    losses is a tensor that keeps the autograd graph of every batch.
    """

    def test_running_loss_is_a_float(self, device):
        running_loss = 0.0

        for k in (2, 7):
            scores, labels = torch.zeros(4, k, device=device), torch.arange(4, device=device) % 2
            running_loss += nn.CrossEntropyLoss()(scores, labels).item()

        assert type(running_loss) is float
        assert running_loss == pytest.approx(math.log(2 * 7), rel=1e-6)

    def test_sum_of_losses_without_item_keeps_the_graph_of_every_batch(self, device):
        scores = torch.zeros(1, 5, device=device, requires_grad=True)
        running_loss = 0.0

        for label in (1, 3):
            running_loss = running_loss + nn.CrossEntropyLoss()(scores, torch.tensor([label], device=device))

        assert running_loss.requires_grad
        running_loss.backward()
        assert scores.grad[0].tolist() == pytest.approx([0.4, -0.6, 0.4, -0.6, 0.4])  # softmax is 0.2


@statement("cifar.save-state-dict", notes="4 step 4")
@fault(
    "a state has no biases",
    CifarNet,
    "state_dict",
    giving(lambda state: {k: v for k, v in state.items() if "bias" not in k}),
)
@fault("a state holds parameters", CifarNet, "state_dict", given(keep_vars=True))
@fault("a state is a copy", CifarNet, "state_dict", giving(copy.deepcopy))
class TestSaveStateDict:
    """`torch.save(net.state_dict(), PATH)` writes the parameters of the net as plain tensors into a zip file.
    If the net changes later, the file keeps the old values. The tensors that `state_dict()` returned change
    with the net.
    """

    def test_saved_state_is_a_zip_of_ten_plain_tensors(self, tmp_path):
        net = CifarNet()

        torch.save(net.state_dict(), tmp_path / "net.pth")
        state = torch.load(tmp_path / "net.pth")

        assert zipfile.is_zipfile(tmp_path / "net.pth")
        assert list(state) == [name for name, _ in net.named_parameters()]
        assert not any(isinstance(value, nn.Parameter) or value.requires_grad for value in state.values())

    def test_saved_state_is_a_snapshot_and_a_state_in_memory_is_not(self, tmp_path):
        net = CifarNet()
        before, state = net.fc3.bias.tolist(), net.state_dict()
        torch.save(state, tmp_path / "net.pth")

        nn.init.zeros_(net.fc3.bias)

        assert torch.load(tmp_path / "net.pth")["fc3.bias"].tolist() == before
        assert state["fc3.bias"].tolist() == [0] * 10


@statement(
    "cifar.saving-keeps-the-storage",
    notes="4 step 4",
    verdict=ANSWERED,
    says="more on the saving of models is behind the link, in Serialization semantics",
)
@fault("a view is saved alone", torch, "save", lambda real: lambda x, file: real(copy_of_each(x), file))
@fault("tensors are loaded apart", torch, "load", giving(copy_of_each))
@fault("a clone is a view", torch.Tensor, "clone", lambda real: torch.Tensor.detach)
class TestSavingKeepsTheStorage:
    """`torch.save` writes the whole storage of a tensor, so a row of a large tensor makes as large a file as
    that tensor. A clone of the row makes a small file. A tensor and its row that are saved together share
    memory after loading.
    """

    def test_row_takes_the_room_of_the_whole_and_its_clone_does_not(self, device):
        large = torch.zeros(100, 1000, device=device)

        assert size_of(large[0]) == pytest.approx(size_of(large), rel=0.01)
        assert size_of(large[0].clone()) < size_of(large) / 20

    def test_views_that_are_saved_together_share_memory_after_loading(self, device):
        large = torch.zeros(3, 2, device=device)

        whole, row = torch.load(file_of([large, large[1]]), weights_only=True)
        row.fill_(7)

        assert whole.tolist() == [[0, 0], [7, 7], [0, 0]]
