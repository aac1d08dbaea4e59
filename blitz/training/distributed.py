"""Training in several processes, which torchrun started: each has an equal part of every batch.

Most functions are collectives: every process of the group has to call them, in the same order. In a process
that has joined no group they give at once what a group of one would give.
"""

import gc
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]  # documented, but not exported
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler

from blitz.errors import BlitzError
from blitz.training.devices import find_device, take_own_accelerator
from blitz.training.evaluation import evaluating

TIMEOUT = timedelta(minutes=1)  # for whoever waits for another process, which may have been lost

T = TypeVar("T")


def launched() -> bool:
    """Tell whether torchrun started this process."""
    return dist.is_torchelastic_launched()


@contextmanager
def process_group(device_name: str) -> Iterator[torch.device]:
    """Join the processes that torchrun started, if it started this one, and leave them at the end.

    Yields the device where this process computes. A GPU's tensors travel by nccl, the CPU's by gloo. Only the
    first process prints. A refusal tells the rank; one that several processes have is told by one of them.

    Args:
        device_name: what find_device() takes; where it means a kind of accelerator, each process has its own.

    Raises:
        BlitzError: there is no such device; another process was lost, or did not answer within a minute; or
            what fails within.
    """
    if not launched():
        yield find_device(device_name)
        return
    name = f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}"
    try:
        store, number, processes = next(rendezvous("env://", timeout=TIMEOUT))
        store = PrefixStore(_unused_part(store, number, processes), store)
        take_own_accelerator(device_name)
        device = find_device(device_name)
        backends = _backends(device)
        dist.init_process_group(backends, store=store, rank=number, world_size=processes, timeout=TIMEOUT)
        with _silence() if rank() else nullcontext():
            yield device
    except (BlitzError, RuntimeError) as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as torchrun sends to all others once one is gone
        if isinstance(error, BlitzError):
            if _is_told(store, str(error)):
                raise SystemExit(error.status) from error
            raise type(error)(f"{name}: {error}") from error
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):  # gloo has no error of its own
            raise
        raise BlitzError(
            f"{name} lost another process, or had no answer from it for {TIMEOUT.seconds} seconds: "
            f"{str(error).splitlines()[0]}"
        ) from error
    finally:
        if dist.is_initialized():
            # A DDP that is garbage still holds the group, whose threads can abort a process as it ends. They
            # may need the interpreter's lock once more, which PyTorch 2.6 holds while it waits for them.
            gc.collect()
            time.sleep(0.1)
            dist.destroy_process_group()


def _is_told(store: Store, sentence: str) -> bool:
    """Tell whether another process has asked this before, and will say the sentence."""
    try:
        return store.add(f"told: {sentence}", 1) > 1
    except RuntimeError:  # torchrun is gone, and the store with it
        return False


def _unused_part(store: Store, number: int, processes: int) -> str:
    """Return a name for keys of `store` that no earlier start of these processes has used.

    After a restart torchrun hands out the same store, which holds addresses of processes that are gone
    (https://github.com/pytorch/pytorch/issues/135712), and no number of the restart that all machines agree
    on. So each process asks the first one, with a word that has never been used, and waits for the answer.
    """
    word = uuid.uuid4().hex
    if number:
        store.set(f"question of {number}", word)
        name = store.get(f"answer to {word}").decode()
        store.add(f"heard {name}", 1)
        return name
    deadline = time.monotonic() + TIMEOUT.total_seconds()
    while store.add(f"heard {word}", 0) < processes - 1:
        for question in (f"question of {other}" for other in range(1, processes)):
            if store.check([question]):  # may be an old one, whose answer nobody waits for
                store.set(f"answer to {store.get(question).decode()}", word)
        if time.monotonic() > deadline:
            raise dist.DistStoreError("not all processes have joined")
        time.sleep(0.01)
    return word


def _backends(device: torch.device) -> str:
    """Return the backend for tensors on the CPU, and the one for tensors on `device`."""
    if device.type == "cpu":
        return "gloo"
    try:
        return f"cpu:gloo,{device.type}:{dist.get_default_backend_for_device(device)}"
    except ValueError:
        raise BlitzError(
            f"PyTorch cannot train in several processes on {device.type}: use --device cpu"
        ) from None


@contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def rank() -> int:
    """Return the number of this process in its group, from 0; the first one prints, and writes the files."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def own_batch_size(batch_size: int) -> int:
    """Return this process's part of a batch over all processes.

    Raises:
        BlitzError: the processes cannot share it equally, and a mean over unequal parts would be another one.
    """
    if batch_size % size():
        raise BlitzError(
            f"{size()} processes cannot share a batch of {batch_size} equally: "
            f"choose a batch size that is a multiple of {size()}"
        )
    return batch_size // size()


def own_indices(order: Tensor) -> Tensor:
    """Return this process's part of an order of samples, int64 (n,): every size()-th, from its rank on.

    Batch k of all parts together is batch k of the whole. Parts are equally long: where the order cannot be
    shared equally, its first indices are repeated at its end.
    """
    if size() == 1:
        return order
    return order[list(DistributedSampler(order, size(), rank(), shuffle=False))]  # type: ignore[arg-type]


def replicated(net: nn.Module, inputs: Tensor) -> nn.Module:
    """Return what to call for net(inputs): a DDP, whose backward leaves the mean of the gradients, or `net`.

    The weights and buffers become those of the first process; `inputs` (N, 3, 32, 32) may be any.
    """
    if not dist.is_initialized():
        return net
    replica = DistributedDataParallel(net)
    # After its first backward pass a DDP packs the gradients anew, in the order in which they came, and where
    # a gradient lies decides in which order the processes add it up. Have that behind us before the first
    # mini-batch: one after a resume would else be added up in another order than if there had been no stop.
    with evaluating(net), torch.enable_grad():  # which draws nothing, and leaves all buffers as they are
        replica(inputs).sum().backward()
    net.zero_grad()
    return replica


def mean(values: Tensor) -> Tensor:
    """Return the mean of `values` over the processes."""
    if size() == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / size()


def any_of(flag: bool) -> bool:
    """Tell whether `flag` is set in any process."""
    return bool(mean(torch.tensor(float(flag))))  # a fourth of the time that gathered() takes


def gathered(value: Any) -> list[Any]:
    """Return the `value` of each process, by rank."""
    if size() == 1:
        return [value]
    values: list[Any] = [None] * size()
    dist.all_gather_object(values, value)
    return values


def by_first(work: Callable[[], T]) -> T:
    """Have the first process do `work`, and return in each what it gave.

    In the first process, what its work raises is raised; the others then end, with status 1.
    """
    if rank() == 0:
        try:
            result = work()
        except Exception:
            gathered(None)  # has the others end
            raise
        gathered([result])
        return result
    answer = gathered(None)[0]
    if answer is None:
        raise SystemExit(1)
    return answer[0]


def run_name() -> str:
    """Return what names this start of torchrun, and no other, over all restarts of its processes.

    Without torchrun each call gives another name.
    """
    # Each torchrun makes a folder for what its processes fail with, and in it attempt_0/RANK/error.json,
    # attempt_1/RANK/error.json and so on. Its --rdzv-id is free to be the same every time, its process
    # number is 1 in every container, and it counts no restart that another machine asked for.
    error_file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    return str(Path(error_file).parents[2]) if error_file else uuid.uuid4().hex
