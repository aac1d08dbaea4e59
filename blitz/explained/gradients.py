"""Which gradients are computed, and what `backward(v)` computes: freezing, and the Jacobian two ways."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def freeze(part: nn.Module) -> None:
    """Stop training the parameters of `part`, a net or a layer of it, from here on.

    Autograd computes no gradient for them, and the gradients that they hold are dropped: an optimizer
    skips a parameter without one, whereas a stale one would go on moving it, and a zero one would leave
    it to momentum and weight decay.

    Parameters only: the running mean and variance of a BatchNorm still move with each forward pass
    in train() mode, and with them what the part computes; call part.eval() as well to keep them.
    Freeze before the forward pass: freezing after it saves no computation in its backward pass.

    Raises:
        TypeError: `part` is no Module.

    Source: notes 2.7.

    >>> net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    >>> freeze(net[0])
    >>> [name for name, parameter in net.named_parameters() if parameter.requires_grad]
    ['2.weight', '2.bias']
    """
    for parameter in _expect_module(part).parameters():
        parameter.requires_grad = False
        parameter.grad = None


def unfreeze(part: nn.Module) -> None:
    """Train the parameters of `part` again, whether or not they were frozen.

    Their gradients begin with the next forward pass. What an optimizer remembers of them from before
    they were frozen, such as momentum, counts again.

    Raises:
        TypeError: `part` is no Module.

    Source: notes 2.7.

    >>> layer = nn.Linear(3, 2)
    >>> freeze(layer)
    >>> unfreeze(layer)
    >>> layer.weight.requires_grad
    True
    """
    for parameter in _expect_module(part).parameters():
        parameter.requires_grad = True


def _expect_module(part: nn.Module) -> nn.Module:
    if not isinstance(part, nn.Module):
        raise TypeError(
            f"expected a net or a layer, got {type(part).__name__}; for one tensor set requires_grad itself"
        )
    return part


def vjp(function: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    """Return Jᵀv by one backward pass, J being the Jacobian of `function` at `x`.

    With y = function(x), J holds ∂yᵢ/∂xⱼ in row i and column j. If v is the gradient of a loss with
    respect to y, then Jᵀv is its gradient with respect to x: this is all that `y.backward(v)` does.
    A y that does not depend on x has a Jacobian of zeros. Works under `no_grad()` and `inference_mode()`;
    x.grad is left alone.

    Args:
        function: takes a tensor like x, returns y, a tensor of any shape.
        x: where to differentiate, floating-point, any shape.
        v: the weight of each value of y, shaped like y.

    Returns:
        Jᵀv, like x in shape and dtype.

    Raises:
        TypeError: `function` returns no tensor.
        ValueError: x is of no floating-point type, or v is not shaped like y.

    Source: notes 2.5.

    >>> x, v = torch.tensor([2.0, 3.0, 4.0]), torch.tensor([1.0, 10.0])
    >>> vjp(lambda x: torch.stack([x[0] * x[1], 5 * x[2]]), x, v)
    tensor([ 3.,  2., 50.])
    """
    x, y = _evaluate(function, x)
    if v.shape != y.shape:
        raise ValueError(f"expected v shaped like function(x), {tuple(y.shape)}, got {tuple(v.shape)}")
    if not y.requires_grad:
        return torch.zeros_like(x)
    (product,) = torch.autograd.grad(y, x, v, materialize_grads=True)
    return product.detach()  # v itself, where y is x, may require one, and on PyTorch 2.6 zeros do, too


def jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the Jacobian of `function` at `x`, row by row: row i is Jᵀv for v = 1 at i, 0 elsewhere.

    With y = function(x) flattened to m values and x to n, entry (i, j) is ∂yᵢ/∂xⱼ. It takes m
    backward passes where `vjp` takes one, so this is for looking at, not for training.

    Args:
        function: takes a tensor like x, returns y, a tensor of any shape; the same at each of m + 1 calls.
        x: where to differentiate, floating-point, any shape.

    Returns:
        J, (m, n), of the dtype of x.

    Raises:
        TypeError: `function` returns no tensor.
        ValueError: x is of no floating-point type.

    Source: notes 2.5.

    >>> jacobian(lambda x: torch.stack([x[0] * x[1], 5 * x[2]]), torch.tensor([2.0, 3.0, 4.0]))
    tensor([[3., 2., 0.],
            [0., 0., 5.]])
    """
    _, y = _evaluate(function, x)
    one_hots = torch.eye(y.numel(), device=x.device)
    J = torch.empty(y.numel(), x.numel(), dtype=x.dtype, device=x.device)
    for row, one_hot in zip(J, one_hots, strict=True):
        row.copy_(vjp(function, x, one_hot.view(y.shape)).flatten())
    return J


def _evaluate(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return a leaf that holds x, and the function's value there, with a graph between them."""
    if not x.is_floating_point():
        raise ValueError(f"expected x of a floating-point type, got {x.dtype}; integers: x.double()")
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()  # a tensor of inference_mode() takes part in no graph
        y = function(leaf)
    if not isinstance(y, Tensor):
        raise TypeError(f"expected function(x) to be one tensor, got {type(y).__name__}")
    return leaf, y
