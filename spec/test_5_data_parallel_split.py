"""Section 5 of the notes, data parallelism: how nn.DataParallel cuts a batch, and puts the outputs together.

PyTorch's own code runs here over CPU stand-ins for GPUs, see spec/data_parallel.py. They cut by
`Tensor.chunk`, as the native code does by its source; that it does so is shown where there are two GPUs.
"""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.parallel import DataParallel
from torch.utils.data import DataLoader

from blitz.explained.parallel import share_sizes, split
from spec.data_parallel import Model, Recorder, cpus, numbered, on_machines
from spec.data_parallel_faults import (
    along_the_first_axis,
    along_the_last_axis,
    backwards,
    in_fixed_sizes,
    in_parts,
    in_turns,
    joined_at_the_front,
    of_one,
    small_batches_whole,
    to_all,
)
from spec.faults import with_options
from spec.harness import QUALIFIED, WRONG, broken_by, claim

EVENLY = "each GPU gets batch_size / number of cards samples"

# (rows, devices): the rows of each share
SIZES = {
    (30, 4): [8, 8, 8, 6],  # even shares would be 8 8 7 7
    (10, 4): [3, 3, 3, 1],
    (30, 3): [10, 10, 10],
    (10, 3): [4, 4, 2],
    (30, 8): [4, 4, 4, 4, 4, 4, 4, 2],
    (7, 7): [1, 1, 1, 1, 1, 1, 1],
    (30, 1): [30],
}
IDLE = {
    (10, 8): [2, 2, 2, 2, 2],
    (9, 4): [3, 3, 3],
    (6, 4): [2, 2, 2],
    (5, 4): [2, 2, 1],
    (17, 16): [2, 2, 2, 2, 2, 2, 2, 2, 1],
}
FEWER = {(1, 4): [1], (3, 4): [1, 1, 1], (7, 8): [1, 1, 1, 1, 1, 1, 1]}

# What the script prints inside, by the number of devices: the notes have 4, the tutorial 2, 3 and 8.
SCRIPT = {
    2: [[15, 15], [15, 15], [15, 15], [5, 5]],
    3: [[10, 10, 10], [10, 10, 10], [10, 10, 10], [4, 4, 2]],
    4: [[8, 8, 8, 6], [8, 8, 8, 6], [8, 8, 8, 6], [3, 3, 3, 1]],
    8: [[4, 4, 4, 4, 4, 4, 4, 2]] * 3 + [[2, 2, 2, 2, 2]],
}
INSIDE = "\tIn Model: input size torch.Size([{0}, 5]) output size torch.Size([{0}, 2])"
OUTSIDE = "Outside: input size torch.Size([{0}, 5]) output_size torch.Size([{0}, 2])"


def sizes_seen(rows, devices):
    """Return the rows that the replicas saw of one batch, the first row's first."""
    net = Recorder()
    with cpus(devices):
        nn.DataParallel(net)(numbered(rows, 5))
    return [len(share) for share in net.shares()]


def run_script(device):
    """Do what dp.py does."""
    model = nn.DataParallel(Model())
    model.to(device)
    for data in DataLoader(torch.randn(100, 5), batch_size=30, shuffle=True):
        x = data.to(device)
        output = model(x)
        print("Outside: input size", x.size(), "output_size", output.size())


def expected_lines(shares):
    """Return what the script prints for a batch, as lines_by_batch does."""
    return Counter(map(INSIDE.format, shares)), OUTSIDE.format(sum(shares))


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


