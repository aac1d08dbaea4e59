"""Notes 5, model = nn.DataParallel(model): what stays as it was, and what does not.

PyTorch's own code runs over CPU stand-ins for GPUs, see data_parallel.py: they show what is computed from
what, and neither where a tensor lives nor what a copy costs.
"""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel
from torch.optim import SGD

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
    in_parts,
    of_a_copy,
    of_the_first,
)

SAYS = "a model written for one card needs only this wrapper, everything else stays as it was"

# (devices, rows)
CASES = {
    "one device": (1, 10),
    "even shares": (3, 30),
    "uneven shares": (4, 10),
    "fewer rows than devices": (8, 5),
    "a single row": (2, 1),
}


def computed(net, model, batch):
    """Return the output, and the gradients of the net's parameters and of the batch."""
    batch = batch.clone().requires_grad_()
    net.zero_grad()
    output = model(batch)
    output.square().sum().backward()
    return [output, *(leaf.grad for leaf in (*net.parameters(), batch))]


def steps(model, batches):
    """Take a step of SGD for each batch, and return the losses."""
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        loss = model(batch).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# Faults


def around_a_copy(real):
    """Wrap a deep copy of the net."""
    return lambda self, net, *options: real(self, copy.deepcopy(net), *options)


def keeping_device_ids(real):
    """Keep the ids where there are no devices."""

    def init(self, net, device_ids=None):
        real(self, net, device_ids)
        self.device_ids = list(device_ids or [])

    return init


def with_a_warning(real):
    """Warn that the class is deprecated."""

    def method(self, *arguments):
        warnings.warn("DataParallel is deprecated", DeprecationWarning, stacklevel=2)
        return real(self, *arguments)

    return method


def of_the_mean(real):
    """Average the gradients of the shares, as DistributedDataParallel does."""

    def replicate(self, net, ids):
        replicas = real(self, net, ids)
        for replica in replicas:
            replica.weight.register_hook(lambda gradient: gradient / len(ids))
        return replicas

    return replicate


def in_training_mode(real):
    """Have the replicas train, as far as dropout is concerned."""

    def replicate(self, net, ids):
        replicas = real(self, net, ids)
        for module in [module for replica in replicas for module in replica.modules()]:
            module.training = isinstance(module, nn.Dropout)
        return replicas

    return replicate


def looking_inside(real):
    """Look for what the wrapper does not have in the net."""
    return lambda self, name: (
        real(self, name) if name == "module" else getattr(nn.Module.__getattr__(self, "module"), name)
    )


def without_prefix(real):
    """Give the wrapper's weights the names that they have in the net."""

    def state_dict(self, *options, **named):
        state = real(self, *options, **named)
        return {name.removeprefix("module."): value for name, value in state.items()}

    return state_dict


def forgiving(real):
    """Load weights whose names begin with "module.", too."""
    return lambda self, state: real(self, {name.removeprefix("module."): v for name, v in state.items()})


@statement("parallel.wrap-model", notes="5; dp.py")
@fault("the wrapper copies the net", DataParallel, "__init__", around_a_copy)
@fault("the wrapper is printed as the net", DataParallel, "__repr__", lambda real: lambda self: "Linear()")
@fault("without devices the ids are kept", DataParallel, "__init__", keeping_device_ids)
@fault("without devices the batch is cut", DataParallel, "forward", in_parts)
class TestWrapModel:
    """`nn.DataParallel(net)` is a module around the net itself, which it calls `module`, and has the very
    parameters of the net; on a machine without accelerators it just calls the net.
    """

    @on_machines
    def test_wrapper_holds_the_net_itself(self, machine):
        net = nn.Linear(5, 2)

        with machine():
            wrapped = nn.DataParallel(net)

        assert wrapped.module is net
        assert [*map(id, wrapped.parameters())] == [*map(id, net.parameters())]
        assert repr(wrapped) == (
            "DataParallel(\n  (module): Linear(in_features=5, out_features=2, bias=True)\n)"
        )

    def test_wrapper_without_devices_calls_the_net_with_the_whole_batch(self):
        net, batch = Recorder(), torch.ones(30, 5)

        with cpus(0):
            wrapped = nn.DataParallel(net, [0, 1])
            assert wrapped.device_ids == []
            wrapped(batch)

        assert [seen is batch for seen in net.seen] == [True]


@statement("parallel.ddp-recommended", notes="5")
@fault(
    "the documentation calls DDP possible",
    DataParallel,
    "__doc__",
    lambda real: real.replace("recommended to use", "possible to use"),
)
@fault("making a wrapper warns", DataParallel, "__init__", with_a_warning)
@fault("calling a wrapper warns", DataParallel, "forward", with_a_warning)
class TestDdpRecommended:
    """The documentation of `nn.DataParallel` recommends `DistributedDataParallel` instead, even on a single
    machine; it is not deprecated, and gives no warning.
    """

    def test_documentation_recommends_distributed_data_parallel(self):
        words = " ".join(nn.DataParallel.__doc__.split())

        assert (
            "It is recommended to use :class:`~torch.nn.parallel.DistributedDataParallel`, instead of this "
            "class, to do multi-GPU training, even if there is only a single node." in words
        )

    @pytest.mark.parametrize("count", [0, 2])
    def test_neither_wrapping_nor_a_call_warns(self, count):
        with cpus(count), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            nn.DataParallel(Recorder())(torch.ones(4, 5))

        assert [str(warned.message) for warned in caught] == []


