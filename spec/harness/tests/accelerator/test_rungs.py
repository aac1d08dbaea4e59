"""The rungs: a planted fault fails its own rung and none below it, and the CPU passes them all.

On the CPU the same faulty PyTorch computes the reference. So a fault is in float32 alone, the reference, in
float64, stays right; on a real device it is the device that makes the difference.
"""

import itertools

import pytest
import torch
import torch.distributed as dist

from spec.harness.accelerator import learning, pace, rungs
from spec.harness.accelerator.rungs import NAMES, RAISED


def wrong_in(dtype, real, spoil):
    """Return `real`, with `spoil` applied to what it gives in `dtype`."""

    def replaced(*args, **options):
        result = real(*args, **options)
        return spoil(result) if result.dtype == dtype else result

    return replaced


def copy_that_changes_a_byte(patch):
    """One byte in millions arrives as another."""

    def spoil(copied):
        copied[12345] ^= 1
        return copied

    patch.setattr(torch.Tensor, "clone", wrong_in(torch.uint8, torch.Tensor.clone, spoil))


def judge_in_its_own_favour(patch):
    """What is close is answered rightly where the CPU is asked, which is first, and then always by yes."""
    real, asked = torch.isclose, itertools.count()
    patch.setattr(torch, "isclose", lambda a, b: real(a, b) if next(asked) % 2 == 0 else a == a)


def silently_lower_precision(patch):
    """float32 is computed with the 10 bits of TF32, though IEEE precision is asked for."""

    def rounded(tensor):
        return (tensor.view(torch.int32) + 0x1000 & ~0x1FFF).view(torch.float32)

    real = torch.nn.functional.conv2d

    def conv2d(images, weight, *args, **options):
        if images.dtype == torch.float32:
            images, weight = rounded(images), rounded(weight)
        return real(images, weight, *args, **options)

    patch.setattr(torch.nn.functional, "conv2d", conv2d)


def gradient_one_percent_off(patch):
    """The values of tanh are right, and its gradients are not."""
    wrong = wrong_in(torch.float32, torch.tanh, lambda y: y + 0.01 * (y - y.detach()))
    patch.setattr(torch, "tanh", wrong)


def optimizer_that_does_nothing(patch):
    """A step leaves the weights as they are."""
    patch.setattr(torch.optim.SGD, "step", lambda self, closure=None: None)


def checkpoint_that_loses_a_bit(patch):
    """The last bit of one weight comes back as the other one."""
    real = torch.load

    def load(*args, **options):
        state = real(*args, **options)
        state["model"]["0.bias"].view(torch.int32)[0] ^= 1
        return state

    patch.setattr(torch, "load", load)


def all_reduce_that_adds_nothing(patch):
    """The sum over a group stays at zero."""
    patch.setattr(dist, "all_reduce", lambda tensor, *args, **options: tensor.zero_())


def slow_device(patch):
    """Whatever the device is given takes ten times as long; the CPU is not held to itself otherwise."""
    real = pace.seconds
    speed = rungs.RUNGS[-1]._replace(check=pace._product_against_the_cpu)
    patch.setattr(rungs, "RUNGS", (*rungs.RUNGS[:-1], speed))
    patch.setattr(pace, "seconds", lambda work, device: 10 * real(work, device))


def error_that_is_told_late(patch):
    """The training starts something that fails, which the device tells when it is waited for."""
    real = learning._trained

    def trained(*args):
        patch.setattr(pace, "synchronize", fails)
        return real(*args)

    def fails(device):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    patch.setattr(learning, "_trained", trained)


# What a person sees first: the rung, and what was seen there.
FAULTS = {
    copy_that_changes_a_byte: ("memory", "1 of 16777216 bytes changed in a copy on the"),
    judge_in_its_own_favour: ("comparison", "isclose in torch.float64 gives [[True, True"),
    silently_lower_precision: ("kernels", "conv2d in float32 is off by "),
    gradient_one_percent_off: ("autograd", "the gradient of 0.weight in torch.float32 is off by 1.0e-02"),
    optimizer_that_does_nothing: ("training", "loss from 2.301 to 2.301 in"),
    checkpoint_that_loses_a_bit: ("checkpoint", "model.0.bias on the CPU differs from what was saved"),
    all_reduce_that_adds_nothing: ("parallel", "all_reduce of 0 to 4 in a group of one gave [0.0, 0.0"),
    slow_device: ("speed", "a product of float32 takes "),
    error_that_is_told_late: ("training", "RuntimeError: CUDA error: an illegal memory access"),
}
LOW = ("memory", "comparison")  # soon reached; those above take seconds, so they are for --slow


def cases():
    """Each fault with what a person sees first."""
    for fault, (rung, seen) in FAULTS.items():
        marks = [] if rung in LOW else [pytest.mark.slow]
        yield pytest.param(fault, rung, seen, marks=marks, id=fault.__name__.replace("_", " "))


@pytest.mark.parametrize(("fault", "rung", "seen"), [*cases()])
def test_a_fault_fails_its_own_rung_and_none_below(monkeypatch, fault, rung, seen):
    """Rungs below pass, nothing above is tried, and the rung says what was seen and what to do."""
    fault(monkeypatch)
    told = []

    assert not rungs.try_each("cpu", told.append)

    *below, failed = told
    assert (failed["rung"], failed["outcome"]) == (rung, "failed"), failed
    assert failed["seen"].startswith(seen)
    assert failed["advice"]
    assert (failed["advice"] == RAISED) == seen.startswith("RuntimeError")
    assert {step["outcome"] for step in below} == {"passed"}
    assert [step["rung"] for step in told] == NAMES[: len(told)]


def test_cpu_climbs_to_the_top():
    """The rungs themselves are sound: on the CPU each of them passes, and says what was seen."""
    told = []

    assert rungs.try_each("cpu", told.append)

    assert [(step["rung"], step["outcome"]) for step in told] == [(name, "passed") for name in NAMES]
    assert all(step["seen"] and not step["advice"] for step in told)


def test_a_name_that_pytorch_does_not_know_fails_the_first_rung():
    """A misspelt device is told by PyTorch's own sentence, with the rung's own advice."""
    told = []

    assert not rungs.try_each("cdua", told.append)

    assert [step["rung"] for step in told] == ["visible"]
    assert "cdua" in told[0]["seen"]
    assert told[0]["advice"].startswith("see that the name of the device is one that this PyTorch knows")
