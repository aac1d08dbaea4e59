"""Section 1.4 (1) of the notes, reshape and view, and the word "resize" above them.

test_1_4_1_strides.py has the rule: which shape is a view of which layout.
"""

from math import prod

import pytest
import torch
from torch import Tensor

from spec.faults import as_it_lies
from spec.harness import QUALIFIED, WRONG, fault, statement

NO_FLAT_VIEW = {  # what is made of [[0, 1, 2], [3, 4, 5]], and its elements row by row
    "transposed": (lambda x: x.t(), [0, 3, 1, 4, 2, 5]),
    "cut to columns": (lambda x: x[:, :2], [0, 1, 3, 4]),
    "expanded": (lambda x: x[:, :1].expand(2, 3), [0, 0, 0, 3, 3, 3]),
}
NO_SHAPES = {  # a number of elements, a shape, and why they cannot have it
    "fewer elements": (6, (2, 2), "is invalid for input of size 6"),
    "more elements": (6, (2, 4), "is invalid for input of size 6"),
    "a remainder": (6, (4, -1), "is invalid for input of size 6"),
    "two sizes left open": (6, (-1, -1), "only one dimension can be inferred"),
    "a size that could be any": (0, (0, -1), "can be any value and is ambiguous"),
}


@statement(
    "tensor.reshape-over-view",
    notes="1.4 (1)",
    verdict=WRONG,
    says="prefer reshape to view, because view alone can leave a tensor non-contiguous",
)
@fault("view copies", Tensor, "view", lambda real: lambda x, *to: real(x.clone(), *to))
@fault("view copies where it has to", Tensor, "view", lambda real: lambda x, *to: x.reshape(*to))
@fault("reshape always copies", Tensor, "reshape", lambda real: lambda x, *to: real(x.clone(), *to))
@fault("reshape overlooks strides", Tensor, "reshape", lambda real: lambda x, *to: real(as_it_lies(x), *to))
@fault("reshape truncates", Tensor, "reshape", lambda real: lambda x, *to: real(x.flatten()[: prod(to)], *to))
class TestReshapeOverView:
    """`view()` never copies, and raises a RuntimeError if the new shape would need a copy. `reshape()` makes
    a copy in that case, and otherwise returns the same view as `view()`. The view may be non-contiguous with
    either function.
    """

    @pytest.mark.parametrize("shape", [(3, 4), (2, -1, 2), (1, 12, 1)], ids=str)
    def test_view_of_a_contiguous_tensor_is_contiguous(self, shape, device):
        x = torch.arange(12, device=device)

        view = x.view(*shape)

        assert view.is_contiguous()
        assert view.data_ptr() == x.data_ptr()
        assert view.flatten().tolist() == list(range(12))

    @pytest.mark.parametrize("change", ["view", "reshape"])
    def test_non_contiguous_tensor_stays_so_where_it_has_a_view(self, change, device):
        x = torch.arange(12, device=device)

        gaps = getattr(x[::2], change)(2, 3)
        split = getattr(x.view(3, 4).t(), change)(2, 2, 3)

        assert gaps.stride() == (6, 2)
        assert split.stride() == (2, 1, 4)
        assert not gaps.is_contiguous()
        assert not split.is_contiguous()

    @pytest.mark.parametrize(("rearrange", "elements"), NO_FLAT_VIEW.values(), ids=NO_FLAT_VIEW)
    def test_reshape_copies_row_by_row_where_view_raises(self, rearrange, elements, device):
        x = rearrange(torch.tensor([[0, 1, 2], [3, 4, 5]], device=device))

        with pytest.raises(RuntimeError, match=r"size is not compatible .* Use .reshape\(...\) instead"):
            x.view(-1)
        assert x.reshape(-1).tolist() == elements

    def test_what_is_written_to_a_reshaped_tensor_may_reach_the_original(self, device):
        x = torch.tensor([[0, 1, 2], [3, 4, 5]], device=device)

        x.reshape(-1)[1] = 10  # a view
        x.t().reshape(-1)[3] = 40  # a copy

        assert x.tolist() == [[0, 10, 2], [3, 4, 5]]

    @pytest.mark.parametrize("change", ["view", "reshape"])
    @pytest.mark.parametrize(("count", "shape", "why"), NO_SHAPES.values(), ids=NO_SHAPES)
    def test_shape_has_to_fit_the_elements(self, change, count, shape, why, device):
        x = torch.arange(count, device=device)

        with pytest.raises(RuntimeError, match=why):
            getattr(x, change)(*shape)


@statement(
    "tensor.resize-heading",
    notes="1.4",
    verdict=QUALIFIED,
    says="reshape, view, squeeze, unsqueeze and transpose resize a tensor",
)
@fault("squeeze drops elements", Tensor, "squeeze", lambda real: lambda x: real(x)[0])
@fault("resize_ makes a new tensor", Tensor, "resize_", lambda real: lambda x, *to: x[: prod(to)].view(to))
@fault("resize reshapes without a warning", Tensor, "resize", lambda real: Tensor.reshape)
class TestResizeHeading:
    """To resize a tensor means to change the number of its elements, as `resize_()` does in place. The
    functions `reshape`, `view`, `squeeze`, `unsqueeze` and `transpose` do not resize a tensor, because their
    result still has all elements.
    """

    def test_number_of_elements_stays(self, device):
        x = torch.arange(6, device=device).reshape(1, 2, 3)

        for changed in (x.reshape(3, 2), x.view(6), x.squeeze(), x.unsqueeze(1), x.transpose(0, 2)):
            assert sorted(changed.flatten().tolist()) == [0, 1, 2, 3, 4, 5]

    def test_resize_in_place_changes_the_number_of_elements(self, device):
        x = torch.arange(6, device=device)

        returned = x.resize_(2, 2)

        assert returned is x
        assert x.tolist() == [[0, 1], [2, 3]]

    def test_resize_without_underscore_is_deprecated(self, device):
        x = torch.arange(6, device=device)

        with pytest.warns(UserWarning, match="non-inplace resize is deprecated"):
            resized = x.resize(3, 2)
        with pytest.warns(match="deprecated"), pytest.raises(RuntimeError, match="requested resize to 2x2"):
            x.resize(2, 2)

        assert resized.tolist() == [[0, 1], [2, 3], [4, 5]]
