"""Section 2.7 of the notes, "Exclusion from the DAG": where torch.no_grad() begins and ends."""

import threading
from contextlib import nullcontext
from functools import partial

import pytest
import torch

from spec.harness import broken_by, claim


@pytest.fixture(autouse=True)
def grad_mode_back_on():
    """Turn the grad mode on again after each claim: a planted fault may have left it off."""
    yield
    torch.set_grad_enabled(True)


def grad_on():
    """Return whether operations are tracked."""
    return torch.is_grad_enabled()


def generate():
    """Yield twice whether operations are tracked in between."""
    yield torch.is_grad_enabled()
    yield torch.is_grad_enabled()


def lose(modes):
    """Note whether operations are tracked, and raise an error."""
    modes.append(grad_on())
    raise LookupError("lost")


def result_or_error(function, *arguments):
    """Return what the function returns, or the type of its TypeError."""
    try:
        return function(*arguments)
    except TypeError as error:
        return type(error)


# Faults


def exits(leave):
    """Return a replacement for no_grad.__exit__."""
    return lambda real: lambda mode, *error: leave(real, mode, *error)


turning_on = exits(lambda real, mode, *error: torch.set_grad_enabled(True) and None)
staying_off = exits(lambda real, mode, *error: None)
staying_off_on_error = exits(lambda real, mode, *error: real(mode, *error) if error[0] is None else None)
hiding_errors = exits(lambda real, mode, *error: real(mode, *error) or True)
on_after_errors = exits(lambda real, mode, *error: torch.set_grad_enabled(bool(error[0] or mode.prev)))


def forgetting_to_turn_off(real):
    """Return an __enter__() that leaves the mode as it is."""
    return lambda mode: setattr(mode, "prev", torch.is_grad_enabled())


def serving_once(real):
    """Return an __enter__() that does nothing the second time."""
    served = []

    def enter(mode):
        if mode in served:
            return forgetting_to_turn_off(real)(mode)
        served.append(mode)
        return real(mode)

    return enter


def undecorated(real):
    """Return a decorator that leaves the function as it is."""
    return lambda mode, function: function


def without_arguments(real):
    """Return a decorator that calls the function with nothing."""
    return lambda mode, function: real(mode, lambda *arguments: function())


def on_afterwards(real):
    """Return a decorator that turns tracking on after each call."""
    return lambda mode, function: lambda *a: (real(mode, function)(*a), torch.set_grad_enabled(True))[0]


def by_delegating(real):
    """Return a decorator that lets a generator run within one block."""

    def decorate(mode, function):
        def within():
            with mode:
                yield from function()

        return within

    return decorate


def inherited(real):
    """Let a thread start in the mode of the thread that started it."""

    def start(thread):
        enabled, function = torch.is_grad_enabled(), thread.run
        thread.run = lambda: torch.set_grad_enabled(enabled) and function()
        real(thread)

    return start


def shared(real):
    """Let the mode of a thread stay when it has ended."""

    def join(thread):
        real(thread)
        torch.set_grad_enabled(False)

    return join


