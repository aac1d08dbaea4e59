"""What the checks of DataParallel share: CPU stand-ins for GPUs, and nets.

`cpus(4)` has nn.DataParallel run as on a machine with four GPUs: its own Python code (constructor, scatter,
replicate, parallel_apply, gather, and their gradients) over copies on the CPU. Stand-ins replace what is
native: the copies between devices, streams, and the counting of devices. That leaves unshown that the native
code cuts a batch as `Tensor.chunk` does, where a tensor lives, and what all of it costs. A check
`on_machines` also runs with one GPU in place of several, and on several GPUs without stand-ins.
"""

import importlib
from contextlib import contextmanager, nullcontext
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.parallel import comm

from spec.harness.accelerator.devices import accelerator
from spec.harness.statements.contract import not_checked

CPU = torch.device("cpu")

# By their names: `torch.nn.parallel.data_parallel` and the like are functions, which hide the modules.
DATA_PARALLEL, PARALLEL_APPLY, SCATTER_GATHER, FUNCTIONS = (
    importlib.import_module(f"torch.nn.parallel.{name}")
    for name in ("data_parallel", "parallel_apply", "scatter_gather", "_functions")
)

ROUNDING = {"rtol": 1e-12, "atol": 1e-12}  # in float64: shares add up in another order than a whole batch


@contextmanager
def stand_ins(device, count, *, copies=None):
    """Have nn.DataParallel see `count` devices, all of them `device`; 0 is a machine without any.

    What is copied is added to `copies`: ("scatter", rows of each share), ("broadcast", devices),
    ("gather", device) and ("reduce", number of shares).
    """
    noted = [] if copies is None else copies
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DATA_PARALLEL, "_get_available_device_type", lambda: device.type if count else None)
        patch.setattr(DATA_PARALLEL, "_get_all_device_indices", lambda: list(range(count)))
        patch.setattr(DATA_PARALLEL, "_check_balance", lambda ids: None)
        patch.setattr(DATA_PARALLEL, "torch", _changed(torch, device=lambda *kind_and_index: device))
        patch.setattr(PARALLEL_APPLY, "torch", _without_streams(device, is_available=lambda: True))
        patch.setattr(FUNCTIONS, "torch", _without_streams(device, is_available=lambda: False))
        patch.setattr(FUNCTIONS, "all", _all_but_the_device, raising=False)
        for stand_in in (scatter, gather, broadcast_coalesced, reduce_add_coalesced):
            patch.setattr(comm, stand_in.__name__, partial(stand_in, noted, device))
        yield [device] * count


cpus = partial(stand_ins, CPU)


@contextmanager
def one_gpu():
    """Have nn.DataParallel see the accelerator three times."""
    with stand_ins(accelerator() or not_checked("no-accelerator"), 3) as devices:
        yield devices


@contextmanager
def gpus():
    """Have nn.DataParallel see what there is: all CUDA devices."""
    yield [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


on_machines = pytest.mark.parametrize(
    "machine",
    [
        pytest.param(partial(cpus, 2), id="2 CPUs"),
        pytest.param(partial(cpus, 4), id="4 CPUs"),
        pytest.param(one_gpu, id="one GPU as 3", marks=[pytest.mark.gpu, pytest.mark.multi_gpu(1)]),
        pytest.param(gpus, id="GPUs", marks=[pytest.mark.gpu, pytest.mark.multi_gpu(2)]),
    ],
)


# Stand-ins for native code: torch/csrc/cuda/comm.cpp, of which torch.nn.parallel.comm is the face


def scatter(copies, there, tensor, devices, sizes=None, dim=0, streams=None):
    """Cut by chunk, or into `sizes` where they are given, as for a gradient."""
    parts = tensor.chunk(len(devices), dim) if sizes is None else tensor.split(list(sizes), dim)
    # a fault can let a number through, which has no axis
    copies.append(("scatter", [part.shape[dim] if part.dim() else 1 for part in parts]))
    return tuple(part.to(there, copy=True) for part in parts)


def gather(copies, there, tensors, dim=0, device=None):
    """Join along `dim`; the device -1 is the CPU."""
    copies.append(("gather", device))
    return torch.cat(tuple(tensors), dim).to(CPU if device == -1 else there)


def broadcast_coalesced(copies, there, tensors, devices):
    """Give the first device the tensors themselves, and each other one copies."""
    if tensors:  # PyTorch 2.6 asks for copies of none, too
        copies.append(("broadcast", list(devices)))
    return [list(tensors), *([tensor.clone() for tensor in tensors] for _ in devices[1:])]


def reduce_add_coalesced(copies, there, shares, device=None):
    """Add up what the shares have for each tensor."""
    copies.append(("reduce", len(shares)))
    return tuple(torch.stack(of_one).sum(0) for of_one in zip(*shares, strict=True))


def _changed(module, **changes):
    return SimpleNamespace(**vars(module) | changes)


def _without_streams(device, **changes):
    names = ("current_stream", "device_index", "device", "stream")  # the last two in PyTorch 2.6
    changes |= dict.fromkeys(names, lambda index: nullcontext()) | {"current_accelerator": lambda: device}
    return _changed(
        torch, accelerator=_changed(torch.accelerator, **changes), cuda=_changed(torch.cuda, **changes)
    )


def _all_but_the_device(checks):
    """Stand in for all() in PyTorch's Broadcast and Gather, which refuse `i.device.type == "cpu"`."""
    return "device" in checks.gi_code.co_names or all(checks)


# Nets


class Net(nn.Module):
    """A net without weights that computes `function`, and keeps the inputs of all its replicas.

    Replicas share the list: what is no parameter, buffer or layer is not copied.
    """

    def __init__(self, function=lambda x: 2 * x):
        super().__init__()
        self.function = function
        self.seen = []

    def forward(self, *inputs, **kwargs):
        """Note the first input."""
        self.seen.extend(inputs[:1])
        return self.function(*inputs, **kwargs)

    def shares(self):
        """Return what was seen, in the order of the first entries: the threads have none."""
        return sorted(self.seen, key=lambda x: float(x.flatten()[0]) if x.numel() else float("inf"))


def computed(net, model, batch):
    """Return the output, the gradients of the net's parameters and of the batch, and the net's buffers."""
    batch = batch.clone().requires_grad_()
    net.zero_grad()
    output = model(batch)
    output.square().sum().backward()
    gradients = [leaf.grad for leaf in (*net.parameters(), batch)]
    assert all(gradient is not None for gradient in gradients)
    return output, gradients, dict(net.named_buffers())


def numbered(*shape, device="cpu"):
    """Return a tensor whose entries are their own positions."""
    return torch.arange(float(torch.Size(shape).numel()), device=device).reshape(shape)
