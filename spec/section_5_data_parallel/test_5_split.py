"""Notes 5, the data is split along the first axis: how a batch is cut, and how outputs are joined.

PyTorch's own code runs over CPU stand-ins for GPUs, see data_parallel.py. They cut by `Tensor.chunk`, as the
native code does by its source; that it does so is shown where there are two GPUs.
"""

from collections import namedtuple

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel

from blitz.explained.parallel import share_sizes, split
from spec.harness import QUALIFIED, WRONG, fault, statement
from spec.section_5_data_parallel.data_parallel import (
    DATA_PARALLEL,
    SCATTER_GATHER,
    Recorder,
    cpus,
    numbered,
    on_machines,
    stand_ins,
)
from spec.section_5_data_parallel.data_parallel_faults import (
    backwards,
    chunk_backwards,
    in_fixed_sizes,
    in_turns,
    shares_of,
    tensor_split,
    to_all,
)

FIRST_AXIS = "the data is split along the first axis and distributed"
EVENLY = "each GPU gets batch_size / number of cards samples"
REST = "a model written for one card needs only this wrapper, everything else stays as it was"

# (rows, devices, the rows of each share)
SIZES = {
    "30 on 4": (30, 4, [8, 8, 8, 6]),  # even shares would be 8 8 7 7
    "10 on 4": (10, 4, [3, 3, 3, 1]),
    "30 on 3": (30, 3, [10, 10, 10]),
    "30 on 8": (30, 8, [4, 4, 4, 4, 4, 4, 4, 2]),
    "30 on 1": (30, 1, [30]),
    "300 on 7": (300, 7, [43, 43, 43, 43, 43, 43, 42]),
    "9 on 4, one idle": (9, 4, [3, 3, 3]),
    "10 on 8, three idle": (10, 8, [2, 2, 2, 2, 2]),
    "3 on 4, too few": (3, 4, [1, 1, 1]),
    "none on 4": (0, 4, [0, 0, 0, 0]),
}

Pair = namedtuple("Pair", ["left", "right"])


def plain(value):
    """Return a nested value with its types spelled out, so that == compares all of it."""
    if isinstance(value, torch.Tensor):
        return "tensor", value.dtype, value.tolist()
    if isinstance(value, dict):
        return type(value), [(key, plain(inner)) for key, inner in value.items()]
    if isinstance(value, (tuple, list)):
        return type(value), [plain(inner) for inner in value]
    return value


class Flagged(Recorder):
    """A net that takes more than its input."""

    def forward(self, x, other=None, *, flag=True, mask=None):
        """Note the input."""
        return super().forward(x)


class Scaled(nn.Module):
    """A net that scales its input by an argument that has to be named."""

    def forward(self, x, *, by):
        """Scale."""
        return x * by


class Several(nn.Module):
    """A net that gives all kinds of output."""

    def forward(self, x):
        """Give a tuple, with lists, dicts and None within."""
        return x, [2 * x, {"three": 3 * x, "sum": x.sum(1)}], Pair(x[:, :1], None)


# Faults


def along_the_last_axis(real):
    """Cut along the last axis, and join along it."""

    def forward(self, *inputs):
        self.dim = -1
        return real(self, *inputs)

    return forward


def along_the_first_axis(real):
    """Cut along the first axis, whatever dim is."""
    return lambda self, inputs, kwargs, ids: shares_of(inputs[0], ids)


def joined_at_the_front(real):
    """Join along the first axis, whatever dim is."""

    def gather(self, outputs, device):
        self.dim, dim = 0, self.dim
        try:
            return real(self, outputs, device)
        finally:
            self.dim = dim

    return gather


def one_share_if_empty(real):
    """Cut a batch without rows into a single share."""
    return lambda self, count, dim: real(self, count if self.shape[dim] else 1, dim)


def with_a_plain_tuple(real):
    """Return a tuple for a namedtuple, the last part of the output."""

    def gather(self, outputs, device):
        *parts, pair = real(self, outputs, device)
        return (*parts, tuple(pair))

    return gather


def uncut(real):
    """Give every device the arguments as they are."""
    return lambda value, ids, dim: [value] * len(ids)


def keywords_whole(real):
    """Give every device the keywords as they are, of which it takes the first rows."""

    def scatter_kwargs(inputs, kwargs, ids, dim=0):
        inputs, _ = real(inputs, {}, ids, dim)
        return inputs, tuple(
            {
                name: value[: len(args[0])].to(args[0].device) if torch.is_tensor(value) else value
                for name, value in kwargs.items()
            }
            for args in inputs
        )

    return scatter_kwargs


def repeating_scalars(real):
    """Give every device a tensor without axes."""
    return lambda self, inputs, kwargs, ids: real(
        self, tuple(value if value.dim() else value.expand(len(ids)) for value in inputs), kwargs, ids
    )


