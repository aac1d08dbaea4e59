"""blitz/explained/parallel.py: what nn.DataParallel does not do, or cannot show on one device.

spec/section_5_data_parallel/ holds nn.DataParallel to shares, outputs, gradients and running means.
"""

import pytest
import torch
from torch import nn

from blitz.explained.parallel import data_parallel, share_sizes, split


@pytest.mark.parametrize(("rows", "devices"), [(0, 0), (-1, 2)])
def test_nothing_to_share_or_nobody_to_share_with_is_refused(rows, devices):
    """The sentence tells both numbers."""
    message = f"^expected rows for at least one device, got {rows} rows and {devices} devices$"

    with pytest.raises(ValueError, match=message):
        share_sizes(rows, devices)


class TestSplit:
    """A batch in shares."""

    def test_tensors_of_other_lengths_are_each_shared_by_themselves(self):
        """If they make as many shares."""
        shares = split((torch.arange(3), torch.arange(5)), ["cpu"] * 2)

        assert [tensor.tolist() for tensor in shares[1]] == [[2], [3, 4]]

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
