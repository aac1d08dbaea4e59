"""Data parallelism over any devices: what nn.DataParallel does, as code.

Each device gets a share of the batch and a replica of the net; the outputs are put together on the first one.
Replicas are copies that autograd knows, so the gradients of all shares add up in the one net.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Device = torch.device | str
Share = tuple[tuple[Any, ...], dict[str, Any]]  # positional and keyword arguments of one call


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
        ValueError: no devices, a tensor without that axis, or tensors that make different numbers of shares.

    Source: notes 5.

    >>> split({"inputs": torch.arange(5), "scale": 2}, ["cpu"] * 2)
    [{'inputs': tensor([0, 1, 2]), 'scale': 2}, {'inputs': tensor([3, 4]), 'scale': 2}]
    """
    _require(devices)
    rows = sorted({_rows(tensor, dim) for tensor in _tensors(batch)})
    counts = {len(share_sizes(count, len(devices))) for count in rows} or {len(devices)}
    if len(counts) > 1:
        raise ValueError(
            f"expected tensors that make the same number of shares, got {' and '.join(map(str, rows))} rows "
            f"for {len(devices)} devices"
        )

    def share(index: int, device: Device) -> Any:
        def part(tensor: Tensor) -> Tensor:
            sizes = share_sizes(tensor.shape[dim], len(devices))
            return tensor.narrow(dim, sum(sizes[:index]), sizes[index]).to(device)

        return _map(part, batch)

    return [share(index, devices[index]) for index in range(counts.pop())]


def replicate(net: nn.Module, devices: Sequence[Device]) -> list[nn.Module]:
    """Return a replica of `net` for each device, made anew for each forward pass.

    The first replica has the net's own parameters and buffers, the others have copies that autograd knows:
    all gradients add up in `net`, and of what replicas write to buffers, such as running means, only what
    the first one writes lasts. Other attributes are shared; one that forward assigns stays in its replica.

    Raises:
        ValueError: no devices, a parameter or buffer not on the first of them, or a lazy layer never called.
    """
    _require(devices)
    first = torch.empty(0, device=devices[0]).device  # "cuda" is the current one, with its index
    named = [*net.named_parameters(), *net.named_buffers()]
    for name, tensor in named:
        if nn.parameter.is_lazy(tensor):
            raise ValueError(
                f"expected a net that was called before: {name} of a lazy layer has no shape yet"
            )
        if tensor.device != first:
            raise ValueError(
                f"expected the net on {first}, the first of the devices; {name} is on {tensor.device}"
            )
    own = {id(tensor): tensor for _, tensor in named}
    return [_replica(net, device, {} if index else own) for index, device in enumerate(devices)]


def _replica(module: nn.Module, device: Device, made: dict[int, Any]) -> Any:
    """Return a replica of `module`; what occurs twice in a net is replicated once, and found in `made`."""
    if id(module) not in made:
        replica = made[id(module)] = module.__new__(type(module))
        vars(replica).update(vars(module))
        for kind in ("_parameters", "_buffers"):
            vars(replica)[kind] = {
                name: _copied(tensor, device, made) for name, tensor in vars(module)[kind].items()
            }
        vars(replica)["_modules"] = {
            name: None if child is None else _replica(child, device, made)
            for name, child in vars(module)["_modules"].items()
        }
    return made[id(module)]


def _copied(tensor: Tensor | None, device: Device, made: dict[int, Any]) -> Tensor | None:
    if tensor is not None and id(tensor) not in made:
        made[id(tensor)] = tensor.clone().to(device)  # `to` with copy=True refuses sparse gradients
    return tensor if tensor is None else made[id(tensor)]


def apply(replicas: Sequence[Callable[..., Any]], shares: Sequence[Share]) -> list[Any]:
    """Return what each replica gives for its share, the arguments (args, kwargs) of its call.

    They are called one after the other: a GPU computes while the next one is still being told what to do.
    An error is raised as it is, with a note that tells the share.
    """
    outputs = []
    for number, (replica, (args, kwargs)) in enumerate(zip(replicas, shares, strict=True), start=1):
        try:
            outputs.append(replica(*args, **kwargs))
        except Exception as error:
            error.add_note(f"(in share {number} of {len(shares)})")
            raise
    return outputs


