"""1.5 of the notes: Tensor.numpy(), and the memory that it shares."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from spec.harness import QUALIFIED, fault, since, statement
from spec.harness.accelerator.devices import accelerator

VIEWS = {  # of arange(6).reshape(2, 3)
    "a transpose": lambda x: x.t(),
    "every second column": lambda x: x[:, ::2],
    "what begins later": lambda x: x[1:, 1:],
    "an expanded column": lambda x: x[:, 2:].expand(2, 4),
    "a scalar": lambda x: x[1, 2],
}
REFUSED = {
    "requires grad": (lambda: torch.ones(2, requires_grad=True), RuntimeError, "Tensor that requires grad"),
    "on meta": (lambda: torch.ones(2, device="meta"), TypeError, "can't convert meta .* Use Tensor.cpu()"),
    "sparse": (lambda: torch.tensor([0.0, 3.0]).to_sparse(), TypeError, "can't convert Sparse layout tensor"),
    "bfloat16": (lambda: torch.tensor([0.5], dtype=torch.bfloat16), TypeError, "BFloat16"),
    "conjugate": (lambda: torch.tensor([1 + 2j]).conj(), RuntimeError, "conjugate bit set"),
}


def address(array):
    """Return where in memory the first value of an array is."""
    return array.__array_interface__["data"][0]


@statement("tensor.numpy-shares-memory", notes="1.5; notebook tensor")
@fault("numpy copies", Tensor, "numpy", lambda real: lambda x: real(x).copy())
@fault("add_ makes a new tensor", Tensor, "add_", lambda real: lambda x, other: x + other)
@fault("numpy forgets strides", Tensor, "numpy", lambda real: lambda x: real(x.contiguous()))
@fault("numpy makes float32", Tensor, "numpy", lambda real: lambda x: real(x.real.float()))
@fault("+ works in place", Tensor, "__add__", lambda real: Tensor.add_)
@fault("array shares", np, "array", lambda real: np.asarray)
class TestNumpySharesMemory:
    """A CPU tensor `x` shares its memory with the array that `x.numpy()` returns. An in-place change to the
    tensor or to the array shows in both. `np.array(x)` copies the values instead.
    """

    def test_change_in_place_shows_on_the_other_side(self):
        tensor = torch.ones(5)
        array = tensor.numpy()

        tensor.add_(1)
        array[3] = 7
        assert array.dtype == np.float32
        assert str(array) == "[2. 2. 2. 7. 2.]"
        assert str(tensor) == "tensor([2., 2., 2., 7., 2.])"
        tensor = tensor + 10  # a new tensor under the old name
        assert str(array) == "[2. 2. 2. 7. 2.]"

    @pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
    def test_array_of_a_view_has_its_shape_strides_and_start(self, view):
        tensor = view(torch.arange(6).reshape(2, 3))

        array = tensor.numpy()

        assert type(array) is np.ndarray
        assert array.tolist() == tensor.tolist()
        assert array.dtype == np.int64
        assert array.strides == tuple(8 * step for step in tensor.stride())
        assert address(array) == tensor.data_ptr()

    def test_asarray_shares_and_array_copies(self):
        tensor = torch.ones(2)
        shared = np.asarray(tensor)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy 2 would have Tensor.__array__ take copy=
            copied = np.array(tensor)

        tensor.fill_(7)

        assert shared.tolist() == [7, 7]
        assert copied.tolist() == [1, 1]


@statement(
    "tensor.numpy-preconditions",
    notes="1.5; notebook tensor",
    verdict=QUALIFIED,
    says="Tensor.numpy() converts a tensor to NumPy data",
)
@fault("numpy detaches", Tensor, "numpy", lambda real: lambda x: real(x.detach()))
@fault("numpy makes float32", Tensor, "numpy", lambda real: lambda x: real(x.float()))
@fault("detach copies", Tensor, "detach", lambda real: lambda x: real(x).clone())
@fault("force copies", Tensor, "numpy", lambda real: lambda x, **options: real(x.clone(), **options))
@fault("numpy loses the values", Tensor, "numpy", lambda real: lambda x, **options: real(x, **options) * 0)
class TestNumpyPreconditions:
    """`x.numpy()` accepts only a tensor `x` on the CPU, of a dtype that NumPy knows. It raises an error if
    `x` requires a gradient, except within `torch.no_grad()`. `x.numpy(force=True)` detaches `x` and copies
    `x` to the CPU, as far as needed.
    """

    @pytest.mark.parametrize(("make", "error", "why"), REFUSED.values(), ids=REFUSED)
    def test_other_tensors_are_refused(self, make, error, why):
        tensor = make()

        with pytest.raises(error, match=why):
            tensor.numpy()

    def test_memory_is_shared_after_detach_and_within_no_grad(self):
        weight = torch.ones(2, requires_grad=True)

        with torch.no_grad():
            array = weight.numpy()

        assert address(array) == address(weight.detach().numpy()) == weight.data_ptr()
        assert weight.requires_grad

    @since("1.13")
    def test_force_detaches_and_copies_only_if_it_must(self):
        weight = torch.ones(2, requires_grad=True)
        conjugate = torch.tensor([1 + 2j]).conj()

        assert address(weight.numpy(force=True)) == weight.data_ptr()
        assert conjugate.numpy(force=True).tolist() == [1 - 2j]
        assert address(conjugate.numpy(force=True)) != conjugate.data_ptr()

    @since("1.13")
    @pytest.mark.gpu
    def test_array_of_an_accelerator_tensor_is_a_copy(self):
        tensor = torch.tensor([1.0, 2.0], device=accelerator())

        with pytest.raises(TypeError, match="device type tensor to numpy"):
            tensor.numpy()
        arrays = tensor.cpu().numpy(), tensor.requires_grad_().numpy(force=True)
        tensor.detach().add_(1)

        assert [array.tolist() for array in arrays] == [[1, 2], [1, 2]]
        assert tensor.tolist() == [2, 3]


@statement(
    "tensor.numpy-write-bypasses-autograd",
    notes="1.5; 2.6",
    verdict=QUALIFIED,
    says="a tensor and its NumPy array occupy the same storage: a change to either shows in both",
)
@fault("numpy copies", Tensor, "numpy", lambda real: lambda x: real(x).copy())
@fault("numpy counts as a change", Tensor, "numpy", lambda real: lambda x: real(x.add_(0)))
@fault("detach is data", Tensor, "detach", lambda real: lambda x: x.data)
class TestNumpyWriteBypassesAutograd:
    """If a tensor is changed through its NumPy array, autograd does not notice. A `backward()` that needs the
    old values then computes a wrong gradient and raises no error.
    """

    def test_change_through_the_array_gives_a_wrong_gradient(self):
        a = torch.ones(1, requires_grad=True)
        power = a.exp()

        power.detach().numpy()[:] = 100

        assert power._version == 0
        power.backward()
        assert a.grad.item() == 100  # not e

    def test_change_through_detach_is_found(self):
        a = torch.ones(1, requires_grad=True)
        power = a.exp()

        power.detach().fill_(100)

        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            power.backward()
