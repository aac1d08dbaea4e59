"""Section 1.4 of the notes, in-place operations: what they change, and what autograd makes of it."""

import math

import pytest
import torch
import torch.nn.functional as F

from spec.counters import allocated_bytes
from spec.harness import QUALIFIED, broken_by, claim

UNDERSCORE = "with _ behind its name a function works in place and changes the original"
DISCOURAGED = (
    "in-place operations are not recommended: they save memory, but lose history, needed for derivatives"
)

WITHOUT_A_TWIN = (
    *("matmul", "sum", "mean", "max", "sort", "view", "reshape"),
    *("expand", "permute", "flatten", "clone", "where", "repeat"),
)
ONLY_IN_PLACE = ("zero_", "fill_", "copy_", "uniform_", "normal_", "set_")

WAYS_TO_CHANGE = (
    lambda x: x.add_(1),
    lambda x: x[:2].add_(1),
    lambda x: x.t_(),
    lambda x: x.copy_(torch.ones(3)),
    lambda x: x.__setitem__(0, 7),
    lambda x: x.__iadd__(1),
    lambda x: torch.mul(x, 2, out=x),
    lambda x: F.relu(x, inplace=True),
)


def with_new_memory(x, value):
    """Give the tensor x the value `value` in other memory than its own."""
    x.data = value
    return x


def behind_the_back(real):
    """Fault: the operation changes x where autograd does not see it."""
    return lambda x, *rest: (real(x.data, *rest), x)[1]


class TestUnderscore:
    """x.copy_(y), x.t_(), x.add_(5)."""

    @claim("tensor.underscore-is-in-place", notes="1.4", verdict=QUALIFIED, says=UNDERSCORE)
    @broken_by(torch.Tensor, "add_", lambda real: lambda x, other: x + other)
    @broken_by(torch.Tensor, "add_", lambda real: lambda x, other: with_new_memory(x, x + other))
    @broken_by(torch.Tensor, "add_", lambda real: lambda x, other: real(x, other)[:])
    @broken_by(torch.Tensor, "add_", lambda real: lambda x, other: real(x, other - 1))
    def test_add_changes_the_tensor_itself_and_returns_it(self, device):
        """add_(5) makes the notebook's rows 1, 0, 1, 1 into 6, 5, 6, 6 in place, and returns x itself."""
        x = torch.ones(4, 4, device=device)
        x[:, 1] = 0
        address = x.data_ptr()

        returned = x.add_(5)

        assert returned is x
        assert x.data_ptr() == address
        assert x.tolist() == [[6, 5, 6, 6]] * 4

    @claim("tensor.underscore-is-in-place-plain", notes="1.4")
    @broken_by(torch.Tensor, "add", lambda real: torch.Tensor.add_)
    @broken_by(torch.Tensor, "neg", lambda real: torch.Tensor.neg_)
    @broken_by(torch.Tensor, "neg", lambda real: lambda x: x)
    def test_plain_name_leaves_the_tensor_as_it_is(self, device):
        """Without the underscore, the result is a tensor in memory of its own, and x stays as it was."""
        x = torch.tensor([1.0, 2.0], device=device)

        results = x.add(5), x.neg()

        assert x.tolist() == [1, 2]
        assert [result.tolist() for result in results] == [[6, 7], [-1, -2]]
        assert len({x.data_ptr(), *(result.data_ptr() for result in results)}) == 3

    @claim("tensor.underscore-is-in-place-copy", notes="notebook tensor")
    @broken_by(torch.Tensor, "copy_", lambda real: lambda x, y: x)
    @broken_by(torch.Tensor, "copy_", lambda real: lambda x, y: with_new_memory(x, y.expand_as(x)))
    @broken_by(torch.Tensor, "copy_", lambda real: lambda x, y: real(x, y.reshape(-1)[0]))
    def test_copy_overwrites_values_and_keeps_memory_and_dtype(self, device):
        """copy_(y) puts y's values, broadcast and converted, into the memory and the dtype that x has."""
        x = torch.zeros(2, 3, dtype=torch.float64, device=device)
        address = x.data_ptr()

        x.copy_(torch.tensor([1, 2, 3], device=device))

        assert x.tolist() == [[1, 2, 3], [1, 2, 3]]
        assert (x.data_ptr(), x.dtype) == (address, torch.float64)

    @claim("tensor.underscore-is-in-place-transpose", notes="notebook tensor")
    @broken_by(torch.Tensor, "t_", lambda real: lambda x: x.t())
    @broken_by(torch.Tensor, "t_", lambda real: lambda x: with_new_memory(x, x.t().contiguous()))
    @broken_by(torch.Tensor, "t_", lambda real: lambda x: x.resize_(x.shape[::-1]))
    def test_transpose_in_place_moves_no_value(self, device):
        """t_() swaps shape and strides of x itself, and moves no value."""
        x = torch.arange(6, device=device).reshape(2, 3)
        address = x.data_ptr()

        x.t_()

        assert x.tolist() == [[0, 3], [1, 4], [2, 5]]
        assert (x.stride(), x.data_ptr()) == ((1, 3), address)

    @claim("tensor.underscore-is-in-place-not-everywhere", notes="1.4", verdict=QUALIFIED, says=UNDERSCORE)
    @broken_by(
        torch.Tensor,
        "__getattribute__",
        lambda real: lambda x, name: real(x, {"flatten_": "flatten", "fill": "fill_"}.get(name, name)),
    )
    @broken_by(
        torch.Tensor,
        "__getattribute__",
        lambda real: lambda x, name: real(x, "sum" if name == "sum_" else name),
    )
    @broken_by(
        torch.Tensor,
        "__getattribute__",
        lambda real: lambda x, name: real(x, "zero_" if name == "zero" else name),
    )
    def test_many_names_have_only_one_form(self):
        """Names such as matmul, sum and view have no form with _; zero_, fill_, copy_ have no plain one."""
        x = torch.zeros(2)

        assert all(hasattr(x, name) and not hasattr(x, f"{name}_") for name in WITHOUT_A_TWIN)
        assert all(hasattr(x, name) and not hasattr(x, name[:-1]) for name in ONLY_IN_PLACE)

    @claim("tensor.underscore-is-in-place-without", notes="1.4", verdict=QUALIFIED, says=UNDERSCORE)
    @broken_by(torch.Tensor, "__iadd__", lambda real: lambda x, other: x + other)
    @broken_by(torch.Tensor, "__setitem__", lambda real: lambda x, index, value: None)
    @broken_by(torch, "mul", lambda real: lambda x, y, out: real(x, y))
    @broken_by(F, "relu", lambda real: lambda x, inplace: real(x))
    def test_assignments_out_and_inplace_work_in_place_too(self, device):
        """+=, x[i] = value, out= and inplace=True change a tensor in place without an underscore."""
        x = same = torch.tensor([1.0, 2.0, 3.0], device=device)

        same += 1  # 2, 3, 4
        same[1] = -5  # 2, -5, 4
        torch.mul(same, 10, out=same)  # 20, -50, 40
        F.relu(same, inplace=True)

        assert x.tolist() == [20, 0, 40]


