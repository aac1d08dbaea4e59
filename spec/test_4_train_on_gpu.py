"""Notes 4, "Training on GPU": choosing a device, and moving net and data to it.

Where only the move matters, a CPU stands in for the GPU by another dtype or by the `meta` device.
"""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD

from blitz.training.nets import CifarNet
from spec.harness import QUALIFIED, broken_by, claim
from spec.harness.accelerator.devices import accelerator


class Normed(nn.Module):
    """A net with a layer in a layer, buffers, one of them an integer, and a tensor that is neither."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.scale = torch.ones(4)


def as_a_copy(real):
    """Fault: Module.to converts a copy."""
    return lambda self, *target: real(copy.deepcopy(self), *target)


def own_parameters_only(real):
    """Fault: Module.to leaves out the layers of a layer."""

    def to(self, *target):
        for layer in self.children():
            if not list(layer.children()):
                real(layer, *target)
        return self

    return to


def with_attributes(real):
    """Fault: Module.to also converts plain tensors."""

    def to(self, *target):
        for name, value in vars(self).items():
            if isinstance(value, torch.Tensor):
                setattr(self, name, value.to(*target))
        return real(self, *target)

    return to


def renewing(real):
    """Fault: Module.to replaces each Parameter."""

    def to(self, *target):
        for module in self.modules():
            for name, parameter in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(parameter.detach().clone()))
        return real(self, *target)

    return to


def without_gradients(real):
    """Fault: Module.to leaves gradients behind."""

    def to(self, *target):
        gradients = [parameter.grad for parameter in self.parameters()]
        real(self.requires_grad_(False), *target)
        for parameter, gradient in zip(self.parameters(), gradients, strict=True):
            parameter.grad = None if gradient is None else torch.zeros_like(parameter)
        return self

    return to


def with_its_momentum(real):
    """Fault: a step first moves the momentum to its parameter."""

    def step(self):
        for parameter, state in self.state.items():
            state["momentum_buffer"] = state["momentum_buffer"].to(parameter.device)
        real(self)

    return step


def in_place(real):
    """Fault: Tensor.to changes the tensor itself."""

    def to(self, *target, **options):
        torch.utils.swap_tensors(self, real(self, *target, **options))
        return self

    return to


def following_the_weight(real):
    """Fault: a convolution moves its input to its weight."""
    return lambda images, weight, *rest: real(images.to(weight.device, weight.dtype), weight, *rest)


def following_the_scores(real):
    """Fault: the loss moves the labels to the scores."""
    return lambda scores, labels, **options: real(scores, labels.to(scores.device), **options)


class TestDevices:
    """Choosing a device."""

    @claim("cifar.device-selection", notes="4 GPU; notebook cifar")
    @broken_by(torch.cuda, "is_available", lambda real: lambda: not real())
    def test_device_is_cuda_0_where_there_is_one_and_else_the_cpu(self):
        """The notes' expression gives cuda:0 where PyTorch sees a CUDA device, and else the CPU."""
        device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")

        assert device == torch.device(*(("cuda", 0) if torch.cuda.device_count() else ("cpu",)))
        assert torch.zeros(1, device=device).device.type == device.type

    @pytest.mark.gpu
    @claim("cifar.device-selection-index", notes="4 GPU; notebook cifar")
    @broken_by(torch, "zeros", lambda real: lambda size, device: real(size))
    def test_device_without_an_index_is_the_current_one(self):
        """A device that is named by its kind alone, such as cuda, is the current one of that kind."""
        current = accelerator()

        assert torch.zeros(1, device=current.type).device == current


