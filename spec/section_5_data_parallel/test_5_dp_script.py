"""Notes dp.py, the official script: 100 samples in batches of 30, through a net from 5 numbers to 2.

The script runs over CPU stand-ins for GPUs, see data_parallel.py, and on the GPUs that there are.
"""

import threading

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel
from torch.utils.data import DataLoader

from blitz.explained.parallel import share_sizes
from spec.faults import with_options
from spec.harness import each_row, fault, statement
from spec.section_5_data_parallel import data_parallel_faults as faults
from spec.section_5_data_parallel.data_parallel import Net, cpus, gpus, on_machines

# The rows of each share of each batch, by the number of devices: the notes have 4, the tutorial 2, 3 and 8.
SCRIPT = {
    0: [[30], [30], [30], [10]],
    1: [[30], [30], [30], [10]],
    2: [[15, 15], [15, 15], [15, 15], [5, 5]],
    3: [[10, 10, 10], [10, 10, 10], [10, 10, 10], [4, 4, 2]],
    4: [[8, 8, 8, 6], [8, 8, 8, 6], [8, 8, 8, 6], [3, 3, 3, 1]],
    8: [[4, 4, 4, 4, 4, 4, 4, 2]] * 3 + [[2, 2, 2, 2, 2]],
}
INSIDE = "\tIn Model: input size torch.Size([{0}, 5]) output size torch.Size([{0}, 2])"
OUTSIDE = "Outside: input size torch.Size([{0}, 5]) output_size torch.Size([{0}, 2])"


class Model(nn.Module):
    """The net of dp.py, which tells what it sees."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        """Print both sizes, in one write: several threads print at once."""
        output = self.fc(x)
        print(f"\tIn Model: input size {x.size()} output size {output.size()}\n", end="")
        return output


def run_script(device):
    """Do what dp.py does."""
    model = nn.DataParallel(Model())
    model.to(device)
    for data in DataLoader(torch.randn(100, 5), batch_size=30, shuffle=True):
        x = data.to(device)
        output = model(x)
        print("Outside: input size", x.size(), "output_size", output.size())


def lines_of(batches):
    """Return what the script prints for shares of these sizes, in any order."""
    inside = [INSIDE.format(rows) for shares in batches for rows in shares]
    return sorted(inside + [OUTSIDE.format(sum(shares)) for shares in batches])


def net_elsewhere():
    """Return a net with a layer on another device; `meta` is one where none is needed."""
    return nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 2, device="meta"))


def buffer_elsewhere():
    """Return a net with a buffer on another device, which a call does not even need."""
    net = Net()
    net.register_buffer("count", torch.zeros(1, device="meta"))
    return net


def small_batches_whole(forward):
    """Fault: a batch is left whole if it is small."""
    return lambda self, x: self.module(x) if len(x) == 10 else forward(self, x)


@statement("parallel.dp-script-output", notes="dp.py")
@fault("shares differ by one row at most", torch.Tensor, "chunk", faults.near_equal)
@fault("the loader drops the last batch", DataLoader, "__init__", with_options(drop_last=True))
@fault("small batches stay whole", DataParallel, "forward", small_batches_whole)
@fault(
    "the first output is the whole output",
    DataParallel,
    "gather",
    lambda real: lambda self, outputs, *rest: outputs[0],
)
@fault("the replicas run one after the other", DataParallel, "parallel_apply", faults.in_this_thread)
class TestScriptOutput:
    """On 2, 3, 4 or 8 GPUs, the script dp.py prints the lines that the notes or the tutorial show. For
    example, 4 copies of the net get 8, 8, 8 and 6 of 30 rows. The lines can come in any order, because each
    copy runs in its own thread.
    """

    @each_row
    @pytest.mark.parametrize(("count", "batches"), SCRIPT.items(), ids=map("{} devices".format, SCRIPT))
    def test_published_lines_are_printed(self, count, batches, capsys):
        with cpus(count):
            run_script(torch.device("cpu"))

        assert sorted(capsys.readouterr().out.splitlines()) == lines_of(batches)

    @on_machines
    def test_lines_on_any_number_of_devices_are_those_of_the_rule(self, machine, capsys):
        with machine() as devices:
            run_script(devices[0])

        batches = [share_sizes(rows, len(devices)) for rows in (30, 30, 30, 10)]
        assert sorted(capsys.readouterr().out.splitlines()) == lines_of(batches)

    @on_machines
    def test_each_replica_runs_in_a_thread_of_its_own(self, machine):
        net, threads = Net(), []
        net.register_forward_pre_hook(lambda module, args: threads.append(threading.current_thread()))

        with machine() as devices:
            nn.DataParallel(net)(torch.ones(len(devices), 1, device=devices[0]))

        assert len({*threads, threading.current_thread()}) == len(devices) + 1


@statement("parallel.parameters-on-first-device", notes="dp.py")
@fault("the place of the net is not checked", DataParallel, "forward", faults.one_call)
@fault("to() leaves the net where it is", DataParallel, "_apply", lambda real: lambda self, *change: self)
@fault("a wrapper of one GPU moves nothing", nn.Linear, "to", lambda real: lambda self, *target: self)
@fault("outputs come to the second GPU", DataParallel, "gather", faults.onto(1))
class TestParametersOnTheFirstDevice:
    """On several GPUs, `nn.DataParallel` needs the whole net on the first GPU, otherwise a call raises a
    RuntimeError. The net may be moved after the wrapping, by `to(device)` of the wrapper, as in dp.py. With a
    single GPU, the wrapper itself moves the net to this GPU.
    """

    @pytest.mark.parametrize("make_net", [net_elsewhere, buffer_elsewhere], ids=["layer", "buffer"])
    def test_net_elsewhere_is_refused(self, make_net):
        with cpus(2), pytest.raises(RuntimeError, match=r"on device cpu \(device_ids\[0\]\).* device: meta"):
            nn.DataParallel(make_net())(torch.ones(4, 5))

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(2)
    def test_net_on_the_second_gpu_is_refused(self):
        wrapped = nn.DataParallel(nn.Linear(5, 2).to("cuda:1"))

        with pytest.raises(RuntimeError, match=r"on device cuda:0 \(device_ids\[0\]\).* on device: cuda:1"):
            wrapped(torch.ones(4, 5, device="cuda:1"))

    def test_wrapper_moves_the_net(self):
        net = nn.BatchNorm1d(3)

        with cpus(2):
            nn.DataParallel(net).to("meta")

        assert {value.device.type for value in net.state_dict().values()} == {"meta"}

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(1)
    def test_wrapper_of_one_gpu_moves_the_net_and_the_batch_and_calls_the_net(self):
        net, called = nn.Linear(5, 2), []
        net.register_forward_pre_hook(lambda module, args: called.append(module is net))

        wrapped = nn.DataParallel(net, [0])
        assert net.weight.device == torch.device("cuda", 0)
        output = wrapped(torch.ones(30, 5))

        assert called == [True]
        assert output.device == torch.device("cuda", 0)

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(2)
    def test_replicas_are_on_their_devices_and_all_else_on_the_first(self):
        net, seen = nn.Linear(5, 2), []
        net.register_forward_pre_hook(lambda layer, args: seen.append((args[0].device, layer.weight.device)))

        with gpus() as devices:
            output = nn.DataParallel(net.to(devices[0]))(torch.ones(4 * len(devices), 5, device=devices[0]))
            output.sum().backward()

        assert sorted(seen, key=str) == sorted(((device, device) for device in devices), key=str)
        tensors = (output, net.weight, net.bias, net.weight.grad, net.bias.grad)
        assert {tensor.device for tensor in tensors} == {devices[0]}
