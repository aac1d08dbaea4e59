"""Section 5 of the notes, data parallelism: what is not as it was, because replicas do the work.

PyTorch's own code runs here over CPU stand-ins for GPUs, see spec/data_parallel.py: they show what is
computed from what, and neither where a tensor lives nor what a copy costs.
"""

import copy
import threading

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel

from blitz.explained.parallel import data_parallel, share_sizes, split
from spec.data_parallel import ROUNDING, Recorder, cpus, on_machines
from spec.data_parallel_faults import one_call, to_all
from spec.data_parallel_replica_faults import (
    calling_the_net,
    in_this_thread,
    keeping_attributes,
    keeping_buffers,
    of_a_copy,
    recording,
    recording_nothing,
    swallowing,
    with_copies_of_all_buffers,
    with_parameters,
)
from spec.harness import QUALIFIED, broken_by, claim

SAYS = "a model written for one card needs only this wrapper, everything else stays as it was"


class Counter(nn.Module):
    """A net that counts rows: in an attribute, in a buffer in place, and in a buffer by assignment."""

    def __init__(self):
        super().__init__()
        self.rows = 0
        self.register_buffer("in_place", torch.zeros(1))
        self.register_buffer("assigned", torch.zeros(1))

    def forward(self, x):
        """Count what this replica sees."""
        self.rows += len(x)
        self.in_place += len(x)
        self.assigned = self.assigned + len(x)
        return x

    def counts(self):
        """Return the three counts."""
        return self.rows, self.in_place.item(), self.assigned.item()


