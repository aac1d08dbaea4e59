"""Faults in what torch.optim.SGD makes of gradients, whichever of its forms does the arithmetic."""

import itertools

import torch


def with_formula(**forced):
    """Return a replacement for sgd() that forces some options; a function makes one of those given."""

    def replace(real):
        def formula(weights, gradients, buffers, **options):
            new = {name: value(options) if callable(value) else value for name, value in forced.items()}
            return real(weights, gradients, buffers, **options | new)

        return formula

    return replace


def decay_apart(real):
    """Return an sgd() that makes the weights smaller beside the gradient, as AdamW does."""

    def formula(weights, gradients, buffers, *, lr, weight_decay, **options):
        for weight in weights:
            weight.mul_(1 - lr * weight_decay)
        return real(weights, gradients, buffers, lr=lr, weight_decay=0, **options)

    return formula


def first_buffer_damped(real):
    """Return an sgd() that takes the dampened gradient into the first buffer."""

    def formula(weights, gradients, buffers, **options):
        first = [buffer is None for buffer in buffers]
        real(weights, gradients, buffers, **options)
        for buffer, is_first in zip(buffers, first, strict=False):
            if is_first:
                buffer.mul_(1 - options["dampening"])

    return formula


def zeros_for_none(real):
    """Return a step() that takes a missing gradient for zeros."""

    def step(optimizer):
        for weight in optimizer.param_groups[0]["params"]:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        real(optimizer)

    return step


def forgetting(real):
    """Return a step() that drops the buffer of a weight without a gradient."""

    def step(optimizer):
        for weight in optimizer.param_groups[0]["params"]:
            if weight.grad is None:
                optimizer.state.pop(weight, None)
        real(optimizer)

    return step


def all_by_the_first_group(real):
    """Return a step() that steps every group by the options of the first."""

    def step(optimizer):
        first, *others = optimizer.param_groups
        weights = [group["params"] for group in optimizer.param_groups]
        optimizer.param_groups = [{**first, "params": list(itertools.chain(*weights))}]
        real(optimizer)
        optimizer.param_groups = [first, *others]

    return step


def keeps_zeros_for_buffers(real):
    """Return a step() that leaves a buffer of zeros with each weight that needs none."""

    def step(optimizer):
        real(optimizer)
        for weight in optimizer.param_groups[0]["params"]:
            state = optimizer.state[weight]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(weight)

    return step


def clear_after(real):
    """Return a step() that clears the gradients that it has used."""
    return lambda optimizer: real(optimizer) or optimizer.zero_grad()


def skip_frozen(real):
    """Return a step() that looks whether the first weight is frozen, and then does nothing."""
    return lambda optimizer: real(optimizer) if optimizer.param_groups[0]["params"][0].requires_grad else None


def decay_upside_down(options):
    """Return the weight decay that makes weights larger where the loss is to be."""
    return -options["weight_decay"] if options["maximize"] else options["weight_decay"]
