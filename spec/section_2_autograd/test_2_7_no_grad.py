"""Notes 2.7, what is left out of the graph: what torch.no_grad() turns off, and where it begins and ends."""

import threading
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from spec.harness import QUALIFIED, fault, since, statement
from spec.section_2_autograd.faults import if_grad_is_off, tracked_anyway

COMPUTED = {
    "add": lambda x: x + 1,
    "matmul": lambda x: x @ x,
    "sum": lambda x: x.sum(),
    "clone": lambda x: x.clone(),
    "to float64": lambda x: x.double(),
}
VIEWS = {
    "view": lambda x: x.view(4),
    "slice": lambda x: x[1:],
    "expand": lambda x: x.expand(3, 2, 2),
    "transpose": lambda x: x.t(),
    "flatten": nn.Flatten(0),
}
ITSELF = {
    "contiguous": lambda x: x.contiguous(),
    "to its own type": lambda x: x.float(),
    "identity": nn.Identity(),
}


def make_square(device):
    """Return a leaf (2, 2) that requires a gradient."""
    return torch.tensor([[1.0, 2.0], [3.0, 5.0]], device=device, requires_grad=True)


@statement(
    "autograd.no-grad-disables-tracking",
    notes="2.7; 4 step 5; notebook autograd",
    verdict=QUALIFIED,
    says="autograd tracks nothing inside torch.no_grad()",
)
@fault("no_grad does nothing", torch, "no_grad", lambda real: nullcontext)
@fault("a sum is recorded", torch.Tensor, "sum", tracked_anyway)
@fault("a clone requires a gradient", torch.Tensor, "clone", if_grad_is_off(torch.Tensor.requires_grad_))
@fault("a new tensor requires no gradient", torch, "ones", if_grad_is_off(torch.Tensor.detach))
@fault("a view requires no gradient", torch.Tensor, "view", if_grad_is_off(torch.Tensor.detach))
@fault("a view is a copy", torch.Tensor, "view", if_grad_is_off(torch.clone))
@fault("nn.Identity detaches", nn.Identity, "forward", if_grad_is_off(torch.Tensor.detach))
@fault("inference_mode is no_grad", torch, "inference_mode", lambda real: torch.no_grad)
@fault("no_grad is inference_mode", torch.Tensor, "__rmul__", lambda real: torch.inference_mode()(real))
class TestNoGradDisablesTracking:
    """A new tensor that is computed under torch.no_grad() has no graph and requires no gradient. A view of a
    weight has requires_grad=True even there, but passes no gradient back to the weight. If contiguous() has
    nothing to do, it returns its input with the input's graph.
    """

    @pytest.mark.parametrize("compute", COMPUTED.values(), ids=COMPUTED)
    def test_result_has_no_graph_and_requires_no_gradient(self, device, compute):
        x = make_square(device)

        tracked = compute(x)
        with torch.no_grad():
            result = compute(x)

        assert (result.requires_grad, result.grad_fn) == (False, None)
        assert tracked.grad_fn is not None

    def test_tensor_made_inside_can_require_a_gradient(self, device):
        with torch.no_grad():
            a = torch.ones(2, device=device, requires_grad=True)
        assert a.requires_grad

        (3 * a).sum().backward()

        assert a.grad.tolist() == [3, 3]

    @pytest.mark.parametrize("make", VIEWS.values(), ids=VIEWS)
    def test_view_says_that_it_requires_a_gradient_and_gets_none(self, device, make):
        x = make_square(device)
        with torch.no_grad():
            view = make(x)

        assert (view.requires_grad, view.grad_fn) == (True, None)
        view.sum().backward()
        assert (view.grad, x.grad) == (None, None)

    def test_view_from_inside_is_not_changed_in_place_outside(self, device):
        x = 1 * make_square(device)
        with torch.no_grad():
            view = x.view(4)

        with pytest.raises(RuntimeError, match="view was created in no_grad mode and is being modified"):
            view.mul_(3)

    @pytest.mark.parametrize("operation", ITSELF.values(), ids=ITSELF)
    def test_operation_that_changes_nothing_returns_its_input_with_its_graph(self, device, operation):
        x = 2 * make_square(device)

        with torch.no_grad():
            result = operation(x)

        assert result is x
        assert x.grad_fn is not None

    def test_result_may_enter_a_graph_later_unlike_one_of_inference_mode(self, device):
        x = torch.tensor([2.0, 5.0], device=device)
        weight = torch.ones(2, device=device, requires_grad=True)

        with torch.no_grad():
            plain = 3 * x
        with torch.inference_mode():
            strict = 3 * x

        assert not plain.is_inference()
        (weight * plain).sum().backward()
        assert weight.grad.tolist() == [6, 15]
        with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
            weight * strict


