"""Section 5 of the notes, data parallelism: model = nn.DataParallel(model), and what stays as it was.

PyTorch's own code runs here over CPU stand-ins for GPUs, see spec/data_parallel.py: they show what is
computed from what, and neither where a tensor lives nor what a copy costs.
"""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel
from torch.optim import SGD

from spec.data_parallel import Normed, Recorder, cpus, on_machines
from spec.data_parallel_faults import (
    around_a_copy,
    checking_parameters,
    checking_the_first,
    forgiving,
    in_parts,
    keeping_device_ids,
    looking_inside,
    naming_one,
    one_call,
    warning_when_called,
    warning_when_made,
    without_prefix,
)
from spec.data_parallel_replica_faults import of_a_copy, of_the_first, of_the_mean
from spec.harness import QUALIFIED, broken_by, claim

SAYS = "a model written for one card needs only this wrapper, everything else stays as it was"


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


class TestWrapping:
    """model = nn.DataParallel(model)."""

    @on_machines
    @claim("parallel.wrap-model", notes="5; dp.py")
    @broken_by(DataParallel, "__init__", around_a_copy)
    @broken_by(DataParallel, "parameters", lambda real: lambda self: (p.detach() for p in real(self)))
    def test_wrapper_holds_the_net_itself(self, machine):
        """nn.DataParallel(net) holds the net itself as its module, and shows its very parameters."""
        net = Normed()

        with machine():
            wrapped = nn.DataParallel(net)

        assert wrapped.module is net
        assert [*map(id, wrapped.parameters())] == [*map(id, net.parameters())]

    @claim("parallel.wrap-model-without-devices", notes="5; dp.py")
    @broken_by(DataParallel, "__init__", keeping_device_ids)
    @broken_by(DataParallel, "forward", in_parts)
    @broken_by(DataParallel, "forward", lambda real: lambda self, x: real(self, x.clone()))
    def test_wrapper_without_devices_calls_the_net(self):
        """On a machine without accelerators the ids are dropped, and the net itself gets the whole batch."""
        net, batch = Recorder(), torch.ones(30, 5)

        with cpus(0):
            wrapped = nn.DataParallel(net, [0, 1])

            assert wrapped.device_ids == []
            wrapped(batch)

        assert len(net.seen) == 1
        assert net.seen[0] is batch

    @claim("parallel.ddp-recommended", notes="5")
    @broken_by(DataParallel, "__doc__", lambda real: real.replace("recommended to use", "possible to use"))
    @broken_by(DataParallel, "__doc__", lambda real: real.replace("even if", "but not if"))
    def test_documentation_recommends_distributed_data_parallel(self):
        """nn.DataParallel's own documentation recommends DistributedDataParallel, on one machine, too."""
        words = " ".join(nn.DataParallel.__doc__.split())

        assert (
            "It is recommended to use :class:`~torch.nn.parallel.DistributedDataParallel`, instead of this "
            "class, to do multi-GPU training, even if there is only a single node." in words
        )

    @pytest.mark.parametrize("count", [0, 2])
    @claim("parallel.ddp-recommended-silently", notes="5")
    @broken_by(DataParallel, "__init__", warning_when_made)
    @broken_by(DataParallel, "forward", warning_when_called)
    def test_neither_wrapping_nor_a_call_warns(self, count):
        """The recommendation is text only: neither making nor calling an nn.DataParallel warns."""
        with cpus(count), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            nn.DataParallel(Recorder())(torch.ones(4, 5))

        assert [str(warned.message) for warned in caught] == []


