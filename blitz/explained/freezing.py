"""Freezing a part of a net: its parameters are not trained, and no gradient is computed for them."""

from torch import nn


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
    if not isinstance(part, nn.Module):
        raise TypeError(
            f"expected a net or a layer, got {type(part).__name__}; for one tensor set requires_grad itself"
        )
    part.requires_grad_(False)
    part.zero_grad()


def unfreeze(part: nn.Module) -> None:
    """Train the parameters of `part` again, whether or not they were frozen.

    Their gradients begin with the next forward pass. What an optimizer remembers of them from before
    they were frozen, such as momentum, counts again.

    Source: notes 2.7.

    >>> layer = nn.Linear(3, 2)
    >>> freeze(layer)
    >>> unfreeze(layer)
    >>> layer.weight.requires_grad
    True
    """
    part.requires_grad_(True)
