"""Section 2.4 of the notes, "Differentiation in autograd": the worked example and vector outputs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spec.harness import QUALIFIED, broken_by, claim

PAIRS = st.tuples(st.integers(-9, 9), st.integers(-9, 9))  # products of these are exact in float64


def make_example(device, a=(2, 3), b=(6, 4), dtype=torch.float32):
    """Return a, b and Q = 3a³ - b²."""
    a = torch.tensor(a, dtype=dtype, device=device, requires_grad=True)
    b = torch.tensor(b, dtype=dtype, device=device, requires_grad=True)
    return a, b, 3 * a**3 - b**2


# Faults


def given_another(change):
    """Return a replacement for backward() that takes `change(gradient)` for the gradient it is given."""
    return lambda real: (
        lambda result, gradient=None, **options: real(
            result, gradient if gradient is None else change(result, gradient), **options
        )
    )


def ones_by_default(condition=lambda result: True):
    """Return a replacement for backward() that takes ones for no gradient, if `condition(result)` holds."""
    return lambda real: (
        lambda result, gradient=None: real(
            result, torch.ones_like(result) if gradient is None and condition(result) else gradient
        )
    )


class WrongPower(torch.autograd.Function):
    """A power whose derivative leaves the exponent as it is."""

    @staticmethod
    def forward(context, x, exponent):
        """Return x to the power of `exponent`."""
        context.save_for_backward(x)
        context.exponent = exponent
        return torch.pow(x, exponent)

    @staticmethod
    def backward(context, gradient):
        """Return the wrong derivative."""
        (x,) = context.saved_tensors
        return gradient * context.exponent * torch.pow(x, context.exponent), None


class TestWorkedExample:
    """Q = 3a³ - b², with a = (2, 3) and b = (6, 4)."""

    @claim("autograd.worked-example", notes="2.4")
    @broken_by(torch.Tensor, "__pow__", lambda real: lambda x, n: WrongPower.apply(x, n))
    @broken_by(torch.Tensor, "__pow__", lambda real: lambda x, n: x.detach() * x if n == 2 else real(x, n))
    @broken_by(torch.Tensor, "__sub__", lambda real: lambda x, y: real(x, -y))
    @broken_by(torch.Tensor, "backward", given_another(lambda result, gradient: gradient / len(result)))
    def test_gradients_of_q_are_9a2_and_minus_2b(self, device):
        """For Q = 3a³ - b², backward with a gradient of ones leaves 9a² in a.grad and -2b in b.grad."""
        a, b, Q = make_example(device)

        Q.backward(gradient=torch.ones(2, device=device))

        assert Q.tolist() == [3 * 2**3 - 6**2, 3 * 3**3 - 4**2]
        assert a.grad.tolist() == [9 * 2**2, 9 * 3**2]
        assert b.grad.tolist() == [-2 * 6, -2 * 4]

    @claim("autograd.worked-example-printed", notes="notebook autograd")
    @broken_by(torch.Tensor, "__pow__", lambda real: lambda x, n: WrongPower.apply(x, n))
    @broken_by(torch.Tensor, "__pow__", lambda real: lambda x, n: (n * x.log()).exp())
    @broken_by(torch.Tensor, "__eq__", lambda real: lambda x, y: real(x, y).float())
    def test_both_comparisons_print_true_for_each_entry(self):
        """The notebook's comparisons print tensor([True, True]): the float32 results are exact."""
        a, b, Q = make_example("cpu")

        Q.backward(gradient=torch.tensor([1.0, 1.0]))

        assert str(9 * a**2 == a.grad) == "tensor([True, True])"
        assert str(-2 * b == b.grad) == "tensor([True, True])"


