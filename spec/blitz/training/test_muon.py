"""blitz/training/muon.py: steps whose directions are orthogonal, beside SVD and PyTorch's own Muon."""

import pytest
import torch
from torch import nn

from blitz.training.muon import Muon, orthogonalized


def make_weight(*shape):
    """Return a parameter with a random gradient."""
    weight = nn.Parameter(torch.randn(shape))
    weight.grad = torch.randn(shape)
    return weight


class TestOrthogonalized:
    """orthogonalized(matrix)."""

    @pytest.mark.parametrize("shape", [(5, 5), (3, 40), (40, 3)], ids=str)
    @pytest.mark.parametrize("length", [1000, 0.001])
    def test_singular_values_come_near_one_and_directions_stay(self, shape, length, device):
        """It is nearly U Vᵀ of the singular value decomposition U S Vᵀ, whatever S was, from 0.03 ‖S‖ on."""
        left, _, right = torch.linalg.svd(torch.randn(shape, device=device), full_matrices=False)
        before = torch.logspace(0, -1.5, min(shape), device=device)

        inside = (left.mT @ orthogonalized(length * left @ before.diag() @ right) @ right.mT).cpu()

        values = inside.diagonal()
        assert values.min() > 0.6
        assert values.max() < 1.3
        torch.testing.assert_close(inside, values.diag(), atol=1e-4, rtol=0)

    def test_zeros_stay_zeros(self):
        """No gradient is no direction, and no division by zero."""
        assert not orthogonalized(torch.zeros(2, 3)).any()

    def test_what_is_no_number_is_not_hidden(self):
        """A gradient that is lost spoils the step, and training says that it has diverged."""
        matrix = torch.ones(3, 3)
        matrix[1, 1] = torch.inf

        assert orthogonalized(matrix).isnan().any()


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

    def test_a_weight_of_zeros_begins_with_its_first_step(self):
        """It cannot be brought to a norm, and moves by lr as every other does."""
        weight = nn.Parameter(torch.zeros(4, 4))
        weight.grad = torch.eye(4)

        Muon([weight], lr=0.5).step()

        torch.testing.assert_close(weight.detach(), -0.5 * orthogonalized(torch.eye(4)))

    def test_a_weight_without_gradient_stays(self):
        """As with every optimizer of PyTorch."""
        weight = nn.Parameter(torch.ones(2, 2))

        Muon([weight], lr=0.1).step()

        assert torch.equal(weight, torch.ones(2, 2))

    def test_a_bias_is_refused(self):
        """The sentence says what was expected and what came."""
        message = (
            r"^expected weights of two dimensions or more, got one of shape \(3,\): leave biases to another"
        )

        with pytest.raises(ValueError, match=message):
            Muon([torch.ones(2, 2), torch.ones(3)], lr=0.1)