class TestMovingTheNet:
    """net.to(device) needs no assignment."""

    @claim("cifar.module-to-is-in-place", notes="4 GPU; notebook cifar")
    @broken_by(nn.Module, "to", as_a_copy)
    @broken_by(nn.Module, "to", own_parameters_only)
    @broken_by(nn.BatchNorm1d, "_apply", lambda real: lambda self, change, recurse=True: self)
    def test_module_to_converts_the_net_itself_and_all_within(self, device):
        """Module.to moves parameters and floating-point buffers of all layers, and returns the net itself."""
        net = Normed()

        returned = net.to(device, torch.float16)

        assert returned is net
        assert {value.device for value in net.state_dict().values()} == {device}
        assert {name for name, value in net.state_dict().items() if value.dtype != torch.float16} == {
            "layers.1.num_batches_tracked"  # an integer stays one
        }

    @claim("cifar.module-to-is-in-place-plain-attributes", notes="4 GPU; notebook cifar")
    @broken_by(nn.Module, "to", with_attributes)
    def test_module_to_leaves_a_plain_tensor_attribute(self, device):
        """A tensor that is neither parameter nor buffer stays where and as it was when its net is moved."""
        net = Normed()

        net.to(device, torch.float16)

        assert net.scale.device == torch.device("cpu")
        assert net.scale.dtype == torch.float32

    @claim("cifar.module-to-is-in-place-for-optimizers", notes="4 GPU; notebook cifar")
    @broken_by(nn.Module, "to", renewing)
    @pytest.mark.usefixtures("moved_in_place")
    def test_optimizer_made_before_the_move_still_trains_the_net(self, device):
        """Moved to a GPU or another dtype, a parameter stays the object that an optimizer has."""
        net = nn.Linear(3, 1)
        optimizer = SGD(net.parameters(), lr=0.5)

        net.to(device, torch.float16)
        before = net.bias.detach().clone()
        net.bias.grad = torch.ones_like(net.bias)
        optimizer.step()

        torch.testing.assert_close(net.bias.detach(), before - 0.5)

    @claim("cifar.module-to-is-in-place-gradients", notes="4 GPU; notebook cifar")
    @broken_by(nn.Module, "to", without_gradients)
    def test_module_to_takes_gradients_along(self, device):
        """A gradient moves with its parameter, and keeps its values."""
        net = nn.Linear(3, 1)
        net.bias.grad = torch.tensor([0.5])

        net.to(device, torch.float16)

        assert (net.bias.grad.device, net.bias.grad.dtype) == (device, torch.float16)
        assert net.bias.grad.tolist() == [0.5]

    @pytest.mark.gpu
    @claim(
        "cifar.module-to-is-in-place-momentum",
        notes="4 GPU; notebook cifar",
        verdict=QUALIFIED,
        says="net.to(device) goes over all modules and is all that moving a training takes",
    )
    @broken_by(SGD, "step", with_its_momentum)
    @broken_by(SGD, "load_state_dict", lambda real: lambda optimizer, state: None)
    @pytest.mark.usefixtures("moved_in_place")
    def test_momentum_stays_on_the_cpu_until_its_state_is_loaded(self):
        """A momentum from before the move stays: a step is refused until the optimizer loads its state."""
        net = nn.Linear(3, 1)
        optimizer = SGD(net.parameters(), lr=0.5, momentum=0.9)
        net(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        net.to(accelerator())

        with pytest.raises(RuntimeError, match="device"):
            optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())

        assert {state["momentum_buffer"].device for state in optimizer.state.values()} == {accelerator()}

    @claim("cifar.module-to-is-in-place-integers", notes="4 GPU; notebook cifar")
    @broken_by(nn.Module, "to", lambda real: lambda self, dtype: self)
    def test_module_to_refuses_an_integer_type(self):
        """A net cannot be converted to integers: Module.to raises a TypeError."""
        with pytest.raises(TypeError, match="floating point or complex"):
            CifarNet().to(torch.int64)


class TestMovingTensors:
    """my_tensor.to(device) does need one."""

    @claim(
        "cifar.tensor-to-returns-copy",
        notes="4 GPU",
        verdict=QUALIFIED,
        says="my_tensor.to(device) returns a copy on the GPU and does not rewrite my_tensor",
    )
    @broken_by(torch.Tensor, "to", in_place)
    @broken_by(torch.Tensor, "to", lambda real: lambda self, *target: self)
    def test_tensor_to_another_device_or_type_is_a_new_tensor(self, device):
        """Where device or dtype change, to() returns a new tensor, and the old one stays as it was."""
        tensor = torch.tensor([1.5, 2.5])

        moved = tensor.to(device, torch.float16)

        assert moved is not tensor
        assert (moved.device, moved.dtype) == (device, torch.float16)
        assert (tensor.device, tensor.dtype) == (torch.device("cpu"), torch.float32)
        assert moved.tolist() == tensor.tolist() == [1.5, 2.5]

    @claim(
        "cifar.tensor-to-returns-copy-only-if-it-must",
        notes="4 GPU",
        verdict=QUALIFIED,
        says="my_tensor.to(device) returns a copy on the GPU and does not rewrite my_tensor",
    )
    @broken_by(
        torch.Tensor, "to", lambda real: lambda self, *target, copy=True: real(self, *target, copy=copy)
    )
    @broken_by(torch.Tensor, "to", lambda real: lambda self, *target, copy=False: real(self, *target))
    @broken_by(
        torch.Tensor,
        "to",
        lambda real: (
            lambda self, *target, copy=False: real(self, *target, copy=True).mul(0) if copy else self
        ),
    )
    def test_tensor_to_where_it_is_already_is_the_tensor_itself(self, device):
        """Where neither device nor dtype change, to() returns the tensor itself unless copy=True is given."""
        tensor = torch.ones(3, device=device)

        assert tensor.to(device) is tensor
        copied = tensor.to(device, copy=True)
        assert copied.data_ptr() != tensor.data_ptr()
        assert copied.tolist() == tensor.tolist()

    @claim(
        "cifar.tensor-to-returns-copy-with-gradient",
        notes="4 GPU",
        verdict=QUALIFIED,
        says="my_tensor.to(device) returns a copy on the GPU and does not rewrite my_tensor",
    )
    @broken_by(torch.Tensor, "to", lambda real: lambda self, *t: real(self, *t).detach().requires_grad_())
    def test_gradient_flows_back_through_to(self, device):
        """The copy that to() returns is part of the graph: its gradient flows back to the original."""
        tensor = torch.ones(2, requires_grad=True)

        (3 * tensor.to(device, torch.float16)).sum().backward()

        assert tensor.grad is not None
        assert tensor.grad.tolist() == [3, 3]
        assert (tensor.grad.device, tensor.grad.dtype) == (tensor.device, tensor.dtype)


