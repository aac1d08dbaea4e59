"""Section 1.5 of the notes: Tensor.numpy(), and the memory that it shares."""

import warnings

import numpy as np
import pytest
import torch

from spec.harness import QUALIFIED, broken_by, claim
from spec.harness.accelerator.devices import accelerator

ANY_TENSOR = "Tensor.numpy() converts a tensor to NumPy's data"
SHARED = "a tensor and its array occupy the same storage: a change of the one shows in the other"


def address(array):
    """Return where in memory the first value of an array is."""
    return array.__array_interface__["data"][0]


def detaching(real):
    """Fault: numpy() takes what it should refuse."""
    return lambda x, **options: real(x.detach().resolve_conj(), **options)


def converting(real):
    """Fault: numpy() makes what it cannot share something that it can."""
    return lambda x: real((x.to_dense() if x.is_sparse else torch.zeros(x.shape)).float())


class TestSharedMemory:
    """1.5 Tensor.numpy()."""

    @claim("tensor.numpy-shares-memory", notes="1.5")
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: real(x).copy())
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: real(x.clone()))
    @broken_by(torch.Tensor, "add_", lambda real: lambda x, other: x + other)
    def test_change_shows_on_the_other_side(self):
        """A change in place of a CPU tensor shows in the array that numpy() gave, and the other way round."""
        tensor = torch.ones(5)
        array = tensor.numpy()

        tensor.add_(1)
        array[3] = 7

        assert str(array) == "[2. 2. 2. 7. 2.]"
        assert str(tensor) == "tensor([2., 2., 2., 7., 2.])"
        assert address(array) == tensor.data_ptr()

    @claim("tensor.numpy-shares-memory-strides", notes="1.5")
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: real(x.contiguous()))
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: real(x).copy(order="K"))
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: real(x.as_strided(x.shape, x.stride(), 0)))
    def test_array_has_the_strides_of_the_tensor(self):
        """The array of a transposed, sliced or expanded tensor has its strides, in bytes, over its memory."""
        x = torch.arange(6).reshape(2, 3)

        for view, start in ((x.t(), 0), (x[:, ::2], 0), (x[1:, 1:], 4), (x[:, 2:].expand(2, 4), 2)):
            array = view.numpy()
            assert array.strides == tuple(8 * stride for stride in view.stride())
            assert address(array) == x.data_ptr() + 8 * start
            assert array.tolist() == view.tolist()

    @claim("tensor.numpy-shares-memory-shapes", notes="1.5")
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: real(x.clone()))
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: real(x.reshape(-1)))
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: real(x)[()])
    def test_scalar_and_empty_tensors_give_arrays_too(self):
        """A tensor of no axes gives an array of no axes over its memory, and an empty one an empty array."""
        scalar = torch.tensor(1.5)
        array = scalar.numpy()

        scalar.fill_(2.5)

        assert type(array) is np.ndarray
        assert array.shape == ()
        assert array == 2.5
        assert torch.zeros(0, 3).numpy().shape == (0, 3)

    @claim("tensor.numpy-shares-memory-dtypes", notes="1.5")
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: real(x if x.is_complex() else x.float()))
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: np.array(x.tolist()))
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: real(x.long() if x.dtype == torch.int32 else x))
    def test_array_has_the_dtype_of_the_tensor(self):
        """The array has the tensor's dtype: float32 stays float32, where NumPy's own floats are float64."""
        floats = ["float32", "float64", "float16", "complex64", "complex128"]
        names = [*floats, "int64", "int32", "int16", "int8", "uint8", "bool"]

        assert [torch.ones(2, dtype=getattr(torch, name)).numpy().dtype.name for name in names] == names
        assert np.ones(2).dtype.name == "float64"

    @claim("tensor.numpy-shares-memory-in-place-only", notes="1.5", verdict=QUALIFIED, says=SHARED)
    @broken_by(torch.Tensor, "__add__", lambda real: torch.Tensor.add_)
    @broken_by(torch.Tensor, "__iadd__", lambda real: lambda x, other: x + other)
    def test_new_tensor_under_the_old_name_changes_no_array(self):
        """With tensor += 1 the array changes; tensor = tensor + 1 makes a new tensor and leaves it alone."""
        tensor = torch.ones(2)
        array = tensor.numpy()

        tensor += 1
        tensor = tensor + 10

        assert tensor.tolist() == [12, 12]
        assert array.tolist() == [2, 2]

    @claim("tensor.numpy-shares-memory-round-trip", notes="1.5")
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: real(x).copy())
    @broken_by(torch, "from_numpy", lambda real: lambda array: real(array.copy()))
    def test_round_trip_gives_another_array_over_the_same_memory(self):
        """from_numpy(array).numpy() is another object than array, over the same memory."""
        array = np.arange(3)

        back = torch.from_numpy(array).numpy()
        back[1] = 7

        assert back is not array
        assert array.tolist() == [0, 7, 2]

    @claim("tensor.numpy-shares-memory-asarray", notes="1.5")
    @broken_by(torch.Tensor, "__array__", lambda real: lambda x, *dtype, **copy: x.clone().numpy())
    @broken_by(np, "array", lambda real: np.asarray)
    def test_asarray_shares_and_array_copies(self):
        """np.asarray(tensor) shares the tensor's memory, as numpy() does; np.array(tensor) copies."""
        tensor = torch.ones(2)
        shared = np.asarray(tensor)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy 2 would have Tensor.__array__ take copy=
            copied = np.array(tensor)

        tensor.fill_(7)

        assert shared.tolist() == [7, 7]
        assert copied.tolist() == [1, 1]


