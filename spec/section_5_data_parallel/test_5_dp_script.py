"""Notes dp.py, the official script: 100 samples in batches of 30, through a net from 5 numbers to 2.

The script runs over CPU stand-ins for GPUs, see data_parallel.py, and on the GPUs that there are.
"""

import copy
import threading
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel
from torch.utils.data import DataLoader

from blitz.explained.parallel import share_sizes
from spec.faults import with_options
from spec.harness import each_row, fault, statement
from spec.section_5_data_parallel.data_parallel import Normed, Recorder, cpus, gpus, on_machines
from spec.section_5_data_parallel.data_parallel_faults import (
    in_parts,
    in_this_thread,
    of_one,
    one_call,
    onto_the_second,
    tensor_split,
)

# What the script prints inside, by the number of devices: the notes have 4, the tutorial 2, 3 and 8.
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


class Placed(nn.Linear):
    """A layer that notes where its weight is, and its input."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.seen = []

    def forward(self, x):
        """Note both devices."""
        self.seen.append((x.device, self.weight.device))
        return super().forward(x)


def run_script(device):
    """Do what dp.py does."""
    model = nn.DataParallel(Model())
    model.to(device)
    for data in DataLoader(torch.randn(100, 5), batch_size=30, shuffle=True):
        x = data.to(device)
        output = model(x)
        print("Outside: input size", x.size(), "output_size", output.size())


def lines_of(batches):
    """Return what the script prints for shares of these sizes, as lines_by_batch does."""
    return [(Counter(map(INSIDE.format, shares)), OUTSIDE.format(sum(shares))) for shares in batches]


def lines_by_batch(printed):
    """Return for each batch the lines from inside the model, counted, and the line from outside."""
    batches, inside = [], Counter()
    for line in printed.splitlines():
        if line.startswith("Outside"):
            batches.append((inside, line))
            inside = Counter()
        else:
            inside[line] += 1
    return batches


def net_elsewhere():
    """Return a net with a layer on another device; `meta` is one where none is needed."""
    return nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 2, device="meta"))


def buffer_elsewhere():
    """Return a net with a buffer on another device, which a call does not even need."""
    net = Recorder()
    net.register_buffer("count", torch.zeros(1, device="meta"))
    return net


# (net, message)
ELSEWHERE = {
    "layer": (net_elsewhere, r"on device cpu \(device_ids\[0\]\).* on device: meta"),
    "buffer": (buffer_elsewhere, r"parameters and buffers on device cpu.*: meta"),
}


# Faults


def small_batches_whole(real):
    """Leave a batch whole if it is small."""
    return lambda self, x: self.module(x) if len(x) == 10 else real(self, x)


def checking_the_first(real):
    """Look at the place of the first parameter only, and leave layers elsewhere out."""

    def forward(self, *inputs):
        if next(self.module.parameters()).device != self.src_device_obj:
            return real(self, *inputs)
        return self.module[0](*inputs)

    return forward


def checking_parameters(real):
    """Do not look at the place of buffers."""

    def forward(self, *inputs):
        buffers, self.module._buffers = self.module._buffers, {}
        try:
            return real(self, *inputs)
        finally:
            self.module._buffers = buffers

    return forward


def moving_a_copy(real):
    """Leave the net where it is, and give back a copy that is moved."""
    return lambda self, device: copy.deepcopy(self)._apply(lambda tensor: tensor.to(device))


def replica_for_one(real):
    """Make a replica for a single device, too."""
    return lambda self, x: self.replicate(self.module, [0])[0](x)


@statement("parallel.dp-script-output", notes="dp.py")
@fault("shares differ by one row at most", torch.Tensor, "chunk", tensor_split)
@fault("the loader drops the last batch", DataLoader, "__init__", with_options(drop_last=True))
@fault("small batches stay whole", DataParallel, "forward", small_batches_whole)
@fault("a single device gets the batch in parts", DataParallel, "forward", in_parts)
@fault("the first output is the whole output", DataParallel, "gather", of_one)
@fault("the replicas run one after the other", DataParallel, "parallel_apply", in_this_thread)
class TestScriptOutput:
    """The script prints what the notes (4 GPUs) and the tutorial (2, 3 and 8) show: on 4 GPUs the net sees
    8, 8, 8 and 6 rows of a batch of 30, and 3, 3, 3 and 1 of the last 10, in an order that threads decide.
    """

    @each_row
    @pytest.mark.parametrize(("count", "batches"), SCRIPT.items(), ids="{} devices".format)
    def test_published_lines_are_printed(self, count, batches, capsys):
        with cpus(count):
            run_script(torch.device("cpu"))

        assert lines_by_batch(capsys.readouterr().out) == lines_of(batches)

    @on_machines
    def test_lines_on_any_number_of_devices_are_those_of_the_rule(self, machine, capsys):
        with machine() as devices:
            run_script(devices[0])

        batches = [share_sizes(rows, len(devices)) for rows in (30, 30, 30, 10)]
        assert lines_by_batch(capsys.readouterr().out) == lines_of(batches)

    @on_machines
    def test_each_replica_runs_in_a_thread_of_its_own(self, machine):
        net, threads = Recorder(), []
        net.register_forward_pre_hook(lambda module, args: threads.append(threading.current_thread()))

        with machine() as devices:
            nn.DataParallel(net)(torch.ones(len(devices), 1, device=devices[0]))

        assert len({*threads, threading.current_thread()}) == len(devices) + 1


@statement("parallel.parameters-on-first-device", notes="dp.py")
@fault("the place of the net is not checked", DataParallel, "forward", one_call)
@fault("only the first parameter is checked", DataParallel, "forward", checking_the_first)
@fault("buffers are not checked", DataParallel, "forward", checking_parameters)
@fault("to() leaves the net where it is", DataParallel, "_apply", lambda real: lambda self, *change: self)
@fault("to() moves a copy", DataParallel, "to", moving_a_copy)
@fault("a wrapper of one GPU moves nothing", nn.Linear, "to", lambda real: lambda self, *target: self)
@fault("one GPU gets a replica", DataParallel, "forward", replica_for_one)
@fault("outputs come to the second GPU", DataParallel, "gather", onto_the_second)
class TestParametersOnTheFirstDevice:
    """The net has to be on the first of the devices, else a call is a RuntimeError that names both places; a
    `to(device)` may come after the wrapping, as in dp.py. The batch may be anywhere.
    """

    @pytest.mark.parametrize(("make", "message"), ELSEWHERE.values(), ids=ELSEWHERE)
    def test_net_elsewhere_is_refused(self, make, message):
        with cpus(2), pytest.raises(RuntimeError, match=message):
            nn.DataParallel(make())(torch.ones(4, 5))

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(2)
    def test_net_on_the_second_gpu_is_refused(self):
        wrapped = nn.DataParallel(nn.Linear(5, 2).to("cuda:1"))

        with pytest.raises(RuntimeError, match=r"on device cuda:0 \(device_ids\[0\]\).* on device: cuda:1"):
            wrapped(torch.ones(4, 5, device="cuda:1"))

    def test_wrapper_moves_the_net(self):
        net = Normed()

        with cpus(2):
            nn.DataParallel(net).to("meta")

        assert {value.device.type for value in net.state_dict().values()} == {"meta"}

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(1)
    def test_wrapper_of_one_gpu_moves_the_net_and_the_batch_and_calls_the_net(self):
        net, called = nn.Linear(5, 2), []
        net.register_forward_pre_hook(lambda module, args: called.append(module))

        wrapped = nn.DataParallel(net, [0])
        assert net.weight.device == torch.device("cuda", 0)
        output = wrapped(torch.ones(30, 5))

        assert [module is net for module in called] == [True]
        assert output.device == torch.device("cuda", 0)

    @pytest.mark.gpu
    @pytest.mark.multi_gpu(2)
    def test_replicas_are_on_their_devices_and_all_else_on_the_first(self):
        with gpus() as devices:
            net = Placed(5, 2).to(devices[0])
            output = nn.DataParallel(net)(torch.ones(4 * len(devices), 5, device=devices[0]))
            output.sum().backward()

        assert sorted(net.seen, key=str) == sorted(((device, device) for device in devices), key=str)
        tensors = (output, net.weight, net.bias, net.weight.grad, net.bias.grad)
        assert {tensor.device for tensor in tensors} == {devices[0]}
