"""blitz/explained/gradients.py: freezing and unfreezing, and products with Jacobians worked out by hand.

spec/test_2_autograd_jacobian.py holds PyTorch's own ways against them; what freezing saves is counted in
spec/test_2_autograd_frozen.py.
"""

from re import escape

import pytest
import torch
from torch import nn
from torch.optim import SGD

from blitz.explained.gradients import freeze, jacobian, unfreeze, vjp


def make_net():
    """Return three layers, 3 to 5 to 2, the last of them a net of its own: 4 parameters."""
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Sequential(nn.Linear(5, 2)))


def backward(net):
    """Add the gradients of a batch of ones to those of `net`."""
    net(torch.ones(4, 3)).sum().backward()


def trained(net):
    """Return the names of the parameters that require a gradient."""
    return [name for name, parameter in net.named_parameters() if parameter.requires_grad]


def with_gradient(net):
    """Return the names of the parameters that hold a gradient."""
    return [name for name, parameter in net.named_parameters() if parameter.grad is not None]


def snapshot(part):
    """Return a copy of all parameters and buffers of `part`, as lists."""
    return {name: tensor.tolist() for name, tensor in part.state_dict().items()}


PARTS = {  # what of the net, the parameters left to train
    "a layer": (lambda net: net[0], ["2.0.weight", "2.0.bias"]),
    "a net in the net": (lambda net: net[2], ["0.weight", "0.bias"]),
    "the whole net": (lambda net: net, []),
    "a layer without parameters": (lambda net: net[1], ["0.weight", "0.bias", "2.0.weight", "2.0.bias"]),
}
each_part = pytest.mark.parametrize(("choose", "left"), PARTS.values(), ids=PARTS)


class TestFreeze:
    """What freeze stops, and what goes on."""

    @each_part
    def test_parameters_of_the_part_are_frozen_and_no_others(self, choose, left):
        """At every depth of the part they require no gradient, and the one from before is dropped."""
        net = make_net()
        backward(net)

        freeze(choose(net))

        assert trained(net) == left
        assert with_gradient(net) == left

    def test_optimizer_leaves_frozen_parameters_where_they_are(self):
        """Neither a stale gradient nor momentum nor weight decay moves what is frozen; the others move."""
        net = make_net()
        optimizer = SGD(net.parameters(), lr=0.5, momentum=0.5, weight_decay=0.5)
        backward(net)
        optimizer.step()
        freeze(net[0])
        first, last = snapshot(net[0]), snapshot(net[2])

        backward(net)
        optimizer.step()

        assert snapshot(net[0]) == first
        assert snapshot(net[2]) != last

    def test_statistics_of_batch_norm_still_move_in_train_mode(self):
        """Only parameters are frozen: mode and buffers go on as before, and eval() keeps the buffers."""
        layer = nn.BatchNorm1d(2, momentum=0.5)
        batch = torch.tensor([[2.0, 5.0], [4.0, 9.0]])

        freeze(layer)
        layer(batch)
        layer.eval()(batch)

        assert layer.running_mean.tolist() == [1.5, 3.5]
        assert layer.num_batches_tracked.item() == 1
        assert trained(layer) == []


class TestUnfreeze:
    """What unfreeze begins anew."""

    @each_part
    def test_parameters_of_the_part_are_trained_again_and_no_others(self, choose, left):
        """Unfrozen are the parameters of the part at every depth; the rest of the net stays frozen."""
        net = make_net()
        freeze(net)

        unfreeze(choose(net))

        assert trained(net) == [name for name, _ in net.named_parameters() if name not in left]

    def test_gradients_begin_with_the_next_forward_pass(self):
        """They are None until then, and not made up for."""
        net = make_net()
        freeze(net[0])

        backward(net)
        unfreeze(net[0])
        before = with_gradient(net)
        backward(net)

        assert before == ["2.0.weight", "2.0.bias"]
        assert with_gradient(net) == ["0.weight", "0.bias", "2.0.weight", "2.0.bias"]

    def test_what_was_not_frozen_keeps_its_gradient(self):
        """Unfreezing a part that trains changes nothing."""
        layer = nn.Linear(3, 2)
        backward(layer)

        unfreeze(layer)

        assert trained(layer) == ["weight", "bias"]
        assert layer.bias.grad.tolist() == [4, 4]

    def test_momentum_from_before_counts_again(self):
        """The optimizer's buffer outlives the freezing: a gradient of 4 and half of the old 4 make 6."""
        layer = nn.Linear(3, 2)
        optimizer = SGD(layer.parameters(), lr=0.5, momentum=0.5)
        backward(layer)
        optimizer.step()
        freeze(layer)
        optimizer.step()
        unfreeze(layer)

        backward(layer)
        optimizer.step()

        assert optimizer.state[layer.bias]["momentum_buffer"].tolist() == [6, 6]


