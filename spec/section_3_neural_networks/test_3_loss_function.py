"""3 "Loss function": MSELoss, and the graph that leads from the loss back to the parameters."""

import re
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from blitz.training import nets
from blitz.training.nets import Net
from spec.harness import OUTDATED, QUALIFIED, WRONG, fault, since, statement


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


@statement("nn.mse-loss", notes="3 loss function; notebook nn")
@fault(
    "the loss is a sum",
    F,
    "mse_loss",
    lambda real: lambda output, target, **options: real(output, target, reduction="sum"),
)
@fault(
    "the loss is halved",
    F,
    "mse_loss",
    lambda real: lambda output, target, **options: real(output, target) / 2,
)
@fault(
    "the loss is the mean distance",
    F,
    "mse_loss",
    lambda real: lambda output, target, **options: F.l1_loss(output, target),
)
@fault(
    "reduction is ignored", F, "mse_loss", lambda real: lambda output, target, reduction: real(output, target)
)
@fault(
    "the sum is over the last axis",
    F,
    "mse_loss",
    lambda real: lambda *pair, reduction: real(*pair, reduction="none").sum(-1),
)
@fault(
    "the target is reshaped",
    F,
    "mse_loss",
    lambda real: lambda output, target, **options: real(output, target.view_as(output)),
)
@fault(
    "the loss is ten times as large",
    nn.MSELoss,
    "forward",
    lambda real: lambda criterion, *pair: real(criterion, *pair) * 10,
)
@fault(
    "the target gets no gradient",
    F,
    "mse_loss",
    lambda real: lambda output, target, **options: real(output, target.detach()),
)
@fault(
    "the target changes its sign",
    F,
    "mse_loss",
    lambda real: lambda output, target, **options: real(output, -target),
)
class TestMseLoss:
    """By default, MSELoss returns the mean of (output - target)² over all elements. If the output is a column
    and the target is a row, MSELoss only gives a warning. It then returns the mean over all pairs of an
    element of the output and an element of the target.
    """

    def test_mse_loss_is_the_mean_of_the_squared_differences(self, device):
        output = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=device)
        target = torch.tensor([[1.0, 0.0], [0.0, 1.0]], device=device)

        loss = nn.MSELoss()(output, target)

        assert loss.shape == ()
        assert loss.item() == (0 + 4 + 9 + 9) / 4

    def test_mse_loss_reduces_as_it_is_told(self, device):
        output, target = torch.tensor([1.0, 2.0, 4.0], device=device), torch.zeros(3, device=device)

        assert nn.MSELoss(reduction="none")(output, target).tolist() == [1, 4, 16]
        assert nn.MSELoss(reduction="sum")(output, target).item() == 21

    def test_mse_loss_of_a_column_and_a_row_compares_every_pair(self, device):
        output, target = torch.arange(10.0, device=device).unsqueeze(1), torch.arange(10.0, device=device)

        with pytest.warns(UserWarning, match="is different to the input size"):
            loss = nn.MSELoss()(output, target)

        pairs = [(i - j) ** 2 for i in range(10) for j in range(10)]
        assert loss.item() == sum(pairs) / 100 == 16.5

    def test_target_may_require_a_gradient(self, device):
        output = torch.tensor([3.0, 1.0], device=device, requires_grad=True)
        target = torch.tensor([1.0, 5.0], device=device, requires_grad=True)

        nn.MSELoss()(output, target).backward()

        assert output.grad.tolist() == [2, -4]
        assert target.grad is not None
        assert target.grad.tolist() == [-2, 4]


@statement(
    "nn.loss-graph-chain",
    notes="3 loss function; notebook nn",
    verdict=QUALIFIED,
    says="the graph leads through input, conv2d, relu, maxpool2d, conv2d, relu, maxpool2d, view, linear, "
    "relu, linear, relu, linear, MSELoss, loss",
)
@fault(
    "a relu is left out",
    nets,
    "relu",
    lambda real: lambda x: x if x.dim() == 4 and x.shape[1] == 16 else real(x),
)
@fault("pooling averages", nets, "max_pool2d", lambda real: lambda x, size: F.avg_pool2d(x, size))
@fault(
    "the loss is the mean distance",
    F,
    "mse_loss",
    lambda real: lambda output, target, **options: F.l1_loss(output, target),
)
@fault("linear is a product and a sum", F, "linear", lambda real: lambda x, weight, bias: x @ weight.T + bias)
@fault(
    "cross entropy takes one score",
    F,
    "cross_entropy",
    lambda real: lambda scores, labels, **options: scores[0, labels[0]],
)
@fault(
    "cross entropy is a margin loss",
    F,
    "cross_entropy",
    lambda real: lambda *pair, **options: F.multi_margin_loss(*pair),
)
class TestLossGraphChain:
    """The autograd graph of the loss leads back through the steps of Net, the net of the notes. A linear
    layer has the name Addmm in this graph. CrossEntropyLoss appears as two nodes, NllLoss and LogSoftmax.
    """

    def test_graph_leads_from_the_loss_back_through_every_step(self, device):
        net, images, target = make_step(device)

        loss = nn.MSELoss()(net(images), target)

        linear, convolution = ["Addmm", "Relu"], ["MaxPool2DWithIndices", "Relu", "Convolution"]
        steps = ["MseLoss", *linear, *linear, "Addmm", "View", *convolution, *convolution]
        assert chain(loss.grad_fn) == steps

    def test_cross_entropy_is_two_nodes_of_the_graph(self, device):
        net, images, _ = make_step(device)

        loss = nn.CrossEntropyLoss()(net(images), torch.tensor([3], device=device))

        assert chain(loss.grad_fn)[:3] == ["NllLoss", "LogSoftmax", "Addmm"]


