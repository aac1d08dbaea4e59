"""Notes 5, DataParallel is said not to be good, as memory is uneven between the cards: why, and against what.

The notebook of section 4 promises speed by all GPUs: what is divided among them, and what is not.

What goes where is shown by the calls that copy, over CPU stand-ins for GPUs (see data_parallel.py); what
memory it takes, on GPUs alone. `python -m spec.benchmarks.data_parallel` measures seconds and memory.
"""

import threading

import pytest
import torch
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn import functional as F
from torch.nn.parallel import DataParallel, DistributedDataParallel, comm
from torch.optim import SGD
from torch.utils.benchmark import Timer

from blitz.training.nets import CifarNet
from spec.harness import ANSWERED, QUALIFIED, fault, statement
from spec.section_5_data_parallel import data_parallel_faults as faults
from spec.section_5_data_parallel.data_parallel import Net, cpus, gpus, numbered, stand_ins
from spec.section_5_data_parallel.distributed_faults import SUMMED, local
from spec.section_5_data_parallel.distributed_shares import (
    ROUNDING,
    gradient,
    gradient_alone,
    make_batch,
    make_net,
    own,
)

UNEVEN = "DataParallel is said not to be good, as memory is uneven between the cards; this is not understood"

MULTIPLICATIONS = 28 * 28 * 6 * 75 + 10 * 10 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10  # for an image


class Counted(nn.Module):
    """A net that counts the multiplications of each of its replicas, which share lock and list."""

    def __init__(self, net):
        super().__init__()
        self.net, self.lock, self.counts = net, threading.Lock(), []
        for layer in net.children():
            layer.register_forward_hook(self.count)

    def count(self, layer, inputs, output):
        """Add what each number of an output costs to the count of the replica that is at work."""
        if hasattr(layer, "weight"):
            self.counts[-1] += output.numel() * layer.weight[0].numel()

    def forward(self, images):
        """Let one replica at a time be at work."""
        with self.lock:
            self.counts.append(0)
            return self.net(images)


def weights_copied(wrapped, batches):
    """Return how many numbers are copied to other devices as weights, for each batch."""
    numbers, broadcast = [], comm.broadcast_coalesced

    def counting(tensors, devices):
        if tensors:  # PyTorch 2.6 asks for copies of none, too
            numbers.append((len(devices) - 1) * sum(tensor.numel() for tensor in tensors))
        return broadcast(tensors, devices)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comm, "broadcast_coalesced", counting)
        for batch in batches:
            wrapped(batch)
    return numbers


def seconds_of_a_step(model, images):
    """Return how long a training step takes that ends on the first device."""
    words = (model, SGD(model.parameters(), lr=0.001, momentum=0.9), images)
    timer = Timer("step(*words).sum().item()", globals={"step": step, "words": words})
    return timer.blocked_autorange().median


def step(model, optimizer, batch):
    """Take a step, with the output kept until the gradients are there."""
    optimizer.zero_grad()
    output = model(batch)
    output.square().mean().backward()
    optimizer.step()
    return output


def half_of_ddp():
    """In each rank: backward through DDP on its half of a batch; return the gradient."""
    net = make_net()
    ddp = DistributedDataParallel(net)
    inputs, targets = own(make_batch(), (4, 4))
    F.mse_loss(ddp(inputs), targets).backward()
    return gradient(net)


def numbers_sent():
    """In each rank: three steps; return how many numbers DDP has handed over to be averaged."""
    ddp, sent = DistributedDataParallel(make_net()), []

    def average(state, bucket):
        sent.append(bucket.buffer().numel())
        return default_hooks.allreduce_hook(None, bucket)

    ddp.register_comm_hook(None, average)
    for number in range(3):
        inputs, targets = own(make_batch(number), (4, 4))
        F.mse_loss(ddp(inputs), targets).backward()
    return sum(sent)


# Faults


def left_where_they_are(gather):
    """Join the outputs without a gather."""
    return lambda self, outputs, device: torch.cat(outputs)


def of_their_sums(gather):
    """Leave the outputs where they are, and gather their sums alone."""
    return lambda self, outputs, device: gather(self, [each.sum().reshape(1) for each in outputs], device)


def on_idle_devices_too(replicate):
    """Make replicas for all devices, used or not."""
    return lambda self, net, ids: replicate(self, net, self.device_ids)[: len(ids)]


def keeping_replicas(replicate):
    """Make the replicas once, and use them for later batches, too."""
    kept = []

    def keep(self, net, ids):
        kept[:] = kept or replicate(self, net, ids)
        return kept

    return keep


