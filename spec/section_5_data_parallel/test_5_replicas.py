"""Notes 5, everything else stays as it was: what does not, because replicas do the work, each on its share.

PyTorch's own code runs over CPU stand-ins for GPUs, see data_parallel.py: they show what is computed from
what, and neither where a tensor lives nor what a copy costs.
"""

import copy

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.parallel import DataParallel

from blitz.explained import parallel
from blitz.explained.parallel import data_parallel, share_sizes
from spec.harness import QUALIFIED, fault, statement
from spec.section_5_data_parallel.data_parallel import (
    ROUNDING,
    Normed,
    Recorder,
    cpus,
    on_machines,
    stand_ins,
)
from spec.section_5_data_parallel.data_parallel_faults import (
    backwards,
    calling_the_net,
    in_this_thread,
    of_a_copy,
    of_the_first,
    one_call,
    tensor_split,
    to_all,
    with_copies_of_all_buffers,
)

SAYS = "a model written for one card needs only this wrapper, everything else stays as it was"


class Counter(nn.Module):
    """A net that counts rows: in an attribute, in a buffer by assignment, in place in buffer and weight."""

    def __init__(self):
        super().__init__()
        self.rows = 0
        self.register_buffer("assigned", torch.zeros(1))
        self.register_buffer("in_place", torch.zeros(1))
        self.weight = nn.Parameter(torch.zeros(1))

    @torch.no_grad()
    def forward(self, x):
        """Count what this replica sees."""
        self.rows += len(x)
        self.assigned = self.assigned + len(x)
        self.in_place += len(x)
        self.weight += len(x)
        return x

    def counts(self):
        """Return the four counts."""
        return self.rows, self.assigned.item(), self.in_place.item(), self.weight.item()


class Asking(nn.Module):
    """A net that gives, once a row, the number of parameters that it knows of, by list and by name."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(1, 1)

    def forward(self, x):
        """Give two columns."""
        named = [value for value in (self.fc.weight, self.fc.bias) if isinstance(value, torch.Tensor)]
        return torch.tensor([[len(list(self.parameters())), len(named)]] * len(x), device=x.device)


class Refusing(nn.Module):
    """A net that refuses negative inputs."""

    def forward(self, x):
        """Pass on what is not negative."""
        if (x.cpu() < 0).any():
            raise ValueError("expected no negative input")
        return x


class Reduced(nn.Module):
    """A net whose output is `reduction` of its batch, such as its loss."""

    def __init__(self, reduction):
        super().__init__()
        self.reduction = reduction

    def forward(self, x):
        """Reduce."""
        return self.reduction(x)


def computed(net, model, batch):
    """Return the output, the gradients and the buffers of a forward and a backward pass."""
    output = model(batch)
    output.square().sum().backward()
    return [output, [parameter.grad for parameter in net.parameters()], dict(net.named_buffers())]


# Faults


def sharing_buffers(real):
    """Have all replicas of our replicate() share the net's own buffers."""

    def replicate(net, devices):
        replicas = real(net, devices)
        for replica in replicas:
            for module, original in zip(replica.modules(), net.modules(), strict=True):
                module._buffers = original._buffers
        return replicas

    return replicate


def keeping_attributes(real):
    """Write the attributes of the first replica back to the net."""

    def apply(self, replicas, inputs, kwargs):
        outputs = real(self, replicas, inputs, kwargs)
        self.module.rows = replicas[0].rows
        return outputs

    return apply


def keeping_buffers(real):
    """Add up in the net what all replicas did to a buffer."""

    def apply(self, replicas, inputs, kwargs):
        outputs = real(self, replicas, inputs, kwargs)
        for replica in replicas[1:]:
            self.module.in_place += replica.in_place.to(self.module.in_place.device)
        return outputs

    return apply


def with_parameters(real):
    """Give the replicas parameters."""

    def replicate(self, net, ids):
        replicas = real(self, net, ids)
        for module in [module for replica in replicas for module in replica.modules()]:
            module._parameters = dict(module._former_parameters)
        return replicas

    return replicate