AT, ONE = torch.tensor([2.0, 3.0]), torch.tensor(2.0)
SQUARE, OTHER = torch.tensor([[2.0, 3.0], [5.0, 7.0]]), torch.ones(2, requires_grad=True)
SWAP = [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]


def tall(x):
    """Return three values of two."""
    return torch.stack([x[0] * x[1], x[0] ** 2, 5 * x[1]])


def rows(x):
    """Return the products of the first row with the others."""
    return x[:1] * x[1:]


def weights_for(y):
    """Return 1, 10, 100, ... in the shape of y."""
    return 10.0 ** torch.arange(y.numel()).view(y.shape)


JACOBIANS = {  # function, x, its Jacobian, and what weights_for its values make of it
    "a vector of a vector": (tall, AT, [[3, 2], [4, 0], [0, 5]], [43, 502]),
    "a number of a vector": (lambda x: x[0] * x[1] ** 2, AT, [[9, 12]], [9, 12]),
    "a vector of a number": (lambda x: torch.stack([x**2, 3 * x]), ONE, [[4], [3]], 34),
    "a number of a number": (lambda x: x**3, ONE, [[12]], 12),
    "a row of a matrix": (rows, SQUARE, [[5, 0, 2, 0], [0, 7, 0, 3]], [[5, 70], [2, 30]]),
    "a matrix, transposed": (torch.t, SQUARE, SWAP, [[1, 100], [10, 1000]]),
    "itself": (lambda x: x, AT, [[1, 0], [0, 1]], [1, 10]),
    "constants": (lambda x: torch.ones(3), AT, [[0, 0], [0, 0], [0, 0]], [0, 0]),
    "a tensor without a gradient": (lambda x: 2 * x.detach(), AT, [[0, 0], [0, 0]], [0, 0]),
    "another tensor with one": (lambda x: 2 * OTHER, AT, [[0, 0], [0, 0]], [0, 0]),
    "no values": (lambda x: x[:0], AT, [], [0, 0]),
    "values of nothing": (lambda x: x.sum() + torch.ones(2), torch.ones(0), [[], []], []),
}
each_jacobian = pytest.mark.parametrize(("function", "x", "J", "product"), JACOBIANS.values(), ids=JACOBIANS)
each_mode = pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])


