"""Our data_parallel as a whole; its parts are in test_parallel_split.py and test_parallel_replicas.py."""

import pytest
import torch
from torch import nn

from blitz.explained.parallel import data_parallel

CPUS = ["cpu", "cpu"]
ONE_ARGUMENT = {
    "a tensor": torch.arange(3),
    "a list": [torch.arange(3), torch.arange(5, 8)],
    "a dict": {"x": torch.arange(3)},
}


def make_net():
    """Return a small net in float64 that bends twice, so that there are second derivatives."""
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def gradients(net):
    """Return the gradient of each parameter by name."""
    return {name: parameter.grad for name, parameter in net.named_parameters()}


class TestDataParallel:
    """The whole, against the net by itself."""

    @pytest.mark.parametrize("devices", [1, 2, 3, 4, 7, 12])
    def test_outputs_and_gradients_are_those_of_the_net_alone(self, devices):
        """However many shares there are, the one net gets the sum of their gradients; so does the batch."""
        net, alone = make_net(), make_net()
        alone.load_state_dict(net.state_dict())
        x = torch.randn(10, 3, dtype=torch.float64, requires_grad=True)
        y = x.detach().clone().requires_grad_()
        weights = torch.arange(20.0, dtype=torch.float64).reshape(10, 2)

        output, expected = data_parallel(net, x, ["cpu"] * devices), alone(y)
        (output * weights).sum().backward()
        (expected * weights).sum().backward()

        torch.testing.assert_close(output, expected)
        torch.testing.assert_close(gradients(net) | {"x": x.grad}, gradients(alone) | {"x": y.grad})

    def test_second_derivatives_are_those_of_the_net_alone(self):
        """A penalty on the gradients has gradients itself, through replicas, shares and joined outputs."""
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

    def test_everything_is_moved_to_the_devices_and_the_first_gets_the_result(self):
        """A batch on the CPU is computed on the device of the net, and the result stays there."""
        net = nn.PReLU(device="meta")

        output = data_parallel(net, torch.ones(5, 3), ["meta"] * 2)

        assert (output.device.type, output.shape) == ("meta", (5, 3))

    def test_training_goes_on_from_call_to_call(self):
        """Replicas are made anew, so the second call computes with what the first step left."""
        net, x = nn.Linear(1, 1, bias=False), torch.ones(4, 1)
        nn.init.constant_(net.weight, 3.0)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.25)

        data_parallel(net, x, CPUS).sum().backward()
        optimizer.step()

        assert net.weight.item() == 3 - 0.25 * 4
        assert data_parallel(net, x, CPUS).tolist() == [[2.0]] * 4

    def test_running_mean_is_that_of_the_first_share(self):
        """The net remembers what its first replica saw, as one batch, and nothing of the others."""
        net, x = nn.BatchNorm1d(1, momentum=1.0), torch.arange(6.0).reshape(6, 1)

        data_parallel(net, x, ["cpu"] * 3)

        assert net.running_mean.tolist() == [0.5]
        assert net.num_batches_tracked == 1

    def test_without_gradients_nothing_is_recorded(self):
        """Under torch.no_grad the outputs are the same and have no graph."""
        net, x = make_net(), torch.randn(5, 3, dtype=torch.float64)

        with torch.no_grad():
            output = data_parallel(net, x, CPUS)

        assert not output.requires_grad
        torch.testing.assert_close(output, net(x).detach())

    def test_tuple_holds_the_positional_arguments_and_kwargs_the_others(self):
        """Tensors among the keyword arguments are shared out, and numbers are for all."""

        class Weighted(nn.Module):
            def forward(self, a, b, *, plus, times):
                return a - b + plus * times

        a, b, plus = torch.arange(5), torch.arange(5) * 10, torch.arange(5) * 100

        output = data_parallel(Weighted(), (a, b), CPUS, kwargs={"plus": plus, "times": 2})

        assert output.tolist() == [0, 191, 382, 573, 764]

    @pytest.mark.parametrize("batch", ONE_ARGUMENT.values(), ids=ONE_ARGUMENT)
    def test_what_is_no_tuple_is_the_one_argument(self, batch):
        """A list or a dict arrives as it is, in shares, and goes back so."""
        output = data_parallel(nn.Identity(), batch, CPUS)

        torch.testing.assert_close(output, batch)

    def test_the_axis_of_the_samples_can_be_any(self):
        """An LSTM counts its samples on axis 1, in its input, its output, and both states."""
        net, x = nn.LSTM(3, 4, num_layers=2), torch.randn(6, 5, 3)
        states = torch.randn(2, 2, 5, 4).unbind()

        output = data_parallel(net, (x, states), ["cpu"] * 3, dim=1)

        torch.testing.assert_close(output, net(x, states))

    @pytest.mark.parametrize(("rows", "seen"), [(5, [2, 2, 1]), (4, [2, 2]), (1, [1]), (0, [0, 0, 0])])
    def test_a_replica_is_called_for_each_share(self, rows, seen):
        """The net itself is not; devices without rows are left out, but no rows at all are shares for all."""
        net, calls = nn.Identity(), []
        net.register_forward_hook(lambda module, args, output: calls.append((module is net, len(output))))

        output = data_parallel(net, torch.ones(rows, 2), ["cpu"] * 3)

        assert calls == [(False, share) for share in seen]
        assert output.shape == (rows, 2)

    def test_unused_devices_need_not_exist(self):
        """No replica is made for a device without a share."""
        assert data_parallel(nn.Linear(3, 2), torch.ones(1, 3), ["cpu", "cuda:99"]).shape == (1, 2)

    def test_one_loss_a_share_becomes_a_vector(self):
        """A net that returns a number has as many as there are shares."""

        class Mean(nn.Module):
            def forward(self, x):
                return x.mean()

        assert data_parallel(Mean(), torch.arange(5.0), CPUS).tolist() == [1.0, 3.5]

    def test_errors_tell_the_share(self):
        """What a layer says arrives with the number of the share it said it of."""
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
            data_parallel(nn.Linear(3, 2), torch.ones(4, 5), CPUS)

        assert caught.value.__notes__ == ["(in share 1 of 2)"]

    def test_net_without_arguments_is_called_once(self):
        """There is nothing to share out; keyword arguments alone are arguments."""

        class Constant(nn.Module):
            def forward(self, times=1):
                return torch.ones(2) * times

        assert data_parallel(Constant(), (), ["cpu"] * 3).tolist() == [1, 1]
        assert data_parallel(Constant(), (), CPUS, kwargs={"times": 3}).tolist() == [3, 3, 3, 3]