class TestVectorOutputs:
    """The gradient that backward() of a vector takes."""

    @claim(
        "autograd.vector-output-needs-gradient",
        notes="notebook autograd",
        verdict=QUALIFIED,
        says="backward() of a vector needs an explicit gradient of the same shape",
    )
    @broken_by(torch.Tensor, "backward", ones_by_default())
    @broken_by(torch.Tensor, "backward", ones_by_default(lambda result: result.dim() > 1))
    @broken_by(torch.Tensor, "__rmul__", lambda real: lambda x, n: real(x, n).sum())
    def test_more_than_one_element_needs_a_gradient(self, device):
        """backward() of (2,), (2, 1) or (1, 3) elements is a RuntimeError unless given a gradient."""
        for shape in ((2,), (2, 1), (1, 3)):
            x = torch.ones(shape, device=device, requires_grad=True)

            with pytest.raises(RuntimeError, match="can be implicitly created only for scalar outputs"):
                (5 * x).backward()

    @claim("autograd.vector-output-needs-gradient-of-no-element", notes="notebook autograd")
    @broken_by(torch.Tensor, "backward", ones_by_default(lambda result: result.numel() == 0))
    @broken_by(torch.Tensor, "backward", lambda real: lambda y, v=None: real(y, v) if y.numel() else None)
    def test_no_element_needs_a_gradient_too(self, device):
        """backward() of an empty tensor is a RuntimeError unless given a gradient, which is as empty."""
        x = torch.ones(0, 3, device=device, requires_grad=True)

        with pytest.raises(RuntimeError, match="can be implicitly created only for scalar outputs"):
            (5 * x).backward()
        (5 * x).backward(torch.ones(0, 3, device=device))

        assert x.grad is not None
        assert x.grad.shape == (0, 3)

    @claim("autograd.vector-output-needs-gradient-if-complex", notes="notebook autograd", since="2.1")
    @broken_by(torch.Tensor, "backward", ones_by_default(lambda result: result.is_complex()))
    @broken_by(torch.Tensor, "backward", ones_by_default(lambda result: result.dim() == 0))
    def test_complex_number_needs_a_gradient(self, device):
        """backward() of one complex number is a RuntimeError without a gradient; that of its .real is not."""
        z = torch.tensor(3 + 4j, device=device, requires_grad=True)

        with pytest.raises(RuntimeError, match="can be implicitly created only for real scalar outputs"):
            (5 * z).backward()
        (5 * z).real.backward()

        assert z.grad is not None
        assert z.grad.item() == 5

    @claim("autograd.vector-output-needs-gradient-beyond-one-element", notes="notebook autograd")
    @broken_by(torch.Tensor, "backward", lambda real: lambda result: real(result) if result.dim() < 2 else 0)
    @broken_by(torch.Tensor, "backward", lambda real: lambda result: real(result * result.detach()))
    def test_one_element_needs_none_whatever_its_shape(self, device):
        """A float tensor of one element needs no gradient, be its shape (), (1,) or (1, 1)."""
        for shape in ((), (1,), (1, 1)):
            x = torch.full(shape, 2.0, device=device, requires_grad=True)

            (5 * x).backward()

            assert x.grad is not None
            assert x.grad.cpu().equal(torch.full(shape, 5.0))

    @claim("autograd.vector-output-needs-gradient-of-its-shape", notes="notebook autograd")
    @broken_by(
        torch.Tensor,
        "backward",
        given_another(
            lambda result, gradient: gradient.expand_as(result) if gradient.dim() < 1 else gradient
        ),
    )
    @broken_by(
        torch.Tensor,
        "backward",
        given_another(lambda result, gradient: gradient.flatten() if gradient.dim() else gradient),
    )
    @broken_by(
        torch.Tensor,
        "backward",
        given_another(lambda result, gradient: gradient[:2] if gradient.dim() else gradient),
    )
    @broken_by(
        torch.Tensor,
        "backward",
        given_another(lambda result, gradient: gradient if result.dim() else gradient.squeeze()),
    )
    def test_gradient_is_not_broadcast(self, device):
        """A gradient must have its output's shape: for (2,) not (), (1,), (3,) or (1, 2), for () not (1,)."""
        _, _, Q = make_example(device)

        for output, shape in ((Q, ()), (Q, (1,)), (Q, (3,)), (Q, (1, 2)), (Q.sum(), (1,))):
            with pytest.raises(RuntimeError, match="Mismatch in shape"):
                output.backward(torch.ones(shape, device=device))

    @claim("autograd.vector-output-needs-gradient-in-a-tensor", notes="notebook autograd")
    @broken_by(torch.Tensor, "backward", given_another(lambda result, gradient: torch.tensor(gradient)))
    def test_gradient_is_no_list(self):
        """A list for the gradient is a TypeError."""
        _, _, Q = make_example("cpu")

        with pytest.raises(TypeError, match="gradients can be either Tensors or None"):
            Q.backward([1.0, 1.0])

    @claim("autograd.vector-output-needs-gradient-of-any-type", notes="notebook autograd")
    @broken_by(torch.Tensor, "backward", given_another(lambda result, gradient: gradient.trunc()))
    @broken_by(torch.Tensor, "backward", given_another(lambda result, gradient: gradient.abs()))
    @broken_by(torch.Tensor, "backward", given_another(lambda result, gradient: gradient.bool()))
    def test_gradient_is_cast_to_the_type_of_the_output(self):
        """A gradient of int64 or float64 is cast: the one that a float32 leaf gets is float32."""
        for factors in (torch.tensor([2, -3]), torch.tensor([0.5, -3], dtype=torch.float64)):
            x = torch.ones(2, requires_grad=True)

            (4 * x).backward(factors)

            assert x.grad.dtype == torch.float32
            assert x.grad.tolist() == [4 * factor for factor in factors.tolist()]

    @claim("autograd.sum-backward-equivalent", notes="notebook autograd")
    @broken_by(torch.Tensor, "sum", lambda real: lambda x: x.mean())
    @broken_by(torch.Tensor, "sum", lambda real: lambda x: x.max())
    @broken_by(torch.Tensor, "backward", given_another(lambda result, gradient: gradient / len(result)))
    def test_sum_stands_for_a_gradient_of_ones(self, device):
        """Q.sum().backward() leaves what Q.backward() leaves with a gradient of ones."""
        a, b, Q = make_example(device)
        c, d, R = make_example(device)

        Q.sum().backward()
        R.backward(torch.ones_like(R))

        assert a.grad.tolist() == c.grad.tolist() == [36, 81]
        assert b.grad.tolist() == d.grad.tolist() == [-12, -8]

    @claim("autograd.sum-backward-equivalent-weighted", notes="notebook autograd")
    @broken_by(torch.Tensor, "backward", given_another(lambda result, gradient: torch.ones_like(result)))
    @broken_by(torch.Tensor, "backward", given_another(lambda result, gradient: gradient.flip(0)))
    @broken_by(torch.Tensor, "backward", given_another(lambda result, gradient: gradient.abs()))
    @broken_by(torch.Tensor, "sum", lambda real: lambda x: x.mean())
    @settings(max_examples=30)
    @given(a=PAIRS, b=PAIRS, v=PAIRS)
    def test_gradient_weights_the_sum(self, device, a, b, v):
        """Q.backward(v) leaves the gradients of the sum of v Q, for any v: v 9a² and v (-2b)."""
        a1, b1, Q1 = make_example(device, a, b, torch.float64)
        a2, b2, Q2 = make_example(device, a, b, torch.float64)
        weights = torch.tensor(v, dtype=torch.float64, device=device)

        Q1.backward(weights)
        (weights * Q2).sum().backward()

        assert a1.grad.tolist() == a2.grad.tolist() == [n * 9 * x**2 for n, x in zip(v, a, strict=True)]
        assert b1.grad.tolist() == b2.grad.tolist() == [n * -2 * x for n, x in zip(v, b, strict=True)]
