"""Section 1.4 of the notes, "resize": reshape and view in plain examples, and the word itself."""

from math import prod

import pytest
import torch
import torch.nn.functional as F

from spec.harness import QUALIFIED, WRONG, broken_by, claim

REASON = "prefer reshape, because view alone can leave a tensor non-contiguous"
PREFERENCE = "reshape is to be preferred to view"
HEADING = "reshape, view, squeeze, unsqueeze and transpose resize a tensor"

NO_FLAT_VIEW = {
    "transposed": lambda x: x.t(),
    "cut to columns": lambda x: x[:, :2],
    "expanded": lambda x: x[:, :1].expand(2, 3),
}


# Faults: other ways to give a tensor another shape


def columns_first(real):
    """Let the first index run fastest, as in Fortran."""
    return lambda x, *shape: real(x, *shape[::-1]).permute(*range(len(shape))[::-1])


def reading_columns(real):
    """Read the elements column by column."""
    return lambda x, *shape: real(x.permute(*range(x.dim())[::-1]), *shape)


def in_order_of_memory(real):
    """Read the elements in the order in which they lie in memory."""
    return lambda x, *shape: real(x.as_strided(x.shape, torch.empty(x.shape).stride()), *shape)


def truncating(real):
    """Leave out the elements for which there is no place."""
    return lambda x, *shape: real(x.flatten()[: prod(shape)] if prod(shape) > 0 else x, *shape)


def minus_one_as_one(real):
    """Take a -1 for a 1."""
    return lambda x, *shape: real(x, *map(abs, shape))


def minus_one_as_zero(real):
    """Take a -1 for a 0."""
    return lambda x, *shape: real(x, *(max(size, 0) for size in shape))


def cropping_or_padding(real):
    """Copy what is kept, and add zeros for what is missing."""
    return lambda x, count: x.set_(F.pad(x, (0, count - len(x))))


