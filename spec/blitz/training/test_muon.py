"""blitz/training/muon.py: steps whose directions are orthogonal, beside SVD and PyTorch's own Muon."""

import copy

import pytest
import torch
from torch import nn

from blitz.training.muon import Muon, orthogonalized


def make_weight(*shape, gradient=True):
    """Return a parameter with a random gradient."""
    weight = nn.Parameter(torch.randn(shape))
    weight.grad = torch.randn(shape) if gradient else None
    return weight


class TestOrthogonalized:
    """orthogonalized(matrix)."""

    @pytest.mark.parametrize("shape", [(5, 5), (3, 40), (40, 3)], ids=str)
    def test_singular_values_come_near_one_and_directions_stay(self, shape, device):
        """It is nearly U Vᵀ of the singular value decomposition U S Vᵀ, whatever S was."""
        matrix = torch.randn(shape, device=device)
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)

        inside = left.mT @ orthogonalized(matrix, steps=5) @ right.mT

        values = inside.diagonal().cpu()
        assert values.min() > 0.6
        assert values.max() < 1.3
        torch.testing.assert_close(inside.cpu(), values.diag(), atol=1e-4, rtol=0)

    def test_the_length_of_a_matrix_does_not_matter(self):
        """A matrix a thousand times larger, or smaller, gives the same."""
        matrix = torch.randn(4, 6)

        for factor in (1000, 0.001):
            torch.testing.assert_close(orthogonalized(factor * matrix), orthogonalized(matrix))

    def test_three_steps_reach_singular_values_from_a_thirtieth_of_the_norm_on(self):
        """What the documentation says of 3 steps, and of 5."""
        for steps, least in ((3, 0.03), (5, 0.002)):
            values = torch.logspace(torch.tensor(least).log10(), -0.01, 30)
            for value in values:
                rest = (1 - value**2).sqrt()
                reached = orthogonalized(torch.diag(torch.stack([value, rest])), steps=steps)[0, 0]
                assert 0.6 < reached < 1.3

    @pytest.mark.parametrize("factor", [2.0**-140, 2.0**-80, 2.0**40, 2.0**110], ids=str)
    def test_the_length_does_not_matter_where_its_square_is_no_number(self, factor, device):
        """Entries near 1e-24 have a norm whose square is 0, and those near 1e30 one that is infinite."""
        matrix = torch.randn(4, 6).round(decimals=1)
        matrix = (matrix * 2**9).round()  # whole numbers, which the least floats of all can hold, too

        torch.testing.assert_close(orthogonalized((factor * matrix).to(device)).cpu(), orthogonalized(matrix))

    def test_ordinary_matrices_are_divided_by_their_norm_to_the_last_bit(self):
        """What keeps the norm in range changes no digit."""
        for exponent in (-12, -3, 0, 9):
            matrix = torch.randn(6, 6) * 10.0**exponent

            assert torch.equal(orthogonalized(matrix, steps=0), matrix / matrix.norm())

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
    def test_other_precisions_come_as_near(self, dtype):
        """Also where a norm in half precision would be lost."""
        matrix = torch.eye(4, dtype=dtype) * torch.finfo(dtype).tiny

        values = orthogonalized(matrix, steps=5).diagonal()

        assert values.dtype == dtype
        assert values.min() > 0.6
        assert values.max() < 1.3

    @pytest.mark.parametrize("shape", [(0, 3), (3, 0)], ids=str)
    def test_an_empty_matrix_stays_empty(self, shape):
        """It has no direction."""
        assert orthogonalized(torch.zeros(shape)).shape == shape

    @pytest.mark.parametrize("entry", [float("nan"), float("inf")])
    def test_what_is_no_number_is_not_hidden(self, entry):
        """A gradient that is lost spoils the step, and training says that it has diverged."""
        matrix = torch.ones(3, 3)
        matrix[1, 1] = entry

        assert orthogonalized(matrix).isnan().any()

    def test_zeros_stay_zeros(self):
        """No gradient is no direction, and no division by zero."""
        assert not orthogonalized(torch.zeros(2, 3)).any()


UNUSABLE = {
    "lr": ({"lr": -0.1}, r"^expected lr of 0 or more, got -0\.1$"),
    "lr that is no number": ({"lr": float("nan")}, "^expected lr of 0 or more, got nan$"),
    "momentum of 1": ({"momentum": 1.0}, r"^expected momentum in \[0, 1\), got 1\.0$"),
    "momentum below 0": ({"momentum": -0.5}, r"^expected momentum in \[0, 1\), got -0\.5$"),
    "a bias": (
        {"weights": [torch.ones(2, 2), torch.ones(3)]},
        r"^expected weights of two dimensions or more, got one of shape \(3,\): leave biases to another",
    ),
    "a number": ({"weights": [torch.tensor(1.0)]}, r"got one of shape \(\): leave biases to another"),
}


