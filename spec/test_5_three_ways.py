"""Notes 5, DataParallel or DistributedDataParallel (DDP): both, and one process, on the same batch.

Seconds and memory of the three are measured by `python -m spec.benchmarks.data_parallel`.
"""

import torch
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn import functional as F
from torch.nn.parallel import DataParallel

from spec.data_parallel import cpus
from spec.data_parallel_faults import backwards
from spec.data_parallel_replica_faults import of_the_first
from spec.distributed_faults import SUMMED, local
from spec.distributed_shares import ROUNDING, gradient, gradient_alone, make_batch, make_net, own
from spec.harness import ANSWERED, broken_by, claim

DDP = nn.parallel.DistributedDataParallel
UNEVEN = "not understood; DataParallel is said not to be good, as memory is uneven between the cards"


def numbers_sent():
    """In each rank: three steps; return how many numbers DDP has handed over to be averaged."""
    net = make_net()
    ddp, sent = DDP(net), []

    def average(state, bucket):
        sent.append(bucket.buffer().numel())
        return default_hooks.allreduce_hook(None, bucket)

    ddp.register_comm_hook(None, average)
    for number in range(3):
        inputs, targets = own(make_batch(number), (4, 4))
        F.mse_loss(ddp(inputs), targets).backward()
    return sum(sent)


def half_of_ddp():
    """In each rank: backward through a plain DDP on its half of a batch; return the gradient."""
    net = make_net()
    ddp = DDP(net)
    inputs, targets = own(make_batch(), (4, 4))
    F.mse_loss(ddp(inputs), targets).backward()
    return gradient(net)


class TestThreeWays:
    """One process, DataParallel in one process, DDP in several."""

    @claim("parallel.three-ways", notes="5", verdict=ANSWERED, says=UNEVEN)
    @broken_by(DataParallel, "parallel_apply", of_the_first)
    @broken_by(DataParallel, "gather", backwards)
    @broken_by(DDP, "forward", local)
    @broken_by(DDP, "__init__", SUMMED)
    def test_all_ways_have_the_same_gradient(self, ranks):
        """With a mean loss and equal shares one process, DataParallel and DDP have the same gradient."""
        inputs, targets = make_batch()
        net = make_net()
        with cpus(2):
            F.mse_loss(nn.DataParallel(net)(inputs), targets).backward()

        by_ddp = ranks(2, half_of_ddp)

        for each in (gradient(net), *by_ddp):
            torch.testing.assert_close(each, gradient_alone(inputs, targets), **ROUNDING)

    @claim("parallel.three-ways-sent", notes="5", verdict=ANSWERED, says=UNEVEN)
    @broken_by(DDP, "forward", local)
    @broken_by(DataParallel, "replicate", lambda real: lambda self, net, ids: [net] * len(ids))
    def test_ddp_sends_gradients_alone_and_data_parallel_weights_too(self, ranks):
        """Each step DDP averages each gradient once; DataParallel also copies inputs, weights and outputs."""
        net, copies = make_net(), []
        with cpus(2, copies=copies):
            wrapped = nn.DataParallel(net)
            for number in range(3):
                inputs, targets = make_batch(number)
                F.mse_loss(wrapped(inputs), targets).backward()

        sent = ranks(2, numbers_sent)

        assert sent == [3 * sum(parameter.numel() for parameter in net.parameters())] * 2
        assert [what for what, _ in copies] == ["scatter", "broadcast", "gather", "scatter", "reduce"] * 3
