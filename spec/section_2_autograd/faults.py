"""Faults that several files of this section plant, and the leaves that faults of backward() look for."""

import torch


def leaves_of(result):
    """Return the leaves that backward() of a result fills."""
    nodes, leaves = [result.grad_fn], []
    while nodes:
        node = nodes.pop()
        nodes += [following for following, _ in node.next_functions if following]
        if hasattr(node, "variable"):
            leaves.append(node.variable)
    return leaves


def ignored(real):
    """Freeze nothing."""
    return lambda part, requires_grad=True: part


def by_zeroing(real):
    """Freeze by a hook that makes the gradient zero."""

    def freeze(part, requires_grad=True):
        for parameter in [part] if isinstance(part, torch.Tensor) else part.parameters():
            parameter.register_hook(lambda gradient: gradient * 0)
        return part

    return freeze


def tracked_anyway(real):
    """Record an operation under no_grad, too."""
    return torch.enable_grad()(real)


def if_grad_is_off(change):
    """Return a replacement for an operation whose result is changed while the grad mode is off."""

    def replace(real):
        def operation(*arguments, **options):
            result = real(*arguments, **options)
            return result if torch.is_grad_enabled() else change(result)

        return operation

    return replace
