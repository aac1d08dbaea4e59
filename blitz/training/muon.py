"""Muon, which torch.optim has for matrices only."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_LEAST = 1e-7  # a shorter norm counts as this one, so that nothing is divided by 0


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is made orthogonal, for weights that are matrices or filters.

    A filter bank, (out, in, height, width), counts as a matrix (out, in * height * width). For each weight θ
    with its gradient g and its buffer b, on which ← means "becomes":

        b ← momentum · b + g
        u ← orthogonalized(g + momentum · b)      Nesterov momentum; singular values near 1
        θ ← θ / ‖θ‖ · √out                         so that lr is relative to the weight, without a decay
        θ ← θ - lr · u

    Where torch.optim.Muon takes two dimensions and lets weights grow, this takes two and more, and holds
    their norm, which suits nets whose layers normalise what they are given.

    Args:
        weights: floating-point parameters of two dimensions or more.
        lr: how far a step goes, as a share of a weight of norm √out.
        momentum: share of the buffer that stays, in [0, 1).

    Raises:
        ValueError: a weight has fewer than two dimensions.

    Source: K. Jordan, "Muon: an optimizer for hidden layers in neural networks", 2024; the norm of the
    weights as in his record for CIFAR-10.

    >>> net = nn.Linear(2, 2, bias=False)
    >>> optimizer = Muon(net.parameters(), lr=0.1)
    >>> net(torch.ones(1, 2)).sum().backward()
    >>> optimizer.step()
    """

    def __init__(self, weights: Iterable[nn.Parameter], *, lr: float, momentum: float = 0.9) -> None:
        weights = list(weights)
        for weight in weights:
            if weight.dim() < 2:
                raise ValueError(
                    f"expected weights of two dimensions or more, got one of shape {tuple(weight.shape)}: "
                    "leave biases to another optimizer"
                )
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Change every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                buffer = state["momentum_buffer"].mul_(group["momentum"]).add_(weight.grad)
                update = weight.grad.add(buffer, alpha=group["momentum"])
                update = orthogonalized(update.flatten(1)).view_as(weight)
                weight.mul_(len(weight) ** 0.5 / weight.norm().clamp_min(_LEAST))
                weight.sub_(update * group["lr"])  # which may be a tensor: alpha= would ask for its value


def orthogonalized(matrix: Tensor) -> Tensor:
    """Return a matrix with the singular vectors of `matrix`, all of whose singular values are near 1.

    They are divided by the norm of all, and each of three steps then puts every one of them, s, through
    3.4445 s - 4.775 s³ + 2.0315 s⁵ (Newton-Schulz), by products of matrices alone: none need be known.
    Those from 0.03 of the norm on come between 0.6 and 1.3.

    Args:
        matrix: floating-point (M, N).

    Source: as Muon.

    >>> orthogonalized(torch.tensor([[3.0, 0.0], [0.0, -2.0]])).round(decimals=1)
    tensor([[ 1.0000,  0.0000],
            [ 0.0000, -0.8000]])
    """
    x = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT  # the products of rows are then the fewer
    x = x / x.norm().clamp_min(_LEAST)
    for _ in range(3):
        products = x @ x.mT
        x = torch.addmm(
            x, torch.addmm(products, products, products, beta=-4.775, alpha=2.0315), x, beta=3.4445
        )
    return x if matrix.shape[0] <= matrix.shape[1] else x.mT