class TestJacobians:
    """The Jacobian, and its product with a vector by one pass."""

    @each_jacobian
    @each_mode
    def test_jacobian_has_a_row_a_value_and_a_column_an_input(self, function, x, J, product, mode):
        """Both are flattened; either number may be 0; what does not depend on x has zeros."""
        with mode():
            found = jacobian(function, x)

        assert found.tolist() == J
        assert found.shape == (function(x).numel(), x.numel())

    @each_jacobian
    @each_mode
    def test_vjp_weighs_the_rows_of_the_jacobian(self, function, x, J, product, mode):
        """The sum of the rows of J, each times its weight in v, comes in the shape of x."""
        with mode():
            found = vjp(function, x, weights_for(function(x)))

        assert found.tolist() == product
        assert found.shape == x.shape

    def test_x_and_v_may_be_made_under_inference_mode(self):
        """Their tensors take part in no graph, but a copy of x does."""
        with torch.inference_mode():
            x, v = torch.tensor([2.0, 3.0]), torch.tensor([1.0, 10.0])

            assert vjp(torch.square, x, v).tolist() == [4, 60]

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
    def test_results_lie_where_x_does_in_its_type(self, device, dtype):
        """The type is that of x, whatever y and v are of, and so is the device."""
        x = torch.tensor([2.0, 3.0], dtype=dtype, device=device)
        v = torch.tensor([1.0, 10.0], dtype=torch.float64, device=device)

        product, J = vjp(lambda x: x.double() ** 2, x, v), jacobian(lambda x: x.double() ** 2, x)

        assert (product.dtype, product.device, product.tolist()) == (dtype, x.device, [4, 60])
        assert (J.dtype, J.device, J.tolist()) == (dtype, x.device, [[4, 0], [0, 6]])

    def test_no_number_is_needed_on_the_way(self):
        """Everything is made on the device of x, even on the one that keeps shapes alone."""
        x = torch.ones(2, device="meta")

        assert vjp(torch.sin, x, x).is_meta
        assert jacobian(torch.sin, x).is_meta

    @pytest.mark.parametrize("requires_grad", [True, False])
    def test_x_is_left_alone(self, requires_grad):
        """Neither its gradient nor whether it requires one changes, and the results have no history."""
        x = torch.tensor([2.0, 3.0], requires_grad=requires_grad)
        x.grad = torch.tensor([5.0, 7.0])

        results = vjp(torch.square, x, torch.ones(2)), jacobian(torch.square, x)

        assert x.grad.tolist() == [5, 7]
        assert x.requires_grad is requires_grad
        assert [result.requires_grad for result in results] == [False, False]

    def test_x_with_a_history_is_where_it_ends(self):
        """The derivative is with respect to x itself, and nothing flows to what x was made of."""
        leaf = torch.tensor([2.0, 3.0], requires_grad=True)
        x = 10 * leaf

        assert vjp(torch.square, x, torch.ones(2)).tolist() == [40, 60]
        assert leaf.grad is None

    def test_function_is_called_once_and_for_the_jacobian_once_a_row_more(self):
        """A product takes one call; a Jacobian of m rows takes m + 1, all at x."""
        calls = []

        def function(x):
            calls.append(x.tolist())
            return torch.cat([x, x[:1]])

        vjp(function, AT, torch.ones(3))
        once = len(calls)
        jacobian(function, AT)

        assert once == 1
        assert calls[once:] == (3 + 1) * [[2, 3]]


MODULE = "expected a net or a layer, got {}; for one tensor set requires_grad itself"
FLOAT = "expected x of a floating-point type, got {}; integers: x.double()"
SHAPED = "expected v shaped like function(x), {}, got {}"
TENSOR = "expected function(x) to be one tensor, got {}"

REFUSED = {
    "freeze a parameter": (lambda: freeze(nn.Linear(3, 2).weight), TypeError, MODULE.format("Parameter")),
    "freeze a class": (lambda: freeze(nn.ReLU), TypeError, MODULE.format("type")),
    "unfreeze a list": (lambda: unfreeze([nn.ReLU()]), TypeError, MODULE.format("list")),
    "vjp at whole numbers": (lambda: vjp(tall, AT.long(), AT), ValueError, FLOAT.format("torch.int64")),
    "jacobian at flags": (lambda: jacobian(tall, AT.bool()), ValueError, FLOAT.format("torch.bool")),
    "vjp of a tuple": (lambda: vjp(lambda x: (x, x), AT, AT), TypeError, TENSOR.format("tuple")),
    "jacobian of nothing": (lambda: jacobian(lambda x: None, AT), TypeError, TENSOR.format("NoneType")),
    "v too short": (lambda: vjp(tall, AT, AT), ValueError, SHAPED.format("(3,)", "(2,)")),
    "v that would broadcast": (lambda: vjp(torch.sum, AT, AT[:1]), ValueError, SHAPED.format("()", "(1,)")),
    "v for constants": (lambda: vjp(lambda x: SQUARE, AT, AT), ValueError, SHAPED.format("(2, 2)", "(2,)")),
}


@pytest.mark.parametrize(("act", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence(act, error, message):
    """A wrong argument says what was expected and what came."""
    with pytest.raises(error, match=f"^{escape(message)}$"):
        act()