class TestWhatStays:
    """Everything else stays as it was: this is so for the loop that trains."""

    @on_machines
    @claim("parallel.rest-unchanged", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(DataParallel, "replicate", of_the_mean)
    @broken_by(DataParallel, "replicate", of_a_copy)
    @broken_by(DataParallel, "parallel_apply", of_the_first)
    def test_loop_that_trains_a_net_trains_the_wrapped_one(self, machine):
        """forward, backward and optimizer.step() on the wrapped net train the net as they do a bare one."""
        with machine() as devices:
            bare = nn.Linear(5, 2).to(devices[0], torch.float64)
            net = copy.deepcopy(bare)
            batches = torch.randn(3, 9, 5, dtype=torch.float64).to(devices[0])

            losses, expected = steps(nn.DataParallel(net), batches), steps(bare, batches)

        assert losses == pytest.approx(expected, rel=1e-12)
        torch.testing.assert_close(net.state_dict(), bare.state_dict())

    @pytest.mark.parametrize("count", [0, 2])
    @claim("parallel.rest-unchanged-attributes", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(DataParallel, "__getattr__", looking_inside)
    def test_wrapper_has_none_of_the_attributes_of_the_net(self, count):
        """The net's layers, attributes and methods are not the wrapper's, but wrapped.module's."""
        net = Recorder()
        net.fc1 = nn.Linear(5, 4)

        with cpus(count):
            wrapped = nn.DataParallel(net)

        for name in ("fc1", "seen", "shares"):
            with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
                getattr(wrapped, name)
        assert wrapped.module.fc1 is net.fc1

    @pytest.mark.parametrize("count", [0, 2])
    @claim("parallel.rest-unchanged-state-dict", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(DataParallel, "state_dict", without_prefix)
    @broken_by(Normed, "load_state_dict", forgiving)
    def test_keys_of_the_state_dict_have_a_prefix(self, count):
        """Saved through the wrapper, weights have "module." before their names, which a bare net refuses."""
        with cpus(count):
            wrapped = nn.DataParallel(Normed())

        state = wrapped.state_dict()

        assert [*state] == [f"module.{name}" for name in wrapped.module.state_dict()]
        with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "module.fc1.weight"'):
            Normed().load_state_dict(state)

    @claim("parallel.rest-unchanged-state-dict-of-the-net", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(Normed, "load_state_dict", lambda real: lambda self, state: None)
    @broken_by(
        Normed, "state_dict", lambda real: lambda self: {f"module.{k}": v for k, v in real(self).items()}
    )
    def test_state_dict_of_the_module_fits_a_bare_net(self):
        """What wrapped.module.state_dict() gives, a bare net loads."""
        with cpus(2):
            wrapped, net = nn.DataParallel(Normed()), Normed()

        state = wrapped.module.state_dict()

        assert not any(name.startswith("module.") for name in state)
        net.load_state_dict(state)
        torch.testing.assert_close(net.fc1.weight, wrapped.module.fc1.weight)

    @pytest.mark.parametrize("count", [0, 2])
    @claim("parallel.rest-unchanged-printed", notes="5", verdict=QUALIFIED, says=SAYS)
    @broken_by(DataParallel, "__repr__", lambda real: lambda self: repr(self.module))
    @broken_by(DataParallel, "_get_name", lambda real: lambda self: "Sequential")
    def test_wrapper_is_printed_around_the_net(self, count):
        """Printed, the wrapper shows itself with the net as its module, one level further in."""
        with cpus(count):
            wrapped = nn.DataParallel(nn.Linear(5, 2))

        assert repr(wrapped) == f"DataParallel(\n  (module): {wrapped.module}\n)"


class TestParametersOnTheFirstDevice:
    """model.to(device) comes after the wrapping in dp.py. `meta` is another device where none is needed."""

    @claim("parallel.parameters-on-first-device", notes="dp.py")
    @broken_by(DataParallel, "forward", one_call)
    @broken_by(DataParallel, "forward", checking_the_first)
    @broken_by(DataParallel, "forward", naming_one)
    def test_net_on_another_device_is_refused(self):
        """A call with a parameter elsewhere than on the first device is a RuntimeError that names both."""
        with cpus(2):
            wrapped = nn.DataParallel(nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 2, device="meta")))

            with pytest.raises(RuntimeError, match=r"on device cpu \(device_ids\[0\]\).* on device: meta"):
                wrapped(torch.ones(4, 5))

    @claim("parallel.parameters-on-first-device-buffers", notes="dp.py")
    @broken_by(DataParallel, "forward", checking_parameters)
    def test_buffer_on_another_device_is_refused(self):
        """A buffer elsewhere is refused as a parameter is, though the call may not even need it."""
        net = Recorder()
        net.register_buffer("count", torch.zeros(1, device="meta"))

        with cpus(2), pytest.raises(RuntimeError, match=r"parameters and buffers on device cpu.*: meta"):
            nn.DataParallel(net)(torch.ones(4, 5))

    @claim("parallel.parameters-on-first-device-order", notes="dp.py")
    @broken_by(DataParallel, "_apply", lambda real: lambda self, *change: self)
    @broken_by(
        DataParallel,
        "to",
        lambda real: lambda self, device: copy.deepcopy(self)._apply(lambda t: t.to(device)),
    )
    def test_wrapper_moves_the_net(self):
        """Wrapping may come first: to() on the wrapper moves the net within, in place."""
        net = Normed()

        with cpus(2):
            nn.DataParallel(net).to("meta")

        assert {value.device.type for value in net.state_dict().values()} == {"meta"}
