"""Section 1.4 of the notes, operations: joining tensors by cat and stack."""

import numpy as np
import pytest
import torch

from spec.faults import as_it_lies
from spec.harness import fault, since, statement

JOINED = {  # of [[0, 1], [2, 3]] and [[4, 5], [6, 7]]
    "the first axis": (lambda x, y: torch.cat([x, y]), [[0, 1], [2, 3], [4, 5], [6, 7]]),
    "the second axis": (lambda x, y: torch.cat([y, x], dim=1), [[4, 5, 0, 1], [6, 7, 2, 3]]),
    "the last axis": (lambda x, y: torch.cat([x[None], y[None]], -1), [[[0, 1, 4, 5], [2, 3, 6, 7]]]),
    "two lengths": (lambda x, y: torch.cat([x[:1], y]), [[0, 1], [4, 5], [6, 7]]),
    "an empty vector": (lambda x, y: torch.cat([x, x.new_zeros(0)]), [[0, 1], [2, 3]]),
    "integers and floats": (lambda x, y: torch.cat([x, y / 2]), [[0, 1], [2, 3], [2, 2.5], [3, 3.5]]),
}
NOT_JOINED = {  # of zeros (2, 3)
    "other sizes": (lambda x: torch.cat([x, x.t()], dim=1), RuntimeError, "must match"),
    "scalars": (lambda x: torch.cat([x[0, 0], x[0, 1]]), RuntimeError, "zero-dimensional tensor"),
    "a bare tensor": (lambda x: torch.cat(x), TypeError, "must be tuple of Tensors, not Tensor"),
    "no tensors": pytest.param(lambda x: torch.cat([]), ValueError, "non-empty list", marks=since("2.9")),
}


def overlooking_strides(real):
    """Join the values as they lie in memory."""
    return lambda tensors, dim=0: real([*map(as_it_lies, tensors)], dim)


@statement("tensor.cat", notes="1.4; notebook tensor")
@fault("cat is stack", torch, "cat", lambda real: torch.stack)
@fault("cat ignores dim", torch, "cat", lambda real: lambda xs, dim=0: real(xs))
@fault("cat overlooks strides", torch, "cat", overlooking_strides)
@fault("cat keeps the dtype", torch, "cat", lambda real: lambda xs, dim=0: real(xs, dim).to(xs[0].dtype))
@fault("cat of one tensor is it", torch, "cat", lambda real: lambda xs: xs[0] if len(xs) == 1 else real(xs))
class TestCat:
    """`torch.cat(tensors)` joins tensors one after the other along an existing axis. The sizes of the tensors
    along this axis may differ. The result is a copy, even of a single tensor.
    """

    @pytest.mark.parametrize(("join", "expected"), JOINED.values(), ids=JOINED)
    def test_tensors_lie_one_behind_the_other(self, join, expected, device):
        x = torch.tensor([[0, 1], [2, 3]], device=device)
        y = torch.tensor([[4, 6], [5, 7]], device=device).T

        torch.testing.assert_close(join(x, y).cpu(), torch.tensor(expected), rtol=0, atol=0)

    def test_joined_tensor_is_a_copy_even_of_one_tensor(self, device):
        x = torch.ones(2, device=device)

        joined = torch.cat([x])
        x.fill_(7)

        assert joined.tolist() == [1, 1]

    @pytest.mark.parametrize(("join", "error", "why"), NOT_JOINED.values(), ids=NOT_JOINED)
    def test_tensors_that_do_not_fit_are_refused(self, join, error, why, device):
        with pytest.raises((error, RuntimeError), match=why) as refusal:
            join(torch.zeros(2, 3, device=device))

        assert refusal.type is error


@statement("tensor.stack", notes="1.4; notebook tensor")
@fault("stack is cat", torch, "stack", lambda real: torch.cat)
@fault("stack ignores dim", torch, "stack", lambda real: lambda xs, dim=0: real(xs))
@fault("stack overlooks strides", torch, "stack", overlooking_strides)
@fault("stack of one tensor is a view", torch, "stack", lambda real: lambda xs: xs[0][None])
class TestStack:
    """`torch.stack(tensors, dim)` joins tensors of the same shape along a new axis `dim`, in new memory.
    `torch.cat(tensors, dim)` returns the same result if each tensor first gets the new axis by
    `unsqueeze(dim)`.
    """

    @pytest.mark.parametrize("dim", [0, 1, 2, -1])
    def test_tensors_lie_along_a_new_axis(self, dim, device):
        arrays = np.arange(12).reshape(2, 3, 2).swapaxes(1, 2)
        x, y = torch.from_numpy(arrays).to(device)

        assert torch.stack([x, y], dim).tolist() == np.stack(arrays, dim).tolist()
        assert torch.cat([x.unsqueeze(dim), y.unsqueeze(dim)], dim).tolist() == np.stack(arrays, dim).tolist()

    def test_scalars_are_copied_into_a_vector(self, device):
        x = torch.tensor(1.5, device=device)

        stacked = torch.stack([x])
        x.fill_(7)

        assert stacked.tolist() == [1.5]

    def test_shapes_that_differ_and_no_tensors_are_refused(self):
        with pytest.raises(RuntimeError, match="expects each tensor to be equal size"):
            torch.stack([torch.zeros(2, 3), torch.zeros(1, 3)])
        with pytest.raises(RuntimeError, match="expects a non-empty TensorList"):
            torch.stack([])