class TestInputsMustMoveToo:
    """Net, inputs and labels have to be on one device at every step."""

    @claim("cifar.inputs-must-move-too", notes="4 GPU")
    @broken_by(F, "conv2d", following_the_weight)
    def test_net_on_another_device_refuses_inputs_on_the_cpu(self):
        """A net on another device (meta here) refuses images on the CPU: nothing is moved by itself."""
        net = CifarNet().to("meta")

        with pytest.raises(RuntimeError, match="device"):
            net(torch.zeros(1, 3, 32, 32))

    @claim("cifar.inputs-must-move-too-labels", notes="4 GPU")
    @broken_by(F, "cross_entropy", following_the_scores)
    def test_loss_refuses_labels_on_another_device_than_the_scores(self):
        """Scores on another device (meta here) and labels on the CPU are refused by the loss."""
        scores = torch.zeros(4, 10, device="meta")

        with pytest.raises(RuntimeError, match="device"):
            nn.CrossEntropyLoss()(scores, torch.tensor([3, 8, 8, 0]))

    @claim("cifar.inputs-must-move-too-dtype", notes="4 GPU")
    @broken_by(F, "conv2d", following_the_weight)
    def test_net_refuses_inputs_of_another_floating_point_type(self, device):
        """A net in float32 refuses images in float16: no dtype is converted by itself either."""
        net = CifarNet().to(device)

        with pytest.raises(RuntimeError, match="should be the same"):
            net(torch.zeros(1, 3, 32, 32, dtype=torch.float16, device=device))

    @pytest.mark.gpu
    @claim("cifar.inputs-must-move-too-accelerator", notes="4 GPU")
    @broken_by(F, "conv2d", following_the_weight)
    def test_net_on_the_accelerator_refuses_inputs_on_the_cpu(self):
        """A net on the accelerator refuses images on the CPU, and takes them once they are moved."""
        net = CifarNet().to(accelerator())
        images = torch.zeros(1, 3, 32, 32)

        with pytest.raises(RuntimeError, match=r"device|should be the same"):
            net(images)
        assert net(images.to(accelerator())).device == accelerator()

    @pytest.mark.gpu
    @claim("cifar.inputs-must-move-too-accelerator-labels", notes="4 GPU")
    @broken_by(F, "cross_entropy", following_the_scores)
    def test_loss_on_the_accelerator_refuses_labels_on_the_cpu(self):
        """Scores on the accelerator and labels on the CPU are refused, until the labels are moved."""
        scores, labels = torch.zeros(4, 10, device=accelerator()), torch.tensor([3, 8, 8, 0])

        with pytest.raises(RuntimeError, match="device"):
            nn.CrossEntropyLoss()(scores, labels)
        assert nn.CrossEntropyLoss()(scores, labels.to(accelerator())).device == accelerator()

    @pytest.mark.gpu
    @claim("cifar.inputs-must-move-too-accelerator-net", notes="4 GPU")
    @broken_by(F, "conv2d", following_the_weight)
    def test_net_on_the_cpu_refuses_inputs_on_the_accelerator(self):
        """A net left on the CPU refuses images on the accelerator: moving the inputs is not enough."""
        with pytest.raises(RuntimeError, match=r"device|should be the same"):
            CifarNet()(torch.zeros(1, 3, 32, 32, device=accelerator()))
