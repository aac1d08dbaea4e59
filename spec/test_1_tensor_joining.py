"""Section 1.4 of the notes, operations: joining tensors by cat and stack."""

import numpy as np
import pytest
import torch

from spec.faults import as_it_lies
from spec.harness import broken_by, claim


class TestCat:
    """cat(tensors)."""

    @claim("tensor.cat", notes="1.4")
    @broken_by(torch, "cat", lambda real: lambda tensors, dim=0: real(tensors))
    @broken_by(torch, "cat", lambda real: lambda tensors, dim=0: real(tensors[::-1], dim))
    @broken_by(torch, "cat", lambda real: lambda tensors, dim=1: real(tensors, dim))
    @broken_by(torch, "cat", lambda real: lambda tensors, dim=0: real(tensors, abs(dim)))
    @broken_by(torch, "cat", lambda real: lambda tensors, dim=0: real([*map(as_it_lies, tensors)], dim))
    def test_cat_lays_tensors_one_behind_the_other(self, device):
        """cat() joins along an axis that there is: the first if none is given, the last if it is -1."""
        x = torch.tensor([[0, 1], [2, 3]], device=device)
        y = torch.tensor([[4, 6], [5, 7]], device=device).T

        assert torch.cat([x, y]).tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
        assert torch.cat([x, y], dim=1).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
        assert torch.cat([x[None], y[None]], dim=-1).tolist() == [[[0, 1, 4, 5], [2, 3, 6, 7]]]

    @claim("tensor.cat-notebook", notes="notebook tensor")
    @broken_by(torch, "cat", lambda real: lambda tensors, dim: real(tensors, 0))
    @broken_by(torch, "cat", lambda real: lambda tensors, dim: real(tensors, dim).sort(dim).values)
    def test_three_squares_side_by_side_are_4x12(self, device):
        """The notebook's 4x4 tensor, three times along dim=1, gives each of its four rows three times."""
        x = torch.ones(4, 4, device=device)
        x[:, 1] = 0

        assert torch.cat([x, x, x], dim=1).tolist() == [[1, 0, 1, 1] * 3] * 4

    @claim("tensor.cat-other-axes-must-match", notes="1.4")
    @broken_by(torch, "cat", lambda real: lambda xs, dim: real([x[: len(xs[0])] for x in xs], dim))
    @broken_by(torch, "cat", lambda real: lambda xs, dim: real([x[:, :1] for x in xs], dim))
    def test_cat_takes_tensors_that_differ_on_the_joined_axis_only(self, device):
        """Tensors may differ in size along the axis that they are joined on, and along no other."""
        x, wider = torch.zeros(2, 1, device=device), torch.zeros(2, 3, device=device)
        longer = torch.zeros(3, 1, device=device)

        assert torch.cat([x, wider], dim=1).shape == (2, 4)
        with pytest.raises(RuntimeError, match="Sizes of tensors must match except in dimension 1"):
            torch.cat([x, longer], dim=1)

    @claim("tensor.cat-empty", notes="1.4")
    @broken_by(torch, "cat", lambda real: lambda xs: real([x for x in xs if x.numel()]))
    @broken_by(torch, "cat", lambda real: lambda xs: real([x if x.numel() else x.new_ones(1, 3) for x in xs]))
    def test_cat_leaves_out_a_list_of_nothing(self, device):
        """An empty tensor of one axis joins with any shape; one of several axes has to match as all do."""
        x, nothing = torch.ones(2, 3, device=device), torch.zeros(0, device=device)

        assert torch.cat([x, nothing, x]).shape == (4, 3)
        with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
            torch.cat([x, nothing.reshape(0, 4)])

    @claim("tensor.cat-copies", notes="1.4")
    @broken_by(torch, "cat", lambda real: lambda xs: xs[0] if len(xs) == 1 else real(xs))
    @broken_by(torch, "stack", lambda real: lambda xs: xs[0][None] if len(xs) == 1 else real(xs))
    def test_joined_tensor_is_a_copy(self, device):
        """What cat and stack give is a copy, of a single tensor, too."""
        x = torch.ones(2, device=device)

        joined, stacked = torch.cat([x]), torch.stack([x])
        x.fill_(7)

        assert joined.tolist() == [1, 1]
        assert stacked.tolist() == [[1, 1]]

    @claim("tensor.cat-promotes", notes="1.4")
    @broken_by(torch, "cat", lambda real: lambda xs: real([x.to(xs[0].dtype) for x in xs]))
    @broken_by(torch, "cat", lambda real: lambda xs: real([x.to(xs[-1].dtype) for x in xs]))
    @broken_by(torch, "cat", lambda real: lambda xs: real(xs).double())
    def test_cat_promotes_to_the_dtype_of_a_sum(self, device):
        """Tensors of different dtypes are joined in the dtype in which they would be added."""
        whole, half = torch.tensor([7], device=device), torch.tensor([0.5], device=device)

        joined, turned = torch.cat([whole, half]), torch.cat([half, whole])

        assert joined.dtype == turned.dtype == torch.float32
        assert joined.tolist() == [7, 0.5]
        assert turned.tolist() == [0.5, 7]

    @claim("tensor.cat-refused", notes="1.4")
    @broken_by(torch, "cat", lambda real: lambda xs: real([torch.atleast_1d(x) for x in xs]))
    @broken_by(torch, "cat", lambda real: lambda xs: real(tuple(xs)) if xs[0].ndim else torch.stack(xs))
    def test_cat_refuses_scalars_and_a_bare_tensor(self, device):
        """Tensors without axes are a RuntimeError, and a tensor in place of a sequence is a TypeError."""
        with pytest.raises(RuntimeError, match="zero-dimensional tensor"):
            torch.cat([torch.tensor(1, device=device), torch.tensor(2, device=device)])
        with pytest.raises(TypeError, match="must be tuple of Tensors, not Tensor"):
            torch.cat(torch.ones(2, 3, device=device))

    @claim("tensor.cat-empty-list", notes="1.4", since="2.9")
    @broken_by(torch, "cat", lambda real: lambda xs: real([*xs, torch.zeros(0)]))
    @broken_by(torch, "cat", lambda real: lambda xs: real(xs) if xs else torch.stack(xs))
    def test_cat_of_nothing_is_a_value_error(self):
        """cat() of no tensors is a ValueError; before 2.9 it was a RuntimeError."""
        with pytest.raises((ValueError, RuntimeError), match="expected a non-empty list") as refusal:
            torch.cat([])

        assert refusal.type is ValueError