class Growing(nn.Module):
    """A net whose weight grows by the number of rows."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        """Add to the weight in place, as for a projection onto what is allowed."""
        with torch.no_grad():
            self.weight.add_(len(x))
        return x.clone()


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


class TestState:
    """What forward() leaves behind."""

    @on_machines
    @claim("parallel.rest-unchanged-attribute-updates", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(DataParallel, "parallel_apply", keeping_attributes)
    @broken_by(DataParallel, "replicate", calling_the_net)
    def test_attribute_set_in_forward_is_lost(self, machine):
        """What forward() assigns to self is lost with its replica: a count of the rows seen stays 0."""
        net = Counter()
        with machine() as devices:
            nn.DataParallel(net.to(devices[0]))(torch.ones(8, 1, device=devices[0]))

        rows, _, assigned = net.counts()
        assert (rows, assigned) == (0, 0)

    @pytest.mark.parametrize("count", [0, 1])
    @claim("parallel.rest-unchanged-attribute-updates-on-one-device", notes="5")
    @broken_by(DataParallel, "forward", lambda real: lambda self, x: copy.deepcopy(self.module)(x))
    def test_attribute_set_in_forward_stays_on_one_device(self, count):
        """With one device or none there are no replicas, and what forward() assigns to self stays."""
        net = Counter()

        with cpus(count):
            nn.DataParallel(net)(torch.ones(8, 1))

        assert net.counts() == (8, 8, 8)

    @on_machines
    @claim("parallel.rest-unchanged-buffers", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(DataParallel, "replicate", with_copies_of_all_buffers)
    @broken_by(DataParallel, "parallel_apply", keeping_buffers)
    def test_buffer_keeps_what_the_first_replica_adds_in_place(self, machine):
        """A buffer keeps what the first replica does to it in place, and nothing of the others."""
        net = Counter()
        with machine() as devices:
            nn.DataParallel(net.to(devices[0]))(torch.ones(7, 1, device=devices[0]))

        _, in_place, _ = net.counts()
        assert in_place == share_sizes(7, len(devices))[0]

    @on_machines
    @claim("parallel.rest-unchanged-weights-in-place", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(DataParallel, "replicate", of_a_copy)
    @broken_by(DataParallel, "replicate", lambda real: lambda self, net, ids: [net] * len(ids))
    def test_weight_keeps_what_the_first_replica_does_in_place(self, machine):
        """A weight keeps what the first replica does to it in place, and nothing of the others."""
        with machine() as devices:
            nets = [Growing().to(devices[0]) for _ in range(2)]
            batch = torch.ones(7, 1, device=devices[0])

            nn.DataParallel(nets[0])(batch)
            data_parallel(nets[1], batch, devices)

        first = share_sizes(7, len(devices))[0]
        assert [net.weight.item() for net in nets] == [first, first]

    @on_machines
    @claim("parallel.rest-unchanged-running-mean", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(DataParallel, "scatter", to_all)
    @broken_by(DataParallel, "replicate", with_copies_of_all_buffers)
    def test_running_mean_is_that_of_the_first_share(self, machine):
        """What BatchNorm remembers of a batch is the mean and variance of the first share alone."""
        with machine() as devices:
            net = nn.BatchNorm1d(3).to(devices[0], torch.float64)
            alone = copy.deepcopy(net)
            batch = torch.randn(3 * len(devices), 3, dtype=torch.float64).to(devices[0])
            nn.DataParallel(net)(batch)

            alone(split(batch, devices)[0])

        torch.testing.assert_close(net.state_dict(), alone.state_dict(), **ROUNDING)

    @on_machines
    @claim("parallel.rest-unchanged-batch-norm", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(DataParallel, "forward", one_call)
    @broken_by(DataParallel, "scatter", to_all)
    def test_batch_norm_normalises_share_by_share(self, machine):
        """When it trains, BatchNorm normalises share by share, so outputs are not those of one device."""
        with machine() as devices:
            net = nn.BatchNorm1d(3).to(devices[0], torch.float64)
            batch = torch.randn(3 * len(devices), 3, dtype=torch.float64).to(devices[0])
            output = nn.DataParallel(net)(batch)

            expected = torch.cat([net(share.to(devices[0])) for share in split(batch, devices)])

        torch.testing.assert_close(output, expected, **ROUNDING)
        assert not torch.allclose(output.cpu(), net(batch).cpu())

    @on_machines
    @claim("parallel.rest-unchanged-share-of-one", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(DataParallel, "scatter", to_all)
    @broken_by(DataParallel, "forward", one_call)
    def test_batch_norm_refuses_a_last_share_of_one_row(self, machine):
        """A batch that BatchNorm takes alone is a ValueError where it leaves one row to the last device."""
        with machine() as devices:
            net = nn.BatchNorm1d(3).to(devices[0])
            batch = torch.ones(2 * len(devices) - 1, 3, device=devices[0])

            assert net(batch).shape == batch.shape
            with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
                nn.DataParallel(net)(batch)


class TestReplicas:
    """How a replica differs from the net."""

    @on_machines
    @claim("parallel.rest-unchanged-parameters-of-replicas", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(DataParallel, "replicate", with_parameters)
    @broken_by(DataParallel, "replicate", calling_the_net)
    def test_replica_has_weights_by_name_and_no_parameters(self, machine):
        """Within forward(), parameters() is empty on several devices; self.fc.weight is there as before."""
        with machine() as devices:
            net = Asking().to(devices[0])
            batch = torch.ones(len(devices), 1, device=devices[0])

            assert nn.DataParallel(net)(batch).tolist() == [[0, 2]] * len(devices)
            assert net(batch).tolist() == [[2, 2]] * len(devices)

    @on_machines
    @claim("parallel.rest-unchanged-hooks", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(DataParallel, "forward", one_call)
    @broken_by(DataParallel, "scatter", to_all)
    def test_hook_runs_for_each_share(self, machine):
        """A forward hook of the net runs once for each share, with the rows of that share."""
        net, seen = Recorder(), []
        net.register_forward_hook(lambda module, args, output: seen.append(len(output)))

        with machine() as devices:
            nn.DataParallel(net)(torch.ones(7, 1, device=devices[0]))

        assert sorted(seen, reverse=True) == share_sizes(7, len(devices))

    @on_machines
    @claim("parallel.rest-unchanged-errors", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(DataParallel, "parallel_apply", swallowing)
    @broken_by(DataParallel, "parallel_apply", in_this_thread)
    def test_error_of_a_replica_names_it(self, machine):
        """An error in a share reaches the caller in its own type, with the replica and its device named."""
        with machine() as devices:
            batch = torch.tensor([[1.0], [-1.0]], device=devices[0])

            with pytest.raises(ValueError, match=r"in replica 1 on device 1[\s\S]*no negative input"):
                nn.DataParallel(Refusing())(batch)

    @on_machines
    @claim("parallel.dp-script-output-threads", notes="dp.py")
    @broken_by(DataParallel, "parallel_apply", in_this_thread)
    @broken_by(DataParallel, "forward", one_call)
    def test_each_replica_runs_in_a_thread_of_its_own(self, machine):
        """Each share is computed in a thread of its own: this is why the lines of dp.py come in any order."""
        net, threads = Recorder(), []
        net.register_forward_pre_hook(lambda module, args: threads.append(threading.current_thread()))

        with machine() as devices:
            nn.DataParallel(net)(torch.ones(len(devices), 1, device=devices[0]))

        assert len({*threads, threading.current_thread()}) == len(devices) + 1

    @on_machines
    @claim("parallel.rest-unchanged-grad-mode", notes="5")
    @broken_by(DataParallel, "parallel_apply", recording)
    @broken_by(DataParallel, "parallel_apply", recording_nothing)
    def test_grad_mode_of_the_caller_holds_in_the_replicas(self, machine):
        """Replicas run in threads, which have a grad mode each; it is that of the caller, on or off."""
        net, modes = Recorder(), []
        net.register_forward_pre_hook(lambda module, args: modes.append(torch.is_grad_enabled()))
        with machine() as devices:
            for on in (False, True):
                with torch.set_grad_enabled(on):
                    nn.DataParallel(net)(torch.ones(len(devices), 1, device=devices[0]))

        assert modes == [False] * len(devices) + [True] * len(devices)
