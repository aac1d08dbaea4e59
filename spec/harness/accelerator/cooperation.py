"""The rung of parallel work: a process group, nn.DataParallel, and copies between devices."""

import gc
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import FileStore  # type: ignore[attr-defined]  # documented, but not exported
from torch.nn.parallel import DistributedDataParallel

from spec.harness.accelerator.learning import check_gradients, gradients, smooth_net
from spec.harness.accelerator.precision import float32_precision
from spec.harness.accelerator.visibility import RungError

TOLERANCE = 1e-4  # of gradients that float32 sums up in another order, as for the rung of autograd


@float32_precision("ieee")  # parts of a batch may be computed by another algorithm than the whole
def devices_work_together(device: torch.device) -> str:
    """Return what was held to the same work on the device alone.

    Raises:
        RungError: it came out otherwise.
    """
    net = smooth_net().to(device)
    images, labels = torch.randn(32, 3, 32, 32), torch.arange(32) % 10
    batch = (images.to(device), labels.to(device))
    alone = gradients(net, *batch)
    told = [_process_group(device, net, batch, alone)]
    if device.type == "cuda":
        told.append(_data_parallel(net, batch, alone, [device.index or 0]))
    devices = 1 if device.type == "cpu" else torch.accelerator.device_count()
    if devices > 1:
        told.append(_neighbour(device, devices))
    if device.type == "cuda" and devices > 1 and not device.index:  # once is enough: the first device does it
        told.append(_data_parallel(net, batch, alone, list(range(devices))))
    return ", ".join(told)


Batch = tuple[torch.Tensor, torch.Tensor]


def _process_group(device: torch.device, net: nn.Module, batch: Batch, alone: dict[str, torch.Tensor]) -> str:
    """Have a group of one sum up and train."""
    try:
        backend = dist.get_default_backend_for_device(device)
    except (AttributeError, ValueError):  # without torch.distributed; without a backend for this kind
        return f"no process group: PyTorch has no backend for {device.type}"
    if device.type != "cpu":
        torch.accelerator.set_device_index(device.index or 0)
    with tempfile.TemporaryDirectory() as folder:
        store = FileStore(str(Path(folder) / "store"), 1)
        timeout = timedelta(minutes=1)
        dist.init_process_group(backend, store=store, rank=0, world_size=1, timeout=timeout)
        try:
            values = torch.arange(5.0, device=device)
            dist.all_reduce(values)
            if values.tolist() != [0, 1, 2, 3, 4]:
                raise RungError(f"all_reduce of 0 to 4 in a group of one gave {values.tolist()} by {backend}")
            actual = gradients(DistributedDataParallel(net), *batch)
            check_gradients(actual, alone, TOLERANCE, f"DistributedDataParallel by {backend}")
        finally:
            # A DDP that is garbage still holds the group, whose threads can abort a process as it ends; see
            # blitz.training.distributed.process_group.
            gc.collect()
            time.sleep(0.1)
            dist.destroy_process_group()
    return f"DistributedDataParallel by {backend}"


def _data_parallel(net: nn.Module, batch: Batch, alone: dict[str, torch.Tensor], devices: list[int]) -> str:
    name = f"nn.DataParallel on {len(devices)} device{'s' if len(devices) > 1 else ''}"
    # The first of `devices` has to hold the net.
    check_gradients(gradients(nn.DataParallel(net, device_ids=devices), *batch), alone, TOLERANCE, name)
    return name


def _neighbour(device: torch.device, devices: int) -> str:
    """Copy to the next device, directly where the machine can, and read there what came."""
    other = torch.device(device.type, ((device.index or 0) + 1) % devices)
    sent = torch.randint(0, 256, (2**24,), dtype=torch.uint8)
    came = sent.to(device).to(other).cpu()
    wrong = int((sent != came).sum())
    if wrong:
        raise RungError(f"{wrong} of {len(sent)} bytes changed in a copy from {device} to {other}")
    return f"a copy to {other}"