def swallowing(real):
    """Take the input for the output where a replica fails."""

    def apply(self, replicas, inputs, kwargs):
        try:
            return real(self, replicas, inputs, kwargs)
        except ValueError:
            return [args[0] for args in inputs]

    return apply


def silently(real):
    """Make a vector of numbers without a warning."""
    return lambda self, outputs, device: torch.stack([output.to(device) for output in outputs])


@statement("parallel.rest-unchanged-batch-norm", notes="5", verdict=QUALIFIED, says=SAYS)
@fault("the net gets the whole batch", DataParallel, "forward", one_call)
@fault("every device gets the whole batch", DataParallel, "scatter", to_all)
@fault("the first replica copies buffers", DataParallel, "replicate", with_copies_of_all_buffers)
@fault("the first share alone has gradients", DataParallel, "parallel_apply", of_the_first)
@fault("replicas of ours share buffers", parallel, "replicate", sharing_buffers)
class TestBatchNorm:
    """In training, BatchNorm normalises each share by itself, so outputs are not those of the net alone; its
    running averages are those of the first share; and it refuses a share of one row.
    """

    @on_machines
    def test_each_share_is_normalised_by_itself_and_the_first_one_remembered(self, machine):
        with machine() as devices:
            net = nn.BatchNorm1d(3).to(devices[0], torch.float64)
            alone = [copy.deepcopy(net) for _ in devices]
            batch = torch.randn(3 * len(devices), 3, dtype=torch.float64).to(devices[0])
            output = nn.DataParallel(net)(batch)

            expected = torch.cat([each(share) for each, share in zip(alone, batch.split(3), strict=True)])

        torch.testing.assert_close(output, expected, **ROUNDING)
        torch.testing.assert_close(net.state_dict(), alone[0].state_dict(), **ROUNDING)
        assert not torch.allclose(output.cpu(), net(batch).cpu())

    @on_machines
    def test_last_share_of_one_row_is_refused(self, machine):
        with machine() as devices:
            net = nn.BatchNorm1d(3).to(devices[0])
            batch = torch.ones(2 * len(devices) - 1, 3, device=devices[0])

            assert net(batch).shape == batch.shape
            with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
                nn.DataParallel(net)(batch)

    @settings(max_examples=30)
    @given(st.integers(2, 60), st.integers(1, 12))
    def test_outputs_gradients_and_averages_are_those_of_our_data_parallel(self, device, rows, devices):
        assume(min(share_sizes(rows, devices)) > 1)
        net = Normed().to(device, torch.float64)
        ours = copy.deepcopy(net)
        batch = torch.randn(rows, 5, dtype=torch.float64).to(device)

        with stand_ins(device, devices) as places:
            found = computed(net, nn.DataParallel(net), batch)
            expected = computed(ours, lambda x: data_parallel(ours, x, places), batch)

        torch.testing.assert_close(found, expected, **ROUNDING)


@statement("parallel.rest-unchanged-attribute-updates", notes="5", verdict=QUALIFIED, says=SAYS)
@fault("attributes come back to the net", DataParallel, "parallel_apply", keeping_attributes)
@fault("buffers add up in the net", DataParallel, "parallel_apply", keeping_buffers)
@fault("the net is the first replica", DataParallel, "replicate", calling_the_net)
@fault("the first replica copies buffers", DataParallel, "replicate", with_copies_of_all_buffers)
@fault("the replicas are made of a copy", DataParallel, "replicate", of_a_copy)
@fault(
    "on one device a copy is called",
    DataParallel,
    "forward",
    lambda real: lambda self, x: copy.deepcopy(self.module)(x) if len(self.device_ids) < 2 else real(self, x),
)
class TestUpdatesInForward:
    """What `forward()` assigns to `self`, such as a count, is lost with its replica. Of what replicas do in
    place to buffers and weights, the net keeps what the first one does, and nothing of the others.
    """

    @on_machines
    def test_net_keeps_what_the_first_replica_does_in_place_alone(self, machine):
        net = Counter()
        with machine() as devices:
            nn.DataParallel(net.to(devices[0]))(torch.ones(7, 1, device=devices[0]))

        first = share_sizes(7, len(devices))[0]
        assert net.counts() == (0, 0, first, first)

    @pytest.mark.parametrize("count", [0, 1])
    def test_net_keeps_everything_on_one_device(self, count):
        net = Counter()

        with cpus(count):
            nn.DataParallel(net)(torch.ones(8, 1))

        assert net.counts() == (8, 8, 8, 8)