class TestLimits:
    """What cannot be changed in place."""

    @claim("tensor.underscore-is-in-place-keeps-dtype", notes="1.4", verdict=QUALIFIED, says=UNDERSCORE)
    @broken_by(torch.Tensor, "add_", lambda real: lambda x, other: real(x, int(other)))
    @broken_by(torch.Tensor, "add_", lambda real: lambda x, other: with_new_memory(x, x + other))
    @broken_by(torch.Tensor, "add", lambda real: lambda x, other: real(x, int(other)))
    def test_operation_in_place_cannot_change_the_dtype(self, device):
        """Integers plus 1.5 are floats, but add_(1.5) of integers is a RuntimeError and changes nothing."""
        x = torch.tensor([1, 2], device=device)

        assert x.add(1.5).tolist() == [2.5, 3.5]
        with pytest.raises(RuntimeError, match="can't be cast"):
            x.add_(1.5)
        assert x.tolist() == [1, 2]

    @claim("tensor.underscore-is-in-place-keeps-shape", notes="1.4", verdict=QUALIFIED, says=UNDERSCORE)
    @broken_by(torch.Tensor, "add_", lambda real: lambda x, other: with_new_memory(x, x + other))
    @broken_by(torch.Tensor, "add_", lambda real: lambda x, other: real(x, other.mean(1, keepdim=True)))
    def test_operation_in_place_cannot_grow_the_tensor(self, device):
        """(2, 1) plus (2, 3) is (2, 3), but add_ of the two is a RuntimeError: x would have to grow."""
        column, row = torch.zeros(2, 1, device=device), torch.ones(2, 3, device=device)

        assert column.add(row).shape == (2, 3)
        with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
            column.add_(row)

    @claim("tensor.underscore-is-in-place-expanded", notes="1.4", verdict=QUALIFIED, says=UNDERSCORE)
    @broken_by(torch.Tensor, "add_", lambda real: lambda x, other: with_new_memory(x, x + other))
    @broken_by(
        torch.Tensor, "fill_", lambda real: lambda x, value: with_new_memory(x, torch.full_like(x, value))
    )
    def test_expanded_tensor_takes_no_addition(self, device):
        """A tensor whose positions share memory, as expand makes it, refuses add_, but takes fill_."""
        x = torch.ones(2, 1, device=device)
        expanded = x.expand(2, 3)

        with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
            expanded.add_(1)
        expanded.fill_(7)
        assert x.tolist() == [[7], [7]]


