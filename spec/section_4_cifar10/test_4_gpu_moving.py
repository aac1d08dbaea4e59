"""Notes 4, "Training on GPU": choosing a device, moving net and data to it, and loading what was saved there.

Where only the move matters, a CPU stands in for the GPU by another dtype or by the `meta` device.
"""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD

from blitz.training.nets import CifarNet
from spec.harness import QUALIFIED, fault, statement
from spec.harness.accelerator.devices import accelerator
from spec.section_4_cifar10.faults import given, giving


@pytest.fixture(params=["meta", pytest.param("accelerator", marks=pytest.mark.gpu)])
def elsewhere(request):
    """Return a device that is not the CPU."""
    return torch.device("meta") if request.param == "meta" else accelerator()


def without_gradients(real):
    """Let Module.to leave gradients behind."""
    return lambda net, *target: (net.zero_grad(), real(net, *target))[1]


def following_the_weight(real):
    """Let a convolution move its input to its weight."""
    return lambda images, weight, *rest: real(images.to(weight.device, weight.dtype), weight, *rest)


def following_the_scores(real):
    """Let the loss move the labels to the scores."""
    return lambda scores, labels, **options: real(scores, labels.to(scores.device), **options)


@statement("cifar.device-selection", notes="4 GPU; notebook cifar")
@fault("CUDA is seen where there is none", torch.cuda, "is_available", lambda real: lambda: not real())
def test_device_is_cuda_0_where_there_is_one_and_else_the_cpu():
    """`torch.device("cuda:0" if torch.cuda.is_available() else "cpu")` is the device cuda:0 if PyTorch sees a
    CUDA device, and the CPU otherwise.
    """
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")

    assert device == torch.device(*(("cuda", 0) if torch.cuda.device_count() else ("cpu",)))
    assert torch.zeros(1, device=device).device.type == device.type


@statement("cifar.module-to-is-in-place", notes="4 GPU; notebook cifar")
@fault("a copy is moved", nn.Module, "to", lambda real: lambda net, *place: real(copy.deepcopy(net), *place))
@fault("buffers stay", nn.BatchNorm1d, "_apply", lambda real: lambda self, change, recurse=True: self)
@fault("gradients stay", nn.Module, "to", without_gradients)
class TestModuleToIsInPlace:
    """`net.to(device)` moves the net in place and returns this net, so no assignment is needed. An optimizer
    that was made before the move still updates the net, if the parameters stay the same objects, as on CUDA.
    A plain tensor in an attribute of the net is not moved.
    """

    def test_net_itself_is_moved_with_all_within_but_plain_tensors(self, device):
        net = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.BatchNorm1d(4)))
        net.scale = torch.ones(4)  # neither a parameter nor a buffer

        returned = net.to(device, torch.float16)

        assert returned is net
        assert {value.device for value in net.state_dict().values()} == {device}
        assert {name for name, value in net.state_dict().items() if value.dtype != torch.float16} == {
            "1.0.num_batches_tracked"  # an integer stays one
        }
        assert (net.scale.device, net.scale.dtype) == (torch.device("cpu"), torch.float32)

    @pytest.mark.usefixtures("moved_in_place")
    def test_optimizer_made_before_the_move_takes_its_step_with_the_gradient(self, device):
        net = nn.Linear(3, 1)
        optimizer = SGD(net.parameters(), lr=0.5)
        nn.init.constant_(net.bias, 2)
        net.bias.grad = torch.ones(1)

        net.to(device, torch.float16)
        optimizer.step()

        assert net.bias.tolist() == [1.5]