class TestPreconditions:
    """What numpy() takes."""

    @claim("tensor.numpy-preconditions", notes="1.5", verdict=QUALIFIED, says=ANY_TENSOR)
    @broken_by(torch.Tensor, "numpy", detaching)
    @broken_by(torch.Tensor, "detach", lambda real: lambda x: real(x).clone())
    def test_tensor_that_requires_grad_is_refused(self):
        """A tensor that requires grad is a RuntimeError; detach().numpy() gives an array over its memory."""
        weight = torch.ones(2, requires_grad=True)

        with pytest.raises(RuntimeError, match=r"Can't call numpy\(\) on Tensor that requires grad"):
            weight.numpy()
        assert address(weight.detach().numpy()) == weight.data_ptr()

    @claim("tensor.numpy-preconditions-no-grad", notes="1.5", verdict=QUALIFIED, says=ANY_TENSOR)
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: real(x.clone()))
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: real(x.requires_grad_(False)))
    def test_no_grad_lifts_the_refusal(self):
        """Within no_grad(), numpy() takes a tensor that requires grad, and shares its memory."""
        weight = torch.ones(2, requires_grad=True)

        with torch.no_grad():
            array = weight.numpy()

        assert address(array) == weight.data_ptr()
        assert weight.requires_grad

    @claim("tensor.numpy-preconditions-device", notes="1.5", verdict=QUALIFIED, says=ANY_TENSOR)
    @broken_by(torch.Tensor, "numpy", converting)
    def test_tensor_of_another_device_is_refused(self):
        """A tensor that is not on the CPU (on meta here) is a TypeError, which asks for a copy by cpu()."""
        with pytest.raises(
            TypeError, match=r"can't convert meta device type tensor to numpy. Use Tensor.cpu\(\)"
        ):
            torch.ones(2, device="meta").numpy()

    @pytest.mark.gpu
    @claim("tensor.numpy-preconditions-accelerator", notes="1.5", verdict=QUALIFIED, says=ANY_TENSOR)
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: real(x.cpu()))
    @broken_by(torch.Tensor, "cpu", lambda real: lambda x: torch.zeros(x.shape))
    def test_array_of_an_accelerator_tensor_is_a_copy_by_way_of_the_cpu(self):
        """A tensor on an accelerator is a TypeError; cpu().numpy() gives an array that shares no memory."""
        tensor = torch.ones(2, device=accelerator())

        with pytest.raises(TypeError, match="device type tensor to numpy"):
            tensor.numpy()
        array = tensor.cpu().numpy()
        tensor.add_(1)
        assert array.tolist() == [1, 1]
        assert tensor.tolist() == [2, 2]

    @claim("tensor.numpy-preconditions-sparse", notes="1.5", verdict=QUALIFIED, says=ANY_TENSOR)
    @broken_by(torch.Tensor, "numpy", converting)
    @broken_by(torch.Tensor, "to_dense", lambda real: lambda x: real(x) * 0)
    def test_sparse_tensor_is_refused(self):
        """A sparse tensor is a TypeError; to_dense() makes it one that numpy() takes."""
        sparse = torch.tensor([[0.0, 3.0], [0.0, 0.0]]).to_sparse()

        with pytest.raises(TypeError, match="can't convert Sparse layout tensor to numpy"):
            sparse.numpy()
        assert sparse.to_dense().numpy().tolist() == [[0, 3], [0, 0]]

    @claim("tensor.numpy-preconditions-bfloat16", notes="1.5", verdict=QUALIFIED, says=ANY_TENSOR)
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: real(x.float()))
    @broken_by(torch.Tensor, "float", lambda real: lambda x: x.to(torch.float64))
    def test_bfloat16_is_refused(self):
        """A tensor in bfloat16, which NumPy does not know, is a TypeError; float() makes it float32."""
        tensor = torch.tensor([0.5], dtype=torch.bfloat16)

        with pytest.raises(TypeError, match="BFloat16"):
            tensor.numpy()
        assert tensor.float().numpy().dtype == np.float32

    @claim("tensor.numpy-preconditions-conjugate", notes="1.5", verdict=QUALIFIED, says=ANY_TENSOR)
    @broken_by(torch.Tensor, "numpy", detaching)
    @broken_by(torch.Tensor, "resolve_conj", lambda real: lambda x: real(x.conj()))
    def test_conjugate_is_refused_until_it_is_worked_out(self):
        """A conjugate, which is a view with a mark, is a RuntimeError until resolve_conj() works it out."""
        conjugate = torch.tensor([1 + 2j]).conj()

        with pytest.raises(RuntimeError, match="conjugate bit set"):
            conjugate.numpy()
        assert conjugate.resolve_conj().numpy().tolist() == [1 - 2j]

    @claim("tensor.numpy-preconditions-force", notes="1.5", verdict=QUALIFIED, says=ANY_TENSOR, since="1.13")
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x, force: real(x.clone(), force=force))
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x, force: real(x.conj(), force=force))
    def test_force_detaches_and_works_out(self):
        """numpy(force=True) detaches, and works conjugates out; it copies only if it must."""
        weight = torch.ones(2, requires_grad=True)
        conjugate = torch.tensor([1 + 2j]).conj()

        assert address(weight.numpy(force=True)) == weight.data_ptr()
        assert conjugate.numpy(force=True).tolist() == [1 - 2j]
        assert address(conjugate.numpy(force=True)) != conjugate.data_ptr()

    @pytest.mark.gpu
    @claim(
        "tensor.numpy-preconditions-force-accelerator",
        notes="1.5",
        verdict=QUALIFIED,
        says=ANY_TENSOR,
        since="1.13",
    )
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x, force: real(x, force=force) * 0)
    def test_force_copies_from_an_accelerator(self):
        """numpy(force=True) copies a tensor from an accelerator, also one that requires grad."""
        weight = torch.tensor([1.0, 2.0], device=accelerator(), requires_grad=True)

        assert weight.numpy(force=True).tolist() == [1, 2]


