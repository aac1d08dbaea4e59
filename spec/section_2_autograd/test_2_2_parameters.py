"""Notes 2.2: a net is a function with weights and biases, which are stored in tensors."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spec.faults import then
from spec.harness import fault, statement


def made_under_no_grad(device):
    """Return a parameter that was made where autograd records nothing."""
    with torch.no_grad():
        return nn.Parameter(torch.zeros(2, device=device))


PARAMETERS = {
    "weight of a layer": lambda device: nn.Linear(3, 2, device=device).weight,
    "bias of a layer": lambda device: nn.Linear(3, 2, device=device).bias,
    "made under no_grad": made_under_no_grad,
}


def with_a_plain_weight(layer):
    """Have a layer hold its weight in a tensor that is no Parameter."""
    weight = layer.weight.detach()
    del layer.weight
    layer.weight = weight


@statement("autograd.parameters-are-tensors", notes="2.2")
@fault("the weight is a plain tensor", nn.Linear, "__init__", then(with_a_plain_weight))
@fault(
    "a parameter heeds no_grad",
    nn.Parameter,
    "__new__",
    lambda real: lambda cls, data, *rest, **options: real(cls, data, torch.is_grad_enabled()),
)
@fault(
    "a parameter of integers is frozen by itself",
    nn.Parameter,
    "__new__",
    lambda real: lambda cls, data, *rest, **options: real(cls, data, data.is_floating_point()),
)
@fault("a layer leaves its bias out", F, "linear", lambda real: lambda x, weight, bias: real(x, weight))
class TestParameters:
    """The weights and biases of a net are tensors of the class nn.Parameter. By default, an nn.Parameter
    requires a gradient, even if it is made under torch.no_grad(). The weights, the biases and the input
    determine what the net computes.
    """

    @pytest.mark.parametrize("make", PARAMETERS.values(), ids=PARAMETERS)
    def test_parameter_is_a_leaf_that_waits_for_a_gradient(self, make, device):
        parameter = make(device)

        assert isinstance(parameter, nn.Parameter)
        assert isinstance(parameter, torch.Tensor)
        assert (parameter.is_leaf, parameter.requires_grad, parameter.grad) == (True, True, None)

    def test_weights_and_biases_decide_what_a_net_computes(self):
        net, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(5, 3)

        w1, b1, w2, b2 = (parameter.detach().numpy() for parameter in net.parameters())
        expected = np.tanh(x.numpy() @ w1.T + b1) @ w2.T + b2
        torch.testing.assert_close(net(x).detach(), torch.from_numpy(expected))

    def test_parameter_of_integers_needs_requires_grad_false(self):
        assert not nn.Parameter(torch.zeros(3), requires_grad=False).requires_grad
        assert nn.Parameter(torch.arange(3), requires_grad=False).dtype == torch.int64
        with pytest.raises(RuntimeError, match="floating point and complex dtype can require gradients"):
            nn.Parameter(torch.arange(3))