@pytest.fixture
def grad_mode_back_on():
    """Turn the grad mode on again after a check: a planted fault may have left it off."""
    yield
    torch.set_grad_enabled(True)


def double(*tensors):
    """Return tensors twice as large."""
    return [2 * tensor for tensor in tensors]


# Faults


def exits(leave):
    """Return a replacement for no_grad.__exit__."""
    return lambda real: lambda mode, *error: leave(real, mode, *error)


turning_on = exits(lambda real, mode, *error: torch.set_grad_enabled(True) and None)
staying_off = exits(lambda real, mode, *error: None)
staying_off_on_error = exits(lambda real, mode, *error: real(mode, *error) if error[0] is None else None)


def undecorated(real):
    """Return a decorator that leaves the function as it is."""
    return lambda mode, function: function


def bare_decorator(real):
    """Return a class of which `@torch.no_grad` leaves the function as it is."""
    return lambda cls, function=None: function or object.__new__(cls)


def inherited(real):
    """Let a thread start in the mode of the thread that started it."""

    def start(thread):
        enabled, function = torch.is_grad_enabled(), thread.run
        thread.run = lambda: torch.set_grad_enabled(enabled) and function()
        real(thread)

    return start


@statement("autograd.no-grad-scope", notes="2.7")
@fault("leaving turns tracking on", torch.no_grad, "__exit__", turning_on)
@fault("leaving does nothing", torch.no_grad, "__exit__", staying_off)
@fault("an error leaves tracking off", torch.no_grad, "__exit__", staying_off_on_error)
@fault("enable_grad does nothing", torch, "enable_grad", lambda real: nullcontext)
@fault("the decorator does nothing", torch.no_grad, "__call__", undecorated)
@fault("the bare decorator does nothing", torch.no_grad, "__new__", bare_decorator)
@fault("a thread inherits the mode", threading.Thread, "start", inherited)
@pytest.mark.usefixtures("grad_mode_back_on")
class TestNoGradScope:
    """torch.no_grad() turns off the tracking by autograd inside its block or inside a function that it
    decorates. The end of the block restores the earlier setting, even after an exception. The decorator works
    without parentheses since PyTorch 2.1.
    """

    def test_exit_restores_the_mode_of_before(self):
        modes = []
        with torch.no_grad():
            with torch.no_grad():
                modes.append(torch.is_grad_enabled())
            modes.append(torch.is_grad_enabled())
            with torch.enable_grad():
                modes.append(torch.is_grad_enabled())
            modes.append(torch.is_grad_enabled())
        modes.append(torch.is_grad_enabled())

        assert modes == [False, False, True, False, True]

    def test_error_inside_comes_out_and_the_mode_is_restored(self):
        with pytest.raises(LookupError, match="lost"), torch.no_grad():
            raise LookupError("lost")

        assert torch.is_grad_enabled()

    @pytest.mark.parametrize("bare", [False, pytest.param(True, marks=since("2.1"))], ids=["called", "bare"])
    def test_decorated_function_runs_without_tracking(self, bare):
        weight = torch.tensor([3.0], requires_grad=True)
        decorated = torch.no_grad(double) if bare else torch.no_grad()(double)

        results = [function(weight) for function in (decorated, double, decorated)]

        assert results == [[6], [6], [6]]
        assert [result.requires_grad for [result] in results] == [False, True, False]

    def test_mode_is_of_the_thread(self):
        modes = []
        thread = threading.Thread(target=lambda: modes.append(torch.is_grad_enabled()))

        with torch.no_grad():
            thread.start()
            thread.join()
            modes.append(torch.is_grad_enabled())

        assert modes == [True, False]