def repeating_single_rows(real):
    """Give every device the whole of an argument with a single row."""

    def scatter(self, inputs, kwargs, ids):
        whole = [
            value.expand(len(ids), *value.shape[1:]) if value.dim() and len(value) == 1 else value
            for value in inputs
        ]
        return real(self, tuple(whole), kwargs, ids)

    return scatter


def padded(real):
    """Give devices that would have no input the last share again."""

    def scatter_kwargs(inputs, kwargs, ids, dim=0):
        inputs, kwargs = real(inputs, kwargs, ids, dim)
        last = [args for args in inputs if args][-1]
        return tuple(args or last for args in inputs), kwargs

    return scatter_kwargs


def cut_short(real):
    """Leave out devices that would have no input."""

    def scatter_kwargs(inputs, kwargs, ids, dim=0):
        inputs, kwargs = real(inputs, kwargs, ids, dim)
        used = sum(bool(args) for args in inputs)
        return inputs[:used], kwargs[:used]

    return scatter_kwargs


def filled_up(real):
    """Give devices that would have nothing the last share again."""

    def scatter_kwargs(inputs, kwargs, ids, dim=0):
        inputs, kwargs = real(inputs, kwargs, ids, dim)
        missing = len(ids) - len(inputs)
        return (*inputs, *inputs[-1:] * missing), (*kwargs, *kwargs[-1:] * missing)

    return scatter_kwargs


@statement("parallel.split-on-first-axis", notes="5")
@fault("the batch is cut along the last axis", DataParallel, "forward", along_the_last_axis)
@fault("rows are dealt out in turns", DataParallel, "scatter", in_turns)
@fault("every device gets the whole batch", DataParallel, "scatter", to_all)
@fault("outputs are joined backwards", DataParallel, "gather", backwards)
@fault("dim is overlooked in cutting", DataParallel, "scatter", along_the_first_axis)
@fault("dim is overlooked in joining", DataParallel, "gather", joined_at_the_front)
class TestSplitOnFirstAxis:
    """The batch is cut along its first axis, device by device, and the outputs are joined along it in that
    order; another axis can be chosen by `dim=`.
    """

    @on_machines
    def test_rows_are_dealt_out_in_order_and_outputs_joined_in_order(self, machine):
        net = Recorder()
        with machine() as devices:
            batch = numbered(31, 5, device=devices[0])
            output = nn.DataParallel(net)(batch)

        torch.testing.assert_close(net.shares(), split(batch, devices))
        torch.testing.assert_close(output, 2 * batch)

    @pytest.mark.parametrize("dim", [1, -1])
    @on_machines
    def test_axis_can_be_chosen(self, machine, dim):
        net = Recorder()
        with machine() as devices:
            batch = numbered(4, 2, 31, device=devices[0])
            output = nn.DataParallel(net, dim=dim)(batch)

        torch.testing.assert_close(net.shares(), split(batch, devices, dim=dim))
        torch.testing.assert_close(output, 2 * batch)


@statement("parallel.equal-shares", notes="5", verdict=WRONG, says=EVENLY)
@fault("shares differ by one row at most", torch.Tensor, "chunk", tensor_split)
@fault("an empty batch is a single share", torch.Tensor, "chunk", one_share_if_empty)
@fault("the first device gets the rest", torch.Tensor, "chunk", chunk_backwards)
@fault("the last device gets more", DataParallel, "scatter", in_fixed_sizes)
@fault("rows are dealt out in turns", DataParallel, "scatter", in_turns)
class TestEqualShares:
    """Each device gets the rows divided by the devices, rounded up, until none is left: 30 rows on 4 devices
    are 8, 8, 8 and 6. The last one gets less, and some may get nothing, though there are rows for all.
    """

    @pytest.mark.parametrize(("rows", "devices", "sizes"), SIZES.values(), ids=SIZES)
    def test_share_is_rounded_up_until_no_row_is_left(self, device, rows, devices, sizes):
        net, batch = Recorder(), numbered(rows, 5, device=device)

        with stand_ins(device, devices):
            nn.DataParallel(net)(batch)

        assert [len(share) for share in net.shares()] == sizes

    @on_machines
    def test_shares_of_small_batches_are_those_of_the_rule(self, machine):
        with machine() as devices:
            for rows in range(1, 41):
                net, batch = Recorder(), numbered(rows, 1, device=devices[0])
                nn.DataParallel(net)(batch)

                assert [len(share) for share in net.shares()] == share_sizes(rows, len(devices))
                assert torch.cat([share.cpu() for share in net.shares()]).flatten().tolist() == [*range(rows)]


