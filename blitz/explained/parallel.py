"""Data parallelism over any devices: what nn.DataParallel does, as code.

Each device gets a share of the batch, and computes it with copies of the net's parameters and buffers; the
outputs are put together on the first one. Autograd knows the copies, so the gradients of all shares add up in
the one net.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map_only

Device = torch.device | str


def share_sizes(rows: int, devices: int) -> list[int]:
    """Return how many rows of a batch each device gets: ⌈rows / devices⌉ until none is left.

    The last share may be smaller, and devices may get none; a batch without rows is an empty share for each.

    Raises:
        ValueError: less than one device, or a negative number of rows.

    Source: notes 5, the output of dp.py.

    >>> share_sizes(30, 4), share_sizes(10, 8)
    ([8, 8, 8, 6], [2, 2, 2, 2, 2])
    """
    if devices < 1 or rows < 0:
        raise ValueError(f"expected rows for at least one device, got {rows} rows and {devices} devices")
    if rows == 0:
        return [0] * devices
    size = -(-rows // devices)
    return [min(size, rows - start) for start in range(0, rows, size)]


def split(batch: Any, devices: Sequence[Device], *, dim: int = 0) -> list[Any]:
    """Return the share of `batch` for each device, moved there; fewer than devices if the rows run out.

    Args:
        batch: tensors (..., N at `dim`, ...), also in tuples, lists and dicts, however deep: each is split.
            What is no tensor goes to every device.
        devices: any, the same one several times included.
        dim: the axis to split along.

    Raises:
        ValueError: no devices, or not one number of shares for all tensors.

    Source: notes 5.

    >>> split({"inputs": torch.arange(5), "scale": 2}, ["cpu"] * 2)
    [{'inputs': tensor([0, 1, 2]), 'scale': 2}, {'inputs': tensor([3, 4]), 'scale': 2}]
    """
    rows = {leaf.size(dim) for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)}
    sizes = {count: share_sizes(count, len(devices)) for count in sorted(rows)}
    counts = {len(shares) for shares in sizes.values()}
    if len(counts) != 1:
        raise ValueError(
            "expected tensors that make one number of shares, "
            f"got {list(sizes)} rows for {len(devices)} devices"
        )

    def share(index: int) -> Any:
        def part(tensor: Tensor) -> Tensor:
            shares = sizes[tensor.size(dim)]
            return tensor.narrow(dim, sum(shares[:index]), shares[index]).to(devices[index])

        return tree_map_only(Tensor, part, batch)

    return [share(index) for index in range(counts.pop())]


def data_parallel(net: nn.Module, batch: Any, devices: Sequence[Device]) -> Tensor:
    """Return net(batch), computed in shares on `devices`, on the first of them; gradients reach `net`.

    The net itself computes the first share, so of what the shares do to buffers in place, such as a running
    mean, only what the first one does lasts. Unlike in nn.DataParallel, what forward assigns to self stays.

    Args:
        net: on the first of the devices; it takes one argument and gives a tensor (N, ...).
        batch: tensors (N, ...), see split().
        devices: any, the same one several times included.

    Raises:
        ValueError: see split().

    Source: notes 5; "Optional: Data Parallelism" of the official tutorial.

    >>> net = nn.Linear(5, 2)
    >>> data_parallel(net, torch.ones(30, 5), ["cpu"] * 4).shape
    torch.Size([30, 2])
    """
    first, *others = split(batch, devices)
    tensors = dict([*net.named_parameters(), *net.named_buffers()])
    copies = [
        {name: tensor.to(device, copy=True) for name, tensor in tensors.items()}
        for device in devices[1 : 1 + len(others)]
    ]
    outputs = [net(first)]
    outputs += [functional_call(net, own, (share,)) for own, share in zip(copies, others, strict=True)]
    return torch.cat([output.to(devices[0]) for output in outputs])
