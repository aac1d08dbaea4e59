"""Notes 2.3, 3 (backprop) and 7: gradients accumulate over the calls of backward()."""

import warnings

import pytest
import torch
import torch.nn.functional as F

from spec.harness import fault, statement
from spec.section_2_autograd.leaves import leaves_of

# Faults


def overwriting(real):
    """Return a backward() that replaces the gradients of earlier ones."""

    def backward(result, *args, **options):
        for leaf in leaves_of(result):
            leaf.grad = None
        real(result, *args, **options)

    return backward


def renewing(real):
    """Return a backward() that leaves each sum in a new tensor."""

    def backward(result, *args, **options):
        real(result, *args, **options)
        for leaf in leaves_of(result):
            leaf.grad = leaf.grad.clone()

    return backward


@statement("autograd.gradients-accumulate", notes="3 backprop; 7; notebook nn")
@fault("backward overwrites the gradients", torch.Tensor, "backward", overwriting)
@fault("each sum of gradients is a new tensor", torch.Tensor, "backward", renewing)
@fault("mse_loss is a sum", F, "mse_loss", lambda real: lambda *args: real(*args, reduction="sum"))
class TestGradientsAccumulate:
    """Each backward() adds its gradients to those that stand in .grad, until they are cleared."""

    def test_gradients_add_up_until_they_are_cleared(self, device):
        x = torch.tensor([1.0, 1.0], device=device, requires_grad=True)
        factors = torch.tensor([2.0, -5.0], device=device)

        seen = []
        for number, clear in ((1, False), (10, False), (100, False), (1000, True)):
            x.grad = None if clear else x.grad
            (number * factors * x).sum().backward()
            seen.append(x.grad.tolist())

        assert seen == [[2, -5], [2 * 11, -5 * 11], [2 * 111, -5 * 111], [2000, -5000]]

    @pytest.mark.parametrize("create_graph", [False, True], ids=["plain", "create_graph"])
    def test_sum_is_written_in_place_unless_it_has_a_graph(self, create_graph, device):
        x = torch.tensor([1.0, 3.0], device=device, requires_grad=True)
        x.grad = held = torch.tensor([10.0, 20.0], device=device)

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Using backward\(\) with create_graph=True")  # once
            x.square().sum().backward(create_graph=create_graph)
        summed, x.grad = x.grad, None  # x and a gradient with a graph hold each other

        assert summed.tolist() == [10 + 2, 20 + 6]
        assert (summed is not held) == summed.requires_grad == create_graph
        assert held.tolist() == ([10, 20] if create_graph else [12, 26])

    def test_mean_losses_of_parts_add_up_if_each_counts_by_its_share(self, device):
        weight = torch.tensor([1.0, -2.0], device=device, requires_grad=True)
        rows = torch.tensor([[1.0, 2.0], [3.0, -1.0], [4.0, 1.0], [0.0, 3.0]], device=device)
        targets = torch.tensor([1.0, 1.0, -2.0, 2.0], device=device)  # errors -4, 4, 4, -8

        for some, wanted in ((rows[:1], targets[:1]), (rows[1:], targets[1:])):
            (len(some) / 4 * F.mse_loss(some @ weight, wanted)).backward()

        # 2/4 of -4 (1, 2) + 4 (3, -1) + 4 (4, 1) - 8 (0, 3)
        assert weight.grad.tolist() == [12, -16]