class TestMuon:
    """Muon(weights, lr=...)."""

    def test_a_step_is_the_documented_one(self):
        """Two steps by the formula, written out with numbers of one's own."""
        weight = make_weight(4, 3, 2, 2)
        expected, buffer = weight.detach().clone(), torch.zeros(4, 3, 2, 2)
        optimizer = Muon([weight], lr=0.1, momentum=0.5)

        for _ in range(2):
            buffer = 0.5 * buffer + weight.grad
            update = orthogonalized((weight.grad + 0.5 * buffer).view(4, 12)).view(4, 3, 2, 2)
            expected = expected / expected.norm() * 2 - 0.1 * update
            optimizer.step()

        torch.testing.assert_close(weight.detach(), expected)

    @pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon is new in PyTorch 2.9")
    def test_the_direction_of_a_step_is_that_of_pytorch(self):
        """Without momentum torch.optim.Muon changes a square matrix by the same, up to its bfloat16."""
        weight = make_weight(6, 6)
        weight.data *= 6**0.5 / weight.norm()  # what this Muon would begin with
        twin = nn.Parameter(weight.detach().clone())
        twin.grad = weight.grad.clone()
        before = weight.detach().clone()

        Muon([weight], lr=0.1, momentum=0.0).step()
        torch.optim.Muon([twin], lr=0.1, momentum=0.0, weight_decay=0.0, ns_steps=3).step()

        torch.testing.assert_close(weight - before, twin - before, atol=0.004, rtol=0.02)

    def test_weights_keep_their_norm(self):
        """However long the gradients: after many small steps the norm is still near √out."""
        weight = make_weight(9, 20)
        weight.grad *= 1e6
        optimizer = Muon([weight], lr=0.01)

        for _ in range(10):
            optimizer.step()

        assert weight.norm().item() == pytest.approx(3, rel=0.02)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
    @pytest.mark.parametrize("length", [0, 1e-24], ids=["zero", "short"])
    def test_a_weight_of_no_length_begins_with_its_first_step(self, dtype, length):
        """It cannot be brought to a norm, and moves by lr as every other does."""
        weight = nn.Parameter((torch.randn(64, 64) * length).to(dtype))
        weight.grad = torch.eye(64, dtype=dtype)

        Muon([weight], lr=0.5).step()

        expected = -0.5 * orthogonalized(torch.eye(64, dtype=dtype))
        torch.testing.assert_close(weight.detach(), expected, atol=1e-3, rtol=0.01)

    def test_a_sparse_gradient_is_refused(self):
        """Before anything has changed."""
        weight = make_weight(3, 2)
        weight.grad = weight.grad.to_sparse()
        optimizer = Muon([weight], lr=0.1)

        with pytest.raises(
            ValueError, match=r"^expected a dense gradient of the weight of shape \(3, 2\), got"
        ):
            optimizer.step()

        assert not optimizer.state

    def test_a_weight_without_gradient_stays_and_has_no_buffer(self):
        """As with every optimizer of PyTorch."""
        weight = make_weight(2, 2, gradient=False)
        before = weight.detach().clone()
        optimizer = Muon([weight], lr=0.1)

        optimizer.step()

        assert torch.equal(weight, before)
        assert not optimizer.state

    def test_the_learning_rate_may_be_a_tensor(self):
        """Which a device reads without the CPU's help."""
        weight, twin = (nn.Parameter(torch.ones(2, 3)) for _ in range(2))
        weight.grad = twin.grad = torch.arange(6.0).view(2, 3)

        Muon([weight], lr=0.1).step()
        optimizer = Muon([twin], lr=0.5)
        optimizer.param_groups[0]["lr"] = torch.tensor(0.1)
        optimizer.step()

        torch.testing.assert_close(weight, twin)

    def test_its_state_can_be_saved_and_loaded(self):
        """A step after loading is the step that would have come."""
        weight, twin = make_weight(3, 4), nn.Parameter(torch.zeros(3, 4))
        optimizer, other = Muon([weight], lr=0.1), Muon([twin], lr=0.3)
        optimizer.step()
        other.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # else both have the same buffer
        twin.data.copy_(weight.data)
        weight.grad = twin.grad = torch.randn(3, 4)

        optimizer.step()
        other.step()

        assert torch.equal(weight, twin)

    @pytest.mark.parametrize(("options", "message"), UNUSABLE.values(), ids=UNUSABLE)
    def test_what_it_cannot_use_is_refused(self, options, message):
        """The sentence says what was expected and what came."""
        with pytest.raises(ValueError, match=message):
            Muon(**{"weights": [torch.ones(2, 2)], "lr": 0.1, **options})

    @pytest.mark.parametrize(("options", "message"), UNUSABLE.values(), ids=UNUSABLE)
    def test_what_it_cannot_use_is_refused_in_a_later_group(self, options, message):
        """As in the first, and the optimizer goes on without the group."""
        optimizer = Muon([torch.ones(2, 2)], lr=0.1)
        group = {"params": [torch.ones(3, 3)], **options}
        group["params"] = group.pop("weights", group["params"])

        with pytest.raises(ValueError, match=message):
            optimizer.add_param_group(group)

        assert len(optimizer.param_groups) == 1
