"""blitz/explained/parallel.py: the replicas of a net, and their calls."""

import pytest
import torch
from torch import nn

from blitz.explained.parallel import apply, replicate

CPUS = ["cpu", "cpu"]
ACROSS = ["cpu", "meta"]


class Scaled(nn.Sequential):
    """A Sequential with a parameter of its own."""

    def __init__(self, *layers):
        super().__init__(*layers)
        self.scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, x):
        """Multiply what the layers give."""
        return self.scale * super().forward(x)


class Recorder(nn.Module):
    """Keeps what it saw: in a list, in an attribute, and in two buffers, one of them assigned."""

    def __init__(self):
        super().__init__()
        self.seen, self.last = [], None
        self.register_buffer("total", torch.zeros(()))
        self.register_buffer("assigned", torch.zeros(()))

    def forward(self, x):
        """Return `x` as it is."""
        self.seen.append(len(x))
        self.last = x
        self.total += x.sum().detach()
        self.assigned = self.assigned + 1
        return x


def make_net():
    """Return a small net of several layers."""
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), Scaled(nn.Linear(4, 2)))


class TestReplicate:
    """What a replica has of its own, and what it shares with the net."""

    def test_each_device_gets_a_replica_that_computes_what_the_net_does(self):
        """Replicas are modules of the net's class, and none of them is the net or another."""
        net, x = make_net(), torch.randn(5, 3)

        replicas = replicate(net, ["cpu"] * 3)

        assert [type(replica) for replica in replicas] == [nn.Sequential] * 3
        assert len({id(module) for module in (net, *replicas)}) == 4
        assert [torch.equal(replica(x), net(x)) for replica in replicas] == [True] * 3

    def test_first_replica_has_the_parameters_of_the_net(self):
        """The very objects: what it does to them in place is done to the net."""
        net = nn.Linear(2, 1)

        first = replicate(net, CPUS)[0]

        assert [*first.parameters()] == [net.weight, net.bias]

    def test_other_replicas_have_copies_that_autograd_knows(self):
        """They have memory of their own, and their gradients arrive in the net."""
        net = nn.Linear(2, 1)

        for number, replica in enumerate(replicate(net, ["cpu"] * 3)[1:], start=1):
            assert replica.weight.data_ptr() != net.weight.data_ptr()
            (replica.weight * torch.tensor([2.0, 3.0])).sum().backward()
            assert net.weight.grad.tolist() == [[2.0 * number, 3.0 * number]]
            assert torch.equal(replica.weight, net.weight)

    def test_sparse_gradients_stay_sparse(self):
        """The gradient of a sparse embedding's rows arrives in the net from every replica."""
        net = nn.Embedding(4, 2, sparse=True)

        for row, replica in enumerate(replicate(net, ["cpu"] * 3)):
            replica(torch.tensor([row])).sum().backward()

        assert net.weight.grad.is_sparse
        assert net.weight.grad.to_dense().tolist() == [[1, 1], [1, 1], [1, 1], [0, 0]]

    def test_replicas_lie_on_their_devices(self):
        """Parameters and buffers of all layers are moved; the net stays where it is."""
        net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))

        replicas = replicate(net, [*ACROSS, torch.device("cpu")])

        for replica, kind in zip([net, *replicas], ["cpu", "cpu", "meta", "cpu"], strict=True):
            tensors = [*replica.parameters(), *replica.buffers()]
            assert [tensor.device.type for tensor in tensors] == [kind] * 7

    @pytest.mark.parametrize("index", [0, 1])
    def test_tied_weights_stay_tied(self, index):
        """A parameter or buffer that occurs twice is copied once for each replica."""
        net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.BatchNorm1d(2), nn.BatchNorm1d(2))
        net[1].weight = net[0].weight
        net[3].running_mean = net[2].running_mean

        replica = replicate(net, CPUS)[index]

        assert replica[0].weight is replica[1].weight
        assert (replica[0].weight is net[0].weight) is (index == 0)
        assert replica[2].running_mean is replica[3].running_mean

    def test_layers_that_occur_twice_stay_one(self):
        """A module that is found at two places is replicated once; two replicas have none in common."""
        layer = nn.Linear(2, 2)
        net = nn.Sequential(layer, nn.Sequential(layer))

        first, second = replicate(net, CPUS)

        assert first[0] is first[1][0]
        assert second[0] is second[1][0]
        assert len({id(layer), id(first[0]), id(second[0])}) == 3

    def test_what_is_none_stays_none(self):
        """No bias, no running mean and no child are no errors, and keep their places."""
        net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2, track_running_stats=False))
        net.register_module("absent", None)

        for replica in replicate(net, ACROSS):
            assert replica[0]._parameters["bias"] is None
            assert replica[1]._buffers["running_mean"] is None
            assert list(replica._modules) == ["0", "1", "absent"]
            assert replica.absent is None

    def test_frozen_parameters_stay_frozen(self):
        """A replica asks for gradients where the net does."""
        net = nn.Linear(2, 2)
        net.bias.requires_grad_(False)

        flags = [
            (replica.weight.requires_grad, replica.bias.requires_grad) for replica in replicate(net, CPUS)
        ]

        assert flags == [(True, False)] * 2

    def test_a_net_without_layers_gives_what_it_gets(self):
        """An empty Sequential is a net, too."""
        x = torch.ones(2)

        assert [replica(x) is x for replica in replicate(nn.Sequential(), CPUS)] == [True] * 2

    def test_parameters_of_a_container_are_copied_with_its_layers(self):
        """A Sequential's own parameter is the replica's, with layers or without."""
        x = torch.ones(2)

        for net in (Scaled(), Scaled(nn.Identity())):
            first, second = replicate(net, ACROSS)
            assert first(x).tolist() == [3, 3]
            assert first.scale is net.scale
            assert second(x.to("meta")).device.type == "meta"

    @pytest.mark.parametrize("recurrent", [nn.LSTM, nn.GRU, nn.RNN])
    def test_recurrent_layers_compute_with_the_weights_of_the_replica(self, recurrent):
        """The list that an LSTM keeps of its weights has the replica's own; the net's list stays as it is."""
        net = recurrent(3, 4)
        first, second = replicate(net, ACROSS)

        outputs = [first(torch.ones(2, 1, 3))[0], second(torch.ones(2, 1, 3, device="meta"))[0]]

        assert [output.device.type for output in outputs] == ["cpu", "meta"]
        for module in (net, first, second):
            assert list(map(id, module._flat_weights)) == list(map(id, module._parameters.values()))

    def test_only_what_the_first_replica_writes_to_a_buffer_lasts(self):
        """The first replica has the net's own buffers, so its running mean stays, and no other's."""
        net, alone = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
        shares = torch.randn(3, 4, 2)

        first, second, third = replicate(net, ["cpu"] * 3)
        apply([first, second, third], [((share,), {}) for share in shares])
        alone(shares[0])

        torch.testing.assert_close(net.state_dict(), alone.state_dict(), rtol=0, atol=0)
        assert first.running_mean is net.running_mean
        assert second.num_batches_tracked == third.num_batches_tracked == 1
        assert len({replica.running_mean.data_ptr() for replica in (first, second, third)}) == 3

    def test_other_attributes_are_shared_and_assignments_stay(self):
        """What a list is given is the net's; what is assigned to self, a buffer too, is the replica's."""
        net = nn.Sequential(Recorder())

        first, second = replicate(net, CPUS)
        apply([first, second], [((torch.ones(n),), {}) for n in (2, 3)])

        assert net[0].seen == [2, 3]
        assert net[0].last is None
        assert [len(replica[0].last) for replica in (first, second)] == [2, 3]
        assert (net[0].total.item(), second[0].total.item()) == (2, 3)
        assert (net[0].assigned.item(), first[0].assigned.item()) == (0, 1)

    @pytest.mark.parametrize("index", [0, 1])
    def test_layers_and_parameters_assigned_to_a_replica_stay_in_it(self, index):
        """The net keeps its own, and its mode, whatever is done to a replica."""
        net = make_net()
        before = dict(net.state_dict(keep_vars=True))

        replica = replicate(net, CPUS)[index]
        replica[0].weight = nn.Parameter(torch.zeros(1))
        replica[2].extra = nn.Parameter(torch.zeros(1))
        replica.eval()
        replica[1] = nn.Linear(1, 1)

        assert list(map(id, net.state_dict(keep_vars=True).values())) == list(map(id, before.values()))
        assert [module.training for module in net.modules()] == [True] * 5

    def test_hooks_of_the_net_are_called_by_its_replicas(self):
        """A forward hook sees the layer of the replica, once a call."""
        net, called = make_net(), []
        net[0].register_forward_hook(lambda module, args, output: called.append(module))
        replicas = replicate(net, CPUS)

        apply(replicas, [((torch.ones(1, 3),), {})] * 2)

        assert list(map(id, called)) == [id(replica[0]) for replica in replicas]

    @pytest.mark.parametrize("names", ["0.weight", "0.bias", "1.running_var", "1.running_var 0.bias 1.bias"])
    def test_net_elsewhere_than_the_first_device_is_refused(self, names):
        """The sentence tells both devices and what is elsewhere, parameters first and in their order."""
        net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        for name in names.split():
            layer, attribute = net[int(name[0])], name[2:]
            tensor = getattr(layer, attribute)
            setattr(layer, attribute, type(tensor)(tensor.to("meta")))
        first = "0.bias" if "0.bias" in names else names

        message = f"^expected the net on cpu, the first of the devices; {first} is on meta$"
        with pytest.raises(ValueError, match=message):
            replicate(net, ACROSS)

    def test_net_has_to_be_on_the_first_of_the_devices_not_on_any(self):
        """A device further behind does not do."""
        message = r"^expected the net on meta, the first of the devices; weight is on cpu$"

        with pytest.raises(ValueError, match=message):
            replicate(nn.Linear(2, 2), ["meta", "cpu"])

    def test_net_of_lazy_layers_has_to_be_called_first(self):
        """A layer whose weight has no shape yet cannot be copied."""
        message = r"^expected a net that was called before: weight of a lazy layer has no shape yet$"

        with pytest.raises(ValueError, match=message):
            replicate(nn.LazyLinear(2), CPUS)

    def test_no_devices_are_refused(self):
        """There is nowhere to replicate to."""
        with pytest.raises(ValueError, match=r"^expected at least one device, got none$"):
            replicate(nn.Linear(2, 2), [])

    def test_device_can_be_named_with_its_index_or_without(self, device):
        """A net on "cuda:0" is on "cuda", the current one, and a net on "cpu" is on "cpu:0"."""
        net = nn.Linear(2, 2).to(device)
        names = [device.type, "cpu:0" if device.type == "cpu" else str(device)]

        for name in names:
            assert [replica.weight.device for replica in replicate(net, [name])] == [net.weight.device]