@statement(
    "cifar.tensor-to-returns-copy",
    notes="4 GPU",
    verdict=QUALIFIED,
    says="my_tensor.to(device) returns a copy on the GPU and does not rewrite my_tensor",
)
@fault("nothing is copied", torch.Tensor, "to", lambda real: lambda tensor, *target, copy=False: tensor)
@fault("all is copied", torch.Tensor, "to", lambda real: lambda x, *to, copy=True: real(x, *to, copy=copy))
@fault("to leaves the graph", torch.Tensor, "to", giving(lambda moved: moved.detach().requires_grad_()))
class TestTensorToReturnsCopy:
    """By default, `tensor.to()` returns a copy if the device or the dtype changes, and the tensor itself
    otherwise. The original tensor stays as it was. Gradients flow from the copy back to the original.
    """

    def test_other_device_or_dtype_makes_a_new_tensor(self, device):
        tensor = torch.tensor([1.5, 2.5])

        moved = tensor.to(device, torch.float16)

        assert (moved.device, moved.dtype) == (device, torch.float16)
        assert (tensor.device, tensor.dtype) == (torch.device("cpu"), torch.float32)
        assert moved.tolist() == tensor.tolist() == [1.5, 2.5]

    def test_same_device_and_dtype_give_the_tensor_itself_unless_copied(self, device):
        tensor = torch.ones(3, device=device)

        assert tensor.to(device) is tensor
        copied = tensor.to(device, copy=True)
        assert copied.data_ptr() != tensor.data_ptr()
        assert copied.tolist() == [1, 1, 1]

    def test_gradient_flows_back_to_the_original(self, device):
        tensor = torch.ones(2, requires_grad=True)

        (3 * tensor.to(device, torch.float16)).sum().backward()

        assert tensor.grad is not None
        assert tensor.grad.tolist() == [3, 3]


@statement("cifar.inputs-must-move-too", notes="4 GPU")
@fault("a convolution moves its input", F, "conv2d", following_the_weight)
@fault("the loss moves its labels", F, "cross_entropy", following_the_scores)
class TestInputsMustMoveToo:
    """In a training step, the net, the inputs and the labels must be on the same device. PyTorch moves
    nothing by itself, and raises a RuntimeError if the devices differ.
    """

    def test_net_elsewhere_refuses_inputs_on_the_cpu(self, elsewhere):
        net, images = CifarNet().to(elsewhere), torch.zeros(1, 3, 32, 32)

        with pytest.raises(RuntimeError, match=r"device|should be the same"):
            net(images)
        assert net(images.to(elsewhere)).device == elsewhere

    def test_loss_of_scores_elsewhere_refuses_labels_on_the_cpu(self, elsewhere):
        scores, labels = torch.zeros(4, 10, device=elsewhere), torch.tensor([3, 8, 8, 0])

        with pytest.raises(RuntimeError, match="device"):
            nn.CrossEntropyLoss()(scores, labels)
        assert nn.CrossEntropyLoss()(scores, labels.to(elsewhere)).device == elsewhere


@statement(
    "cifar.saved-on-gpu",
    notes="4 step 5; 4 GPU",
    verdict=QUALIFIED,
    says="net.load_state_dict(torch.load(PATH)) restores what torch.save saved",
)
@fault("all is loaded on the CPU", torch, "load", given(map_location="cpu"))
@fault("map_location is ignored", torch, "load", given(map_location=None))
@fault("nothing is loaded", nn.Module, "load_state_dict", lambda real: lambda net, state: None)
class TestSavedOnGpu:
    """`torch.load` puts each tensor on the device from which the tensor was saved. Without CUDA, `torch.load`
    raises a RuntimeError for tensors that were saved from CUDA. With `map_location="cpu"`, `torch.load` puts
    all tensors on the CPU.
    """

    @pytest.mark.gpu
    def test_state_is_loaded_where_it_was_or_where_map_location_says(self, tmp_path):
        torch.save({"weight": torch.tensor([2.0, 3.0], device=accelerator())}, tmp_path / "net.pth")

        there = torch.load(tmp_path / "net.pth")["weight"]
        here = torch.load(tmp_path / "net.pth", map_location="cpu")["weight"]

        assert (there.device, here.device) == (accelerator(), torch.device("cpu"))
        assert there.tolist() == here.tolist() == [2, 3]

    def test_state_from_cuda_is_refused_without_cuda_unless_map_location_says_cpu(
        self, tmp_path, monkeypatch
    ):
        with monkeypatch.context() as patch:
            patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
            torch.save({"weight": torch.tensor([2.0, 3.0])}, tmp_path / "net.pth")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

        with pytest.raises(RuntimeError, match=r"map_location=torch\.device\('cpu'\)"):
            torch.load(tmp_path / "net.pth")
        assert torch.load(tmp_path / "net.pth", map_location="cpu")["weight"].tolist() == [2, 3]

    def test_net_takes_a_state_from_elsewhere_and_stays_where_and_as_it_is(self, device):
        net = nn.Linear(2, 1).to(device, torch.float16)

        net.load_state_dict({"weight": torch.tensor([[1.0, 2.0]]), "bias": torch.tensor([3.0])})

        assert {(x.device, x.dtype) for x in net.state_dict().values()} == {(device, torch.float16)}
        assert [x.tolist() for x in net.state_dict().values()] == [[[1, 2]], [3]]