@statement("parallel.rest-unchanged-replicas", notes="5", verdict=QUALIFIED, says=SAYS)
@fault("replicas have parameters", DataParallel, "replicate", with_parameters)
@fault("the net is the first replica", DataParallel, "replicate", calling_the_net)
@fault("an error is swallowed", DataParallel, "parallel_apply", swallowing)
@fault("an error does not name the replica", DataParallel, "parallel_apply", in_this_thread)
@fault("replicas always record", DataParallel, "parallel_apply", torch.enable_grad())
@fault("replicas never record", DataParallel, "parallel_apply", torch.no_grad())
class TestReplicas:
    """Within `forward()` on several devices, `self` is a replica: its weights are there by name, but
    `parameters()` is empty. It has the grad mode of the caller, and an error in it names the replica.
    """

    @on_machines
    def test_replica_has_weights_by_name_and_no_parameters(self, machine):
        with machine() as devices:
            net = Asking().to(devices[0])
            batch = torch.ones(len(devices), 1, device=devices[0])

            assert nn.DataParallel(net)(batch).tolist() == [[0, 2]] * len(devices)
            assert net(batch).tolist() == [[2, 2]] * len(devices)

    @on_machines
    def test_error_of_a_replica_names_it(self, machine):
        with machine() as devices:
            batch = torch.tensor([[1.0], [-1.0]], device=devices[0])

            with pytest.raises(ValueError, match=r"in replica 1 on device 1[\s\S]*no negative input"):
                nn.DataParallel(Refusing())(batch)

    @pytest.mark.parametrize("mode", [True, False], ids=["recording", "not recording"])
    @on_machines
    def test_grad_mode_of_the_caller_holds_in_the_replicas(self, machine, mode):
        net, modes = Recorder(), []
        net.register_forward_pre_hook(lambda module, args: modes.append(torch.is_grad_enabled()))

        with machine() as devices, torch.set_grad_enabled(mode):
            nn.DataParallel(net)(torch.ones(len(devices), 1, device=devices[0]))

        assert modes == [mode] * len(devices)


@statement("parallel.rest-unchanged-number", notes="5", verdict=QUALIFIED, says=SAYS)
@fault("numbers are joined backwards", DataParallel, "gather", backwards)
@fault("numbers become a vector silently", DataParallel, "gather", silently)
@fault(
    "outputs are added up", DataParallel, "gather", lambda real: lambda self, outputs, device: sum(outputs)
)
@fault("shares differ by one row at most", torch.Tensor, "chunk", tensor_split)
class TestNumberForABatch:
    """A net that gives one number for its batch, such as its loss, gives a vector of one for each device when
    wrapped, with a warning; their mean is not the loss of the batch unless the shares are equal.
    """

    @on_machines
    def test_numbers_of_the_replicas_become_a_vector_with_a_warning(self, machine):
        with machine() as devices:
            batch = torch.arange(5.0, device=devices[0])
            with pytest.warns(UserWarning, match="all input tensors were scalars; will .* return a vector"):
                output = nn.DataParallel(Reduced(torch.sum))(batch)

            shares = batch.split(share_sizes(5, len(devices)))

        assert output.tolist() == [sum(share.tolist()) for share in shares]

    def test_mean_of_the_losses_of_uneven_shares_is_not_that_of_the_batch(self):
        batch = torch.arange(10.0)

        with cpus(4):
            losses = nn.DataParallel(Reduced(lambda x: x.mean().reshape(1)))(batch)

        assert losses.tolist() == [1, 4, 7, 9]
        assert losses.mean() == 5.25
        assert batch.mean() == 4.5

    @on_machines
    def test_number_that_is_no_tensor_is_refused(self, machine):
        with machine() as devices:
            wrapped = nn.DataParallel(Reduced(lambda x: x.sum().item()))

            with pytest.raises(TypeError, match="'float' object is not iterable"):
                wrapped(torch.ones(4, 1, device=devices[0]))
