"""blitz/optim.py, Muon: steps whose directions are orthogonal, beside SVD and PyTorch's own Muon."""

import copy

import pytest
import torch
from torch import nn

from blitz.optim import Muon, orthogonalized


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

    def test_zeros_stay_zeros(self):
        """No gradient is no direction, and no division by zero."""
        assert not orthogonalized(torch.zeros(2, 3)).any()


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

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"lr": -0.1}, r"^expected lr of 0 or more, got -0\.1$"),
            ({"momentum": 1.0}, r"^expected momentum in \[0, 1\), got 1\.0$"),
            ({"momentum": -0.5}, r"^expected momentum in \[0, 1\), got -0\.5$"),
            (
                {"weights": [torch.ones(2, 2), torch.ones(3)]},
                r"^expected weights of two dimensions or more, got one of shape \(3,\): "
                "leave biases to another optimizer$",
            ),
        ],
        ids=["lr", "momentum of 1", "momentum below 0", "a bias"],
    )
    def test_what_it_cannot_use_is_refused(self, options, message):
        """The sentence says what was expected and what came."""
        with pytest.raises(ValueError, match=message):
            Muon(**{"weights": [torch.ones(2, 2)], "lr": 0.1, **options})
