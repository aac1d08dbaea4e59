"""Notes 2.5, "Vector calculus using autograd": what y.backward(v) computes."""

import pytest
import torch
from torch import autograd
from torch.autograd import functional

from spec.harness import ANSWERED, fault, since, statement
from spec.section_2_autograd.faults import leaves_of

func = getattr(torch, "func", None)  # absent before PyTorch 2.0


def square(x):
    """Return y = (x₀x₁, 7x₂, x₀² + x₂): at (2, 3, 5) its Jacobian is (3, 2, 0), (0, 0, 7), (4, 0, 1)."""
    return torch.stack([x[0] * x[1], 7 * x[2], x[0] ** 2 + x[2]])


def tall(x):
    """Return y = (x₀x₁, x₀², 5x₁): at (2, 3) its Jacobian J is (3, 2), (4, 0), (0, 5)."""
    return torch.stack([x[0] * x[1], x[0] ** 2, 5 * x[1]])


def rows(x):
    """Return Jᵀv of tall() for each v of (1, 0, 0), (0, 1, 0) and (0, 0, 1), by one call of grad()."""
    x = x.clone().requires_grad_()
    v = torch.eye(3, dtype=x.dtype, device=x.device)
    return autograd.grad(tall(x), x, v, is_grads_batched=True)[0]


def vector(values, device):
    """Return a float64 tensor."""
    return torch.tensor(values, dtype=torch.float64, device=device)


J = [[3, 2], [4, 0], [0, 5]]  # of tall() at (2, 3)
JT_V = [3 * 1 + 4 * 10, 2 * 1 + 5 * 100]
J_U = [3 * 1 + 2 * 10, 4 * 1, 5 * 10]
WAYS = {
    # what is computed of x, of v like y, and of u like x
    "functional.jacobian": (lambda x, v, u: functional.jacobian(tall, x), J),
    "grad of a batch": (lambda x, v, u: rows(x), J),
    "func.jacrev": pytest.param(lambda x, v, u: func.jacrev(tall)(x), J, marks=since("2.0")),
    "functional.vjp": (lambda x, v, u: functional.vjp(tall, x, v)[1], JT_V),
    "func.vjp": pytest.param(lambda x, v, u: func.vjp(tall, x)[1](v)[0], JT_V, marks=since("2.0")),
    "functional.jvp": (lambda x, v, u: functional.jvp(tall, x, u)[1], J_U),
}

# Faults


def leaving(product):
    """Return a replacement for backward(v) that leaves product(J, v) in x.grad."""

    def backward(y, v):
        x = leaves_of(y)[0]
        rows = [autograd.grad(value, x, retain_graph=True)[0] for value in y]
        x.grad = product(torch.stack(rows), v)

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
    says="the section on vector calculus is not understood and is left out",
)
@fault("backward gives Jv", torch.Tensor, "backward", leaving(lambda J, v: J @ v))
@fault("backward ignores v", torch.Tensor, "backward", leaving(lambda J, v: J.sum(dim=0)))
@fault("functional.jacobian is turned", functional, "jacobian", turned)
@fault("functional.vjp is jvp", functional, "vjp", lambda real: lambda f, x, v: functional.jvp(f, x, v[:2]))
@fault("functional.jvp is vjp", functional, "jvp", lambda real: lambda f, x, u: functional.vjp(f, x, f(x)))
@fault("grad takes ones for v", autograd, "grad", of_ones)
class TestVectorJacobianProduct:
    """If the vector y is computed from x, y.backward(v) stores the product Jᵀv in x.grad. Row i of the matrix
    J, the Jacobian, holds the derivatives of yᵢ. If v is the gradient of a loss with respect to y, Jᵀv is the
    gradient with respect to x.
    """

    def test_backward_multiplies_v_by_the_transposed_jacobian(self, device):
        x = vector([2.0, 3.0, 5.0], device).requires_grad_()

        square(x).backward(vector([1.0, 10.0, 100.0], device))

        assert x.grad.tolist() == [3 * 1 + 4 * 100, 2 * 1, 7 * 10 + 1 * 100]  # Jv is (23, 700, 104)

    def test_backward_with_the_gradient_of_a_loss_continues_it(self, device):
        x = vector([2.0, 3.0, 5.0], device).requires_grad_()
        y = square(x)  # (6, 35, 9)

        y.backward(2 * y.detach() * vector([1.0, 2.0, 3.0], device))  # the gradient of l = y₀² + 2y₁² + 3y₂²

        # l = x₀²x₁² + 98x₂² + 3(x₀² + x₂)², differentiated by hand
        at_x0 = 2 * 2 * 3**2 + 6 * (2**2 + 5) * 2 * 2
        at_x2 = 2 * 98 * 5 + 6 * (2**2 + 5)
        assert x.grad.tolist() == [at_x0, 2 * 2**2 * 3, at_x2]

    @pytest.mark.parametrize(("way", "expected"), WAYS.values(), ids=WAYS)
    def test_jacobian_and_products_have_functions_of_their_own(self, way, expected, device):
        x, v, u = (vector(values, device) for values in ([2.0, 3.0], [1.0, 10.0, 100.0], [1.0, 10.0]))

        assert way(x, v, u).tolist() == expected
