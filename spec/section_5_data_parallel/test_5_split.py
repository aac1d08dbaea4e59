"""Notes 5, the data is split along the first axis: how a batch is cut, and how outputs are joined.

PyTorch's own code runs over CPU stand-ins for GPUs, see data_parallel.py. They cut by `Tensor.chunk`, as the
native code does by its source; that it does so is shown where there are two GPUs.
"""

import copy
from collections import namedtuple
from functools import partialmethod

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel, gather

from blitz.explained.parallel import share_sizes, split
from spec.harness import QUALIFIED, WRONG, fault, statement
from spec.section_5_data_parallel import data_parallel_faults as faults
from spec.section_5_data_parallel.data_parallel import (
    DATA_PARALLEL,
    SCATTER_GATHER,
    Net,
    numbered,
    on_machines,
    stand_ins,
)

FIRST_AXIS = "the data is split along the first axis and distributed to the GPUs"
EVENLY = "the number of samples for each GPU is batch_size / number of cards"
REST = "a model written for one card needs only this wrapper; everything else stays as it was"

# (rows, devices, the rows of each share)
SIZES = {
    "30 on 4": (30, 4, [8, 8, 8, 6]),  # even shares would be 8 8 7 7
    "10 on 4": (10, 4, [3, 3, 3, 1]),
    "30 on 2": (30, 2, [15, 15]),
    "30 on 3": (30, 3, [10, 10, 10]),
    "30 on 8": (30, 8, [4, 4, 4, 4, 4, 4, 4, 2]),
    "9 on 4, one idle": (9, 4, [3, 3, 3]),
    "10 on 8, three idle": (10, 8, [2, 2, 2, 2, 2]),
    "3 on 4, too few": (3, 4, [1, 1, 1]),
    "none on 4": (0, 4, [0, 0, 0, 0]),
}

Pair = namedtuple("Pair", ["left", "right"])


def plain(value):
    """Return a nested value with its types spelled out, so that == compares all of it."""
    if isinstance(value, torch.Tensor):
        return value.dtype, value.tolist()
    if isinstance(value, dict):
        return type(value), {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value), [plain(inner) for inner in value]
    return value


def flagged(x, other=None, *, flag=True, mask=None):
    """Compute what a net does that takes more than its input."""
    return 2 * x


def several(x):
    """Give a tuple, with lists, dicts and None within."""
    return x, [2 * x, {"three": 3 * x, "sum": x.sum(1)}], Pair(x[:, :1], None)


# Faults


def in_turns(chunk):
    """Deal the rows out in turns, as a DistributedSampler does."""
    return lambda self, count, dim: [self[index::count] for index in range(count)]


def repeating(chunk):
    """Give every device the whole of what has a single row, or no axis."""
    return lambda self, *rest: chunk(self, *rest) if self.dim() and len(self) > 1 else [self] * rest[0]


def one_share_if_empty(chunk):
    """Cut a batch without rows into a single share."""
    return lambda self, count, dim: chunk(self, count if self.shape[dim] else 1, dim)


def keywords_whole(scatter_kwargs):
    """Give every device the keywords as they are."""
    return lambda inputs, kwargs, ids, dim: (scatter_kwargs(inputs, {}, ids, dim)[0], [kwargs] * len(ids))


def cut_short(scatter_kwargs):
    """Leave out devices that would have no input."""

    def faulty(inputs, kwargs, ids, dim):
        inputs, kwargs = scatter_kwargs(inputs, kwargs, ids, dim)
        used = sum(map(bool, inputs))
        return inputs[:used], kwargs[:used]

    return faulty


@statement("parallel.split-on-first-axis", notes="5")
@fault("rows are dealt out in turns", torch.Tensor, "chunk", in_turns)
@fault("every device gets the whole batch", torch.Tensor, "chunk", faults.whole)
@fault("outputs are joined backwards", DataParallel, "gather", faults.backwards)
@fault("the last axis is the default", DataParallel, "__init__", lambda real: partialmethod(real, dim=-1))
@fault(
    "dim is overlooked in joining", DataParallel, "gather", lambda real: lambda self, *given: gather(*given)
)
class TestSplitOnFirstAxis:
    """`nn.DataParallel` cuts the batch along its first axis and gives the parts to the devices in order. The
    outputs are joined along the same axis in the same order. The argument `dim=` chooses another axis.
    """

    @on_machines
    def test_rows_are_dealt_out_in_order_and_outputs_joined_in_order(self, machine):
        net = Net()
        with machine() as devices:
            batch = numbered(31, 5, device=devices[0])
            output = nn.DataParallel(net)(batch)

        torch.testing.assert_close(net.shares(), split(batch, devices))
        torch.testing.assert_close(output, 2 * batch)

    @pytest.mark.parametrize("dim", [1, -1])
    @on_machines
    def test_axis_can_be_chosen(self, machine, dim):
        net = Net()
        with machine() as devices:
            batch = numbered(4, 2, 31, device=devices[0])
            output = nn.DataParallel(net, dim=dim)(batch)

        torch.testing.assert_close(net.shares(), split(batch, devices, dim=dim))
        torch.testing.assert_close(output, 2 * batch)


