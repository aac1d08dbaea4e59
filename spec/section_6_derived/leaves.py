"""What the checks of this section differentiate, and what the notebook printed of it."""

import torch


def leaf(values, device="cpu"):
    """Return `values` as a float64 tensor to differentiate with respect to."""
    return torch.tensor(values, dtype=torch.float64, device=device, requires_grad=True)


def leaves(lists, device="cpu"):
    """Return a tensor to differentiate with respect to for each list."""
    return [leaf(values, device) for values in lists]


def printed(numbers, like, *, inputs):
    """Return what to hold a tensor to, which the notebook printed with four digits, as it did its inputs.

    Args:
        numbers: what was printed.
        like: a tensor of the type and place.
        inputs: how many rounded inputs, times their weights, the result is a sum of.
    """
    expected = torch.tensor(numbers, dtype=like.dtype, device=like.device)
    return {"expected": expected, "rtol": 0, "atol": (inputs + 1) * 5e-5, "check_stride": False}