class TestDerivatives:
    """In-place operations under autograd."""

    @claim("tensor.in-place-discouraged", notes="notebook tensor", verdict=QUALIFIED, says=DISCOURAGED)
    @broken_by(torch.Tensor, "mul_", behind_the_back)
    @broken_by(torch.Tensor, "mul_", lambda real: lambda y, factor: y.detach_().mul(factor).requires_grad_())
    @broken_by(torch.Tensor, "add_", lambda real: lambda y, other: real(y, other * 2))
    def test_history_of_a_result_changed_in_place_is_kept(self, device):
        """In-place operations on a result are recorded: with y = 2a, y.add_(5) and y.mul_(3), dy/da is 6."""
        a = torch.tensor([1.0, -2.0], device=device, requires_grad=True)

        y = a * 2
        y.add_(5)
        y = y.mul_(3)
        y.sum().backward()

        assert y.tolist() == [21, 3]
        assert a.grad is not None
        assert a.grad.tolist() == [6, 6]

    @claim("tensor.in-place-discouraged-graph", notes="notebook tensor", verdict=QUALIFIED, says=DISCOURAGED)
    @broken_by(torch.Tensor, "add_", behind_the_back)
    @broken_by(torch.Tensor, "add_", lambda real: lambda y, other: y.copy_(y.detach() + other))
    def test_operation_in_place_is_a_node_above_the_earlier_ones(self):
        """After y.add_(5), y.grad_fn is the addition, and the multiplication that made y is below it."""
        y = torch.ones(2, requires_grad=True) * 2

        y.add_(5)

        assert y.grad_fn.name().startswith("AddBackward")
        assert y.grad_fn.next_functions[0][0].name().startswith("MulBackward")

    @claim("tensor.in-place-discouraged-leaf", notes="1.4", verdict=QUALIFIED, says=DISCOURAGED)
    @broken_by(torch.Tensor, "add_", behind_the_back)
    @broken_by(torch.Tensor, "add_", lambda real: lambda a, other: with_new_memory(a, a.detach() + other))
    def test_leaf_that_requires_grad_is_not_changed_in_place(self, device):
        """A leaf that requires grad refuses an in-place operation at once, except within no_grad()."""
        a = torch.tensor([1.0, 2.0], device=device, requires_grad=True)

        with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
            a.add_(1)
        with torch.no_grad():
            a.add_(10)
        assert a.tolist() == [11, 12]

    @claim("tensor.in-place-discouraged-needed", notes="1.4", verdict=QUALIFIED, says=DISCOURAGED)
    @broken_by(torch.Tensor, "mul_", behind_the_back)
    @broken_by(torch.Tensor, "exp", lambda real: lambda a: real(a) + 0)
    @broken_by(torch.Tensor, "__mul__", lambda real: lambda a, b: real(a, b.clone()))
    def test_overwriting_what_backward_needs_is_found_at_backward(self, device):
        """Overwriting what backward needs, a result of exp or a factor, is a RuntimeError, at backward()."""
        a = torch.ones(2, device=device, requires_grad=True)
        power, factor = a.exp(), torch.full((2,), 3.0, device=device)
        product = a * factor

        power.mul_(100)
        factor.mul_(100)

        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            power.sum().backward()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            product.sum().backward()

    @claim("tensor.in-place-discouraged-version", notes="1.4", verdict=QUALIFIED, says=DISCOURAGED)
    @broken_by(torch.Tensor, "add_", behind_the_back)
    @broken_by(torch.Tensor, "__getitem__", lambda real: lambda x, index: real(x.data, index))
    @broken_by(torch.Tensor, "add", lambda real: torch.Tensor.add_)
    @broken_by(torch.Tensor, "copy_", behind_the_back)
    @broken_by(torch, "mul", lambda real: lambda x, y, out: (real(x, y, out=out.data), x)[1])
    def test_each_in_place_operation_raises_the_version(self):
        """Each in-place operation, on x or on a view of it, raises x._version by one; others leave it."""
        x = torch.zeros(3)

        versions = [x._version]
        for change in WAYS_TO_CHANGE:
            change(x)
            x.add(1)
            versions.append(x._version)

        assert versions == list(range(len(WAYS_TO_CHANGE) + 1))

    @claim("tensor.in-place-discouraged-data", notes="1.4", verdict=QUALIFIED, says=DISCOURAGED)
    @broken_by(torch.Tensor, "data", lambda real: property(lambda x: x.detach().clone()))
    @broken_by(torch.Tensor, "exp", lambda real: lambda a: real(a) + 0)
    def test_change_through_data_gives_a_wrong_gradient(self, device):
        """A result of exp made 100-fold through .data goes unnoticed: the gradient is 100 e in place of e."""
        a = torch.ones(1, device=device, requires_grad=True)
        power = a.exp()

        power.data.mul_(100)
        power.backward()

        assert a.grad.item() == pytest.approx(100 * math.e)

    @claim("tensor.in-place-discouraged-memory", notes="notebook tensor")
    @broken_by(torch.Tensor, "add_", lambda real: lambda x, other: x.copy_(x + other))
    @broken_by(torch.Tensor, "add", lambda real: torch.Tensor.add_)
    def test_operation_in_place_takes_no_memory(self):
        """Where add takes memory for its result, 4 bytes a float, add_ takes none."""
        x, other = torch.ones(1000), torch.ones(1000)

        assert allocated_bytes(lambda: x.add(other)) == 4 * 1000
        assert allocated_bytes(lambda: x.add_(other)) == 0
