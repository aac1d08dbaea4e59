"""blitz/explained/parallel.py: shares of a batch, and a net on several devices held to the net by itself."""

from collections import OrderedDict, namedtuple

import pytest
import torch
from torch import nn

from blitz.explained.parallel import data_parallel, share_sizes, split

Pair = namedtuple("Pair", ["left", "right"])

CPUS = ["cpu", "cpu"]

# (rows, devices, sizes)
SIZES = {
    "even": (30, 3, [10, 10, 10]),
    "the last gets less": (30, 4, [8, 8, 8, 6]),
    "the last gets none": (9, 4, [3, 3, 3]),
    "three of eight get none": (10, 8, [2, 2, 2, 2, 2]),
    "fewer rows than devices": (2, 5, [1, 1]),
    "one device": (7, 1, [7]),
    "no rows": (0, 3, [0, 0, 0]),
}


class TestShareSizes:
    """How many rows each device gets."""

    @pytest.mark.parametrize(("rows", "devices", "sizes"), SIZES.values(), ids=SIZES)
    def test_each_device_gets_the_rounded_up_share_until_none_is_left(self, rows, devices, sizes):
        """⌈rows / devices⌉ for each, then what is left, then nothing; so does Tensor.chunk cut."""
        assert share_sizes(rows, devices) == sizes
        assert [len(share) for share in torch.empty(rows).chunk(devices)] == sizes

    @pytest.mark.parametrize(("rows", "devices"), [(0, 0), (-1, 2)])
    def test_nothing_to_share_or_nobody_to_share_with_is_refused(self, rows, devices):
        """The sentence tells both numbers."""
        message = f"^expected rows for at least one device, got {rows} rows and {devices} devices$"

        with pytest.raises(ValueError, match=message):
            share_sizes(rows, devices)


ROWS = torch.arange(6).reshape(3, 2)

# What is split, and the second of its two shares.
FORMS = {
    "a tensor": (ROWS, [[4, 5]]),
    "a tuple": ((ROWS, 7), ([[4, 5]], 7)),
    "a namedtuple": (Pair(ROWS, "x"), Pair([[4, 5]], "x")),
    "a dict in order": (OrderedDict(b=ROWS, a=None), OrderedDict(b=[[4, 5]], a=None)),
    "one in the other": ([{"p": Pair((ROWS,), ())}, []], [{"p": Pair(([[4, 5]],), ())}, []]),
    "tensors of other lengths": ((ROWS, torch.arange(5)), ([[4, 5]], [3, 4])),
}


def plain(value):
    """Return a nested form with lists for tensors."""
    return torch.utils._pytree.tree_map_only(torch.Tensor, torch.Tensor.tolist, value)


class TestSplit:
    """A batch in shares."""

    @pytest.mark.parametrize(("batch", "second"), FORMS.values(), ids=FORMS)
    def test_forms_keep_their_types_and_what_is_no_tensor(self, batch, second):
        """Each tensor is shared by itself, however deep, and its rows go to the devices in order."""
        shares = split(batch, CPUS)

        assert len(shares) == 2
        assert plain(shares[1]) == second
        assert type(shares[1]) is type(batch)

    @pytest.mark.parametrize("dim", [1, -1])
    def test_any_axis_can_be_split(self, dim):
        """Axis 1 of a matrix is its last, and is split as the rows are."""
        assert plain(split(ROWS.T, CPUS, dim=dim)) == [[[0, 2], [1, 3]], [[4], [5]]]

    def test_each_share_is_moved_to_its_device(self):
        """A share lies on its device, at whatever depth."""
        shares = split({"inner": [torch.arange(6), 7]}, ["cpu", torch.device("meta"), "cpu"])

        assert [share["inner"][0].device.type for share in shares] == ["cpu", "meta", "cpu"]

    def test_tensors_that_make_other_numbers_of_shares_are_refused(self):
        """Rows would be lost; the sentence tells each number of rows."""
        message = r"^expected tensors that make one number of shares, got \[4, 5\] rows for 4 devices$"

        with pytest.raises(ValueError, match=message):
            split([torch.zeros(5), {"inner": torch.zeros(4)}], ["cpu"] * 4)


