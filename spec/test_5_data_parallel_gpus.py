"""Section 5 of the notes, data parallelism: what is where, and how much of it.

What goes where is shown by the calls that copy, over CPU stand-ins for GPUs (see spec/data_parallel.py).
Where tensors live, what memory they take, and that native code computes the same, is shown on GPUs alone.
"""

import copy

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel
from torch.optim import SGD

from blitz.explained.parallel import data_parallel
from spec.data_parallel import Normed, Recorder, cpus, gpus, numbered, on_machines
from spec.data_parallel_faults import backwards, one_call, to_all
from spec.data_parallel_replica_faults import of_the_first, with_copies_of_all_buffers
from spec.harness import ANSWERED, QUALIFIED, broken_by, claim

UNEVEN = "not understood; DataParallel is said not to be good, as memory is uneven between the cards"
REST = "a model written for one card needs only this wrapper, everything else stays as it was"

# In float64: the gradients of several GPUs may add up in another order.
ON_GPUS = {"rtol": 1e-9, "atol": 1e-9}


class Placed(nn.Linear):
    """A layer that notes where its weight is."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.seen = []

    def forward(self, x):
        """Note it, with the device of the input."""
        self.seen.append((x.device, self.weight.device))
        return super().forward(x)


def step(model, optimizer, batch):
    """Take a step, with the output kept until the gradients are there."""
    optimizer.zero_grad()
    output = model(batch)
    output.square().mean().backward()
    optimizer.step()
    return output


def computed(net, model, batch):
    """Return output, gradients and buffers of a forward and a backward pass."""
    output = model(batch)
    output.square().sum().backward()
    return [output, [p.grad for p in net.parameters()], dict(net.named_buffers())]


# Faults


def of_their_sums(real):
    """Fault: outputs stay where they are, and only their sums come to the first device."""
    return lambda self, outputs, device: real(self, [output.sum().reshape(1) for output in outputs], device)


def on_idle_devices_too(real):
    """Fault: replicas are made for all devices, used or not."""
    return lambda self, net, ids: real(self, net, self.device_ids)[: len(ids)]


class TestParametersOnTheFirstDevice:
    """Where net and batch have to be, on GPUs."""

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(1)
    @claim("parallel.parameters-on-first-device-one-gpu", notes="dp.py")
    @broken_by(nn.Linear, "to", lambda real: lambda self, *target: self)
    def test_wrapper_of_one_gpu_moves_the_net_itself(self):
        """With one id the constructor moves the net there, without a to(device)."""
        net = nn.Linear(5, 2)

        nn.DataParallel(net, [0])

        assert {p.device for p in net.parameters()} == {torch.device("cuda", 0)}

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(1)
    @claim("parallel.parameters-on-first-device-inputs", notes="dp.py")
    @broken_by(DataParallel, "forward", lambda real: lambda self, x: self.module.cpu()(x))
    def test_batch_may_be_on_the_cpu(self):
        """The batch may stay on the CPU, where a bare net refuses it: the wrapper moves the shares."""
        net, batch = nn.Linear(5, 2).to("cuda:0"), torch.ones(30, 5)

        with pytest.raises(RuntimeError, match="device"):
            net(batch)
        assert nn.DataParallel(net, [0])(batch).device == torch.device("cuda", 0)

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(2)
    @claim("parallel.parameters-on-first-device-replicas", notes="dp.py")
    @broken_by(DataParallel, "forward", one_call)
    @broken_by(DataParallel, "gather", lambda real: lambda self, outputs, device: real(self, outputs, 1))
    def test_replicas_are_on_their_devices_and_all_else_on_the_first(self):
        """Each GPU has its share beside its replica; parameters, output and gradients are on the first."""
        with gpus() as devices:
            net = Placed(5, 2).to(devices[0])
            output = nn.DataParallel(net)(torch.ones(4 * len(devices), 5, device=devices[0]))
            output.sum().backward()

        assert sorted(net.seen, key=str) == sorted(((device, device) for device in devices), key=str)
        tensors = (output, net.weight, net.bias, net.weight.grad, net.bias.grad)
        assert {tensor.device for tensor in tensors} == {devices[0]}

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(2)
    @claim("parallel.parameters-on-first-device-refused", notes="dp.py")
    @broken_by(DataParallel, "forward", one_call)
    def test_net_on_the_second_gpu_is_refused(self):
        """A net on the second GPU is refused by a wrapper whose first device is another one."""
        wrapped = nn.DataParallel(nn.Linear(5, 2).to("cuda:1"))

        with pytest.raises(RuntimeError, match=r"on device cuda:0 \(device_ids\[0\]\).* on device: cuda:1"):
            wrapped(torch.ones(4, 5, device="cuda:1"))


class TestShareByShare:
    """nn.DataParallel against blitz.explained.parallel, over the same devices."""

    @on_machines
    @claim("parallel.rest-unchanged-on-gpus", notes="5", verdict=QUALIFIED, says=REST)
    @broken_by(DataParallel, "gather", backwards)
    @broken_by(DataParallel, "replicate", with_copies_of_all_buffers)
    @broken_by(DataParallel, "parallel_apply", of_the_first)
    @broken_by(DataParallel, "scatter", to_all)
    def test_net_is_computed_share_by_share(self, machine):
        """Outputs, gradients and running averages are those of our data_parallel over the same devices."""
        with machine() as devices:
            net = Normed().to(devices[0], torch.float64)
            ours = copy.deepcopy(net)
            batch = torch.randn(5 * len(devices) - 2, 5, dtype=torch.float64).to(devices[0])

            found = computed(net, nn.DataParallel(net), batch)
            expected = computed(ours, lambda x: data_parallel(ours, x, devices), batch)

        torch.testing.assert_close(found, expected, **ON_GPUS)


class TestImbalance:
    """Memory is uneven between the cards."""

    @claim("parallel.dataparallel-imbalance", notes="5", verdict=ANSWERED, says=UNEVEN)
    @broken_by(DataParallel, "gather", lambda real: lambda self, outputs, device: torch.cat(outputs))
    @broken_by(DataParallel, "gather", lambda real: lambda self, outputs, device: real(self, outputs, 1))
    @broken_by(DataParallel, "forward", one_call)
    def test_first_device_collects_outputs_and_gradients_of_all(self):
        """Every step copies the weights to all devices, all outputs to the first, and gradients likewise."""
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

    @claim("parallel.dataparallel-imbalance-later-devices", notes="5", verdict=ANSWERED, says=UNEVEN)
    @broken_by(torch.Tensor, "chunk", lambda real: lambda self, count, dim: real(self, count, dim)[::-1])
    @broken_by(torch.Tensor, "chunk", lambda real: torch.Tensor.tensor_split)
    @broken_by(DataParallel, "replicate", on_idle_devices_too)
    def test_later_devices_do_less(self):
        """Later devices get less, and at the end of an epoch maybe nothing, not even a replica."""
        net, copies = Recorder(), []
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
    @claim("parallel.dataparallel-imbalance-memory", notes="5", verdict=ANSWERED, says=UNEVEN)
    @broken_by(DataParallel, "gather", of_their_sums)
    def test_first_gpu_needs_more_memory(self, measured):
        """Training takes more memory on the first GPU than on any other: it holds the outputs of all."""
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
