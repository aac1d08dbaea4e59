"""1.5 of the notes: Tensor.numpy(), and the memory that it shares."""

import warnings

import numpy as np
import pytest
import torch

from spec.harness import QUALIFIED, fault, since, statement
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


@statement("tensor.numpy-shares-memory", notes="1.5; notebook tensor")
@fault("numpy copies", torch.Tensor, "numpy", lambda real: lambda x: real(x).copy())
@fault("numpy clones its tensor", torch.Tensor, "numpy", lambda real: lambda x: real(x.clone()))
@fault("add_ makes a new tensor", torch.Tensor, "add_", lambda real: lambda x, other: x + other)
@fault(
    "numpy copies what is not contiguous", torch.Tensor, "numpy", lambda real: lambda x: real(x.contiguous())
)
@fault(
    "numpy copies in the order of the memory",
    torch.Tensor,
    "numpy",
    lambda real: lambda x: real(x).copy(order="K"),
)
@fault(
    "numpy forgets where a view begins",
    torch.Tensor,
    "numpy",
    lambda real: lambda x: real(x.as_strided(x.shape, x.stride(), 0)),
)
@fault("numpy flattens", torch.Tensor, "numpy", lambda real: lambda x: real(x.reshape(-1)))
@fault(
    "numpy gives a number for a tensor without axes",
    torch.Tensor,
    "numpy",
    lambda real: lambda x: real(x)[()],
)
@fault(
    "numpy makes float32",
    torch.Tensor,
    "numpy",
    lambda real: lambda x: real(x if x.is_complex() else x.float()),
)
@fault(
    "numpy makes an array of Python numbers",
    torch.Tensor,
    "numpy",
    lambda real: lambda x: np.array(x.tolist()),
)
@fault(
    "numpy makes int64 of int32",
    torch.Tensor,
    "numpy",
    lambda real: lambda x: real(x.long() if x.dtype == torch.int32 else x),
)
@fault("+ works in place", torch.Tensor, "__add__", lambda real: torch.Tensor.add_)
@fault("+= makes a new tensor", torch.Tensor, "__iadd__", lambda real: lambda x, other: x + other)
@fault("from_numpy copies", torch, "from_numpy", lambda real: lambda array: real(array.copy()))
@fault("asarray copies", torch.Tensor, "__array__", lambda real: lambda x, *dtype, **copy: x.clone().numpy())
@fault("array shares", np, "array", lambda real: np.asarray)
class TestNumpySharesMemory:
    """A CPU tensor and the array that its numpy() gives are one memory: an in-place change to either shows in
    the other. The array has the strides and the dtype of the tensor.
    """

    def test_change_shows_on_the_other_side(self):
        tensor = torch.ones(5)
        array = tensor.numpy()

        tensor.add_(1)
        array[3] = 7

        assert str(array) == "[2. 2. 2. 7. 2.]"
        assert str(tensor) == "tensor([2., 2., 2., 7., 2.])"
        assert address(array) == tensor.data_ptr()

    def test_array_has_the_strides_of_the_tensor(self):
        x = torch.arange(6).reshape(2, 3)

        for view, start in ((x.t(), 0), (x[:, ::2], 0), (x[1:, 1:], 4), (x[:, 2:].expand(2, 4), 2)):
            array = view.numpy()
            assert array.strides == tuple(8 * stride for stride in view.stride())
            assert address(array) == x.data_ptr() + 8 * start
            assert array.tolist() == view.tolist()

    def test_scalar_and_empty_tensors_give_arrays_too(self):
        scalar = torch.tensor(1.5)
        array = scalar.numpy()

        scalar.fill_(2.5)

        assert type(array) is np.ndarray
        assert array.shape == ()
        assert array == 2.5
        assert torch.zeros(0, 3).numpy().shape == (0, 3)

    def test_array_has_the_dtype_of_the_tensor(self):
        floats = ["float32", "float64", "float16", "complex64", "complex128"]
        names = [*floats, "int64", "int32", "int16", "int8", "uint8", "bool"]

        assert [torch.ones(2, dtype=getattr(torch, name)).numpy().dtype.name for name in names] == names
        assert np.ones(2).dtype.name == "float64"

    def test_new_tensor_under_the_old_name_changes_no_array(self):
        tensor = torch.ones(2)
        array = tensor.numpy()

        tensor += 1
        tensor = tensor + 10

        assert tensor.tolist() == [12, 12]
        assert array.tolist() == [2, 2]

    def test_round_trip_gives_another_array_over_the_same_memory(self):
        array = np.arange(3)

        back = torch.from_numpy(array).numpy()
        back[1] = 7

        assert back is not array
        assert array.tolist() == [0, 7, 2]

    def test_asarray_shares_and_array_copies(self):
        tensor = torch.ones(2)
        shared = np.asarray(tensor)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy 2 would have Tensor.__array__ take copy=
            copied = np.array(tensor)

        tensor.fill_(7)

        assert shared.tolist() == [7, 7]
        assert copied.tolist() == [1, 1]