class TestReshapeAndView:
    """(1) reshape() or view(); spec/test_1_tensor_layout.py has the rule, on generated layouts."""

    @claim("tensor.reshape-over-view", notes="1.4 (1)", verdict=WRONG, says=REASON)
    @broken_by(torch.Tensor, "view", columns_first)
    @broken_by(torch.Tensor, "view", lambda real: lambda x, *shape: real(x.clone(), *shape))
    @broken_by(torch.Tensor, "view", lambda real: lambda x, *shape: real(x.flip(0), *shape))
    def test_view_of_a_contiguous_tensor_is_contiguous(self, device):
        """view() makes no contiguous tensor non-contiguous: it is the same memory, read row by row."""
        x = torch.arange(12, device=device)

        for shape in ((3, 4), (4, 3), (2, -1, 2), (1, 12, 1)):
            view = x.view(*shape)
            assert view.is_contiguous()
            assert view.data_ptr() == x.data_ptr()
            assert view.flatten().tolist() == list(range(12))

    @claim("tensor.reshape-over-view-stays", notes="1.4 (1)", verdict=WRONG, says=REASON)
    @broken_by(torch.Tensor, "view", lambda real: lambda x, *shape: real(x, *shape).contiguous())
    @broken_by(torch.Tensor, "reshape", lambda real: lambda x, *shape: real(x, *shape).contiguous())
    @broken_by(torch.Tensor, "reshape", lambda real: lambda x, *shape: real(x, *shape).clone())
    def test_reshape_leaves_a_tensor_as_non_contiguous_as_view_does(self, device):
        """Where a non-contiguous tensor has a view, reshape() gives that view, and not a contiguous copy."""
        x = torch.arange(12, device=device)
        every_second, transposed = x[::2], x.view(3, 4).t()

        for gap in (every_second.view(2, 3), every_second.reshape(2, 3)):
            assert gap.stride() == (6, 2)
            assert not gap.is_contiguous()
        for split in (transposed.view(2, 2, 3), transposed.reshape(2, 2, 3)):
            assert split.stride() == (2, 1, 4)
            assert not split.is_contiguous()

    @claim("tensor.reshape-over-view-raises", notes="1.4 (1)", verdict=WRONG, says=REASON)
    @broken_by(torch.Tensor, "view", lambda real: lambda x, *shape: x.reshape(*shape))
    @broken_by(torch.Tensor, "view", lambda real: lambda x, *shape: real(x.contiguous(), *shape))
    @broken_by(torch.Tensor, "view", in_order_of_memory)
    def test_view_raises_where_it_would_have_to_copy(self, device):
        """view(-1) of a transposed, cut or expanded tensor is a RuntimeError, which points to reshape()."""
        x = torch.arange(6, device=device).view(2, 3)

        for rearrange in NO_FLAT_VIEW.values():
            with pytest.raises(RuntimeError, match=r"size is not compatible .* Use .reshape\(...\) instead"):
                rearrange(x).view(-1)

    @claim("tensor.reshape-over-view-copy", notes="1.4 (1)")
    @broken_by(torch.Tensor, "reshape", in_order_of_memory)
    @broken_by(torch.Tensor, "reshape", reading_columns)
    def test_reshape_copies_where_view_raises(self, device):
        """Where view(-1) raises, reshape(-1) copies the elements, row by row, into memory of their own."""
        x = torch.arange(6, device=device).view(2, 3)

        flat = {name: rearrange(x).reshape(-1) for name, rearrange in NO_FLAT_VIEW.items()}
        x.fill_(-1)

        assert flat["transposed"].tolist() == [0, 3, 1, 4, 2, 5]
        assert flat["cut to columns"].tolist() == [0, 1, 3, 4]
        assert flat["expanded"].tolist() == [0, 0, 0, 3, 3, 3]

    @claim("tensor.reshape-over-view-writes", notes="1.4 (1)", verdict=QUALIFIED, says=PREFERENCE)
    @broken_by(torch.Tensor, "reshape", lambda real: lambda x, *shape: real(x.clone(), *shape))
    @broken_by(torch.Tensor, "reshape", in_order_of_memory)
    def test_what_is_written_to_a_reshaped_tensor_may_reach_the_original(self, device):
        """Written to reshape()'s result, a value reaches a contiguous tensor, and not a transposed one."""
        x = torch.tensor([[0, 1, 2], [3, 4, 5]], device=device)

        x.reshape(-1)[1] = 10
        x.t().reshape(-1)[3] = 40

        assert x.tolist() == [[0, 10, 2], [3, 4, 5]]

    @claim("tensor.reshape-over-view-refused", notes="1.4 (1)")
    @broken_by(torch.Tensor, "reshape", truncating)
    @broken_by(torch.Tensor, "reshape", minus_one_as_one)
    @broken_by(torch.Tensor, "view", truncating)
    @broken_by(torch.Tensor, "view", minus_one_as_one)
    def test_shape_has_to_fit_the_elements(self, device):
        """Neither reshape() nor view() takes more elements, fewer, a -1 with a remainder, or a second -1."""
        x = torch.arange(6, device=device)

        for change in (x.reshape, x.view):
            for shape in ((2, 2), (2, 4), (4, -1)):
                with pytest.raises(RuntimeError, match=r"is invalid for input of size 6"):
                    change(*shape)
            with pytest.raises(RuntimeError, match="only one dimension can be inferred"):
                change(-1, -1)

    @claim("tensor.reshape-over-view-ambiguous", notes="1.4 (1)")
    @broken_by(torch.Tensor, "reshape", minus_one_as_zero)
    @broken_by(torch.Tensor, "reshape", lambda real: lambda x, *shape: x.new_zeros(0, 3))
    @broken_by(torch.Tensor, "view", minus_one_as_zero)
    def test_minus_one_beside_a_zero_could_be_any_size(self, device):
        """With no elements, a -1 beside a 0 could be any size, and is a RuntimeError; beside a 3 it is 0."""
        x = torch.zeros(0, 5, device=device)

        for change in (x.reshape, x.view):
            assert change(-1, 3).shape == (0, 3)
            with pytest.raises(RuntimeError, match="can be any value and is ambiguous"):
                change(0, -1)