@statement("parallel.split-on-first-axis-arguments", notes="5", verdict=QUALIFIED, says=FIRST_AXIS)
@fault("the arguments are not cut", SCATTER_GATHER, "scatter", uncut)
@fault("keywords are not cut", DATA_PARALLEL, "scatter_kwargs", keywords_whole)
@fault("a tensor without axes is repeated", DataParallel, "scatter", repeating_scalars)
@fault("a single row is repeated", DataParallel, "scatter", repeating_single_rows)
@fault("outputs are joined backwards", DataParallel, "gather", backwards)
@fault("a namedtuple becomes a tuple", DataParallel, "gather", with_a_plain_tuple)
class TestArgumentsAndOutputs:
    """Each tensor in the arguments, however deep in tuples, lists and dicts, is cut by itself, and what is no
    tensor goes to every device; outputs of that kind are joined in their form.
    """

    @pytest.mark.parametrize("devices", [1, 2, 4])
    def test_tensors_in_tuples_lists_dicts_and_keywords_are_split(self, devices):
        x, y = numbered(10, 2), torch.arange(10)
        args = (x, [y, {"a": x, "n": 3}, []], Pair(y, (None, "text")), 1.5)
        kwargs = {"mask": y > 4, "options": {"deep": [x]}, "flag": True}

        with cpus(devices):
            found = SCATTER_GATHER.scatter_kwargs(args, kwargs, range(devices))

        assert plain([*zip(*found, strict=True)]) == plain(split((args, kwargs), ["cpu"] * devices))

    @on_machines
    def test_keyword_reaches_each_replica_with_the_rows_of_its_share(self, machine):
        with machine() as devices:
            batch, by = numbered(7, 5, device=devices[0]), numbered(7, 1, device=devices[0])
            wrapped = nn.DataParallel(Scaled())

            outputs = [wrapped(batch, by=by), wrapped(batch, by=3)]

        torch.testing.assert_close(outputs, [batch * by, batch * 3])

    @on_machines
    def test_tensor_without_axes_is_refused(self, machine):
        with machine() as devices:
            wrapped, number = nn.DataParallel(Recorder()), torch.tensor(1.5, device=devices[0])

            with pytest.raises(RuntimeError, match="chunk expects at least a 1-dimensional tensor"):
                wrapped(number)

    @on_machines
    def test_rows_are_lost_beside_a_tensor_of_a_single_row(self, machine):
        with machine() as devices:
            batch = numbered(len(devices) * 3, 5, device=devices[0])
            output = nn.DataParallel(Flagged())(batch, torch.ones(1, 5, device=devices[0]))

        assert output.tolist() == (2 * batch[:3]).tolist()

    @on_machines
    def test_tensors_in_outputs_are_joined(self, machine):
        with machine() as devices:
            batch = numbered(7, 2, device=devices[0])
            output = nn.DataParallel(Several())(batch)

        assert plain(output) == plain(Several()(batch))


@statement("parallel.uneven-batch-with-extra-arguments", notes="5", verdict=QUALIFIED, says=REST)
@fault("idle devices get arguments again", SCATTER_GATHER, "scatter_kwargs", padded)
@fault("idle devices get no keywords", SCATTER_GATHER, "scatter_kwargs", cut_short)
@fault("idle devices get the last share again", DATA_PARALLEL, "scatter_kwargs", padded)
@fault("idle devices stay idle", DATA_PARALLEL, "scatter_kwargs", cut_short)
@fault("no device stays idle", DATA_PARALLEL, "scatter_kwargs", filled_up)
class TestUnevenBatchWithExtraArguments:
    """Where a batch leaves devices idle, a call with a keyword that is no tensor, such as `flag=True`, fails:
    the idle devices are called, too, with the keyword alone.
    """

    def test_keyword_that_is_no_tensor_makes_shares_without_a_batch(self):
        with cpus(8):
            inputs, kwargs = SCATTER_GATHER.scatter_kwargs((numbered(10, 5),), {"flag": True}, range(8))

        assert [len(args) for args in inputs] == [1] * 5 + [0] * 3
        assert kwargs == ({"flag": True},) * 8

    @on_machines
    def test_call_with_such_a_keyword_fails(self, machine):
        with machine() as devices:
            wrapped, batch = nn.DataParallel(Flagged()), torch.ones(1, 5, device=devices[0])

            with pytest.raises(TypeError, match=r"in replica 1 on device 1[\s\S]*missing .* argument: 'x'"):
                wrapped(batch, flag=True)

    @on_machines
    def test_positional_argument_or_a_tensor_beside_it_is_fine(self, machine):
        with machine() as devices:
            net, batch = Flagged(), torch.ones(1, 5, device=devices[0])
            wrapped = nn.DataParallel(net)

            outputs = [wrapped(batch), wrapped(batch, True), wrapped(batch, flag=True, mask=batch)]

        assert [output.tolist() for output in outputs] == [(2 * batch).tolist()] * 3
        assert len(net.seen) == 3