class TestFirstAxis:
    """The data is split along the first axis, distributed to the GPUs, and the results are merged."""

    @on_machines
    @claim("parallel.split-on-first-axis", notes="5")
    @broken_by(DataParallel, "forward", along_the_last_axis)
    @broken_by(DataParallel, "scatter", in_turns)
    @broken_by(DataParallel, "scatter", in_fixed_sizes)
    @broken_by(DataParallel, "scatter", to_all)
    @broken_by(DataParallel, "gather", backwards)
    @broken_by(DataParallel, "gather", of_one)
    def test_rows_are_dealt_out_in_order_and_merged_in_order(self, machine):
        """Device by device, replicas see consecutive rows; the caller sees one output, in that order."""
        net = Recorder()
        with machine() as devices:
            batch = numbered(31, 5, device=devices[0])
            output = nn.DataParallel(net)(batch)

        torch.testing.assert_close(net.shares(), split(batch, devices))
        torch.testing.assert_close(output, 2 * batch)

    @on_machines
    @claim(
        "parallel.split-on-first-axis-dim",
        notes="5",
        verdict=QUALIFIED,
        says="the data is split along the first axis",
    )
    @broken_by(DataParallel, "scatter", along_the_first_axis)
    @broken_by(DataParallel, "gather", joined_at_the_front)
    @broken_by(DataParallel, "scatter", to_all)
    def test_axis_can_be_chosen(self, machine):
        """The first axis is the default: with dim=1, or dim=-1, batches are cut and joined along that one."""
        with machine() as devices:
            batch = numbered(4, 2, 31, device=devices[0])
            for dim in (1, -1):
                net = Recorder()
                output = nn.DataParallel(net, dim=dim)(batch)

                torch.testing.assert_close(net.shares(), split(batch, devices, dim=dim))
                torch.testing.assert_close(output, 2 * batch)


