"""Section 1.4 of the notes, operations: what the result of each one is, in each of its forms.

operations.py has the table of all operations, and the operands.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spec.harness import fault, statement
from spec.section_1_tensor.operations import (
    ARITHMETIC,
    COMPARISONS,
    COPIES,
    DETACHED,
    FUNCTIONS,
    IN_PLACE,
    ITSELF,
    LAYERS,
    NEW_TENSORS,
    OPERANDS,
    REDUCTIONS,
    VIEWS,
    WIDER,
    in_numpy,
    in_pytorch,
)

RECORDED_IN_NEW_MEMORY = {
    "arithmetic": ARITHMETIC,
    "functions": FUNCTIONS,
    "reductions": REDUCTIONS,
    "copies": COPIES,
    "layers and losses": LAYERS,
}
NEW_MEMORY = {**RECORDED_IN_NEW_MEMORY, "comparisons and integers": COMPARISONS, "new tensors": NEW_TENSORS}
RECORDED = {
    **RECORDED_IN_NEW_MEMORY,
    "float64": WIDER,
    "views": VIEWS,
    "itself": ITSELF,
    "in place": IN_PLACE,
}
NOT_RECORDED = {"comparisons and integers": COMPARISONS, "new tensors": NEW_TENSORS, "detached": DETACHED}
OPERATIONS = {name: row for table in (RECORDED | NOT_RECORDED).values() for name, row in table.items()}
FLOATS = {name for name, array in OPERANDS.items() if array.dtype == np.float32}
CLOSE = {"rtol": 1e-4, "atol": 1e-4}  # whatever the order in which float32 is added up; a mistake is larger


def forms(*rows):
    """Return the forms in PyTorch of some rows of the tables."""
    return [form.strip() for _, its_forms in rows for form in its_forms.split(";")]


def on(device, *, requires_grad=False):
    """Return the operands as tensors; those of floats may require a gradient."""
    return {
        name: torch.tensor(array, device=device, requires_grad=requires_grad and name in FLOATS)
        for name, array in OPERANDS.items()
    }


def memory(x):
    """Return where the memory of a tensor begins."""
    return x.untyped_storage().data_ptr()


def changed(tensors):
    """Return the names of the operands that hold other values than before."""
    return {name for name, x in tensors.items() if x.tolist() != OPERANDS[name].tolist()}


def weights_for(array):
    """Return a weight for each number of an array, no two alike."""
    return np.linspace(-1.2, 1.7, np.size(array)).reshape(np.shape(array))


def slopes(expression, weights, step=1e-5):
    """Return how the weighted sum of what NumPy computes grows with each number of each operand."""
    found = {}
    for name in FLOATS & set(compile(expression, "expression", "eval").co_names):
        x = OPERANDS[name].astype(np.float64)
        found[name] = np.zeros(x.shape)
        for place in np.ndindex(x.shape):
            for change in (step, -step):
                moved = x.copy()
                moved[place] += change
                total = np.sum(weights * in_numpy(expression, OPERANDS | {name: moved}))
                found[name][place] += total / (2 * change)
    return found


def one_too_many(real):
    """Add one to the last number of the result."""

    def operation(*operands, **options):
        result = real(*operands, **options).clone()
        result.data.view(-1)[-1:] += 1
        return result

    return operation


def with_a_doubled_gradient(real):
    """Double the gradient that comes to the result."""

    def operation(*operands, **options):
        result = real(*operands, **options)
        if result.requires_grad:
            result.register_hook(lambda gradient: 2 * gradient)
        return result

    return operation


@statement("tensor.every-operation-named", notes="notebook tensor; 1.4")
@fault("add makes float64", torch, "add", lambda real: lambda x, y, **options: real(x, y, **options).double())
@fault("exp is wrong in one place", torch, "exp", one_too_many)
@fault("conv2d is wrong in one place", F, "conv2d", one_too_many)
@fault("minus is the other way round", Tensor, "__sub__", lambda real: lambda x, y: y + -x)
@fault(
    "sum keeps its axis", Tensor, "sum", lambda real: lambda x, *axis: real(x, *axis, keepdim=len(axis) > 0)
)
@fault("clamp_ does nothing", Tensor, "clamp_", lambda real: lambda x, low, high: x)
class TestEveryOperationNamed:
    """The operations on tensors that the notes name return the values, the shape and the dtype that NumPy
    computes, on every device. The function, the method, the operator and the in-place form of an operation
    agree. Operations that draw random numbers are left out.
    """

    @pytest.mark.parametrize("row", OPERATIONS.values(), ids=OPERATIONS)
    def test_values_shape_and_dtype_are_those_of_numpy(self, row, device):
        expected = in_numpy(row[0], OPERANDS)

        for form in forms(row):
            result = in_pytorch(form, on(device))

            assert result.shape == expected.shape, form
            assert (str(result.dtype), result.device) == (f"torch.{expected.dtype}", device), form
            np.testing.assert_allclose(result.tolist(), expected, **CLOSE, err_msg=form)


@statement("tensor.result-memory", notes="1.4; 1.4 (1)")
@fault("clone is a view", Tensor, "clone", lambda real: lambda x: x[:])
@fault("sub writes into its first operand", torch, "sub", lambda real: lambda x, y: x.sub_(y))
@fault("view copies", Tensor, "view", lambda real: lambda x, *shape: real(x, *shape).clone())
@fault("detach is the tensor itself", Tensor, "detach", lambda real: lambda x: x)
@fault("neg_ makes a new tensor", Tensor, "neg_", lambda real: lambda x: -x)
@fault("plus and equals make a new tensor", Tensor, "__iadd__", lambda real: lambda x, y: x + y)
@fault("relu ignores inplace", F, "relu", lambda real: lambda x, inplace=False: real(x))
@fault("contiguous always copies", Tensor, "contiguous", lambda real: lambda x: x.clone())
class TestResultMemory:
    """Only in-place operations change `x`, and they return `x` itself. Other results are views of `x`, such
    as `x.T`, or have memory of their own, such as `x + y`. A conversion such as `x.contiguous()` returns `x`
    itself if there is nothing to convert.
    """

    @pytest.mark.parametrize("table", NEW_MEMORY.values(), ids=NEW_MEMORY)
    def test_most_results_have_memory_of_their_own(self, table, device):
        wrong = []

        for form in forms(*table.values()):
            tensors = on(device)
            result = in_pytorch(form, tensors)
            if memory(result) in map(memory, tensors.values()) or changed(tensors):
                wrong.append(form)

        assert wrong == []

    def test_view_is_another_tensor_in_the_memory_of_an_operand(self, device):
        wrong = []

        for form in forms(*VIEWS.values(), *DETACHED.values()):
            tensors = on(device)
            result = in_pytorch(form, tensors)
            shared = [x for x in tensors.values() if memory(x) == memory(result)]
            if len(shared) != 1 or shared[0] is result or changed(tensors):
                wrong.append(form)

        assert wrong == []

    def test_operation_in_place_changes_and_returns_its_operand(self, device):
        wrong = []

        for form in forms(*IN_PLACE.values()):
            tensors = on(device)
            x, before = tensors["x"], memory(tensors["x"])
            result = in_pytorch(form, tensors)
            if result is not x or memory(x) != before or x._version == 0 or changed(tensors) != {"x"}:
                wrong.append(form)

        assert wrong == []

    def test_conversion_of_nothing_returns_its_operand_unchanged(self, device):
        wrong = []

        for form in forms(*ITSELF.values()):
            tensors = on(device)
            x, before = tensors["x"], memory(tensors["x"])
            result = in_pytorch(form, tensors)
            if result is not x or memory(x) != before or changed(tensors):
                wrong.append(form)

        assert wrong == []


@statement("tensor.result-gradient", notes="1.4; notebook tensor")
@fault("exp loses its graph", torch, "exp", lambda real: lambda x: real(x).detach())
@fault(
    "star forgets its second operand",
    Tensor,
    "__mul__",
    lambda real: lambda x, y: real(x, getattr(y, "data", y)),
)
@fault("mul_ is not recorded", Tensor, "mul_", lambda real: lambda x, y: (real(x.data, y), x)[1])
@fault("the gradient of sqrt is doubled", Tensor, "sqrt", with_a_doubled_gradient)
@fault("zeros_like requires grad", torch, "zeros_like", lambda real: lambda x: real(x).requires_grad_())
@fault("detach keeps the graph", Tensor, "detach", lambda real: lambda x: x[:])
class TestResultGradient:
    """Most operations on floating-point tensors pass a gradient on to each operand. The gradient is the slope
    of the result: how fast it changes if NumPy computes it again with the operand changed a little.
    Comparisons, `argmax`, conversions to integers, `detach()` and new tensors pass no gradient on.
    """

    @pytest.mark.parametrize("table", RECORDED.values(), ids=RECORDED)
    def test_gradient_is_the_slope_of_what_numpy_computes(self, table, device):
        for row in table.values():
            weights = weights_for(in_numpy(row[0], OPERANDS))
            expected = slopes(row[0], weights)

            for form in forms(row):
                leaves = on(device, requires_grad=True)
                result = in_pytorch(form, {name: leaf.clone() for name, leaf in leaves.items()})
                assert (result.requires_grad, result.shape) == (True, weights.shape), form
                gradients = torch.autograd.grad(
                    result,
                    [leaves[name] for name in expected],
                    torch.tensor(weights, dtype=result.dtype, device=device),
                    allow_unused=True,
                    materialize_grads=True,
                )
                for gradient, slope in zip(gradients, expected.values(), strict=True):
                    np.testing.assert_allclose(gradient.tolist(), slope, **CLOSE, err_msg=form)

    @pytest.mark.parametrize("table", NOT_RECORDED.values(), ids=NOT_RECORDED)
    def test_some_results_are_not_recorded(self, table, device):
        recorded = []

        for form in forms(*table.values()):
            if in_pytorch(form, on(device, requires_grad=True)).requires_grad:
                recorded.append(form)

        assert recorded == []