def gather(outputs: Sequence[Any], device: Device, *, dim: int = 0) -> Any:
    """Return the outputs of all shares as one, on `device`.

    Args:
        outputs: of one kind each: tensors, which are joined along `dim`, or tuples, lists and dicts of such.
            Numbers, as tensors without an axis, become a vector; None stays None.
        device: where to put them together.
        dim: the axis to join along.

    Raises:
        TypeError: an output is or holds something else, or they are not of one kind.

    >>> gather([(torch.ones(2, 1), torch.tensor(3.0)), (torch.zeros(1, 1), torch.tensor(4.0))], "cpu")
    (tensor([[1.],
            [1.],
            [0.]]), tensor([3., 4.]))
    """

    def join(*tensors: Tensor) -> Tensor:
        moved = [tensor.to(device) for tensor in tensors]
        return torch.stack(moved) if moved[0].dim() == 0 else torch.cat(moved, dim)

    return _map(join, *outputs, other=_refuse)


def data_parallel(
    net: nn.Module,
    batch: Any,
    devices: Sequence[Device],
    *,
    kwargs: Mapping[str, Any] | None = None,
    dim: int = 0,
) -> Any:
    """Return net(batch), computed in shares on `devices`, on the first of them; gradients reach `net`.

    Args:
        net: on the first of the devices.
        batch: the argument, or a tuple of the positional arguments; see split() for what they may hold.
        devices: any, the same one several times included.
        kwargs: the keyword arguments, split as well.
        dim: the axis that counts the samples, in the batch and in the outputs.

    Raises:
        ValueError, TypeError: see split(), replicate() and gather().

    Source: notes 5; "Optional: Data Parallelism" of the official tutorial.

    >>> net = nn.Linear(5, 2)
    >>> data_parallel(net, torch.ones(30, 5), ["cpu"] * 4).shape
    torch.Size([30, 2])
    """
    arguments = (batch if isinstance(batch, tuple) else (batch,), dict(kwargs or {}))
    shares = split(arguments, devices, dim=dim) if any(arguments) else [arguments]  # no argument: one call
    replicas = replicate(net, devices[: len(shares)])
    return gather(apply(replicas, shares), devices[0], dim=dim)


def _require(devices: Sequence[Device]) -> None:
    if not devices:
        raise ValueError("expected at least one device, got none")


def _rows(tensor: Tensor, dim: int) -> int:
    if not -tensor.dim() <= dim < tensor.dim():
        raise ValueError(
            f"expected tensors with an axis {dim} to split along, got the shape {tuple(tensor.shape)}; "
            "what every device needs whole can be a number, or a buffer of the net"
        )
    return tensor.shape[dim]


def _tensors(value: Any) -> Iterable[Tensor]:
    found: list[Tensor] = []
    _map(found.append, value)
    return found


def _refuse(*values: Any) -> None:
    if any(value is not None for value in values):
        kinds = " and ".join(sorted({type(value).__name__ for value in values}))
        raise TypeError(f"expected outputs of tensors, in tuples, lists and dicts of one form, got {kinds}")


def _map(function: Callable[..., Any], *values: Any, other: Callable[..., Any] = lambda value: value) -> Any:
    """Apply `function` to the tensors of values of the same form, and `other` to what else they hold."""
    first = values[0]
    if all(isinstance(value, Tensor) for value in values):
        return function(*values)
    if any(type(value) is not type(first) for value in values):
        return other(*values)

    def below(*parts: Any) -> Any:
        return _map(function, *parts, other=other)

    if isinstance(first, dict):
        if any(value.keys() != first.keys() for value in values):
            return other(*values)
        mapped = copy.copy(first)  # a subclass, such as defaultdict, may not be made of its items
        for key in first:
            mapped[key] = below(*(value[key] for value in values))
        return mapped
    if isinstance(first, (tuple, list)):
        if any(len(value) != len(first) for value in values):
            return other(*values)
        parts = [below(*column) for column in zip(*values, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)  # a namedtuple
    return other(*values)
