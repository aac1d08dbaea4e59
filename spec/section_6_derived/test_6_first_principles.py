"""autograd held against reverse-mode differentiation from first principles, blitz/explained/tape.py.

The expressions are generated: three to seven steps, each over the latest result and one of the last three,
beginning with a number, a row and a matrix, so that results are shared and some inputs left out. The inputs
are eighths from -1 to 1. Logarithms and the power -1/2 are of 1 + x², exponentials of -x², so that every
value is finite. The corner of relu is met in the inputs, by exact zeros; later on relu is of x - 1/3, since a
zero that only rounding makes may lie on either side of the corner.
"""

import functools
import random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blitz.explained import tape
from blitz.explained.tape import Variable
from spec.harness import fault, statement
from spec.section_6_derived.test_6_simple_grad import graph_forgotten, zeros_for_none

# Of the largest number of the gradients, or of 1 if that is less; the two round differently, but far finer.
TOLERANCE = 1e-10
SQUARE = (2, 2)

STEPS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "matmul": lambda a, b: a.expand(SQUARE) @ b.expand(SQUARE),
    "transpose": lambda a, b: a.expand(SQUARE).T,
    "sum": lambda a, b: a.sum(),
    "sum of columns": lambda a, b: a.expand(SQUARE).sum_to_size((1, 2)),
    "relu": lambda a, b: (a - 1 / 3).relu(),
    "exp": lambda a, b: (-(a * a)).exp(),
    "log": lambda a, b: (1 + a * a).log(),
    "pow": lambda a, b: (1 + a * a) ** -0.5,
    "square": lambda a, b: a**2,
}

steps = st.sampled_from([(name, back) for name in STEPS for back in (1, 2, 3)])
programs = st.lists(steps, min_size=3, max_size=7)
seeds = st.integers(0, 1000)


def run(program, inputs):
    """Run a generated program on three Variables, or on three tensors; return the sum of its result."""
    results = [x.relu() + x for x in inputs]
    for name, back in program:
        results.append(STEPS[name](results[-1], results[-back]))
    return results[-1].sum()


def make_inputs(seed, device):
    """Return a number, a row and a matrix of 0 and random eighths as Variables, and the same as tensors."""
    a, b, c, d, e, f = (number / 8 for number in random.Random(seed).choices(range(-8, 9), k=6))
    values = a, [[b, c]], [[d, e], [0, f]]
    tensors = [torch.tensor(v, dtype=torch.float64, device=device, requires_grad=True) for v in values]
    return [Variable(value) for value in values], tensors


def gradients_of_squared_norm(program, inputs, grad):
    """Return the gradients of the sum of the squares of all gradients of a program.

    The cubes keep every gradient dependent on its input; without them, what does not depend on it would
    be None here and zeros there.
    """
    loss = sum(((x**3).sum() for x in inputs), run(program, inputs))
    norm = sum((gradient**2).sum() for gradient in grad(loss, inputs))
    return grad(norm, inputs, allow_unused=True)


def assert_agree(tensors, variables):
    """Fail unless the gradients of autograd and of the tape agree, None included."""
    assert [tensor is None for tensor in tensors] == [variable is None for variable in variables]
    found = torch.cat([tensor.detach().cpu().flatten() for tensor in tensors if tensor is not None])
    numbers = [number for variable in variables if variable is not None for number in variable.value.flat]
    expected = torch.tensor(numbers, dtype=torch.float64)
    largest = max(1.0, *map(abs, numbers))
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE * largest)


def last_contribution_alone(real):
    """Return what overwrites the gradient of an earlier use in place of adding to it."""
    return lambda so_far, contribution: contribution


def matmul_without_transpose(real):
    """Return a matrix product whose rule forgets to transpose."""
    return lambda a, b: Variable(a.value @ b.value, (a, b), lambda gradient: (gradient @ b, a @ gradient))


def straight_exp(real):
    """Return an exp() that has the right value and slope, and is a straight line beyond."""
    return lambda x: real(x.detach()) * (1 + x - x.detach())


@statement("derived.first-principles", notes="notebook Simple_Grad")
@fault("our tape keeps the last contribution alone", tape, "_accumulated", last_contribution_alone)
@fault("our matmul forgets to transpose", Variable, "__matmul__", matmul_without_transpose)
@fault("relu is halved at 0", torch.Tensor, "relu", lambda real: lambda x: x.maximum(torch.zeros_like(x)))
@fault("unused inputs get zeros", torch.autograd, "grad", zeros_for_none)
@fault("gradients have no derivatives", torch.autograd, "grad", graph_forgotten)
@fault("exp is straight beyond its slope", torch.Tensor, "exp", straight_exp)
class TestFirstPrinciples:
    """For randomly generated expressions, torch.autograd.grad returns the gradients that follow from the
    rules of calculus. The gradients of these gradients follow from the same rules.
    """

    @settings(max_examples=60)
    @given(seeds, programs)
    def test_gradients_are_those_of_the_rules(self, device, seed, program):
        variables, tensors = make_inputs(seed, device)

        found = torch.autograd.grad(run(program, tensors), tensors, allow_unused=True)

        assert_agree(found, tape.grad(run(program, variables), variables, allow_unused=True))

    @settings(max_examples=30)
    @given(seeds, programs)
    def test_gradients_of_the_squared_norm_of_gradients_are_those_of_the_rules(self, device, seed, program):
        variables, tensors = make_inputs(seed, device)
        recorded = functools.partial(torch.autograd.grad, create_graph=True)

        found = gradients_of_squared_norm(program, tensors, recorded)

        assert_agree(found, gradients_of_squared_norm(program, variables, tape.grad))