@since("1.10")
@statement(
    "nn.grad-fn-names",
    notes="3 loss function; notebook nn",
    verdict=OUTDATED,
    says="the nodes are printed as MseLossBackward, AddmmBackward and AccumulateGrad",
)
@fault(
    "the loss is the mean distance",
    F,
    "mse_loss",
    lambda real: lambda output, target, **options: F.l1_loss(output, target),
)
@fault("linear is a product and a sum", F, "linear", lambda real: lambda x, weight, bias: x @ weight.T + bias)
@fault(
    "the bias is multiplied by one",
    F,
    "linear",
    lambda real: lambda x, weight, bias: real(x, weight, bias * 1),
)
def test_three_printed_nodes_are_loss_addmm_and_accumulate_grad(device):
    """Since PyTorch 1.10, the three graph nodes that the notes print are called MseLossBackward0,
    AddmmBackward0 and AccumulateGrad. The first node is loss.grad_fn. Each further node is
    next_functions[0][0] of the node before.
    """
    net, images, target = make_step(device)

    first = nn.MSELoss()(net(images), target).grad_fn
    second = first.next_functions[0][0]
    third = second.next_functions[0][0]

    printed = [repr(node).split(" object at ")[0] for node in (first, second, third)]
    assert printed == ["<MseLossBackward0", "<AddmmBackward0", "<AccumulateGrad"]


@statement(
    "nn.grad-fn-comment-relu",
    notes="3 loss function; notebook nn",
    verdict=WRONG,
    says="the third printed node, next_functions[0][0] of the linear layer's node, is ReLU",
)
@fault("linear is a product and a sum", F, "linear", lambda real: lambda x, weight, bias: x @ weight.T + bias)
@fault("the bias is a clone", F, "linear", lambda real: lambda x, weight, bias: real(x, weight, bias.clone()))
@fault("relu is tanh", nets, "relu", lambda real: torch.tanh)
def test_first_input_of_the_last_linear_layer_is_its_bias(device):
    """The third graph node that the notes print belongs to the bias of the last layer, not to ReLU. The node
    of ReLU is next_functions[1][0] of the second printed node.
    """
    net, images, _ = make_step(device)

    nodes = [following for following, _ in net(images).grad_fn.next_functions]

    assert [kind(node) for node in nodes] == ["AccumulateGrad", "Relu", "T"]
    assert nodes[0].variable is net.fc3.bias


@statement(
    "nn.all-tensors-get-gradients",
    notes="3 loss function; notebook nn",
    verdict=WRONG,
    says="after loss.backward() the gradients of all tensors are updated",
)
@fault(
    "modules retain the gradients of their results",
    nn.Module,
    "__call__",
    lambda real: lambda module, *inputs: (output := real(module, *inputs)).retain_grad() or output,
)
@fault(
    "the input requires a gradient", Net, "forward", lambda real: lambda net, x: real(net, x.requires_grad_())
)
@fault("relu detaches", nets, "relu", lambda real: lambda x: real(x).detach())
@fault("retain_grad does nothing", torch.Tensor, "retain_grad", lambda real: lambda tensor: None)
@fault("Net detaches its input", Net, "forward", lambda real: lambda net, x: real(net, x.detach()))
@fault(
    "the loss is ten times as large",
    F,
    "mse_loss",
    lambda real: lambda output, target, **options: 10 * real(output, target),
)
class TestAllTensorsGetGradients:
    """loss.backward() fills the .grad of all parameters of Net, the net of the notes. By default, the .grad
    of the input, the output, the target and the loss stays None. After output.retain_grad(), loss.backward()
    fills the .grad of the output too.
    """

    def test_backward_fills_only_leaves_that_require_a_gradient(self, device):
        net, images, target = make_step(device)

        output = net(images)
        loss = nn.MSELoss()(output, target)
        loss.backward()

        assert all(parameter.grad is not None for parameter in net.parameters())
        assert [gradient_of(tensor) for tensor in (images, output, target, loss)] == [None] * 4

    def test_input_and_output_get_gradients_on_request(self, device):
        net, images, target = make_step(device)
        images.requires_grad_()

        output = net(images)
        output.retain_grad()
        nn.MSELoss()(output, target).backward()

        assert gradient_of(images) is not None
        assert gradient_of(output) is not None
        torch.testing.assert_close(output.grad, 2 * (output - target).detach() / 10)