class TestResize:
    """The heading, "resize"."""

    @claim("tensor.resize-heading", notes="1.4", verdict=QUALIFIED, says=HEADING)
    @broken_by(torch.Tensor, "reshape", truncating)
    @broken_by(torch.Tensor, "view", truncating)
    @broken_by(torch.Tensor, "squeeze", lambda real: lambda x: real(x)[0])
    @broken_by(torch.Tensor, "unsqueeze", lambda real: lambda x, dim: real(x, dim).repeat(2, 1, 1, 1))
    @broken_by(torch.Tensor, "transpose", lambda real: lambda x, i, j: real(x, i, j)[:1])
    def test_functions_under_the_heading_keep_the_number_of_elements(self, device):
        """None of the five resizes: all elements are still there; reshape and view refuse another number."""
        x = torch.arange(6, device=device).reshape(1, 2, 3)

        for changed in (x.reshape(3, 2), x.view(6), x.squeeze(), x.unsqueeze(1), x.transpose(0, 2)):
            assert sorted(changed.flatten().tolist()) == [0, 1, 2, 3, 4, 5]
        for change in (x.reshape, x.view):
            with pytest.raises(RuntimeError, match="is invalid for input of size 6"):
                change(2, 2)

    @claim("tensor.resize-heading-in-place", notes="1.4", verdict=QUALIFIED, says=HEADING)
    @broken_by(torch.Tensor, "resize_", lambda real: lambda x, *shape: x[: prod(shape)].view(shape))
    @broken_by(torch.Tensor, "resize_", lambda real: lambda x, *shape: real(x.copy_(x.flip(0)), *shape))
    @broken_by(torch.Tensor, "resize_", lambda real: lambda x, *shape: real(x, prod(shape)))
    def test_resize_changes_the_number_of_elements_in_place(self, device):
        """It is resize_() that resizes, in place: arange(6).resize_(2, 2) has the first four elements."""
        x = torch.arange(6, device=device)

        returned = x.resize_(2, 2)

        assert returned is x
        assert x.tolist() == [[0, 1], [2, 3]]

    @claim("tensor.resize-heading-memory", notes="1.4", verdict=QUALIFIED, says=HEADING)
    @broken_by(torch.Tensor, "resize_", cropping_or_padding)
    @broken_by(torch.Tensor, "resize_", lambda real: lambda x, count: real(x, min(count, len(x))))
    def test_what_resize_leaves_out_stays_in_memory(self, device):
        """What resize_(4) leaves out of six elements is not gone: after resize_(6) it is there again."""
        x = torch.arange(6, device=device)

        x.resize_(4)
        x.resize_(6)

        assert x.tolist() == [0, 1, 2, 3, 4, 5]

    @claim("tensor.resize-heading-strides", notes="1.4", verdict=QUALIFIED, says=HEADING)
    @broken_by(torch.Tensor, "resize_", lambda real: lambda x, count: x.reshape(count))
    @broken_by(torch.Tensor, "reshape", in_order_of_memory)
    def test_resize_goes_by_the_memory(self, device):
        """Of a transposed tensor, resize_() reads the memory as it lies, where reshape() reads the rows."""
        x = torch.arange(6, device=device).view(2, 3)

        assert x.t().reshape(6).tolist() == [0, 3, 1, 4, 2, 5]
        assert x.t().resize_(6).tolist() == [0, 1, 2, 3, 4, 5]

    @claim("tensor.resize-heading-requires-grad", notes="1.4", verdict=QUALIFIED, says=HEADING)
    @broken_by(torch.Tensor, "resize_", lambda real: lambda x, *shape: real(x.detach(), *shape))
    @broken_by(torch.Tensor, "reshape", lambda real: lambda x, *shape: real(x.detach(), *shape))
    def test_resize_of_a_tensor_that_requires_grad_is_refused(self, device):
        """Autograd knows no derivative of resize_(): of a tensor that requires grad it is a RuntimeError."""
        weight = torch.ones(6, device=device, requires_grad=True)

        with pytest.raises(RuntimeError, match="cannot resize variables that require grad"):
            weight.resize_(2, 2)
        assert weight.reshape(2, 3).requires_grad

    @claim("tensor.resize-heading-deprecated", notes="1.4", verdict=QUALIFIED, says=HEADING)
    @broken_by(torch.Tensor, "resize", lambda real: lambda x, *shape: x.reshape(*shape))
    @broken_by(torch.Tensor, "resize", truncating)
    @broken_by(torch.Tensor, "resize", columns_first)
    def test_resize_without_underscore_is_deprecated(self, device):
        """resize() is a reshape() that warns of being deprecated, and refuses another number of elements."""
        x = torch.arange(6, device=device)

        with pytest.warns(UserWarning, match="non-inplace resize is deprecated"):
            resized = x.resize(3, 2)
        with pytest.warns(match="deprecated"), pytest.raises(RuntimeError, match="requested resize to 2x2"):
            x.resize(2, 2)

        assert resized.tolist() == [[0, 1], [2, 3], [4, 5]]
