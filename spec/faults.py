"""Faults that several sections plant."""

import torch


def with_options(**forced):
    """Return a replacement for an optimizer's __init__ that forces some of its options."""
    return lambda real: lambda optimizer, weights, **options: real(optimizer, weights, **options | forced)


def then(afterwards):
    """Return a replacement for a method that ends with `afterwards(self)`."""

    def replace(real):
        def method(self, *args, **options):
            result = real(self, *args, **options)
            afterwards(self)
            return result

        return method

    return replace


def as_it_lies(x):
    """Return what is read if the strides of a tensor are overlooked."""
    return x.as_strided(x.shape, torch.empty(x.shape).stride())
