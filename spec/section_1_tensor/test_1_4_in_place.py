"""Section 1.4 of the notes, in-place operations: what they change, and what autograd makes of it."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spec.counters import allocated_bytes
from spec.harness import ANSWERED, QUALIFIED, fault, statement

CHANGES = {  # an operation on [[1, 2, 3], [4, 5, 6]], and what the tensor then holds
    "add_": (lambda x: x.add_(5), [[6, 7, 8], [9, 10, 11]]),
    "copy_ of integers": (lambda x: x.copy_(torch.tensor([7, 8, 9], device=x.device)), [[7, 8, 9]] * 2),
    "fill_": (lambda x: x.fill_(7), [[7, 7, 7], [7, 7, 7]]),
    "t_": (lambda x: x.t_(), [[1, 4], [2, 5], [3, 6]]),
}
REFUSED = {  # what is added to what, of a column [[1], [2]]; what the sum is, and why add_ refuses it
    "a fraction to integers": (lambda x: (x, 1.5), [[2.5], [3.5]], "can't be cast"),
    "a row to a column": (lambda x: (x, x.t().clone()), [[2, 3], [3, 4]], "match the broadcast shape"),
    "a number to an expanded one": (lambda x: (x.expand(2, 2), 1), [[2, 2], [3, 3]], "more than one element"),
}
WITHOUT_A_TWIN = (
    *("matmul", "sum", "mean", "max", "sort", "view", "reshape"),
    *("expand", "permute", "flatten", "clone", "where", "repeat"),
)
ONLY_IN_PLACE = ("zero_", "fill_", "copy_", "uniform_", "normal_", "set_")
HARMLESS = {  # what comes before relu, for a batch (4, 3)
    "Linear": lambda x: F.linear(x, torch.ones(2, 3, device=x.device)),
    "Conv1d": lambda x: F.conv1d(x.unsqueeze(1), torch.ones(2, 1, 2, device=x.device)),
    "batch norm": lambda x: F.batch_norm(x, None, None, training=True),
    "a product": lambda x: x * x,
}
KEPT = {"exp": torch.exp, "tanh": torch.tanh, "softmax": lambda x: x.softmax(1), "relu": torch.relu}


def behind_the_back(real):
    """Change the tensor where autograd does not see it."""
    return lambda x, *rest: (real(x.data, *rest), x)[1]


def unseen_in_place(real):
    """Change the tensor where autograd does not see it, if in place."""
    return lambda x, inplace: (real(x.data, inplace=True), x)[1] if inplace else real(x)


def answering(name, other):
    """Return a fault of tensors: they have an attribute `name`, which is `other`."""
    return lambda real: lambda x, asked: real(x, other if asked == name else asked)


@statement(
    "tensor.underscore-is-in-place",
    notes="1.4; notebook tensor",
    verdict=QUALIFIED,
    says="a function with _ at the end of its name works in place and changes the original tensor",
)
@fault("add_ makes a new tensor", Tensor, "add_", lambda real: lambda x, other: x + other)
@fault("copy_ does nothing", Tensor, "copy_", lambda real: lambda x, y: x)
@fault("neg works in place", Tensor, "neg", lambda real: Tensor.neg_)
@fault("sum has a twin with an underscore", Tensor, "__getattribute__", answering("sum_", "sum"))
@fault("out= is ignored", torch, "mul", lambda real: lambda x, y, out: real(x, y))
class TestUnderscoreIsInPlace:
    """A method with an underscore at the end, such as `x.add_(5)`, changes `x` itself and returns `x`. Many
    methods, such as `sum`, have no form with an underscore. The assignments `x += y` and `x[i] = y` work in
    place without an underscore.
    """

    @pytest.mark.parametrize(("change", "values"), CHANGES.values(), ids=CHANGES)
    def test_tensor_itself_changes_in_its_own_memory_and_is_returned(self, change, values, device):
        x = torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=torch.float64, device=device)
        address, version = x.data_ptr(), x._version

        returned = change(x)

        assert returned is x
        assert (x.data_ptr(), x.dtype) == (address, torch.float64)
        assert x.tolist() == values
        assert x._version == version + 1  # by which autograd knows that x has changed

    def test_plain_name_leaves_the_tensor_as_it_is(self, device):
        x = torch.tensor([1.0, 2.0], device=device)

        results = x.add(5), x.neg()

        assert x.tolist() == [1, 2]
        assert [result.tolist() for result in results] == [[6, 7], [-1, -2]]
        assert len({x.data_ptr(), *(result.data_ptr() for result in results)}) == 3

    def test_many_names_have_only_one_form(self):
        x = torch.zeros(2)

        assert all(hasattr(x, name) and not hasattr(x, f"{name}_") for name in WITHOUT_A_TWIN)
        assert all(hasattr(x, name) and not hasattr(x, name[:-1]) for name in ONLY_IN_PLACE)

    def test_operators_and_options_work_in_place_too(self, device):
        x = same = torch.tensor([1.0, 2.0, 3.0], device=device)
        version = x._version

        same += 1  # 2, 3, 4
        same[1] = -5  # 2, -5, 4
        same[:2].add_(2)  # 4, -3, 4
        torch.mul(same, 10, out=same)  # 40, -30, 40
        F.relu(same, inplace=True)

        assert x.tolist() == [40, 0, 40]
        assert x._version == version + 5

    @pytest.mark.parametrize(("of", "values", "why"), REFUSED.values(), ids=REFUSED)
    def test_sum_that_the_tensor_cannot_hold_is_refused(self, of, values, why, device):
        x, other = of(torch.tensor([[1], [2]], device=device))

        assert x.add(other).tolist() == values
        with pytest.raises(RuntimeError, match=why):
            x.add_(other)


@statement(
    "tensor.in-place-discouraged",
    notes="1.4; notebook tensor",
    verdict=QUALIFIED,
    says="in-place operations are not recommended: they save memory, but lose the history of derivatives",
)
@fault("mul_ loses history", Tensor, "mul_", lambda real: lambda y, f: real(y.detach(), f).requires_grad_())
@fault("add_ works behind the back of autograd", Tensor, "add_", behind_the_back)
@fault("mul_ works behind the back of autograd", Tensor, "mul_", behind_the_back)
@fault("backward does not need the result of exp", Tensor, "exp", lambda real: lambda a: real(a) + 0)
@fault("add_ makes a sum first", Tensor, "add_", lambda real: lambda x, other: x.copy_(x + other))
class TestInPlaceDiscouraged:
    """An in-place operation saves memory and loses no history of derivatives, because autograd records the
    operation. `backward()` raises a RuntimeError if it needs a value that was overwritten. An in-place change
    to a weight raises a RuntimeError outside of `torch.no_grad()`.
    """

    def test_gradient_of_a_result_changed_in_place_is_right(self, device):
        a = torch.tensor([1.0, -2.0], device=device, requires_grad=True)

        y = a + a
        y.add_(5)
        y = y.mul_(3)
        y.sum().backward()

        assert y.tolist() == [21, 3]
        assert a.grad is not None
        assert a.grad.tolist() == [6, 6]

    def test_leaf_that_requires_grad_is_changed_only_within_no_grad(self, device):
        a = torch.tensor([1.0, 2.0], device=device, requires_grad=True)

        with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
            a.add_(1)
        with torch.no_grad():
            a.add_(10)
        assert a.tolist() == [11, 12]

    def test_backward_refuses_what_was_overwritten_since(self, device):
        a = torch.ones(2, device=device, requires_grad=True)
        power, factor = a.exp(), torch.full((2,), 3.0, device=device)
        product = a * factor

        power.mul_(100)
        factor.mul_(100)

        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            power.sum().backward()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            product.sum().backward()

    def test_change_through_data_goes_unnoticed_and_gives_a_wrong_gradient(self, device):
        a = torch.ones(1, device=device, requires_grad=True)
        power = a.exp()

        power.data.mul_(100)
        power.backward()

        assert a.grad.item() == pytest.approx(100 * math.e)  # e would be right

    def test_operation_in_place_takes_no_memory(self):
        x, other = torch.ones(1000), torch.ones(1000)

        assert allocated_bytes(lambda: x.add(other)) == 4 * 1000
        assert allocated_bytes(lambda: x.add_(other)) == 0


@statement(
    "tensor.relu-in-place",
    notes="1.4; 3.1",
    verdict=ANSWERED,
    says="in-place operations are not recommended; whether relu(inplace=True) is one of them is left open",
)
@fault("inplace is ignored", F, "relu", lambda real: lambda x, inplace: real(x))
@fault("relu works behind the back of autograd", F, "relu", unseen_in_place)
class TestReluInPlace:
    """nn.ReLU(inplace=True) overwrites its input, so a later use of the input sees other values. The
    gradients are right after Linear, convolutions and batch norm. After exp, tanh or softmax, whose results
    are needed by `backward()`, `backward()` raises a RuntimeError.
    """

    @pytest.mark.parametrize("before", HARMLESS.values(), ids=HARMLESS)
    def test_gradient_is_right_after_what_keeps_no_result(self, before, device):
        x = torch.randn(4, 3, device=device, requires_grad=True)
        weights = torch.randn_like(before(x))

        plain = torch.autograd.grad((weights * before(x).clamp(min=0)).sum(), [x])
        in_place = torch.autograd.grad((weights * nn.ReLU(inplace=True)(before(x))).sum(), [x])

        torch.testing.assert_close(in_place, plain)

    @pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
    def test_backward_raises_after_what_keeps_its_result(self, before, device):
        x = torch.randn(4, 3, device=device, requires_grad=True)

        result = nn.ReLU(inplace=True)(before(x))

        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            result.sum().backward()

    def test_shortcut_around_it_adds_the_changed_values_without_an_error(self, device):
        x = torch.tensor([1.0, -2.0], device=device, requires_grad=True)

        h = 3 * x
        total = nn.ReLU(inplace=True)(h) + h
        total.sum().backward()

        assert total.tolist() == [6, 0]  # without inplace=True it is [6, -6]
        assert x.grad.tolist() == [6, 0]  # and [6, 3]