class TestStack:
    """stack(tensors)."""

    @claim("tensor.stack", notes="1.4")
    @broken_by(torch, "stack", lambda real: torch.cat)
    @broken_by(torch, "stack", lambda real: lambda tensors, dim=0: real(tensors))
    @broken_by(torch, "stack", lambda real: lambda tensors, dim=0: real(tensors, min(dim, dim % 2)))
    @broken_by(torch, "stack", lambda real: lambda tensors, dim=0: real(tensors[::-1], dim))
    @broken_by(torch, "stack", lambda real: lambda tensors, dim=0: real([*map(as_it_lies, tensors)], dim))
    def test_stack_makes_a_new_axis(self, device):
        """stack() makes an axis, as long as there are tensors: at the front, at dim, or last for -1."""
        arrays = np.arange(12).reshape(2, 3, 2).swapaxes(1, 2)
        x, y = torch.from_numpy(arrays).to(device)

        for dim, shape in {0: (2, 2, 3), 1: (2, 2, 3), 2: (2, 3, 2), -1: (2, 3, 2)}.items():
            assert torch.stack([x, y], dim).shape == shape
            assert torch.stack([x, y], dim).tolist() == np.stack(arrays, dim).tolist()
        assert torch.stack([x, y]).tolist() == np.stack(arrays).tolist()

    @claim("tensor.stack-is-cat-of-unsqueezed", notes="notebook tensor")
    @broken_by(torch, "stack", lambda real: lambda tensors, dim: torch.cat(tensors).reshape(2, 3))
    @broken_by(torch, "stack", lambda real: lambda tensors, dim: real(tensors, 0))
    @broken_by(torch, "cat", lambda real: lambda tensors, dim: real(tensors[::-1], dim))
    def test_stack_is_cat_along_an_axis_added_first(self, device):
        """stack(dim=1) of two vectors is cat(dim=1) of their columns: stack makes the axis that cat needs."""
        x, y = torch.tensor([1, 2, 3], device=device), torch.tensor([4, 5, 6], device=device)

        assert torch.stack([x, y], dim=1).tolist() == [[1, 4], [2, 5], [3, 6]]
        assert torch.cat([x[:, None], y[:, None]], dim=1).tolist() == [[1, 4], [2, 5], [3, 6]]

    @claim("tensor.stack-scalars", notes="1.4")
    @broken_by(torch, "stack", lambda real: lambda tensors: real(tensors)[:, None])
    @broken_by(torch, "stack", lambda real: lambda tensors: real([t.int() for t in tensors]))
    def test_stack_makes_a_vector_of_scalars(self, device):
        """Tensors without axes, which cat refuses, stack makes a vector of."""
        scalars = [torch.tensor(1.5, device=device), torch.tensor(2.5, device=device)]

        assert torch.stack(scalars).tolist() == [1.5, 2.5]

    @claim("tensor.stack-refused", notes="1.4")
    @broken_by(
        torch, "stack", lambda real: lambda xs: real([x.expand_as(xs[0]) for x in xs]) if xs else real(xs)
    )
    @broken_by(torch, "stack", lambda real: lambda xs: real(xs) if xs else torch.zeros(0))
    def test_stack_refuses_unequal_shapes_and_an_empty_list(self):
        """Tensors of shapes that differ, be it one that would broadcast, and an empty list are refused."""
        with pytest.raises(RuntimeError, match="expects each tensor to be equal size"):
            torch.stack([torch.zeros(2, 3), torch.zeros(1, 3)])
        with pytest.raises(RuntimeError, match="expects a non-empty TensorList"):
            torch.stack([])
