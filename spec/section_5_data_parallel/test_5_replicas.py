"""Notes 5, everything else stays as it was: what does not, because replicas do the work, each on its share.

PyTorch's own code runs over CPU stand-ins for GPUs, see data_parallel.py: they show what is computed from
what, and neither where a tensor lives nor what a copy costs.
"""

import copy

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel

from blitz.explained.parallel import data_parallel, share_sizes
from spec.harness import QUALIFIED, fault, statement
from spec.section_5_data_parallel import data_parallel_faults as faults
from spec.section_5_data_parallel.data_parallel import ROUNDING, Net, computed, cpus, on_machines, stand_ins

SAYS = "a model written for one card needs only this wrapper; everything else stays as it was"

# (devices, rows)
CASES = {"even shares": (3, 30), "uneven shares": (4, 11), "an idle device": (4, 9)}


class Counter(nn.Module):
    """A net that counts rows: in an attribute, a buffer by assignment, and in place in buffer and weight."""

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
        self.in_place.add_(len(x))
        self.weight.add_(len(x))
        return x

    def counts(self):
        """Return the four counts."""
        return self.rows, self.assigned.item(), self.in_place.item(), self.weight.item()


class Asking(nn.Linear):
    """A layer that gives, once a row, the number of its parameters, and the size of its weight."""

    def forward(self, x):
        """Give two columns."""
        return torch.tensor([[len([*self.parameters()]), self.weight.numel()]] * len(x), device=x.device)


def refusing(x):
    """Pass on what is not negative."""
    if (x.cpu() < 0).any():
        raise ValueError("expected no negative input")
    return x


# Faults


def with_copies_of_all_buffers(replicate):
    """Have the first replica copy the buffers, too."""

    def faulty(self, net, ids):
        replicas = replicate(self, net, ids)
        for module in replicas[0].modules():
            module._buffers = {name: value.clone() for name, value in module._buffers.items()}
        return replicas

    return faulty


@statement("parallel.rest-unchanged-batch-norm", notes="5", verdict=QUALIFIED, says=SAYS)
@fault("the net gets the whole batch", DataParallel, "forward", faults.one_call)
@fault("every device gets the whole batch", torch.Tensor, "chunk", faults.whole)
@fault("the first replica copies buffers", DataParallel, "replicate", with_copies_of_all_buffers)
@fault("the first share alone has gradients", DataParallel, "parallel_apply", faults.of_the_first)
class TestBatchNorm:
    """In training with `nn.DataParallel`, batch norm normalizes each device's share of the batch by itself.
    The outputs therefore differ from those of the net alone. The net keeps only the running averages of the
    first share.
    """

    @on_machines
    def test_each_share_is_normalized_by_itself_and_the_first_one_remembered(self, machine):
        with machine() as devices:
            net = nn.BatchNorm1d(3).to(devices[0], torch.float64)
            alone = [copy.deepcopy(net) for _ in devices]
            batch = torch.randn(3 * len(devices), 3, dtype=torch.float64).to(devices[0])
            output = nn.DataParallel(net)(batch)

            expected = torch.cat([each(share) for each, share in zip(alone, batch.split(3), strict=True)])

        torch.testing.assert_close(output, expected, **ROUNDING)
        torch.testing.assert_close(net.state_dict(), alone[0].state_dict(), **ROUNDING)
        assert not torch.allclose(output, net(batch))

    @on_machines
    def test_last_share_of_one_row_is_refused(self, machine):
        with machine() as devices:
            net = nn.BatchNorm1d(3).to(devices[0])
            batch = torch.ones(2 * len(devices) - 1, 3, device=devices[0])

            assert net(batch).shape == batch.shape
            with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
                nn.DataParallel(net)(batch)

    @pytest.mark.parametrize(("devices", "rows"), CASES.values(), ids=CASES)
    def test_outputs_gradients_and_averages_are_those_of_our_data_parallel(self, device, devices, rows):
        net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))
        ours = copy.deepcopy(net.to(device, torch.float64))
        batch = torch.randn(rows, 5, dtype=torch.float64).to(device)

        with stand_ins(device, devices) as places:
            found = computed(net, nn.DataParallel(net), batch)
            expected = computed(ours, lambda x: data_parallel(ours, x, places), batch)

        torch.testing.assert_close(found, expected, **ROUNDING)