@statement("parallel.dataparallel-imbalance", notes="5", verdict=ANSWERED, says=UNEVEN)
@fault("outputs stay where they are", DataParallel, "gather", left_where_they_are)
@fault("outputs come to the second device", DataParallel, "gather", faults.onto(1))
@fault("later devices do more", torch.Tensor, "chunk", faults.last_rows_first)
@fault("idle devices get replicas, too", DataParallel, "replicate", on_idle_devices_too)
@fault("the sums of outputs are gathered", DataParallel, "gather", of_their_sums)
class TestImbalance:
    """In each step, `nn.DataParallel` collects all outputs and all gradients on the first device. The first
    device therefore needs more memory than any other device. The last devices can get fewer rows of the batch
    than the first device, or no rows.
    """

    def test_first_device_collects_outputs_and_gradients_of_all(self):
        net, batch, copies = nn.Linear(5, 2), torch.ones(30, 5), []
        a_step = [
            ("scatter", [8, 8, 8, 6]),
            ("broadcast", [0, 1, 2, 3]),  # weight and bias at once
            ("gather", 0),
            ("scatter", [8, 8, 8, 6]),  # the gradient of the outputs
            ("reduce", 4),
        ]

        with cpus(4, copies=copies):
            wrapped = nn.DataParallel(net)
            optimizer = SGD(net.parameters(), lr=0.1)
            for _ in range(2):
                step(wrapped, optimizer, batch)

        assert copies == a_step * 2

    def test_later_devices_do_less(self):
        net, copies = Net(), []
        net.register_buffer("count", torch.zeros(1))

        with cpus(8, copies=copies):
            wrapped = nn.DataParallel(net)
            for rows in (30, 10):
                wrapped(numbered(rows, 1))

        assert [what for what in copies if what[0] != "gather"] == [
            ("scatter", [4, 4, 4, 4, 4, 4, 4, 2]),
            ("broadcast", [0, 1, 2, 3, 4, 5, 6, 7]),
            ("scatter", [2, 2, 2, 2, 2]),
            ("broadcast", [0, 1, 2, 3, 4]),
        ]

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(2)
    def test_first_gpu_needs_more_memory(self, measured):
        with gpus() as devices:
            net = nn.Linear(64, 8192).to(devices[0])
            wrapped, optimizer = nn.DataParallel(net), SGD(net.parameters(), lr=0.1, momentum=0.9)
            batch = torch.ones(4096 * len(devices), 64)
            output_bytes = 4096 * len(devices) * 8192 * 4  # 256 MiB on two: libraries reserve less
            step(wrapped, optimizer, batch)  # which they do when they are first used
            for device in devices:
                torch.cuda.reset_peak_memory_stats(device)
            step(wrapped, optimizer, batch)

            peaks = [torch.cuda.max_memory_allocated(device) for device in devices]

        measured["peak memory in bytes"] = dict(zip(map(str, devices), peaks, strict=True))
        assert peaks[0] - max(peaks[1:]) > output_bytes / 2


@statement(
    "parallel.dataparallel-speed",
    notes="notebook cifar",
    verdict=QUALIFIED,
    says="by all GPUs, the speed-up is even more massive",
)
@fault("each device computes the whole batch", torch.Tensor, "chunk", faults.whole)
@fault("the net is called once", DataParallel, "forward", faults.one_call)
@fault("weights are copied only once", DataParallel, "replicate", keeping_replicas)
class TestSpeed:
    """`nn.DataParallel` divides the multiplications of a forward pass through the CIFAR-10 net among the
    devices. For each batch, whatever its size, all parameters of the net, 62,006 numbers, are copied to each
    further device that gets images.

    How many times as fast the GPUs are together is measured by batch and recorded, and not promised.
    """

    def test_each_device_multiplies_for_its_share(self, device):
        net = Counted(CifarNet().to(device))

        with stand_ins(device, 4):
            nn.DataParallel(net)(torch.zeros(30, 3, 32, 32, device=device))

        assert sorted(net.counts) == [rows * MULTIPLICATIONS for rows in (6, 8, 8, 8)]

    def test_all_weights_are_copied_for_each_batch_whatever_its_size(self, device):
        batches = [torch.zeros(rows, 3, 32, 32, device=device) for rows in (2, 4, 40)]

        with stand_ins(device, 4):
            copied = weights_copied(nn.DataParallel(CifarNet().to(device)), batches)

        assert copied == [1 * 62_006, 3 * 62_006, 3 * 62_006]

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(2)
    @pytest.mark.timed
    def test_gpus_give_the_same_scores_in_a_time_that_is_recorded(self, measured):
        with gpus() as devices:
            net = CifarNet().to(devices[0])
            for rows in (4, 64, 1024, 16_384):
                images, wrapped = torch.rand(rows, 3, 32, 32, device=devices[0]), nn.DataParallel(net)
                torch.testing.assert_close(wrapped(images), net(images))
                ratio = seconds_of_a_step(net, images) / seconds_of_a_step(wrapped, images)
                measured[f"times as fast on {len(devices)} GPUs, batch {rows}"] = ratio


@statement("parallel.three-ways", notes="5", verdict=ANSWERED, says=UNEVEN)
@fault("the first share alone has gradients", DataParallel, "parallel_apply", faults.of_the_first)
@fault("outputs are joined backwards", DataParallel, "gather", faults.backwards)
@fault("DDP leaves gradients as they are", DistributedDataParallel, "forward", local)
@fault("DDP sums gradients", DistributedDataParallel, "__init__", SUMMED)
class TestThreeWays:
    """One process, `nn.DataParallel`, and DistributedDataParallel (DDP) in two processes compute the same
    gradient. This holds for a mean loss and equal shares of the batch. In each step, DDP sends every element
    of the gradients exactly once to be averaged.
    """

    def test_all_ways_have_the_same_gradient(self, ranks):
        inputs, targets = make_batch()
        net = make_net()
        with cpus(2):
            F.mse_loss(nn.DataParallel(net)(inputs), targets).backward()

        by_ddp = ranks(2, half_of_ddp)

        for each in (gradient(net), *by_ddp):
            torch.testing.assert_close(each, gradient_alone(inputs, targets), **ROUNDING)

    def test_ddp_sends_each_gradient_once_a_step(self, ranks):
        sent = ranks(2, numbers_sent)

        assert sent == [3 * (3 * 4 + 4 + 4 * 1 + 1)] * 2
