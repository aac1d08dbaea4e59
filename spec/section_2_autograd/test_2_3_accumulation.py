"""Notes 2.3, 3 (backprop) and 7: gradients accumulate over the calls of backward()."""

import torch
import torch.nn.functional as F

from spec.harness import fault, statement
from spec.section_2_autograd.faults import leaves_of


def overwriting(real):
    """Return a backward() that replaces the gradients of earlier ones."""

    def backward(result):
        for leaf in leaves_of(result):
            leaf.grad = None
        real(result)

    return backward


def renewing(real):
    """Return a backward() that leaves each sum in a new tensor."""

    def backward(result):
        real(result)
        for leaf in leaves_of(result):
            leaf.grad = leaf.grad.clone()

    return backward


@statement("autograd.gradients-accumulate", notes="3 backprop; 7; notebook nn")
@fault("backward overwrites the gradients", torch.Tensor, "backward", overwriting)
@fault("each sum of gradients is a new tensor", torch.Tensor, "backward", renewing)
@fault("mse_loss is a sum", F, "mse_loss", lambda real: lambda *args: real(*args, reduction="sum"))
class TestGradientsAccumulate:
    """backward() adds the new gradient to the gradient in .grad, until .grad is cleared. A batch can
    therefore be split into parts. For the gradient of the batch's mean loss, each part's mean loss is
    multiplied by the part's share of the batch.
    """

    def test_gradients_add_up_in_place_until_they_are_cleared(self, device):
        x = torch.tensor([1.0, 1.0], device=device, requires_grad=True)
        factors = torch.tensor([2.0, -5.0], device=device)

        (factors * x).sum().backward()
        held = x.grad
        for number in (10, 100):
            (number * factors * x).sum().backward()
        assert x.grad is held
        assert held.tolist() == [2 * 111, -5 * 111]

        x.grad = None
        (factors * x).sum().backward()
        assert x.grad.tolist() == [2, -5]

    def test_mean_losses_of_parts_add_up_if_each_counts_by_its_share(self, device):
        weight = torch.tensor([1.0, -2.0], device=device, requires_grad=True)
        rows = torch.tensor([[1.0, 2.0], [3.0, -1.0], [4.0, 1.0], [0.0, 3.0]], device=device)
        targets = torch.tensor([1.0, 1.0, -2.0, 2.0], device=device)  # errors -4, 4, 4, -8

        for some, wanted in ((rows[:1], targets[:1]), (rows[1:], targets[1:])):
            (len(some) / 4 * F.mse_loss(some @ weight, wanted)).backward()

        # 2/4 of -4 (1, 2) + 4 (3, -1) + 4 (4, 1) - 8 (0, 3)
        assert weight.grad.tolist() == [12, -16]