@statement("parallel.rest-unchanged", notes="5", verdict=QUALIFIED, says=SAYS)
@fault("gradients of the shares are averaged", DataParallel, "replicate", of_the_mean)
@fault("the replicas are made of a copy", DataParallel, "replicate", of_a_copy)
@fault("the first share alone has gradients", DataParallel, "parallel_apply", of_the_first)
@fault("outputs are joined backwards", DataParallel, "gather", backwards)
@fault("the replicas are in training mode", DataParallel, "replicate", in_training_mode)
@fault("the batch is detached", DataParallel, "forward", lambda real: lambda self, x: real(self, x.detach()))
class TestRestUnchanged:
    """The loop that trains stays as it was: the outputs, the gradients, and the weights after each step are
    those of the net alone, as long as the net treats each row by itself.
    """

    @pytest.mark.parametrize(("devices", "rows"), CASES.values(), ids=CASES)
    def test_outputs_and_gradients_are_those_of_the_net_alone(self, device, devices, rows):
        twice = nn.Linear(4, 4)
        net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), twice, nn.Tanh(), twice, nn.Linear(4, 3))
        net.to(device, torch.float64)
        batch = torch.randn(rows, 5, dtype=torch.float64).to(device)

        with stand_ins(device, devices):
            found = computed(net, nn.DataParallel(net), batch)

        assert all(value is not None for value in found)
        torch.testing.assert_close(found, computed(net, net, batch), **ROUNDING)

    @on_machines
    def test_loop_that_trains_a_net_trains_the_wrapped_one(self, machine):
        with machine() as devices:
            bare = nn.Linear(5, 2).to(devices[0], torch.float64)
            net = copy.deepcopy(bare)
            batches = [torch.randn(rows, 5, dtype=torch.float64).to(devices[0]) for rows in (9, 1, 10, 5)]

            losses, expected = steps(nn.DataParallel(net), batches), steps(bare, batches)

        assert losses == pytest.approx(expected, rel=1e-12)
        torch.testing.assert_close(net.state_dict(), bare.state_dict())

    def test_replicas_are_in_the_mode_of_the_net(self, device):
        net = nn.Sequential(nn.BatchNorm1d(5), nn.Dropout(), nn.Linear(5, 3)).to(device, torch.float64).eval()
        before, batch = copy.deepcopy(net.state_dict()), torch.randn(10, 5, dtype=torch.float64).to(device)

        with stand_ins(device, 4):
            output = nn.DataParallel(net)(batch)

        torch.testing.assert_close(output, net(batch), **ROUNDING)
        torch.testing.assert_close(net.state_dict(), before)


@statement("parallel.rest-unchanged-attributes", notes="5", verdict=QUALIFIED, says=SAYS)
@fault("the wrapper passes on attributes", DataParallel, "__getattr__", looking_inside)
@fault("the wrapper adds no prefix", DataParallel, "state_dict", without_prefix)
@fault("a bare net takes the prefix", Normed, "load_state_dict", forgiving)
@fault("a bare net loads nothing", Normed, "load_state_dict", lambda real: lambda self, state: None)
class TestAttributesAndStateDict:
    """The wrapper has none of the attributes of the net, which are those of `wrapped.module`, and its
    `state_dict()` has "module." before the names of the weights.
    """

    @pytest.mark.parametrize("count", [0, 2])
    @pytest.mark.parametrize("name", ["fc1", "shares", "seen"])
    def test_wrapper_has_no_layer_method_or_attribute_of_the_net(self, count, name):
        net = Recorder()
        net.fc1 = nn.Linear(5, 4)

        with cpus(count):
            wrapped = nn.DataParallel(net)

        assert hasattr(wrapped.module, name)
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(wrapped, name)

    @pytest.mark.parametrize("count", [0, 2])
    def test_state_dict_of_the_wrapper_is_refused_by_a_bare_net(self, count):
        with cpus(count):
            wrapped = nn.DataParallel(Normed())

        state = wrapped.state_dict()

        assert [*state] == [f"module.{name}" for name in wrapped.module.state_dict()]
        with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "module.fc1.weight"'):
            Normed().load_state_dict(state)

    def test_state_dict_of_the_module_fits_a_bare_net(self):
        with cpus(2):
            wrapped, net = nn.DataParallel(Normed()), Normed()

        state = wrapped.module.state_dict()

        assert "fc1.weight" in state
        net.load_state_dict(state)
        torch.testing.assert_close(net.fc1.weight, wrapped.module.fc1.weight)
