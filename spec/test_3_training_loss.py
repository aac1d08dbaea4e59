"""Section 3 of the notes, "Loss function"."""

import math
import re
import warnings
from contextlib import suppress

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from blitz.training import nets
from blitz.training.nets import Net
from spec.harness import OUTDATED, QUALIFIED, WRONG, broken_by, claim


def make_step(device):
    """Return a net, an image and a target, float64, so that TF32 plays no part on a GPU."""
    images, target = torch.randn(1, 1, 32, 32), torch.randn(1, 10)
    return Net().double().to(device), images.double().to(device), target.double().to(device)


def kind(node):
    """Return what a node of the graph belongs to: "Addmm" for AddmmBackward0."""
    return re.sub(r"Backward\d*$", "", type(node).__name__)


def chain(node):
    """Return the kinds of the nodes from `node` back to the first layer, parameters left out."""
    followers = [following for following, _ in node.next_functions if following]
    inner = [following for following in followers if kind(following) not in ("AccumulateGrad", "T")]
    return [kind(node), *(chain(inner[0]) if inner else [])]


def gradient_of(tensor):
    """Return tensor.grad, also of a tensor that is not a leaf, where PyTorch warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return tensor.grad


class TestMseLoss:
    """criterion = nn.MSELoss()."""

    @claim("nn.mse-loss", notes="3 loss function")
    @broken_by(
        F, "mse_loss", lambda real: lambda output, target, **options: real(output, target, reduction="sum")
    )
    @broken_by(F, "mse_loss", lambda real: lambda output, target, **options: real(output, target) / 2)
    @broken_by(F, "mse_loss", lambda real: lambda output, target, **options: F.l1_loss(output, target))
    def test_mse_loss_is_the_mean_of_the_squared_differences(self, device):
        """MSELoss gives one number: the mean over all values of (output - target)²."""
        output = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=device)
        target = torch.tensor([[1.0, 0.0], [0.0, 1.0]], device=device)

        loss = nn.MSELoss()(output, target)

        assert loss.shape == ()
        assert loss.item() == (0 + 4 + 9 + 9) / 4

    @claim("nn.mse-loss-reduction", notes="3 loss function")
    @broken_by(F, "mse_loss", lambda real: lambda output, target, reduction: real(output, target))
    @broken_by(F, "mse_loss", lambda real: lambda *pair, reduction: real(*pair, reduction="none").sum(-1))
    def test_mse_loss_reduces_as_it_is_told(self, device):
        """With reduction="none" MSELoss gives every squared difference, with "sum" their sum."""
        output, target = torch.tensor([1.0, 2.0, 4.0], device=device), torch.zeros(3, device=device)

        assert nn.MSELoss(reduction="none")(output, target).tolist() == [1, 4, 16]
        assert nn.MSELoss(reduction="sum")(output, target).item() == 21

    @claim("nn.mse-loss-broadcasts", notes="3 loss function")
    @broken_by(
        F, "mse_loss", lambda real: lambda output, target, **options: real(output, target.view_as(output))
    )
    @broken_by(nn.MSELoss, "forward", lambda real: lambda criterion, *pair: real(criterion, *pair) * 10)
    def test_mse_loss_of_a_column_and_a_row_compares_every_pair(self, device):
        """Shapes (10, 1) and (10,) only warn: the loss is then the mean over all 100 pairs."""
        output, target = torch.arange(10.0, device=device).unsqueeze(1), torch.arange(10.0, device=device)

        with pytest.warns(UserWarning, match="is different to the input size"):
            loss = nn.MSELoss()(output, target)

        pairs = [(i - j) ** 2 for i in range(10) for j in range(10)]
        assert loss.item() == sum(pairs) / 100 == 16.5

    @claim("nn.mse-loss-mismatch", notes="3 loss function")
    @broken_by(
        F, "mse_loss", lambda real: lambda output, target, **options: warnings.warn("different", stacklevel=1)
    )
    def test_mse_loss_refuses_shapes_that_do_not_broadcast(self, device):
        """Shapes that do not broadcast, such as (10, 2) and (10,), are a RuntimeError."""
        output, target = torch.zeros(10, 2, device=device), torch.zeros(10, device=device)

        with (
            pytest.raises(
                RuntimeError, match=r"size of tensor a \(2\) must match the size of tensor b \(10\)"
            ),
            pytest.warns(UserWarning, match="different"),
        ):
            nn.MSELoss()(output, target)

    @claim("nn.mse-loss-empty", notes="3 loss function")
    @broken_by(F, "mse_loss", lambda real: lambda *pair, **options: real(*pair, **options).nan_to_num())
    def test_mse_loss_of_nothing_is_nan(self, device):
        """The mean over no values is nan, without an error."""
        assert math.isnan(nn.MSELoss()(torch.zeros(0, device=device), torch.zeros(0, device=device)))

    @claim("nn.mse-loss-target-gradient", notes="3 loss function")
    @broken_by(F, "mse_loss", lambda real: lambda output, target, **options: real(output, target.detach()))
    @broken_by(F, "mse_loss", lambda real: lambda output, target, **options: real(output, -target))
    def test_target_may_require_a_gradient(self, device):
        """A target that requires a gradient gets that of the output with the opposite sign."""
        output = torch.tensor([3.0, 1.0], device=device, requires_grad=True)
        target = torch.tensor([1.0, 5.0], device=device, requires_grad=True)

        nn.MSELoss()(output, target).backward()

        assert output.grad.tolist() == [2, -4]
        assert target.grad is not None
        assert target.grad.tolist() == [-2, 4]

    @claim("nn.mse-loss-integer-target", notes="3 loss function", since="2.12")
    @broken_by(
        F, "mse_loss", lambda real: lambda output, target, **options: real(output, target.to(output) / 2)
    )
    @broken_by(F, "mse_loss", lambda real: lambda output, target, **options: real(output, 0 * target))
    def test_integer_target_works_like_the_same_floats(self, device):
        """An integer target such as torch.arange(1, 4) gives the loss and gradients of the same floats."""
        output = torch.tensor([3.0, 2.0, 0.0], device=device, requires_grad=True)

        loss = nn.MSELoss(reduction="sum")(output, torch.arange(1, 4, device=device))
        with suppress(RuntimeError):  # of the releases that want floats
            loss.backward()

        assert loss.item() == 4 + 0 + 9
        assert output.grad is not None
        assert output.grad.tolist() == [4, 0, -6]


class TestGraph:
    """The graph behind the loss, and loss.grad_fn."""

    @claim(
        "nn.loss-graph-chain",
        notes="3 loss function; notebook nn",
        verdict=QUALIFIED,
        says="input, conv2d, relu, maxpool2d, conv2d, relu, maxpool2d, view, linear, relu, linear, relu, "
        "linear, MSELoss, loss",
    )
    @broken_by(nets, "relu", lambda real: lambda x: x if x.dim() == 4 and x.shape[1] == 16 else real(x))
    @broken_by(nets, "max_pool2d", lambda real: lambda x, size: F.avg_pool2d(x, size))
    @broken_by(F, "mse_loss", lambda real: lambda output, target, **options: F.l1_loss(output, target))
    @broken_by(F, "linear", lambda real: lambda x, weight, bias: x @ weight.T + bias)
    def test_graph_leads_from_the_loss_back_through_every_step(self, device):
        """Back from the loss come the notes' steps in reverse order, a linear layer under the name Addmm."""
        net, images, target = make_step(device)

        loss = nn.MSELoss()(net(images), target)

        linear, convolution = ["Addmm", "Relu"], ["MaxPool2DWithIndices", "Relu", "Convolution"]
        steps = ["MseLoss", *linear, *linear, "Addmm", "View", *convolution, *convolution]
        assert chain(loss.grad_fn) == steps

    @claim("nn.loss-graph-chain-cross-entropy", notes="3 loss function")
    @broken_by(F, "cross_entropy", lambda real: lambda scores, labels, **options: scores[0, labels[0]])
    @broken_by(F, "cross_entropy", lambda real: lambda *pair, **options: F.multi_margin_loss(*pair))
    def test_cross_entropy_is_two_nodes_of_the_graph(self, device):
        """With CrossEntropyLoss the graph has NllLoss and LogSoftmax behind the loss, in place of MseLoss."""
        net, images, _ = make_step(device)

        loss = nn.CrossEntropyLoss()(net(images), torch.tensor([3], device=device))

        assert chain(loss.grad_fn)[:3] == ["NllLoss", "LogSoftmax", "Addmm"]

    @claim(
        "nn.grad-fn-names",
        notes="3 loss function, output",
        verdict=OUTDATED,
        since="1.10",
        says="the nodes are printed as MseLossBackward, AddmmBackward and AccumulateGrad",
    )
    @broken_by(F, "mse_loss", lambda real: lambda output, target, **options: F.l1_loss(output, target))
    @broken_by(F, "linear", lambda real: lambda x, weight, bias: x @ weight.T + bias)
    @broken_by(F, "linear", lambda real: lambda x, weight, bias: real(x, weight, bias * 1))
    def test_three_printed_nodes_are_loss_addmm_and_accumulate_grad(self, device):
        """The three nodes that the notes print are MseLossBackward0, AddmmBackward0 and AccumulateGrad."""
        net, images, target = make_step(device)

        first = nn.MSELoss()(net(images), target).grad_fn
        second = first.next_functions[0][0]
        third = second.next_functions[0][0]

        printed = [repr(node).split(" object at ")[0] for node in (first, second, third)]
        assert printed == ["<MseLossBackward0", "<AddmmBackward0", "<AccumulateGrad"]

    @claim(
        "nn.grad-fn-comment-relu",
        notes="3 loss function, code comments",
        verdict=WRONG,
        says="the third printed node, next_functions[0][0] of the linear layer's, is ReLU",
    )
    @broken_by(F, "linear", lambda real: lambda x, weight, bias: x @ weight.T + bias)
    @broken_by(F, "linear", lambda real: lambda x, weight, bias: real(x, weight, bias.clone()))
    @broken_by(nets, "relu", lambda real: torch.tanh)
    def test_first_input_of_the_last_linear_layer_is_its_bias(self, device):
        """The third printed node accumulates the gradient of fc3.bias; ReLU is next_functions[1][0]."""
        net, images, _ = make_step(device)

        nodes = [following for following, _ in net(images).grad_fn.next_functions]

        assert [kind(node) for node in nodes] == ["AccumulateGrad", "Relu", "T"]
        assert nodes[0].variable is net.fc3.bias

    @claim(
        "nn.all-tensors-get-gradients",
        notes="3 loss function",
        verdict=WRONG,
        says="after loss.backward() the gradients of all tensors are updated",
    )
    @broken_by(
        nn.Module,
        "__call__",
        lambda real: lambda module, *inputs: (output := real(module, *inputs)).retain_grad() or output,
    )
    @broken_by(Net, "forward", lambda real: lambda net, x: real(net, x.requires_grad_()))
    @broken_by(nets, "relu", lambda real: lambda x: real(x).detach())
    def test_backward_fills_only_leaves_that_require_a_gradient(self, device):
        """loss.backward() fills the ten parameters; input, output, target and loss keep no gradient."""
        net, images, target = make_step(device)

        output = net(images)
        loss = nn.MSELoss()(output, target)
        loss.backward()

        assert all(parameter.grad is not None for parameter in net.parameters())
        assert [gradient_of(tensor) for tensor in (images, output, target, loss)] == [None] * 4

    @claim("nn.all-tensors-get-gradients-on-request", notes="3 loss function")
    @broken_by(torch.Tensor, "retain_grad", lambda real: lambda tensor: None)
    @broken_by(Net, "forward", lambda real: lambda net, x: real(net, x.detach()))
    @broken_by(F, "mse_loss", lambda real: lambda output, target, **options: 10 * real(output, target))
    def test_input_and_output_get_gradients_on_request(self, device):
        """An input with requires_grad=True gets a gradient, and an output after retain_grad()."""
        net, images, target = make_step(device)
        images.requires_grad_()

        output = net(images)
        output.retain_grad()
        nn.MSELoss()(output, target).backward()

        assert gradient_of(images) is not None
        assert gradient_of(output) is not None
        torch.testing.assert_close(output.grad, 2 * (output - target).detach() / 10)
