"""Notes 2.4, "Differentiation in autograd": the worked example, and backward() of more than one number."""

import pytest
import torch

from spec.harness import QUALIFIED, fault, statement


def make_example(device):
    """Return a, b and Q = 3a³ - b²."""
    a = torch.tensor([2.0, 3.0], device=device, requires_grad=True)
    b = torch.tensor([6.0, 4.0], device=device, requires_grad=True)
    return a, b, 3 * a**3 - b**2


REFUSED = {
    # for an output of two numbers
    "a number": torch.tensor(1.0),
    "three": torch.ones(3),
    "a row of two": torch.ones(1, 2),
    "a list": [1.0, 1.0],
}

# Faults


def given_another(change):
    """Return a replacement for backward() that takes `change(result, gradient)` for a gradient."""
    return lambda real: (
        lambda result, gradient=None: real(result, gradient if gradient is None else change(result, gradient))
    )


def ones_by_default(real):
    """Return a replacement for backward() that takes ones for no gradient."""
    return lambda result, gradient=None: real(
        result, torch.ones_like(result) if gradient is None else gradient
    )


def to_its_shape(result, gradient):
    """Return a gradient of ones in the shape of its output."""
    return gradient if getattr(gradient, "shape", None) == result.shape else torch.ones_like(result)


@statement("autograd.worked-example", notes="2.4; notebook autograd")
@fault(
    "one factor of a power counts",
    torch.Tensor,
    "__pow__",
    lambda real: lambda x, n: real(x.detach(), n - 1) * x,
)
@fault("backward divides by the length", torch.Tensor, "backward", given_another(lambda y, v: v / len(y)))
@fault("a comparison gives numbers", torch.Tensor, "__eq__", lambda real: lambda x, y: real(x, y).float())
def test_gradients_are_9a2_and_minus_2b(device):
    """For Q = 3a³ - b², Q.backward() with a gradient of ones stores 9a² in a.grad and -2b in b.grad."""
    a, b, Q = make_example(device)

    Q.backward(torch.ones(2, device=device))

    assert Q.tolist() == [3 * 2**3 - 6**2, 3 * 3**3 - 4**2]
    assert (a.grad.tolist(), b.grad.tolist()) == ([36, 81], [-12, -8])
    for comparison in (9 * a**2 == a.grad, -2 * b == b.grad):  # as the notebook prints them
        assert str(comparison.cpu()) == "tensor([True, True])"


@statement(
    "autograd.vector-output-needs-gradient",
    notes="notebook autograd",
    verdict=QUALIFIED,
    says="backward() of a vector needs an explicit gradient of the same shape as the vector",
)
@fault("ones stand in for no gradient", torch.Tensor, "backward", ones_by_default)
@fault(
    "an output is multiplied by itself", torch.Tensor, "__rmul__", lambda real: lambda x, n: real(x * x, n)
)
@fault("a gradient is fitted to its output", torch.Tensor, "backward", given_another(to_its_shape))
@fault("a gradient loses its sign", torch.Tensor, "backward", given_another(lambda y, v: v.abs()))
class TestVectorOutput:
    """backward() needs a gradient as its argument if the output has more than one element. This gradient must
    be a tensor of the same shape as the output. Otherwise, backward() raises an error.
    """

    @pytest.mark.parametrize("shape", [(2,), (1, 3)], ids=str)
    def test_backward_without_a_gradient_is_an_error(self, shape, device):
        x = torch.ones(shape, device=device, requires_grad=True)

        with pytest.raises(RuntimeError, match=r"created only for (real )?scalar outputs"):
            (5 * x).backward()

    @pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
    def test_one_number_needs_no_gradient(self, shape, device):
        x = torch.full(shape, 2.0, device=device, requires_grad=True)

        (5 * x).backward()

        assert x.grad.shape == shape
        assert x.grad.item() == 5

    @pytest.mark.parametrize("gradient", REFUSED.values(), ids=REFUSED)
    def test_gradient_of_another_shape_is_an_error(self, gradient, device):
        x = torch.ones(2, device=device, requires_grad=True)

        with pytest.raises((RuntimeError, TypeError), match=r"Mismatch in shape|either Tensors or None"):
            (5 * x).backward(gradient if isinstance(gradient, list) else gradient.to(device))

    @pytest.mark.parametrize("factors", [torch.tensor([2, -3]), torch.tensor([0.5, -3]).double()], ids=str)
    def test_gradient_of_another_type_is_cast(self, factors):
        x = torch.ones(2, requires_grad=True)

        (4 * x).backward(factors)

        assert x.grad.dtype == torch.float32
        assert x.grad.tolist() == [4 * factor for factor in factors.tolist()]


@statement("autograd.sum-backward-equivalent", notes="notebook autograd")
@fault("a sum is a mean", torch.Tensor, "sum", lambda real: torch.Tensor.mean)
@fault("backward takes ones for any gradient", torch.Tensor, "backward", given_another(lambda y, v: v / v))
@pytest.mark.parametrize(
    ("v", "of_a", "of_b"),
    [([1.0, 1.0], [36, 81], [-12, -8]), ([1.0, -2.0], [36, -162], [-12, 16])],
    ids=["ones", "weights"],
)
def test_gradient_weights_the_sum(v, of_a, of_b, device):
    """If Q and v are vectors, Q.backward(v) stores the same gradients as (v * Q).sum().backward(). If v
    consists of ones, these gradients are the gradients of Q.sum().
    """
    v = torch.tensor(v, device=device)
    a, b, Q = make_example(device)
    c, d, R = make_example(device)

    Q.backward(v)
    (v * R).sum().backward()

    assert a.grad.tolist() == c.grad.tolist() == of_a
    assert b.grad.tolist() == d.grad.tolist() == of_b