class TestAutogradBypassed:
    """What shared memory means for gradients."""

    @claim("tensor.numpy-write-bypasses-autograd", notes="1.5", verdict=QUALIFIED, says=SHARED)
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: real(x).copy())
    @broken_by(torch.Tensor, "exp", lambda real: lambda a: real(a) + 0)
    def test_change_through_the_array_gives_a_wrong_gradient(self):
        """Where the array of exp's result is changed, no error tells: the gradient is 100 in place of e."""
        a = torch.ones(1, requires_grad=True)
        power = a.exp()

        power.detach().numpy()[:] = 100
        power.backward()

        assert a.grad.item() == 100

    @claim("tensor.numpy-write-bypasses-autograd-version", notes="1.5", verdict=QUALIFIED, says=SHARED)
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: real(x.add_(0)))
    @broken_by(torch.Tensor, "numpy", lambda real: lambda x: real(x).copy())
    def test_change_through_the_array_raises_no_version(self):
        """A change through the array is none of the in-place operations that x._version counts."""
        x = torch.zeros(2)

        x.numpy()[0] = 7

        assert x.tolist() == [7, 0]
        assert x._version == 0

    @claim("tensor.numpy-write-bypasses-autograd-detach", notes="1.5", verdict=QUALIFIED, says=SHARED)
    @broken_by(torch.Tensor, "detach", lambda real: lambda x: x.data)
    @broken_by(torch.Tensor, "detach", lambda real: lambda x: real(x).clone())
    def test_change_through_detach_is_found(self):
        """A change of detach()'s result, which shares the memory as well, is a RuntimeError at backward()."""
        a = torch.ones(1, requires_grad=True)
        power = a.exp()

        power.detach().fill_(100)

        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            power.backward()
