"""Real processes for what is said of several: each one is a rank of a group that talks by gloo."""

import functools
import importlib
import itertools
import multiprocessing
import os
import pickle
import socket
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from datetime import timedelta
from multiprocessing import forkserver
from threading import Thread

import pytest
import torch
import torch.distributed as dist

from spec.harness.children import environment

# A server imports this once, and forks every rank: a fork of pytest itself could not run a backward pass any
# more. DDP imports torch._dynamo, which takes a second.
PRELOADED = ["__main__", "torch._dynamo", "hypothesis", "spec.conftest", "spec.blitz.runs"]

context = multiprocessing.get_context("forkserver")
numbers = itertools.count()


def prepare():
    """Start the server; it imports in the background, while this process goes on."""
    context.set_forkserver_preload(PRELOADED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONSAFEPATH", "1")  # else it would import what lies in the current folder
        patch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
        forkserver.ensure_running()


def run(size, work, *arguments, folder, planted=None, backend="gloo"):
    """Return what `work(*arguments)` gives in each of `size` ranks; the first exception of any is raised.

    Args:
        size: number of processes.
        work: a function of a module, for the ranks to import.
        arguments: what can be pickled.
        folder: where the processes meet, in a file: no port has to be free.
        planted: where the ranks find the fault to plant: module and name of a statement, number of its fault.
        backend: how the processes talk.
    """
    prepare()
    meeting = folder / f"meeting {next(numbers)}"
    with ProcessPoolExecutor(size, mp_context=context, initializer=_end_with_caller) as processes:
        # as bytes, like the results: torch would have the processes share the memory of a tensor
        sent = pickle.dumps(arguments)
        group = {"backend": backend, "init_method": f"file://{meeting}", "world_size": size}
        ranks = [processes.submit(_join, group, rank, planted, work, sent) for rank in range(size)]
        try:
            done, _ = wait(ranks, return_when=FIRST_EXCEPTION)
            for rank in [*done, *ranks]:
                rank.result()
        except BaseException:  # pytest-timeout's, too: without this the others would be waited for
            for process in multiprocessing.active_children():
                process.kill()
            raise
    return [pickle.loads(rank.result()) for rank in ranks]


def _end_with_caller():
    """Have this rank end with the process that called `run`, and not wait forever for its next task.

    The operating system takes the server for its parent, and the server ends only when it has no ranks left.
    """

    def end():
        multiprocessing.parent_process().join()
        os._exit(1)

    Thread(target=end, daemon=True).start()


def _join(group, rank, planted, work, arguments):
    """Join the group, work, and return the result as bytes."""
    torch.set_num_threads(1)
    loopback = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    os.environ["GLOO_SOCKET_IFNAME"] = loopback[0]  # else gloo looks up the name of the machine
    with pytest.MonkeyPatch.context() as patch:
        if planted:
            module, name, number = planted
            proof = functools.reduce(getattr, name.split("."), importlib.import_module(module))
            proof.faults[number].plant(patch)
        dist.init_process_group(rank=rank, timeout=timedelta(minutes=1), **group)
        return pickle.dumps(work(*pickle.loads(arguments)))  # the process ends soon, and with it the group
