"""Notes 2.7, what is left out of the graph: what torch.no_grad() turns off, and where it begins and ends."""

import threading
from contextlib import nullcontext
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spec.counters import peak_bytes
from spec.harness import ANSWERED, QUALIFIED, fault, since, statement
from spec.section_2_autograd.three_layers import if_grad_is_off, tracked_anyway

COMPUTED = {
    "add": lambda x: x + 1,
    "matmul": lambda x: x @ x,
    "sum": lambda x: x.sum(),
    "clone": lambda x: x.clone(),
    "to float64": lambda x: x.double(),
    "list of positions": lambda x: x[[1, 0]],
    "linear": lambda x: F.linear(x, x, x[0]),
}
VIEWS = {
    "view": lambda x: x.view(4),
    "index": lambda x: x[1],
    "slice": lambda x: x[1:],
    "expand": lambda x: x.expand(3, 2, 2),
    "transpose": lambda x: x.t(),
    "flatten": nn.Flatten(0),
}
ITSELF = {
    "contiguous": lambda x: x.contiguous(),
    "to its own type": lambda x: x.float(),
    "identity": nn.Identity(),
    "dropout in eval mode": nn.Dropout().eval(),
}


def make_square(device):
    """Return a leaf (2, 2) that requires a gradient."""
    return torch.tensor([[1.0, 2.0], [3.0, 5.0]], device=device, requires_grad=True)


# Faults


def nothing_off(real):
    """Let no_grad() do nothing; not where layers are made, which need it for their first weights."""
    return nullcontext


@statement(
    "autograd.no-grad-disables-tracking",
    notes="2.7; 4 step 5; notebook autograd",
    verdict=QUALIFIED,
    says="inside torch.no_grad() tracking is off",
)
@fault("no_grad does nothing", torch, "no_grad", nothing_off)
@fault("a sum is recorded", torch.Tensor, "sum", tracked_anyway)
@fault("a linear layer is recorded", F, "linear", tracked_anyway)
@fault("tracking keeps no input", F, "linear", lambda real: lambda x, w, b: real(x.detach(), w, b))
@fault("a clone requires a gradient", torch.Tensor, "clone", if_grad_is_off(torch.Tensor.requires_grad_))
@fault("a new tensor requires no gradient", torch, "ones", if_grad_is_off(torch.Tensor.detach))
@fault("a view requires no gradient", torch.Tensor, "view", if_grad_is_off(torch.Tensor.detach))
@fault("a view is a copy", torch.Tensor, "view", if_grad_is_off(torch.clone))
@fault("nn.Identity detaches", nn.Identity, "forward", if_grad_is_off(torch.Tensor.detach))
class TestNoGradDisablesTracking:
    """What is computed under torch.no_grad() has no graph and requires no gradient. A view of a tensor that
    requires a gradient says that it does, too, but gets none and passes none on.
    """

    @pytest.mark.parametrize("compute", COMPUTED.values(), ids=COMPUTED)
    def test_result_has_no_graph_and_requires_no_gradient(self, device, compute):
        x = make_square(device)

        tracked = compute(x)
        with torch.no_grad():
            result = compute(x)

        assert (result.requires_grad, result.grad_fn) == (False, None)
        assert tracked.grad_fn is not None

    @pytest.mark.parametrize("depth", [2, 3, 7])
    def test_two_outputs_live_at_once_however_deep_the_net(self, device, depth):
        x = torch.randn(11, 4, device=device)
        net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(depth))).to(device)

        tracked = peak_bytes(partial(net, x))
        detached_afterwards = peak_bytes(lambda: net(x).detach())
        with torch.no_grad():
            untracked = peak_bytes(partial(net, x))

        output = 11 * 4 * 4  # rows, columns, bytes
        assert (tracked, detached_afterwards, untracked) == (depth * output, depth * output, 2 * output)

    def test_tensor_made_inside_can_require_a_gradient(self, device):
        with torch.no_grad():
            a = torch.ones(2, device=device, requires_grad=True)
            b = torch.full((2,), 3.0, device=device).requires_grad_()
        assert (a.requires_grad, b.requires_grad) == (True, True)

        (a * a * b).sum().backward()

        assert a.grad is not None
        assert [a.grad.tolist(), b.grad.tolist()] == [[6, 6], [1, 1]]

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
        with torch.no_grad():
            view.mul_(2)
        assert x.tolist() == [[2, 4], [6, 10]]

    @pytest.mark.parametrize("operation", ITSELF.values(), ids=ITSELF)
    def test_operation_that_changes_nothing_returns_its_input_with_its_graph(self, device, operation):
        x = 2 * make_square(device)

        with torch.no_grad():
            result = operation(x)

        assert result is x
        assert x.grad_fn is not None


@statement(
    "autograd.inference-mode-is-stricter",
    notes="2.7",
    verdict=ANSWERED,
    says="torch.no_grad() is the way to turn tracking off; torch.inference_mode() is not mentioned",
)
@fault("inference_mode is no_grad", torch, "inference_mode", lambda real: torch.no_grad)
@fault("no_grad is inference_mode", torch.Tensor, "__rmul__", lambda real: torch.inference_mode()(real))
def test_inference_mode_is_stricter(device):
    """What torch.no_grad() computed may enter a graph later; what torch.inference_mode() computed may not."""
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


def grad_on():
    """Return whether operations are tracked."""
    return torch.is_grad_enabled()


def lose():
    """Raise an error."""
    raise LookupError("lost")


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


def without_result(real):
    """Return a decorator that gives no result."""
    return lambda mode, function: lambda *arguments: None


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
@fault("the decorated function gives nothing", torch.no_grad, "__call__", without_result)
@fault("the bare decorator does nothing", torch.no_grad, "__new__", bare_decorator)
@fault("a thread inherits the mode", threading.Thread, "start", inherited)
@pytest.mark.usefixtures("grad_mode_back_on")
class TestNoGradScope:
    """torch.no_grad() turns tracking off within its block or the function that it decorates, in its own
    thread alone, and restores what was before at the end.
    """

    def test_exit_restores_the_mode_of_before(self):
        modes = []
        with torch.no_grad():
            with torch.no_grad():
                modes.append(grad_on())
            modes.append(grad_on())
            with torch.enable_grad():
                modes.append(grad_on())
            modes.append(grad_on())
        modes.append(grad_on())

        assert modes == [False, False, True, False, True]

    @pytest.mark.parametrize("before", [True, False], ids=["on", "off"])
    def test_error_inside_comes_out_and_the_mode_is_restored(self, before):
        with torch.set_grad_enabled(before):
            with pytest.raises(LookupError, match="lost"), torch.no_grad():
                lose()
            assert grad_on() is before

    @pytest.mark.parametrize("bare", [False, pytest.param(True, marks=since("2.1"))], ids=["called", "bare"])
    def test_decorated_function_runs_without_tracking(self, bare):
        weight = torch.tensor([3.0], requires_grad=True)
        decorated = torch.no_grad(double) if bare else torch.no_grad()(double)

        results = [function(weight) for function in (decorated, double, decorated)]

        assert results == [[6], [6], [6]]
        assert [result.requires_grad for [result] in results] == [False, True, False]
        with torch.no_grad():
            decorated(weight)
            assert not grad_on()

    def test_mode_is_of_the_thread(self):
        modes = []
        thread = threading.Thread(target=lambda: modes.append(grad_on()))

        with torch.no_grad():
            thread.start()
            thread.join()
            modes.append(grad_on())

        assert modes == [True, False]