class TestScope:
    """no_grad is a context manager: where it begins and ends."""

    @claim("autograd.no-grad-scope", notes="2.7")
    @broken_by(torch.no_grad, "__exit__", turning_on)
    @broken_by(torch.no_grad, "__exit__", staying_off)
    @broken_by(torch.no_grad, "__enter__", forgetting_to_turn_off)
    @broken_by(torch, "enable_grad", lambda real: nullcontext)
    def test_exit_restores_the_mode_of_before(self):
        """On exit the mode is what it was before, on or off; enable_grad() inside turns it on for a while."""
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

    @claim("autograd.no-grad-scope-error", notes="2.7")
    @broken_by(torch.no_grad, "__exit__", staying_off_on_error)
    @broken_by(torch.no_grad, "__exit__", on_after_errors)
    @broken_by(torch.no_grad, "__exit__", hiding_errors)
    @broken_by(torch.no_grad, "__enter__", forgetting_to_turn_off)
    def test_error_inside_passes_and_restores_the_mode(self):
        """An error raised inside comes out, and the mode is what it was before, on or off."""
        modes = []
        for before in (True, False):
            with torch.set_grad_enabled(before):
                with pytest.raises(LookupError, match="lost"), torch.no_grad():
                    lose(modes)
                modes.append(grad_on())

        assert modes == [False, True, False, False]

    @claim("autograd.no-grad-scope-decorator", notes="2.7")
    @broken_by(torch.no_grad, "__call__", undecorated)
    @broken_by(torch.no_grad, "__exit__", staying_off)
    @broken_by(torch.no_grad, "__enter__", forgetting_to_turn_off)
    @broken_by(torch.no_grad, "__call__", on_afterwards)
    def test_decorated_function_runs_without_tracking(self):
        """A function decorated by @torch.no_grad() runs untracked at each call, and nothing else does."""
        decorated = torch.no_grad()(grad_on)

        assert [grad_on(), decorated(), grad_on(), decorated(), grad_on()] == [True, False, True, False, True]
        with torch.no_grad():
            assert [decorated(), grad_on()] == [False, False]

    @claim("autograd.no-grad-scope-decorator-arguments", notes="2.7")
    @broken_by(torch.no_grad, "__call__", without_arguments)
    @broken_by(torch.no_grad, "__call__", lambda real: lambda mode, function: lambda *arguments: None)
    @broken_by(torch.no_grad, "__exit__", staying_off_on_error)
    def test_decorated_function_keeps_arguments_result_and_errors(self):
        """A decorated function takes, returns and raises what the plain one does, under its name."""
        modes = []
        decorated = torch.no_grad()(lose)

        assert torch.no_grad()(lambda *numbers: numbers)(7, 3) == (7, 3)
        with pytest.raises(LookupError, match="lost"):
            decorated(modes)
        assert decorated.__name__ == "lose"
        assert [*modes, grad_on()] == [False, True]

    @claim("autograd.no-grad-scope-bare-decorator", notes="2.7", since="2.1")
    @broken_by(
        torch.no_grad, "__new__", lambda real: lambda cls, function=None: function or object.__new__(cls)
    )
    @broken_by(torch.no_grad, "__enter__", forgetting_to_turn_off)
    @broken_by(torch.no_grad, "__exit__", staying_off)
    def test_decorator_needs_no_parentheses(self):
        """@torch.no_grad without parentheses does the same."""
        assert result_or_error(lambda: torch.no_grad(grad_on)()) is False
        assert grad_on()

    @claim("autograd.no-grad-scope-generator", notes="2.7")
    @broken_by(torch.no_grad, "__call__", undecorated)
    @broken_by(torch.no_grad, "__call__", by_delegating)
    @broken_by(torch.no_grad, "__exit__", staying_off)
    def test_decorated_generator_does_not_leak(self):
        """A decorated generator runs untracked, its caller does not; a with around the yield is for both."""

        def generate_within():
            with torch.no_grad():
                yield from generate()

        modes = {}
        for name, generator in (("decorated", torch.no_grad()(generate)()), ("within", generate_within())):
            modes[name] = [(inside, grad_on()) for inside in generator]

        assert modes == {"decorated": [(False, True)] * 2, "within": [(False, False)] * 2}
        assert grad_on()

    @claim("autograd.no-grad-scope-thread", notes="2.7")
    @broken_by(threading.Thread, "start", inherited)
    @broken_by(threading.Thread, "join", shared)
    @broken_by(torch.no_grad, "__enter__", forgetting_to_turn_off)
    def test_mode_is_of_the_thread(self):
        """A thread started under no_grad begins with tracking on; its own no_grad is its alone."""
        modes = []

        def work():
            modes.append(grad_on())
            torch.no_grad().__enter__()
            modes.append(grad_on())

        for mode in (torch.no_grad, torch.enable_grad):
            thread = threading.Thread(target=work)
            with mode():
                thread.start()
                thread.join()
                modes.append(grad_on())

        assert modes == [True, False, False, True, False, True]

    @claim("autograd.no-grad-scope-one-object", notes="2.7")
    @broken_by(torch.no_grad, "__exit__", turning_on)
    @broken_by(torch.no_grad, "__exit__", staying_off)
    @broken_by(torch.no_grad, "__enter__", serving_once)
    def test_one_object_serves_again_but_not_inside_itself(self):
        """One no_grad object serves block after block; entered inside itself, it leaves tracking off."""
        mode, modes = torch.no_grad(), []
        for _ in range(2):
            with mode:
                modes.append(grad_on())
            modes.append(grad_on())

        with mode, mode:
            pass

        assert modes == [False, True] * 2
        assert not grad_on()

    @claim("autograd.no-grad-scope-inference-mode", notes="2.7")
    @broken_by(torch, "inference_mode", lambda real: torch.no_grad)
    @broken_by(torch, "inference_mode", lambda real: partial(real, False))
    @broken_by(torch.Tensor, "__rmul__", lambda real: torch.inference_mode()(real))
    def test_inference_mode_is_stricter(self, device):
        """What no_grad computed may enter a graph later; what inference_mode() computed may not."""
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
