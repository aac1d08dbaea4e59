"""Section 5 of the notes, data parallelism: what nn.DataParallel does to arguments and outputs.

PyTorch's own code runs here over CPU stand-ins for GPUs, see spec/data_parallel.py; it is compared with
blitz.explained.parallel, share by share.
"""

import copy
from collections import namedtuple

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel

from blitz.explained.parallel import data_parallel, split
from spec.data_parallel import DATA_PARALLEL, SCATTER_GATHER, Recorder, cpus, numbered, on_machines
from spec.data_parallel_faults import (
    added_up,
    backwards,
    cut_short,
    filled_up,
    keywords_of_the_first,
    keywords_whole,
    of_one,
    one_call,
    padded,
    repeating_single_rows,
    silently,
    to_all,
    with_a_plain_tuple,
)
from spec.harness import QUALIFIED, broken_by, claim

ALONG = "the data is split along the first axis and distributed"
SAYS = "a model written for one card needs only this wrapper, everything else stays as it was"

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


class Number(nn.Module):
    """A net that gives a number that is no tensor."""

    def forward(self, x):
        """Add up."""
        return x.sum().item()


class Total(nn.Module):
    """A net that gives one number for its batch, a tensor without an axis."""

    def forward(self, x):
        """Add up."""
        return x.sum()


class Mean(nn.Module):
    """A net that computes its loss itself, as a vector of one number."""

    def forward(self, x):
        """Average."""
        return x.mean().reshape(1)


class TestArguments:
    """Tensors anywhere in the arguments are split."""

    @claim("parallel.split-on-first-axis-nested", notes="5")
    @broken_by(SCATTER_GATHER, "_is_namedtuple", lambda real: lambda value: False)
    @broken_by(SCATTER_GATHER, "scatter", lambda real: lambda value, ids, dim: [value] * len(ids))
    @broken_by(torch.Tensor, "chunk", lambda real: torch.Tensor.tensor_split)
    @broken_by(SCATTER_GATHER, "scatter_kwargs", lambda real: lambda args, kwargs, ids: real(args, {}, ids))
    def test_tensors_in_tuples_lists_dicts_and_keywords_are_split(self):
        """Tensors in nested tuples, lists, dicts and keywords are split; None, numbers, text repeated."""
        x, y = numbered(10, 2), torch.arange(10)
        args = (x, [y, {"a": x, "n": 3}, []], Pair(y, (None, "text")), 1.5)
        kwargs = {"mask": y > 4, "options": {"deep": [x]}, "flag": True}

        for devices in (1, 2, 4):
            with cpus(devices):
                found = SCATTER_GATHER.scatter_kwargs(args, kwargs, range(devices))

            assert plain([*zip(*found, strict=True)]) == plain(split((args, kwargs), ["cpu"] * devices))

    @on_machines
    @claim("parallel.split-on-first-axis-keywords", notes="5")
    @broken_by(DATA_PARALLEL, "scatter_kwargs", keywords_whole)
    @broken_by(DATA_PARALLEL, "scatter_kwargs", keywords_of_the_first)
    def test_keyword_reaches_each_replica_with_the_rows_of_its_share(self, machine):
        """A tensor given by keyword is cut as the batch is, row by row; a number is the same for all."""
        with machine() as devices:
            batch, by = numbered(7, 5, device=devices[0]), numbered(7, 1, device=devices[0])
            wrapped = nn.DataParallel(Scaled())

            outputs = [wrapped(batch, by=by), wrapped(batch, by=3)]

        torch.testing.assert_close(outputs, [batch * by, batch * 3])

    @on_machines
    @claim("parallel.split-on-first-axis-no-tensors", notes="5")
    @broken_by(DataParallel, "scatter", lambda real: lambda self, *inputs: copy.deepcopy(real(self, *inputs)))
    def test_what_is_no_tensor_is_the_same_object_everywhere(self, machine):
        """What is neither tensor nor container is not copied: every device gets the object itself."""
        thing, held = object(), {1, 2}

        with machine() as devices:
            wrapped = nn.DataParallel(Recorder())
            inputs, _ = wrapped.scatter((thing, [held]), {}, wrapped.device_ids)

        assert [(args[0] is thing, args[1][0] is held) for args in inputs] == [(True, True)] * len(devices)

    @on_machines
    @claim("parallel.split-on-first-axis-scalar", notes="5")
    @broken_by(
        DataParallel,
        "scatter",
        lambda real: lambda self, inputs, kwargs, ids: real(self, (inputs[0].expand(len(ids)),), kwargs, ids),
    )
    def test_tensor_without_axes_is_refused(self, machine):
        """A tensor without axes cannot be cut, and is not repeated either: it is a RuntimeError."""
        with machine() as devices:
            wrapped, number = nn.DataParallel(Recorder()), torch.tensor(1.5, device=devices[0])

            with pytest.raises(RuntimeError, match="chunk expects at least a 1-dimensional tensor"):
                wrapped(number)

    @on_machines
    @claim("parallel.split-on-first-axis-no-arguments", notes="5")
    @broken_by(DataParallel, "scatter", lambda real: lambda self, *inputs: (((),) * 2, ({},) * 2))
    def test_call_without_arguments_runs_on_one_device(self, machine):
        """Called without arguments, the net runs once, on the first device."""
        calls = []

        class Net(nn.Module):
            def forward(self):
                calls.append(torch.cuda.current_device() if torch.cuda.is_available() else 0)
                return torch.ones(3, 1, device=devices[0])

        with machine() as devices:
            output = nn.DataParallel(Net())()

        assert calls == [0]
        assert output.tolist() == [[1], [1], [1]]

    @on_machines
    @claim("parallel.split-on-first-axis-rows-lost", notes="5", verdict=QUALIFIED, says=ALONG)
    @broken_by(DataParallel, "scatter", repeating_single_rows)
    def test_rows_are_lost_where_another_tensor_makes_fewer_shares(self, machine):
        """Each tensor is cut by itself: beside one of a single row, the first share alone is used."""
        net = Flagged()
        with machine() as devices:
            batch = numbered(len(devices) * 3, 5, device=devices[0])
            output = nn.DataParallel(net)(batch, torch.ones(1, 5, device=devices[0]))

            assert output.tolist() == (2 * batch[:3]).tolist()
            with pytest.raises(ValueError, match="the same number of shares"):
                split((batch, batch[:1]), devices)


