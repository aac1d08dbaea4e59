"""SGD with momentum by its formula."""

from collections.abc import Sequence

from torch import Tensor


def sgd_step(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
    buffers: Sequence[Tensor | None],
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Return the weights and the momentum buffers after one step of SGD, as torch.optim.SGD makes them.

    For each weight θ with its gradient g and its buffer b, on which ← means "becomes":

        g ← -g                                      with maximize: uphill
        g ← g + weight_decay · θ                    before momentum, which so remembers the decay
        b ← g                                       the first time, undamped
        b ← momentum · b + (1 - dampening) · g      later
        g ← b                                       with momentum
        g ← g + momentum · b                        with Nesterov momentum, instead
        θ ← θ - lr · g

    A gradient None leaves its weight and its buffer as they are; a gradient of zeros does not, since decay
    and momentum go on. Without momentum there is no buffer, and dampening does nothing.

    Args:
        weights: floating-point tensors of any shapes, on any device.
        gradients: one for each weight, in its shape, or None.
        buffers: one for each weight, in its shape, or None, which each is before the weight's first gradient.
        lr: the learning rate, 0 or more.
        momentum: share of the buffer that stays, 0 or more.
        dampening: share of the gradient that the buffer does not take, except for the first one.
        weight_decay: share of the weight that is added to its gradient, 0 or more.
        nesterov: whether to look ahead by one step of the buffer; needs momentum, and dampening 0.
        maximize: whether to climb instead of descend; weight decay still makes weights smaller.

    Returns:
        The weights and buffers of the next step, in order; nothing is changed in place.

    Raises:
        ValueError: an option is out of its range, or the gradients and buffers do not fit the weights.

    Source: the documentation of torch.optim.SGD; notes 3, "Update the weights".

    >>> import torch
    >>> weights, buffers = [torch.tensor([8.0])], [None]
    >>> for gradient in (torch.tensor([4.0]), torch.tensor([0.0]), None):
    ...     weights, buffers = sgd_step(weights, [gradient], buffers, lr=0.5, momentum=0.5)
    ...     print(weights, buffers)
    [tensor([6.])] [tensor([4.])]
    [tensor([5.])] [tensor([2.])]
    [tensor([5.])] [tensor([2.])]
    """
    if min(lr, momentum, weight_decay) < 0:
        raise ValueError(
            "expected lr, momentum and weight_decay of 0 or more, "
            f"got {lr}, {momentum} and {weight_decay}; to climb, give maximize=True"
        )
    if nesterov and (momentum == 0 or dampening != 0):
        raise ValueError(
            "expected momentum above 0 and dampening 0 for Nesterov momentum, "
            f"got momentum {momentum} and dampening {dampening}"
        )
    new_weights: list[Tensor] = []
    new_buffers: list[Tensor | None] = []
    for weight, gradient, buffer in zip(weights, gradients, buffers, strict=True):
        for name, other in (("gradient", gradient), ("buffer", buffer)):
            if other is not None and other.shape != weight.shape:  # which broadcasting might hide
                raise ValueError(
                    f"expected a {name} in the shape of its weight, {tuple(weight.shape)}, "
                    f"got {tuple(other.shape)}"
                )
        if gradient is not None:
            change = -gradient if maximize else gradient
            change = change + weight_decay * weight
            if momentum != 0:
                buffer = change if buffer is None else momentum * buffer + (1 - dampening) * change
                change = change + momentum * buffer if nesterov else buffer
            weight = weight - lr * change
        new_weights.append(weight)
        new_buffers.append(buffer)
    return new_weights, new_buffers
