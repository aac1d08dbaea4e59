"""What a piece of PyTorch costs, in exact numbers: operators, arithmetic, memory. Never in seconds."""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.autograd.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from blitz.explained.graph import walk


class _Watching(TorchDispatchMode):
    """Tells `look` of each operator below autograd: its name, what it was given, and its result."""

    def __init__(self, look: Callable[[str, Any, Any], None]) -> None:
        super().__init__()
        self.look = look

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.look(str(func), (args, kwargs), result)
        return result


def operators(run: Callable[[], Any]) -> Counter[str]:
    """Count the operators that `run` dispatches, by name, such as "aten.mm.default"; backward passes, too."""
    counts: Counter[str] = Counter()
    with _Watching(lambda name, given, result: counts.update([name])):
        run()
    return counts


def copied_bytes(run: Callable[[], Any]) -> int:
    """Count the bytes that `run` writes in copies: to another place, type or layout."""
    sizes = []

    def look(name: str, given: Any, result: Any) -> None:
        if name in ("aten._to_copy.default", "aten.copy_.default", "aten.clone.default"):
            sizes.append(result.numel() * result.element_size())

    with _Watching(look):
        run()
    return sum(sizes)


def flops(run: Callable[[], Any]) -> int:
    """Count the floating-point operations of matrix products and convolutions in `run`.

    A product of (m, k) and (k, n) is 2mkn of them; what is done to one value at a time does not count.
    """
    # Absent before PyTorch 2.1, where the checks that count something else run as well.
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def saved_bytes(run: Callable[[], Any]) -> int:
    """Count the bytes of the tensors that autograd keeps for a backward pass while `run` runs.

    A tensor that several operations keep counts once. Weights and input count, too, where they are
    kept: autograd makes no copy of them, but neither may they go.
    """
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def allocated_bytes(run: Callable[[], Any]) -> int:
    """Count the bytes that the operators of `run` take from the CPU's allocator and leave taken.

    What an operator takes and gives back itself does not count; what `run` throws away does, and what an
    operator has others take, as median() a copy. So does the number in `x + 1`, of which PyTorch makes a
    tensor of 8 bytes or more: add tensors to count sharply.
    """
    # Kineto, the default, needs a second to start and prints its search for a GPU.
    with profile(use_kineto=False, profile_memory=True) as found:
        run()
    return sum(max(0, event.self_cpu_memory_usage) for event in found.function_events)


def peak_bytes(run: Callable[[], Any]) -> int:
    """Count the bytes of the tensors that operators made in `run`, where most of them exist at once.

    What exists before `run` does not count, nor what an operator needs for itself alone.
    """
    living: dict[
        int, int
    ] = {}  # bytes by storage, from the operator that takes it until its last user is gone
    peak = 0

    def look(name: str, given: Any, result: Any) -> None:
        nonlocal peak
        old = {storage._cdata for storage in _storages(given)}
        for storage in _storages(result):
            if storage._cdata not in old and storage._cdata not in living:
                living[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, living.pop, storage._cdata)
        peak = max(peak, sum(living.values()))

    with _Watching(look):
        run()
    return peak


def _storages(tree: Any) -> Iterator[torch.UntypedStorage]:
    return (leaf.untyped_storage() for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor))


def graph_nodes(output: Tensor) -> Counter[str]:
    """Count the nodes of the graph behind `output`, by name, such as "AccumulateGrad"; a leaf has none."""
    return Counter(node.kind for node in walk(output)) if output.grad_fn else Counter()
