"""Faults planted in PyTorch, one for each rung; a process with one of them climbs the ladder on the CPU.

On the CPU the same faulty PyTorch computes the reference. So a fault is in float32 alone, the reference, in
float64, stays right; on a real device it is the device that makes the difference.
"""

import os
import signal
import time

import torch
import torch.distributed as dist

from spec.harness.accelerator import learning, pace, rungs, visibility


def wrong_in(dtype, real, spoil):
    """Return `real`, with `spoil` applied to what it gives in `dtype`."""

    def replaced(*args, **options):
        result = real(*args, **options)
        return spoil(result) if result.dtype == dtype else result

    return replaced


def no_driver():
    """PyTorch sees nothing."""

    def missing(device):
        raise visibility.RungError("there is no NVIDIA driver", "install one")

    put_in_place_of("visible", missing)


def copy_that_changes_a_byte():
    """One byte in millions arrives as another."""

    def spoil(copied):
        copied[12345] ^= 1
        return copied

    torch.Tensor.clone = wrong_in(torch.uint8, torch.Tensor.clone, spoil)


def matmul_one_percent_off():
    """Products of float32 are a little too large."""
    torch.Tensor.__matmul__ = wrong_in(torch.float32, torch.Tensor.__matmul__, lambda c: c * 1.01)


def silently_lower_precision():
    """float32 is computed with the 10 bits of TF32, though IEEE precision is asked for."""

    def rounded(tensor):
        return (tensor.view(torch.int32) + 0x1000 & ~0x1FFF).view(torch.float32)

    real = torch.nn.functional.conv2d

    def conv2d(images, weight, *args, **options):
        if images.dtype == torch.float32:
            images, weight = rounded(images), rounded(weight)
        return real(images, weight, *args, **options)

    torch.nn.functional.conv2d = conv2d


def gradient_one_percent_off():
    """The values of tanh are right, and its gradients are not."""
    torch.tanh = wrong_in(torch.float32, torch.tanh, lambda y: y + 0.01 * (y - y.detach()))


def optimizer_that_does_nothing():
    """A step leaves the weights as they are."""
    torch.optim.SGD.step = lambda self, closure=None: None


def checkpoint_that_loses_a_bit():
    """The last bit of one weight comes back as the other one."""
    real = torch.load

    def load(*args, **options):
        state = real(*args, **options)
        state["model"]["fc3.bias"].view(torch.int32)[0] ^= 1
        return state

    torch.load = load


def all_reduce_that_adds_nothing():
    """The sum over a group stays at zero."""
    dist.all_reduce = lambda tensor, *args, **options: tensor.zero_()


def slow_device():
    """Whatever the device is given takes half a second longer."""
    put_in_place_of(
        "speed", pace._product_against_the_cpu
    )  # the CPU is not measured against itself otherwise
    pace.synchronize = lambda device: time.sleep(0.4)


def rung_that_hangs():
    """A kernel never ends."""
    torch.Tensor.softmax = lambda *args: time.sleep(600)


def killed_process():
    """The machine ends the process, as it does when memory runs out."""
    torch.optim.SGD.zero_grad = lambda self: os.kill(os.getpid(), signal.SIGKILL)


def crash_in_native_code():
    """Native code reads where nothing is."""
    torch.Tensor.backward = lambda self: os.kill(os.getpid(), signal.SIGSEGV)


def sticky_error():
    """One kernel fails, and so does whatever follows in its process."""
    message = "CUDA error: device-side assert triggered"

    def fails(*args, **options):
        torch.randn = torch.zeros = torch.Tensor.to = fails
        raise RuntimeError(message)

    torch.Tensor.softmax = fails


def error_that_is_told_late():
    """The training starts something that fails, which the device tells when it is waited for."""
    real = learning._trained

    def trained(*args):
        pace.synchronize = fails
        return real(*args)

    def fails(device):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    learning._trained = trained


def put_in_place_of(name, check):
    """Replace the check of a rung."""
    rungs.RUNGS = tuple(rung._replace(check=check) if rung.name == name else rung for rung in rungs.RUNGS)


# What a person sees first: the rung, how it ended, and what was seen there.
FAULTS = {
    no_driver: ("visible", "failed", "there is no NVIDIA driver"),
    copy_that_changes_a_byte: ("memory", "failed", "1 of 16777216 bytes changed in a copy on the"),
    matmul_one_percent_off: ("kernels", "failed", "matmul in float32 is off by 1.0e-02 of its largest value"),
    silently_lower_precision: ("kernels", "failed", "conv2d in float32 is off by "),
    gradient_one_percent_off: (
        "autograd",
        "failed",
        "the gradient of 0.weight in torch.float32 is off by 1.0e-02",
    ),
    optimizer_that_does_nothing: ("training", "failed", "loss from 2.301 to 2.301 in"),
    checkpoint_that_loses_a_bit: ("checkpoint", "failed", "model.fc3.bias is another one on the CPU"),
    all_reduce_that_adds_nothing: (
        "parallel",
        "failed",
        "all_reduce of 0 to 4 in a group of one gave [0.0, 0.0",
    ),
    slow_device: ("speed", "failed", "a product of float32 takes "),
    rung_that_hangs: ("kernels", "timeout", "no answer within 3 s; it was at File "),
    killed_process: (
        "training",
        "crashed",
        "its process was ended by SIGKILL, as happens where memory runs out",
    ),
    crash_in_native_code: ("autograd", "crashed", "its process was ended by SIGSEGV: File "),
    sticky_error: ("kernels", "failed", "RuntimeError: CUDA error: device-side assert triggered"),
    error_that_is_told_late: ("training", "failed", "RuntimeError: CUDA error: an illegal memory access"),
}


def main(fault):
    """Plant a fault, and climb as `python -m spec.harness.accelerator.rungs` does."""
    {plant.__name__: plant for plant in FAULTS}[fault]()
    return rungs.main()
