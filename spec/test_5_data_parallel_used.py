"""Section 5 of the notes, data parallelism: which devices nn.DataParallel uses.

PyTorch's own code runs here over CPU stand-ins for GPUs, see spec/data_parallel.py, which keep a list of what
is copied. That real GPUs are used so is shown on them alone.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DataParallel

from spec.data_parallel import DATA_PARALLEL, Recorder, cpus, numbered
from spec.data_parallel_faults import to_all
from spec.harness import QUALIFIED, broken_by, claim

USED = "the program puts the parts on all known GPUs; without setting anything, on all GPUs"


# Faults


def first_only(real):
    """Fault: nn.DataParallel uses the first device unless told otherwise."""
    return lambda self, net, ids=(0,), *options: real(self, net, ids, *options)


def onto_the_first(real):
    """Fault: outputs are put together on device 0."""

    def init(self, *options, **named):
        real(self, *options, **named)
        self.output_device = 0

    return init


def onto_the_last(real):
    """Fault: outputs are put together on the last device."""

    def init(self, *options):
        real(self, *options)
        self.output_device = self.device_ids[-1] or -1

    return init


def on_the_second(real):
    """Fault: a layer computes on the second GPU."""
    return lambda self, x: F.linear(x.to(1), self.weight.to(1), self.bias.to(1)).to(0)


class TestUsedDevices:
    """The program puts the parts on all known GPUs."""

    @claim("parallel.uses-all-visible-gpus", notes="5", verdict=QUALIFIED, says=USED)
    @broken_by(DataParallel, "__init__", first_only)
    @broken_by(DataParallel, "scatter", to_all)
    @broken_by(DataParallel, "__init__", onto_the_last)
    def test_all_visible_devices_are_used_by_default(self):
        """Without ids, an nn.DataParallel takes all visible devices, and puts outputs on the first."""
        for devices in (1, 2, 4, 8):
            net = Recorder()
            with cpus(devices):
                wrapped = nn.DataParallel(net)
                wrapped(numbered(32, 1))

            assert wrapped.device_ids == [*range(devices)]
            assert wrapped.output_device == 0
            assert [len(share) for share in net.shares()] == [32 // devices] * devices

    @claim("parallel.uses-all-visible-gpus-chosen", notes="5", verdict=QUALIFIED, says=USED)
    @broken_by(DATA_PARALLEL, "_get_device_index", lambda real: lambda device, optional: 0)
    @broken_by(DataParallel, "__init__", onto_the_first)
    @broken_by(DataParallel, "replicate", lambda real: lambda self, net, ids: real(self, net, sorted(ids)))
    def test_ids_choose_devices_and_their_order(self):
        """device_ids chooses among the visible devices, the first being where net and outputs are."""
        net, copies = Recorder(), []
        net.register_buffer("count", torch.zeros(1))

        with cpus(4, copies=copies):
            wrapped = nn.DataParallel(net, [3, 1])
            wrapped(numbered(30, 1))

        assert (wrapped.device_ids, wrapped.output_device) == ([3, 1], 3)
        assert copies == [("scatter", [15, 15]), ("broadcast", [3, 1]), ("gather", 3)]

    @claim("parallel.uses-all-visible-gpus-output", notes="5", verdict=QUALIFIED, says=USED)
    @broken_by(DataParallel, "__init__", onto_the_first)
    @broken_by(DataParallel, "gather", lambda real: lambda self, outputs, device: real(self, outputs, 0))
    def test_output_device_chooses_where_outputs_go(self):
        """output_device puts the outputs together elsewhere than on the first device."""
        copies = []

        with cpus(4, copies=copies):
            nn.DataParallel(Recorder(), output_device=2)(numbered(30, 1))

        assert copies == [("scatter", [8, 8, 8, 6]), ("gather", 2)]

    @claim("parallel.uses-all-visible-gpus-one-device", notes="5", verdict=QUALIFIED, says=USED)
    @broken_by(DataParallel, "forward", lambda real: lambda self, x: self.replicate(self.module, [0])[0](x))
    @broken_by(DataParallel, "forward", lambda real: lambda self, x: self.gather([self.module(x)], 0))
    def test_one_device_gets_the_net_itself_and_no_replica(self):
        """With one id the net itself is called: nothing is replicated and nothing gathered."""
        net, copies = nn.Linear(1, 1), []

        with cpus(4, copies=copies):
            nn.DataParallel(net, [2])(numbered(30, 1))

        assert copies == [("scatter", [30])]

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(1)
    @claim("parallel.uses-all-visible-gpus-one-gpu", notes="5", verdict=QUALIFIED, says=USED)
    @broken_by(DataParallel, "forward", lambda real: lambda self, x: self.replicate(self.module, [0])[0](x))
    @broken_by(DataParallel, "forward", lambda real: lambda self, x: real(self, x).cpu())
    def test_one_gpu_calls_the_net_itself(self):
        """On one GPU the net itself computes the whole batch, and the output stays there."""
        net, called = nn.Linear(5, 2), []
        net.register_forward_pre_hook(lambda module, args: called.append(module))

        output = nn.DataParallel(net, [0])(torch.ones(30, 5, device="cuda:0"))

        assert [module is net for module in called] == [True]
        assert output.device == torch.device("cuda", 0)

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(2)
    @claim("parallel.uses-all-visible-gpus-without-wrapper", notes="5", verdict=QUALIFIED, says=USED)
    @broken_by(nn.Linear, "forward", on_the_second)
    def test_net_without_the_wrapper_uses_one_gpu(self):
        """Without the wrapper a net uses its own GPU only: nothing is allocated on the others."""
        net, batch = nn.Linear(5, 2).to("cuda:0"), torch.ones(30, 5, device="cuda:0")
        others = range(1, torch.cuda.device_count())
        for index in others:
            torch.cuda.reset_peak_memory_stats(index)
        before = [torch.cuda.memory_allocated(index) for index in others]

        net(batch).sum().backward()

        assert [torch.cuda.max_memory_allocated(index) for index in others] == before
