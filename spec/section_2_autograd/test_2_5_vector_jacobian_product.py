"""Notes 2.5, "Vector calculus using autograd": what y.backward(v) computes."""

import pytest
import torch
from torch import autograd
from torch.autograd import functional

from spec.counters import flops
from spec.harness import ANSWERED, fault, since, statement
from spec.section_2_autograd.leaves import leaves_of

func = getattr(torch, "func", None)  # absent before PyTorch 2.0


def square(x):
    """Return y = (x₀x₁, 7x₂, x₀² + x₂): at (2, 3, 5) its Jacobian is (3, 2, 0), (0, 0, 7), (4, 0, 1)."""
    return torch.stack([x[0] * x[1], 7 * x[2], x[0] ** 2 + x[2]])


def tall(x):
    """Return y = (x₀x₁, x₀², 5x₁): at (2, 3) its Jacobian is (3, 2), (4, 0), (0, 5)."""
    return torch.stack([x[0] * x[1], x[0] ** 2, 5 * x[1]])


def batched(function, x, vectors):
    """Return Jᵀv for each row v of `vectors`, by one call of grad()."""
    x = x.clone().requires_grad_()
    return autograd.grad(function(x), x, vectors, is_grads_batched=True)[0]


def vector(values, device):
    """Return a float64 tensor."""
    return torch.tensor(values, dtype=torch.float64, device=device)


def leaf(values, device):
    """Return a float64 tensor that gets a gradient."""
    return vector(values, device).requires_grad_()


# J of tall() at (2, 3), and Jᵀv for v = (1, 10, 100)
JACOBIANS = {
    "functional.jacobian": lambda x: functional.jacobian(tall, x),
    "func.jacrev": pytest.param(lambda x: func.jacrev(tall)(x), marks=since("2.0")),
    "grad of a batch": lambda x: batched(tall, x, torch.eye(3, dtype=x.dtype, device=x.device)),
}
PRODUCTS = {
    "functional.vjp": lambda x, v: functional.vjp(tall, x, v)[1],
    "func.vjp": pytest.param(lambda x, v: func.vjp(tall, x)[1](v)[0], marks=since("2.0")),
    "grad of a batch": lambda x, v: batched(tall, x, torch.stack([v, v.flip(0), 2 * v]))[0],
}

# Faults


def leaving(product):
    """Return a replacement for backward(v) that leaves product(J, v) in x.grad."""

    def backward(y, v=None):
        v = torch.ones_like(y) if v is None else v
        x = leaves_of(y)[0]
        rows = [autograd.grad(value, x, retain_graph=True)[0].flatten() for value in y.flatten()]
        x.grad = product(torch.stack(rows), v.flatten()).reshape(x.shape)

    return lambda real: backward


def turned(real):
    """Return a function that gives the Jacobian the wrong way round."""
    return lambda function, x: real(function, x).T


def of_ones(real):
    """Return a grad() that takes ones for v."""
    return lambda y, x, v=None, **options: real(y, x, v if v is None else torch.ones_like(v), **options)


@statement(
    "autograd.vector-jacobian-product",
    notes="2.5; notebook autograd",
    verdict=ANSWERED,
    says="the section on vector calculus is not understood, and left",
)
@fault(
    "backward gives Jv",
    torch.Tensor,
    "backward",
    leaving(lambda J, v: (J if len(J) == J.shape[1] else J.T) @ v),
)
@fault("backward ignores v", torch.Tensor, "backward", leaving(lambda J, v: J.sum(dim=0)))
@fault("backward builds the whole Jacobian", torch.Tensor, "backward", leaving(lambda J, v: J.T @ v))
@fault("functional.jacobian is turned", functional, "jacobian", turned)
@fault("functional.vjp is jvp", functional, "vjp", lambda real: lambda f, x, v: functional.jvp(f, x, v[:2]))
@fault("functional.jvp is vjp", functional, "jvp", lambda real: lambda f, x, u: functional.vjp(f, x, f(x)))
@fault("grad takes ones for v", autograd, "grad", of_ones)
class TestVectorJacobianProduct:
    """y.backward(v) leaves Jᵀv in x.grad, where row i of J holds the derivatives of yᵢ. If v is the gradient
    of a loss with respect to y, that is the gradient of the loss with respect to x.
    """

    def test_backward_multiplies_v_by_the_transposed_jacobian(self, device):
        x = leaf([2.0, 3.0, 5.0], device)

        square(x).backward(vector([1.0, 10.0, 100.0], device))

        assert x.grad.tolist() == [3 * 1 + 4 * 100, 2 * 1, 7 * 10 + 1 * 100]  # Jv is (23, 700, 104)

    def test_backward_with_the_gradient_of_a_loss_continues_it(self, device):
        x = leaf([2.0, 3.0, 5.0], device)
        y = square(x)  # (6, 35, 9)

        y.backward(2 * y.detach() * vector([1.0, 2.0, 3.0], device))  # the gradient of l = y₀² + 2y₁² + 3y₂²

        # l = x₀²x₁² + 98x₂² + 3(x₀² + x₂)², differentiated by hand
        at_x0 = 2 * 2 * 3**2 + 6 * (2**2 + 5) * 2 * 2
        at_x2 = 2 * 98 * 5 + 6 * (2**2 + 5)
        assert x.grad.tolist() == [at_x0, 2 * 2**2 * 3, at_x2]

    @pytest.mark.parametrize("count", [1, 2, 4])
    def test_v_has_one_number_for_each_value_of_y(self, count, device):
        y = tall(leaf([2.0, 3.0], device))

        with pytest.raises(RuntimeError, match="Mismatch in shape"):
            y.backward(torch.ones(count, dtype=y.dtype, device=device))

    def test_loss_has_a_jacobian_of_one_row_and_v_is_a_number(self, device):
        plain, thrice = leaf([2.0, 3.0, 5.0], device), leaf([2.0, 3.0, 5.0], device)

        square(plain).sum().backward()
        square(thrice).sum().backward(vector(3.0, device))

        assert plain.grad.tolist() == [3 + 4, 2, 7 + 1]
        assert thrice.grad.tolist() == [3 * 7, 3 * 2, 3 * 8]

    def test_product_costs_one_pass_and_the_jacobian_one_a_row(self, device):
        W = torch.randn(7, 5, dtype=torch.float64, device=device)
        x = torch.randn(5, 11, dtype=torch.float64, device=device, requires_grad=True)
        y = W @ x

        assert flops(lambda: y.backward(torch.ones_like(y))) == 2 * 7 * 5 * 11
        assert flops(lambda: functional.jacobian(W.matmul, x)) == (1 + 77) * 2 * 7 * 5 * 11

    @pytest.mark.parametrize("jacobian", JACOBIANS.values(), ids=JACOBIANS)
    def test_jacobian_has_a_row_for_each_value_of_y(self, jacobian, device):
        assert jacobian(vector([2.0, 3.0], device)).tolist() == [[3, 2], [4, 0], [0, 5]]

    @pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
    def test_product_has_other_ways(self, product, device):
        x, v = vector([2.0, 3.0], device), vector([1.0, 10.0, 100.0], device)

        assert product(x, v).tolist() == [3 * 1 + 4 * 10, 2 * 1 + 5 * 100]

    def test_jvp_multiplies_the_jacobian_by_a_vector_like_x(self, device):
        x, u = vector([2.0, 3.0], device), vector([1.0, 10.0], device)

        assert functional.jvp(tall, x, u)[1].tolist() == [3 * 1 + 2 * 10, 4 * 1, 5 * 10]
