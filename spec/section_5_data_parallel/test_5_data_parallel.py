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
from spec.section_5_data_parallel import data_parallel_faults as faults
from spec.section_5_data_parallel.data_parallel import ROUNDING, Net, computed, cpus, on_machines, stand_ins

SAYS = "a model written for one card needs only this wrapper; everything else stays as it was"

# (devices, rows)
CASES = {"even shares": (3, 30), "uneven shares": (4, 10), "fewer rows than devices": (8, 5)}


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


def with_a_warning(real):
    """Warn that the class is deprecated."""

    def method(self, *arguments):
        warnings.warn("DataParallel is deprecated", DeprecationWarning, stacklevel=2)
        return real(self, *arguments)

    return method


def around_a_copy(init):
    """Wrap a copy of the net."""
    return lambda self, net, *ids: init(self, copy.deepcopy(net), *ids)


def in_parts(forward):
    """Cut the batch, whatever the number of devices."""
    return lambda self, x: torch.cat([self.module(part) for part in x.chunk(2)])


def looking_inside(getattribute):
    """Look for what the wrapper does not have in the net."""
    return lambda self, name: (
        getattribute(self, name) if name == "module" else getattr(getattribute(self, "module"), name)
    )


def forgiving(load_state_dict):
    """Load weights whose names begin with "module.", too."""
    return lambda self, state: load_state_dict(self, {k.removeprefix("module."): state[k] for k in state})


@statement("parallel.wrap-model", notes="5; dp.py")
@fault("the wrapper copies the net", DataParallel, "__init__", around_a_copy)
@fault("the wrapper is printed as the net", DataParallel, "__repr__", lambda real: lambda self: "Linear()")
@fault("the batch is cut without devices", DataParallel, "forward", in_parts)
class TestWrapModel:
    """`nn.DataParallel(net)` returns a wrapper whose attribute `module` is the net itself, not a copy. The
    wrapper and the net share the same parameters. Without an accelerator, the wrapper just calls the net with
    the whole batch.
    """

    @on_machines
    def test_wrapper_holds_the_net_itself(self, machine):
        net = nn.Linear(5, 2, bias=False)

        with machine():
            wrapped = nn.DataParallel(net)

        assert wrapped.module is net
        assert [parameter is net.weight for parameter in wrapped.parameters()] == [True]
        assert repr(wrapped) == f"DataParallel(\n  (module): {net}\n)"

    def test_wrapper_without_devices_calls_the_net_with_the_whole_batch(self):
        net, batch = Net(), torch.ones(30, 5)

        with cpus(0):
            wrapped = nn.DataParallel(net, [0, 1])
            assert wrapped.device_ids == []
            wrapped(batch)

        assert [seen is batch for seen in net.seen] == [True]


@statement("parallel.ddp-recommended", notes="5")
@fault(
    "DDP is not recommended", DataParallel, "__doc__", lambda real: real.replace("recommended", "possible")
)
@fault("making a wrapper warns", DataParallel, "__init__", with_a_warning)
@fault("calling a wrapper warns", DataParallel, "forward", with_a_warning)
class TestDdpRecommended:
    """The documentation of `nn.DataParallel` recommends `DistributedDataParallel` instead, even on a single
    machine. A program that wraps and runs a net with `nn.DataParallel` gets no warning.
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
            nn.DataParallel(Net())(torch.ones(4, 5))

        assert [str(warned.message) for warned in caught] == []


@statement("parallel.rest-unchanged", notes="5", verdict=QUALIFIED, says=SAYS)
@fault("the replicas are made of a copy", DataParallel, "replicate", faults.of_a_copy)
@fault("the first share alone has gradients", DataParallel, "parallel_apply", faults.of_the_first)
@fault("outputs are joined backwards", DataParallel, "gather", faults.backwards)
@fault(
    "the replicas train",
    DataParallel,
    "replicate",
    lambda real: lambda *x: [each.train() for each in real(*x)],
)
class TestRestUnchanged:
    """A training loop works unchanged with a net in `nn.DataParallel`. The outputs, the gradients, and the
    weights after each step are those of the net alone. This holds if the net computes each row of the batch
    independently of the other rows.
    """

    @pytest.mark.parametrize(("devices", "rows"), CASES.values(), ids=CASES)
    def test_outputs_and_gradients_are_those_of_the_net_alone(self, device, devices, rows):
        twice = nn.Linear(4, 4)
        net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), twice, nn.Tanh(), twice).to(device, torch.float64)
        batch = torch.randn(rows, 5, dtype=torch.float64).to(device)

        with stand_ins(device, devices):
            found = computed(net, nn.DataParallel(net), batch)

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
        batch = torch.randn(12, 5, dtype=torch.float64).to(device)

        with stand_ins(device, 4):
            output = nn.DataParallel(net)(batch)

        torch.testing.assert_close(output, net(batch), **ROUNDING)


@statement("parallel.rest-unchanged-attributes", notes="5", verdict=QUALIFIED, says=SAYS)
@fault("the wrapper passes on attributes", DataParallel, "__getattr__", looking_inside)
@fault("the wrapper adds no prefix", DataParallel, "state_dict", lambda real: lambda self: real(self.module))
@fault("a bare net takes the prefix", nn.Linear, "load_state_dict", forgiving)
@fault("a bare net loads nothing", nn.Linear, "load_state_dict", lambda real: lambda self, state: None)
class TestAttributesAndStateDict:
    """After `wrapped = nn.DataParallel(net)`, the net's own attributes, such as `weight`, are in
    `wrapped.module`, not in `wrapped`. A net without `nn.DataParallel` can load
    `wrapped.module.state_dict()`. The net raises a RuntimeError for `wrapped.state_dict()`, where each name
    begins with "module.".
    """

    @pytest.mark.parametrize("count", [0, 2])
    @pytest.mark.parametrize("name", ["weight", "reset_parameters", "in_features"])
    def test_wrapper_has_no_weight_method_or_attribute_of_the_net(self, count, name):
        with cpus(count):
            wrapped = nn.DataParallel(nn.Linear(5, 2))

        assert hasattr(wrapped.module, name)
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(wrapped, name)

    @pytest.mark.parametrize("count", [0, 2])
    def test_state_dict_of_the_wrapper_is_refused_by_a_bare_net(self, count):
        with cpus(count):
            state = nn.DataParallel(nn.Linear(5, 2)).state_dict()

        assert [*state] == ["module.weight", "module.bias"]
        with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "module.weight"'):
            nn.Linear(5, 2).load_state_dict(state)

    def test_state_dict_of_the_module_fits_a_bare_net(self):
        with cpus(2):
            wrapped, net = nn.DataParallel(nn.Linear(5, 2)), nn.Linear(5, 2)

        state = wrapped.module.state_dict()

        assert [*state] == ["weight", "bias"]
        net.load_state_dict(state)
        torch.testing.assert_close(net.weight, wrapped.module.weight)
