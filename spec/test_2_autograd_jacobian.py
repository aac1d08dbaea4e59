"""Section 2 of the notes, "Vector calculus using autograd": what y.backward(v) computes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import autograd
from torch.autograd import functional

from blitz.explained import gradients
from spec.counters import flops, peak_bytes
from spec.harness import ANSWERED, broken_by, claim

func = getattr(torch, "func", None)  # absent before PyTorch 2.0

OPEN = {
    "notes": "2.5",
    "verdict": ANSWERED,
    "says": "the section on vector calculus is not understood, and left",
}

# Worked out by hand, as all Jacobians here: square, so that Jv exists as well, and not symmetric.
SQUARE_AT = [2.0, 3.0, 5.0]
SQUARE_JACOBIAN = [[3.0, 2.0, 0.0], [0.0, 0.0, 7.0], [4.0, 0.0, 1.0]]


def square(x):
    """Return y = (x₀x₁, 7x₂, x₀² + x₂): three values of three."""
    return torch.stack([x[0] * x[1], 7 * x[2], x[0] ** 2 + x[2]])


def tall(x):
    """Return y = (x₀x₁, x₀², 5x₁): three values of two, with the Jacobian (x₁, x₀), (2x₀, 0), (0, 5)."""
    return torch.stack([x[0] * x[1], x[0] ** 2, 5 * x[1]])


def leaf(values, device):
    """Return a float64 tensor that gets a gradient."""
    return torch.tensor(values, dtype=torch.float64, device=device, requires_grad=True)


def vector(values, device):
    """Return a float64 tensor."""
    return torch.tensor(values, dtype=torch.float64, device=device)


def rows_of(y, x):
    """Return the Jacobian of y with respect to x, (m, n), one gradient of one value after the other."""
    return torch.stack([autograd.grad(value, x, retain_graph=True)[0].flatten() for value in y.flatten()])


def leaf_of(node):
    """Return the first leaf behind a node of the graph."""
    while not hasattr(node, "variable"):
        node = next(following for following, _ in node.next_functions if following is not None)
    return node.variable


def leaving(product):
    """Return a replacement for backward(v) that leaves product(J, v) in x.grad."""

    def backward(y, v):
        x = leaf_of(y.grad_fn)
        x.grad = product(rows_of(y, x), v.flatten()).reshape(x.shape)

    return lambda real: backward


class TestVectorJacobianProduct:
    """What the gradient argument of backward() is for."""

    @claim("autograd.vector-jacobian-product", **OPEN)
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J @ v))
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J.sum(dim=0)))
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J.sum(dim=0) * v))
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J.diagonal() * v))
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J.T @ (v / v.norm())))
    def test_backward_multiplies_v_by_the_transposed_jacobian(self, device):
        """y.backward(v) leaves Jᵀv in x.grad, where row i of J holds the derivatives of yᵢ; it is not Jv."""
        x, v = leaf(SQUARE_AT, device), vector([1.0, 10.0, 100.0], device)

        square(x).backward(v)

        assert x.grad.tolist() == [3 * 1 + 4 * 100, 2 * 1, 7 * 10 + 1 * 100]
        assert (vector(SQUARE_JACOBIAN, device) @ v).tolist() == [3 * 1 + 2 * 10, 7 * 100, 4 * 1 + 1 * 100]

    @claim("autograd.vector-jacobian-product-rows", **OPEN)
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J @ v))
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J.T @ v.flip(0)))
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J.diagonal() * v))
    def test_backward_with_a_one_in_v_gives_a_row_of_the_jacobian(self, device):
        """With v = 1 at i and 0 elsewhere, y.backward(v) leaves row i: the gradient of yᵢ alone."""
        rows = []
        for one_hot in torch.eye(3, dtype=torch.float64, device=device):
            x = leaf(SQUARE_AT, device)
            square(x).backward(one_hot)
            rows.append(x.grad.tolist())

        assert rows == SQUARE_JACOBIAN

    @claim("autograd.vector-jacobian-product-shape", **OPEN)
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J.sum(dim=0)))
    @broken_by(
        torch.Tensor, "backward", lambda real: lambda y, v: real(y, v if len(v) == 3 else v.sum().expand(3))
    )
    @broken_by(torch.Tensor, "backward", lambda real: lambda y, v: real(y, v if len(v) > 1 else v.expand(3)))
    @broken_by(torch.Tensor, "backward", lambda real: lambda y, v: real(y, v[:3]))
    @broken_by(gradients, "jacobian", lambda real: lambda function, x: real(function, x).T)
    def test_v_has_the_shape_of_y_and_the_result_that_of_x(self, device):
        """For m values of n, J is (m, n): v has m numbers, not 1, n or more than m, and x.grad has n."""
        x = leaf([2.0, 3.0], device)

        tall(x).backward(vector([1.0, 10.0, 100.0], device))

        assert x.grad.tolist() == [3 * 1 + 4 * 10, 2 * 1 + 5 * 100]
        assert gradients.jacobian(tall, x).tolist() == [[3, 2], [4, 0], [0, 5]]
        for count in (1, 2, 4):
            with pytest.raises(RuntimeError, match="Mismatch in shape"):
                tall(x).backward(vector([1.0] * count, device))

    @claim("autograd.vector-jacobian-product-chain-rule", **OPEN)
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J @ v if v.numel() == 3 else J.T @ v))
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J.T @ torch.ones_like(v)))
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J.T @ v / v.abs().sum()))
    def test_backward_with_the_gradient_of_a_loss_continues_it(self, device):
        """If v is the gradient of a loss l with respect to y, then y.backward(v) leaves that of l at x."""
        x = leaf(SQUARE_AT, device)
        y = square(x)  # (6, 35, 9)

        y.backward(2 * y.detach() * vector([1.0, 2.0, 3.0], device))  # the gradient of l = y₀² + 2y₁² + 3y₂²

        # l = x₀²x₁² + 98x₂² + 3(x₀² + x₂)², differentiated by hand
        at_x0 = 2 * 2 * 3**2 + 6 * (2**2 + 5) * 2 * 2
        at_x2 = 2 * 98 * 5 + 6 * (2**2 + 5)
        assert x.grad.tolist() == [at_x0, 2 * 2**2 * 3, at_x2]

    @claim("autograd.vector-jacobian-product-weighted-sum", **OPEN)
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J.sum(dim=0)))
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J @ v))
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J.T @ v / len(v)))
    @settings(max_examples=30)
    @given(numbers=st.lists(st.integers(-9, 9), min_size=6, max_size=6))
    def test_backward_differentiates_the_weighted_sum_of_the_values(self, device, numbers):
        """Jᵀv has, along any d, the slope of v₀y₀ + v₁y₁ + v₂y₂, which two y tell without autograd."""
        at, v, d = vector(numbers[:3], device), vector([1.0, -2.0, 3.0], device), vector(numbers[3:], device)
        x = at.clone().requires_grad_()

        square(x).backward(v)

        slope = (square(at + d) - square(at - d)) @ v / 2  # exact: square() has no third powers
        torch.testing.assert_close(x.grad @ d, slope)

    @claim("autograd.vector-jacobian-product-elementwise", **OPEN)
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J.sum(dim=0)))
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J.diagonal() * v.sum()))
    @broken_by(gradients, "jacobian", lambda real: lambda function, x: real(function, x).diagonal())
    def test_jacobian_of_an_elementwise_function_is_diagonal(self, device):
        """Where yᵢ depends on xᵢ alone, J is diagonal, and Jᵀv is the derivatives times v, value by value."""
        x = leaf([2.0, 3.0, 5.0], device)

        (x**3).backward(vector([1.0, 10.0, 100.0], device))

        assert x.grad.tolist() == [12, 270, 7500]
        assert gradients.jacobian(lambda x: x**3, x).tolist() == [[12, 0, 0], [0, 27, 0], [0, 0, 75]]

    @claim("autograd.vector-jacobian-product-scalar", **OPEN)
    @broken_by(torch.Tensor, "backward", lambda real: lambda y, v=None: real(y, torch.full_like(y, 1 / 3)))
    @broken_by(torch.Tensor, "backward", lambda real: lambda y, v=None: real(y))
    @broken_by(gradients, "jacobian", lambda real: lambda function, x: real(function, x).T)
    def test_gradient_of_a_loss_is_the_case_of_one_row(self, device):
        """A loss has J of one row, (1, n): backward() is backward(1.0), and backward(3.0) thrice that."""
        plain, thrice = leaf(SQUARE_AT, device), leaf(SQUARE_AT, device)

        square(plain).sum().backward()
        square(thrice).sum().backward(vector(3.0, device))

        assert plain.grad.tolist() == [3 + 4, 2, 7 + 1]
        assert thrice.grad.tolist() == [3 * 7, 3 * 2, 3 * 8]
        assert gradients.jacobian(lambda x: square(x).sum(), plain).tolist() == [[7, 2, 8]]


class TestCost:
    """Why autograd computes the product and not the Jacobian."""

    @claim("autograd.vector-jacobian-product-one-pass", **OPEN)
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J.T @ v))
    @broken_by(functional, "jacobian", lambda real: lambda f, x: f(x).sum())
    @broken_by(functional, "jacobian", lambda real: lambda f, x: real(f, x[:, :1]))
    def test_product_costs_one_pass_and_the_jacobian_one_a_row(self, device):
        """Through y = Wx, backward(v) costs the FLOPs of one product, and J, of 77 rows, those of 77."""
        W = torch.randn(7, 5, dtype=torch.float64, device=device)
        x = torch.randn(5, 11, dtype=torch.float64, device=device, requires_grad=True)
        y = W @ x

        assert flops(lambda: y.backward(torch.ones_like(y))) == 2 * 7 * 5 * 11
        assert flops(lambda: functional.jacobian(W.matmul, x)) == (1 + 77) * 2 * 7 * 5 * 11

    @claim("autograd.vector-jacobian-product-never-builds-j", **OPEN)
    @broken_by(torch.Tensor, "backward", leaving(lambda J, v: J.T @ v))
    @broken_by(torch.Tensor, "backward", lambda real: lambda y, v: real(y, torch.diag(v).sum(dim=0)))
    @broken_by(torch.Tensor, "backward", lambda real: lambda y, v: real(y, v.clone()))
    def test_product_needs_no_room_for_the_jacobian(self, device):
        """Of 200 sines, J has 40,000 values; Jᵀv takes 400 at its peak, the cosines and v times them."""
        x = torch.ones(200, dtype=torch.float64, device=device, requires_grad=True)
        y, v = x.sin(), torch.ones_like(x)

        peak = peak_bytes(lambda: y.backward(v))

        assert peak == 400 * x.element_size()


class TestOtherWays:
    """What computes Jᵀv, Jv and J besides backward(v)."""

    @claim("autograd.vector-jacobian-product-functional", **OPEN)
    @broken_by(functional, "jacobian", lambda real: lambda f, x: real(f, x).T)
    @broken_by(functional, "vjp", lambda real: lambda f, x, v: real(f, x, torch.ones_like(v)))
    @broken_by(functional, "vjp", lambda real: lambda f, x, v: real(f, x, v.flip(0)))
    @broken_by(functional, "jvp", lambda real: lambda f, x, u: functional.vjp(f, x, f(x)))
    def test_functional_has_the_jacobian_and_both_products(self, device):
        """torch.autograd.functional gives J by jacobian, Jᵀv by vjp, and Ju, for u shaped like x, by jvp."""
        x, u, v = vector([2.0, 3.0], device), vector([1.0, 10.0], device), vector([1.0, 10.0, 100.0], device)

        assert functional.jacobian(tall, x).tolist() == [[3, 2], [4, 0], [0, 5]]
        assert functional.vjp(tall, x, v)[1].tolist() == [3 * 1 + 4 * 10, 2 * 1 + 5 * 100]
        assert functional.jvp(tall, x, u)[1].tolist() == [3 * 1 + 2 * 10, 4 * 1, 5 * 10]

    @claim("autograd.vector-jacobian-product-func", **OPEN, since="2.0")
    @broken_by(func, "jacrev", lambda real: lambda f: lambda x: real(f)(x).T)
    @broken_by(func, "vjp", lambda real: lambda f, x: (f(x), lambda v: real(f, x)[1](v.flip(0))))
    @broken_by(func, "vjp", lambda real: lambda f, x: (f(x), lambda v: real(f, x)[1](torch.ones_like(v))))
    def test_func_has_the_jacobian_and_the_product(self, device):
        """torch.func gives the function that computes J by jacrev, and the one that computes Jᵀv by vjp."""
        assert func is not None
        x, v = vector([2.0, 3.0], device), vector([1.0, 10.0, 100.0], device)

        assert func.jacrev(tall)(x).tolist() == [[3, 2], [4, 0], [0, 5]]
        assert func.vjp(tall, x)[1](v)[0].tolist() == [3 * 1 + 4 * 10, 2 * 1 + 5 * 100]

    @claim("autograd.vector-jacobian-product-batched", **OPEN)
    @broken_by(autograd, "grad", lambda real: lambda y, x, v, **rest: (real(y, x, v, **rest)[0].T,))
    @broken_by(autograd, "grad", lambda real: lambda y, x, v, **rest: real(y, x, v.flip(0), **rest))
    @broken_by(
        autograd, "grad", lambda real: lambda y, x, v, **rest: real(y, x, v.T if len(v) == 3 else v, **rest)
    )
    @broken_by(autograd, "grad", lambda real: lambda y, x, v, is_grads_batched: real(y, x, v.sum(dim=0)))
    def test_grad_takes_several_v_at_once(self, device):
        """With is_grads_batched=True each row of v has a result of its own, so that an identity gives J."""
        x = leaf([2.0, 3.0], device)

        several = vector([[1.0, 10.0, 100.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], device)
        (products,) = autograd.grad(tall(x), x, several, is_grads_batched=True)
        (rows,) = autograd.grad(tall(x), x, torch.eye(3, dtype=x.dtype, device=device), is_grads_batched=True)

        assert products.tolist() == [[3 * 1 + 4 * 10, 2 * 1 + 5 * 100], [0, 5], [3, 2]]
        assert rows.tolist() == [[3, 2], [4, 0], [0, 5]]