class TestShares:
    """Each GPU gets batch_size / number-of-cards samples."""

    @claim("parallel.equal-shares", notes="5", verdict=WRONG, says=EVENLY)
    @broken_by(torch.Tensor, "chunk", lambda real: torch.Tensor.tensor_split)
    @broken_by(DataParallel, "scatter", in_fixed_sizes)
    def test_share_is_rounded_up_until_no_row_is_left(self):
        """Each device gets rows / devices, rounded up, the last one what is left: 30 on 4 is 8 8 8 6."""
        assert {case: sizes_seen(*case) for case in SIZES} == SIZES
        assert {case: share_sizes(*case) for case in SIZES} == SIZES

    @claim("parallel.equal-shares-idle-devices", notes="5", verdict=WRONG, says=EVENLY)
    @broken_by(torch.Tensor, "chunk", lambda real: torch.Tensor.tensor_split)
    @broken_by(DataParallel, "scatter", in_fixed_sizes)
    def test_devices_stay_idle_where_rounding_up_uses_up_the_rows(self):
        """Devices may get nothing though there are rows for all: of 10 rows on 8, the last three do."""
        assert {case: sizes_seen(*case) for case in IDLE} == IDLE
        assert {case: share_sizes(*case) for case in IDLE} == IDLE

    @claim("parallel.equal-shares-fewer-rows-than-devices", notes="5", verdict=QUALIFIED, says=EVENLY)
    @broken_by(torch.Tensor, "chunk", lambda real: torch.Tensor.tensor_split)
    @broken_by(DataParallel, "scatter", to_all)
    def test_batch_may_be_smaller_than_the_number_of_devices(self):
        """A batch with fewer rows than there are devices is legal: one row each, as far as they go."""
        assert {case: sizes_seen(*case) for case in FEWER} == FEWER
        assert {case: share_sizes(*case) for case in FEWER} == FEWER

    @claim("parallel.equal-shares-empty-batch", notes="5", verdict=QUALIFIED, says=EVENLY)
    @broken_by(DataParallel, "scatter", lambda real: lambda self, inputs, *rest: ((inputs,), ({},)))
    @broken_by(torch.Tensor, "chunk", lambda real: lambda self, count, dim: [self])
    def test_empty_batch_is_an_empty_share_for_each(self):
        """A batch without rows runs on every device, as an empty share of its own."""
        assert sizes_seen(0, 4) == share_sizes(0, 4) == [0, 0, 0, 0]

    @on_machines
    @claim("parallel.equal-shares-rule", notes="5", verdict=WRONG, says=EVENLY)
    @broken_by(DataParallel, "scatter", in_fixed_sizes)
    @broken_by(DataParallel, "scatter", in_turns)
    def test_shares_of_small_batches_are_those_of_the_rule(self, machine):
        """From 1 row to 40, shares are in size, content and order what our own split makes them."""
        with machine() as devices:
            for rows in range(1, 41):
                net, batch = Recorder(), numbered(rows, 1, device=devices[0])
                nn.DataParallel(net)(batch)

                torch.testing.assert_close(net.shares(), split(batch, devices))

    @given(st.integers(0, 300), st.integers(1, 16), st.integers(-3, 2))
    @claim("parallel.equal-shares-chunk", notes="5", verdict=WRONG, says=EVENLY)
    @broken_by(torch.Tensor, "chunk", lambda real: torch.Tensor.tensor_split)
    @broken_by(torch.Tensor, "chunk", lambda real: lambda self, count, dim: real(self, count))
    @broken_by(torch.Tensor, "chunk", lambda real: lambda self, count, dim: real(self, count, dim)[::-1])
    @broken_by(
        torch.Tensor,
        "chunk",
        lambda real: lambda self, count, dim: real(self, count + (self.shape[dim] > 200), dim),
    )
    @broken_by(
        torch.Tensor,
        "chunk",
        lambda real: lambda self, count, dim: self.split(-(-self.shape[dim] // count) or 1, dim),
    )
    def test_chunk_cuts_by_the_rule(self, device, rows, devices, dim):
        """Tensor.chunk, by which native code cuts, makes the shares of our own split, any size and axis."""
        shape = [2, 2, 2]
        shape[dim] = rows
        tensor = numbered(*shape, device=device)

        chunks = tensor.chunk(devices, dim)

        assert [chunk.shape[dim] for chunk in chunks] == share_sizes(rows, devices)
        assert [chunk.tolist() for chunk in chunks] == [
            share.tolist() for share in split(tensor, [device] * devices, dim=dim)
        ]


class TestScript:
    """dp.py, the official script: 100 samples in batches of 30, through a net from 5 numbers to 2."""

    @claim("parallel.dp-script-output", notes="dp.py")
    @broken_by(torch.Tensor, "chunk", lambda real: torch.Tensor.tensor_split)
    @broken_by(DataLoader, "__init__", with_options(drop_last=True))
    @broken_by(Model, "forward", lambda real: lambda self, x: real(self, x)[:, :1])
    @broken_by(DataParallel, "forward", small_batches_whole)
    @broken_by(DataParallel, "gather", of_one)
    def test_script_prints_what_the_notes_and_the_tutorial_print(self, capsys):
        """The published outputs come out line by line; within a batch, threads decide the order."""
        for devices, batches in SCRIPT.items():
            with cpus(devices):
                run_script(torch.device("cpu"))

            assert lines_by_batch(capsys.readouterr().out) == [expected_lines(shares) for shares in batches]

    @pytest.mark.parametrize("devices", [0, 1])
    @claim("parallel.dp-script-output-one-device", notes="dp.py")
    @broken_by(DataLoader, "__init__", with_options(drop_last=True))
    @broken_by(DataLoader, "__init__", with_options(batch_size=25))
    @broken_by(DataParallel, "forward", in_parts)
    def test_script_prints_whole_batches_on_the_cpu_and_on_one_gpu(self, devices, capsys):
        """Without a second device the model sees each batch whole: 30, 30, 30 and 10 rows."""
        with cpus(devices):
            run_script(torch.device("cpu"))

        assert lines_by_batch(capsys.readouterr().out) == [
            expected_lines([rows]) for rows in (30, 30, 30, 10)
        ]

    @on_machines
    @claim("parallel.dp-script-output-rule", notes="dp.py")
    @broken_by(DataParallel, "gather", of_one)
    @broken_by(DataParallel, "scatter", to_all)
    @broken_by(DataLoader, "__init__", with_options(drop_last=True))
    def test_script_prints_the_shares_of_the_rule(self, machine, capsys):
        """On any number of devices, the script prints the shares of the rule for 30, 30, 30 and 10 rows."""
        with machine() as devices:
            run_script(devices[0])

        assert lines_by_batch(capsys.readouterr().out) == [
            expected_lines(share_sizes(rows, len(devices))) for rows in (30, 30, 30, 10)
        ]