@statement("tensor.numpy-preconditions", notes="1.5; notebook tensor", verdict=QUALIFIED, says=ANY_TENSOR)
@fault("numpy detaches", torch.Tensor, "numpy", detaching)
@fault("detach copies", torch.Tensor, "detach", lambda real: lambda x: real(x).clone())
@fault("numpy clones its tensor", torch.Tensor, "numpy", lambda real: lambda x: real(x.clone()))
@fault(
    "numpy switches the gradient off",
    torch.Tensor,
    "numpy",
    lambda real: lambda x: real(x.requires_grad_(False)),
)
@fault("numpy converts", torch.Tensor, "numpy", converting)
@fault("numpy copies to the CPU", torch.Tensor, "numpy", lambda real: lambda x: real(x.cpu()))
@fault("cpu loses the values", torch.Tensor, "cpu", lambda real: lambda x: torch.zeros(x.shape))
@fault("to_dense loses the values", torch.Tensor, "to_dense", lambda real: lambda x: real(x) * 0)
@fault("numpy makes float32", torch.Tensor, "numpy", lambda real: lambda x: real(x.float()))
@fault("float makes float64", torch.Tensor, "float", lambda real: lambda x: x.to(torch.float64))
@fault("resolve_conj conjugates again", torch.Tensor, "resolve_conj", lambda real: lambda x: real(x.conj()))
@fault("force copies", torch.Tensor, "numpy", lambda real: lambda x, force: real(x.clone(), force=force))
@fault(
    "force conjugates again", torch.Tensor, "numpy", lambda real: lambda x, force: real(x.conj(), force=force)
)
@fault(
    "force loses the values", torch.Tensor, "numpy", lambda real: lambda x, force: real(x, force=force) * 0
)
class TestNumpyPreconditions:
    """numpy() takes a dense CPU tensor that requires no gradient, of a dtype that NumPy knows, with no
    conjugate to work out. numpy(force=True) detaches, copies to the CPU and works conjugates out as
    needed.
    """

    def test_tensor_that_requires_grad_is_refused(self):
        weight = torch.ones(2, requires_grad=True)

        with pytest.raises(RuntimeError, match=r"Can't call numpy\(\) on Tensor that requires grad"):
            weight.numpy()
        assert address(weight.detach().numpy()) == weight.data_ptr()

    def test_no_grad_lifts_the_refusal(self):
        weight = torch.ones(2, requires_grad=True)

        with torch.no_grad():
            array = weight.numpy()

        assert address(array) == weight.data_ptr()
        assert weight.requires_grad

    def test_tensor_of_another_device_is_refused(self):
        with pytest.raises(
            TypeError, match=r"can't convert meta device type tensor to numpy. Use Tensor.cpu\(\)"
        ):
            torch.ones(2, device="meta").numpy()

    @pytest.mark.gpu
    def test_array_of_an_accelerator_tensor_is_a_copy_by_way_of_the_cpu(self):
        tensor = torch.ones(2, device=accelerator())

        with pytest.raises(TypeError, match="device type tensor to numpy"):
            tensor.numpy()
        array = tensor.cpu().numpy()
        tensor.add_(1)
        assert array.tolist() == [1, 1]
        assert tensor.tolist() == [2, 2]

    def test_sparse_tensor_is_refused(self):
        sparse = torch.tensor([[0.0, 3.0], [0.0, 0.0]]).to_sparse()

        with pytest.raises(TypeError, match="can't convert Sparse layout tensor to numpy"):
            sparse.numpy()
        assert sparse.to_dense().numpy().tolist() == [[0, 3], [0, 0]]

    def test_bfloat16_is_refused(self):
        tensor = torch.tensor([0.5], dtype=torch.bfloat16)

        with pytest.raises(TypeError, match="BFloat16"):
            tensor.numpy()
        assert tensor.float().numpy().dtype == np.float32

    def test_conjugate_is_refused_until_it_is_worked_out(self):
        conjugate = torch.tensor([1 + 2j]).conj()

        with pytest.raises(RuntimeError, match="conjugate bit set"):
            conjugate.numpy()
        assert conjugate.resolve_conj().numpy().tolist() == [1 - 2j]

    @since("1.13")
    def test_force_detaches_and_works_out(self):
        weight = torch.ones(2, requires_grad=True)
        conjugate = torch.tensor([1 + 2j]).conj()

        assert address(weight.numpy(force=True)) == weight.data_ptr()
        assert conjugate.numpy(force=True).tolist() == [1 - 2j]
        assert address(conjugate.numpy(force=True)) != conjugate.data_ptr()

    @since("1.13")
    @pytest.mark.gpu
    def test_force_copies_from_an_accelerator(self):
        weight = torch.tensor([1.0, 2.0], device=accelerator(), requires_grad=True)

        assert weight.numpy(force=True).tolist() == [1, 2]


@statement("tensor.numpy-write-bypasses-autograd", notes="1.5; 2.6", verdict=QUALIFIED, says=SHARED)
@fault("numpy copies", torch.Tensor, "numpy", lambda real: lambda x: real(x).copy())
@fault("exp keeps another result", torch.Tensor, "exp", lambda real: lambda a: real(a) + 0)
@fault("numpy counts as a change", torch.Tensor, "numpy", lambda real: lambda x: real(x.add_(0)))
@fault("detach is data", torch.Tensor, "detach", lambda real: lambda x: x.data)
@fault("detach copies", torch.Tensor, "detach", lambda real: lambda x: real(x).clone())
class TestNumpyWriteBypassesAutograd:
    """Autograd does not see a change that is written through the array: no error comes, and the gradient is
    wrong. A change through detach(), which shares the memory as well, is found.
    """

    def test_change_through_the_array_gives_a_wrong_gradient(self):
        a = torch.ones(1, requires_grad=True)
        power = a.exp()

        power.detach().numpy()[:] = 100
        power.backward()

        assert a.grad.item() == 100

    def test_change_through_the_array_raises_no_version(self):
        x = torch.zeros(2)

        x.numpy()[0] = 7

        assert x.tolist() == [7, 0]
        assert x._version == 0

    def test_change_through_detach_is_found(self):
        a = torch.ones(1, requires_grad=True)
        power = a.exp()

        power.detach().fill_(100)

        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            power.backward()