@statement("parallel.equal-shares", notes="5", verdict=WRONG, says=EVENLY)
@fault("shares differ by one row at most", torch.Tensor, "chunk", faults.near_equal)
@fault("an empty batch is a single share", torch.Tensor, "chunk", one_share_if_empty)
@fault("the first device gets the rest", torch.Tensor, "chunk", faults.last_rows_first)
@fault("rows are dealt out in turns", torch.Tensor, "chunk", in_turns)
class TestEqualShares:
    """`nn.DataParallel` divides the number of rows by the number of devices and rounds up. Each device gets
    that many rows until no row is left. With 30 rows, 4 devices get 8, 8, 8 and 6 rows. With 10 rows and 8
    devices, five devices get 2 rows each, and three get none.
    """

    @pytest.mark.parametrize(("rows", "devices", "sizes"), SIZES.values(), ids=SIZES)
    def test_share_is_rounded_up_until_no_row_is_left(self, device, rows, devices, sizes, measured):
        copies = []

        with stand_ins(device, devices, copies=copies):
            nn.DataParallel(Net())(numbered(rows, 5, device=device))

        measured[f"shares of {rows} rows on {devices} devices"] = copies[0][1]
        assert copies[0] == ("scatter", sizes)

    @on_machines
    def test_shares_of_small_batches_are_those_of_the_rule(self, machine):
        with machine() as devices:
            for rows in range(1, 41):
                net = Net()
                nn.DataParallel(net)(numbered(rows, 1, device=devices[0]))

                assert [len(share) for share in net.shares()] == share_sizes(rows, len(devices))
                assert torch.cat([share.cpu() for share in net.shares()]).flatten().tolist() == [*range(rows)]


@statement("parallel.split-on-first-axis-arguments", notes="5", verdict=QUALIFIED, says=FIRST_AXIS)
@fault("keywords are not cut", DATA_PARALLEL, "scatter_kwargs", keywords_whole)
@fault("a namedtuple becomes a tuple", SCATTER_GATHER, "_is_namedtuple", lambda real: lambda value: False)
@fault("what cannot be cut is repeated", torch.Tensor, "chunk", repeating)
@fault("everything is copied", DataParallel, "scatter", lambda real: lambda *x: copy.deepcopy(real(*x)))
@fault("outputs are joined backwards", DataParallel, "gather", faults.backwards)
class TestArgumentsAndOutputs:
    """`nn.DataParallel` cuts every tensor in the arguments, even inside tuples, lists and dicts. Everything
    else reaches every device unchanged. The outputs are joined tensor by tensor and keep their structure.
    """

    @on_machines
    def test_tensors_in_tuples_lists_dicts_and_keywords_are_split(self, machine):
        with machine() as devices:
            x, y = numbered(10, 2, device=devices[0]), torch.arange(10, device=devices[0])
            args = (x, [y, {"a": x, "n": 3}, []], Pair(y, (None, "text")), object())
            kwargs = {"mask": y > 4, "options": {"deep": [x]}, "flag": True}
            wrapped = nn.DataParallel(Net())

            found = wrapped.scatter(args, kwargs, wrapped.device_ids)

        assert plain([*zip(*found, strict=True)]) == plain(split((args, kwargs), devices))

    @on_machines
    def test_tensor_without_axes_is_refused(self, machine):
        with machine() as devices:
            wrapped, number = nn.DataParallel(Net()), torch.tensor(1.5, device=devices[0])

            with pytest.raises(RuntimeError, match="expects at least a 1-dimensional tensor"):
                wrapped.scatter((number,), {}, wrapped.device_ids)

    @on_machines
    def test_rows_are_lost_beside_a_tensor_of_a_single_row(self, machine):
        with machine() as devices:
            batch = numbered(len(devices) * 3, 5, device=devices[0])
            output = nn.DataParallel(Net(flagged))(batch, torch.ones(1, 5, device=devices[0]))

        assert output.tolist() == (2 * batch[:3]).tolist()

    @on_machines
    def test_tensors_in_outputs_are_joined(self, machine):
        with machine() as devices:
            batch = numbered(7, 2, device=devices[0])
            output = nn.DataParallel(Net(several))(batch)

        assert plain(output) == plain(several(batch))


@statement("parallel.uneven-batch-with-extra-arguments", notes="5", verdict=QUALIFIED, says=REST)
@fault("idle devices stay idle", DATA_PARALLEL, "scatter_kwargs", cut_short)
@fault("every device gets the whole batch", torch.Tensor, "chunk", faults.whole)
class TestUnevenBatchWithExtraArguments:
    """A keyword argument such as `flag=True` can make a call of `nn.DataParallel` raise a TypeError. This
    happens when the batch leaves a device without rows, because the net runs on that device with `flag`
    alone. A positional `True` raises no error.
    """

    @on_machines
    def test_call_with_such_a_keyword_fails(self, machine):
        with machine() as devices, pytest.raises(TypeError, match=r"in replica 1 [\s\S]* missing .*: 'x'"):
            nn.DataParallel(Net(flagged))(torch.ones(1, 5, device=devices[0]), flag=True)

    @on_machines
    def test_positional_argument_or_a_tensor_beside_it_is_fine(self, machine):
        with machine() as devices:
            net, batch = Net(flagged), torch.ones(1, 5, device=devices[0])
            wrapped = nn.DataParallel(net)

            outputs = [wrapped(batch), wrapped(batch, True), wrapped(batch, flag=True, mask=batch)]

        assert [output.tolist() for output in outputs] == [(2 * batch).tolist()] * 3
        assert len(net.seen) == 3