@statement("parallel.rest-unchanged-attribute-updates", notes="5", verdict=QUALIFIED, says=SAYS)
@fault("the net is the first replica", DataParallel, "replicate", faults.calling_the_net)
@fault(
    "the net is all replicas", DataParallel, "replicate", lambda real: lambda self, net, ids: [net] * len(ids)
)
@fault("the first replica copies buffers", DataParallel, "replicate", with_copies_of_all_buffers)
@fault("the replicas are made of a copy", DataParallel, "replicate", faults.of_a_copy)
@fault(
    "a copy is called", DataParallel, "forward", lambda real: lambda self, x: copy.deepcopy(self.module)(x)
)
class TestUpdatesInForward:
    """With `nn.DataParallel` on several devices, `forward()` runs on copies of the net. A value that
    `forward()` assigns to `self`, such as a count, is lost. In-place changes of weights and registered
    tensors (buffers) are kept only from the first copy.
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
@fault("the net is the first replica", DataParallel, "replicate", faults.calling_the_net)
@fault("an error does not name the replica", DataParallel, "parallel_apply", faults.in_this_thread)
class TestReplicas:
    """When `nn.DataParallel` uses several devices, `self` in `forward()` is a copy of the net, called a
    replica. The replica has its weights as attributes, such as `self.weight`, but `self.parameters()` is
    empty. The message of an error says which replica failed.
    """

    @on_machines
    def test_replica_has_weights_by_name_and_no_parameters(self, machine):
        with machine() as devices:
            net, batch = Asking(3, 2).to(devices[0]), torch.ones(len(devices), 3, device=devices[0])

            assert nn.DataParallel(net)(batch).tolist() == [[0, 6]] * len(devices)
            assert net(batch).tolist() == [[2, 6]] * len(devices)

    @on_machines
    def test_error_of_a_replica_names_it(self, machine):
        with machine() as devices:
            batch = torch.tensor([[1.0], [-1.0]], device=devices[0])

            with pytest.raises(ValueError, match=r"in replica 1 on device 1[\s\S]*no negative input"):
                nn.DataParallel(Net(refusing))(batch)


@statement("parallel.rest-unchanged-number", notes="5", verdict=QUALIFIED, says=SAYS)
@fault("numbers are joined backwards", DataParallel, "gather", faults.backwards)
@fault(
    "outputs are added up", DataParallel, "gather", lambda real: lambda self, outputs, device: sum(outputs)
)
@fault(
    "numbers are joined silently", DataParallel, "gather", lambda real: lambda self, xs, _: torch.stack(xs)
)
@fault("shares differ by one row at most", torch.Tensor, "chunk", faults.near_equal)
class TestNumberForABatch:
    """On several devices, `nn.DataParallel` returns a vector if the net returns a single number, such as the
    loss. The vector has one element for each device that got rows. With unequal shares, the mean of the
    vector is not the mean loss of the batch.
    """

    @on_machines
    def test_numbers_of_the_replicas_become_a_vector_with_a_warning(self, machine):
        with machine() as devices:
            batch = torch.arange(5.0, device=devices[0])
            with pytest.warns(UserWarning, match="all input tensors were scalars; will .* return a vector"):
                output = nn.DataParallel(Net(torch.sum))(batch)

            shares = batch.split(share_sizes(5, len(devices)))

        assert output.tolist() == [sum(share.tolist()) for share in shares]

    def test_mean_of_the_losses_of_uneven_shares_is_not_that_of_the_batch(self):
        batch = torch.arange(10.0)

        with cpus(4):
            losses = nn.DataParallel(Net(lambda x: x.mean().reshape(1)))(batch)

        assert losses.tolist() == [1, 4, 7, 9]
        assert losses.mean() == 5.25
        assert batch.mean() == 4.5