def make_net():
    """Return a net in float64 that bends, so that there are second derivatives, and has a tied weight."""
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    net[2].weight = net[0].weight
    return net


class Counter(nn.Module):
    """A net that counts rows in a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("rows", torch.zeros(()))

    def forward(self, x):
        """Return the count, once for each row up to now."""
        self.rows += len(x)
        return self.rows[None].clone()


class TestDataParallel:
    """The whole, against the net by itself."""

    @pytest.mark.parametrize("devices", [1, 2, 4, 12])
    def test_outputs_and_gradients_are_those_of_the_net_alone(self, devices):
        """However many shares there are, the one net gets the sum of their gradients; so does the batch."""
        net = make_net()
        x = torch.randn(10, 3, dtype=torch.float64, requires_grad=True)
        weights = torch.arange(30.0, dtype=torch.float64).reshape(10, 3)

        output, expected = data_parallel(net, x, ["cpu"] * devices), net(x)
        wanted = [x, *net.parameters()]
        found = torch.autograd.grad((output * weights).sum(), wanted)

        torch.testing.assert_close(output, expected)
        torch.testing.assert_close(found, torch.autograd.grad((expected * weights).sum(), wanted))

    def test_second_derivatives_are_those_of_the_net_alone(self):
        """A penalty on the gradients has gradients itself, through copies, shares and joined outputs."""
        net, x = make_net(), torch.randn(5, 3, dtype=torch.float64)

        def penalty(output):
            slopes = torch.autograd.grad(output.pow(2).sum(), list(net.parameters()), create_graph=True)
            return torch.autograd.grad(sum(slope.pow(2).sum() for slope in slopes), list(net.parameters()))

        torch.testing.assert_close(penalty(data_parallel(net, x, ["cpu"] * 3)), penalty(net(x)))

    def test_outputs_on_any_device_are_those_of_the_cpu(self, device):
        """What is computed elsewhere comes back to the first device, and its gradients to the net."""
        net, x = nn.Linear(3, 2).to(device), torch.randn(5, 3)

        output = data_parallel(net, x, [device, "cpu", device])
        output.sum().backward()

        assert output.device == net.weight.device
        torch.testing.assert_close(output.detach().cpu(), net.cpu()(x).detach())
        torch.testing.assert_close(net.weight.grad.cpu(), x.sum(0).expand(2, 3))

    def test_running_mean_is_that_of_the_first_share(self):
        """The net remembers what the first share was, as one batch, and nothing of the others."""
        net, x = nn.BatchNorm1d(1, momentum=1.0), torch.arange(6.0).reshape(6, 1)

        data_parallel(net, x, ["cpu"] * 3)

        assert net.running_mean.tolist() == [0.5]
        assert net.num_batches_tracked == 1

    def test_each_share_begins_with_the_buffers_that_the_net_had(self):
        """Copies are made before the first share is computed, as replicas are."""
        net = Counter()

        assert data_parallel(net, torch.ones(5, 1), ["cpu"] * 3).tolist() == [2, 2, 1]
        assert net.rows.item() == 2

    @pytest.mark.parametrize(("rows", "shares"), [(5, [2, 2, 1]), (4, [2, 2]), (0, [0, 0, 0])])
    def test_net_is_called_once_a_share(self, rows, shares):
        """Devices without rows are left out, but no rows at all are shares for all."""
        net, calls = nn.Identity(), []
        net.register_forward_hook(lambda module, args, output: calls.append(len(output)))

        output = data_parallel(net, torch.ones(rows, 2), ["cpu"] * 3)

        assert calls == shares
        assert output.shape == (rows, 2)