class TestOutputs:
    """The results are merged again."""

    @on_machines
    @claim("parallel.split-on-first-axis-outputs", notes="5")
    @broken_by(DataParallel, "gather", with_a_plain_tuple)
    @broken_by(DataParallel, "gather", backwards)
    @broken_by(DataParallel, "gather", of_one)
    def test_tensors_in_tuples_lists_and_dicts_are_joined(self, machine):
        """An output of tuples, lists, dicts and None comes back in its form, each tensor whole."""
        with machine() as devices:
            batch = numbered(7, 2, device=devices[0])
            output = nn.DataParallel(Several())(batch)
            ours = data_parallel(Several(), batch, devices)

        assert plain(output) == plain(ours) == plain(Several()(batch))

    @on_machines
    @claim("parallel.split-on-first-axis-outputs-refused", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(DataParallel, "gather", lambda real: lambda self, outputs, device: sum(outputs))
    def test_output_that_is_no_tensor_is_refused(self, machine):
        """A number that is no tensor, such as that of item(), is a TypeError; a bare net may give it."""
        with machine() as devices:
            wrapped, batch = nn.DataParallel(Number()), torch.ones(4, 1, device=devices[0])

            assert wrapped.module(batch) == 4
            with pytest.raises(TypeError, match="'float' object is not iterable"):
                wrapped(batch)


class TestNumbers:
    """Nets that give a number for their batch, such as a loss."""

    @on_machines
    @claim("parallel.rest-unchanged-number", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(DataParallel, "gather", added_up)
    @broken_by(DataParallel, "gather", backwards)
    @broken_by(DataParallel, "gather", silently)
    def test_numbers_of_the_replicas_become_a_vector(self, machine):
        """An output without axes comes back as a vector, an entry for each device used, with a warning."""
        with machine() as devices:
            batch = torch.arange(5.0, device=devices[0])
            with pytest.warns(UserWarning, match="all input tensors were scalars; will .* return a vector"):
                output = nn.DataParallel(Total())(batch)

        assert output.tolist() == [share.sum().item() for share in split(batch, devices)]

    @claim("parallel.equal-shares-mean-of-means", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(DataParallel, "forward", one_call)
    @broken_by(torch.Tensor, "chunk", lambda real: torch.Tensor.tensor_split)
    def test_mean_of_the_losses_of_uneven_shares_is_not_that_of_the_batch(self):
        """Mean losses taken in forward() weigh shares alike, not rows: 0 to 9 then average 5.25, not 4.5."""
        batch = torch.arange(10.0)

        with cpus(4):
            losses = nn.DataParallel(Mean())(batch)

        assert losses.tolist() == [1, 4, 7, 9]
        assert losses.mean() == 5.25
        assert batch.mean() == 4.5


class TestUnevenBatchWithExtraArguments:
    """A batch that leaves devices idle, beside a keyword that is no tensor."""

    @claim("parallel.uneven-batch-with-extra-arguments", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(SCATTER_GATHER, "scatter_kwargs", padded)
    @broken_by(SCATTER_GATHER, "scatter_kwargs", cut_short)
    def test_keyword_that_is_no_tensor_makes_shares_without_a_batch(self):
        """10 rows on 8 devices with flag=True make 8 sets of arguments, the last three without rows."""
        batch = numbered(10, 5)

        with cpus(8):
            inputs, kwargs = SCATTER_GATHER.scatter_kwargs((batch,), {"flag": True}, range(8))

        assert [len(args) for args in inputs] == [1] * 5 + [0] * 3
        assert kwargs == ({"flag": True},) * 8
        assert len(split(((batch,), {"flag": True}), ["cpu"] * 8)) == 5

    @on_machines
    @claim("parallel.uneven-batch-with-extra-arguments-call", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(DATA_PARALLEL, "scatter_kwargs", padded)
    @broken_by(DATA_PARALLEL, "scatter_kwargs", cut_short)
    def test_call_with_such_a_keyword_fails(self, machine):
        """The net is called without its input on devices that would be idle, here all but the first."""
        with machine() as devices:
            wrapped, batch = nn.DataParallel(Flagged()), torch.ones(1, 5, device=devices[0])

            with pytest.raises(TypeError, match=r"in replica 1 on device 1[\s\S]*missing .* argument: 'x'"):
                wrapped(batch, flag=True)

    @on_machines
    @claim("parallel.uneven-batch-with-extra-arguments-ways-out", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(DATA_PARALLEL, "scatter_kwargs", filled_up)
    @broken_by(DataParallel, "scatter", to_all)
    def test_positional_argument_or_a_tensor_beside_it_is_fine(self, machine):
        """The same call works with the flag by position, or with a tensor among the keywords."""
        with machine() as devices:
            net, batch = Flagged(), torch.ones(1, 5, device=devices[0])
            wrapped = nn.DataParallel(net)

            outputs = [wrapped(batch), wrapped(batch, True), wrapped(batch, flag=True, mask=batch)]

        assert [output.tolist() for output in outputs] == [(2 * batch).tolist()] * 3
        assert len(net.seen) == 3