class TestApply:
    """The calls of the replicas."""

    def test_each_replica_is_called_with_its_own_arguments_in_order(self):
        """Positional and keyword arguments arrive as such, and the outputs stand in the same order."""
        calls = []

        def make_replica(name):
            return lambda *args, **kwargs: calls.append((name, args, kwargs)) or name

        outputs = apply([make_replica("a"), make_replica("b")], [((1, 2), {}), ((), {"x": 3})])

        assert calls == [("a", (1, 2), {}), ("b", (), {"x": 3})]
        assert outputs == ["a", "b"]

    def test_error_is_raised_as_it_is_with_a_note_of_the_share(self):
        """Type and message stay, the note counts from 1, and no later share is computed."""
        error, done = KeyError("missing"), []

        def replica(number):
            done.append(number)
            if number == 2:
                raise error

        with pytest.raises(KeyError) as caught:
            apply([replica] * 3, [((number,), {}) for number in (1, 2, 3)])

        assert caught.value is error
        assert error.__notes__ == ["(in share 2 of 3)"]
        assert done == [1, 2]

    @pytest.mark.parametrize("counts", [(1, 2), (2, 1)])
    def test_replicas_and_shares_have_to_be_as_many(self, counts):
        """None of either is left out in silence."""
        replicas, shares = counts

        with pytest.raises(ValueError, match=r"shorter|longer"):
            apply([lambda: None] * replicas, [((), {})] * shares)
