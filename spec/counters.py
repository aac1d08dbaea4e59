"""What a piece of PyTorch costs, in exact numbers: operators, arithmetic, memory. Never in seconds."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.autograd.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode

from blitz.explained.graph import walk


class _Watching(TorchDispatchMode):
    """Tells `look` of each operator below autograd: its name, and its result."""

    def __init__(self, look: Callable[[str, Any], None]) -> None:
        super().__init__()
        self.look = look

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.look(str(func), result)
        return result


def operators(run: Callable[[], Any]) -> Counter[str]:
    """Count the operators that `run` dispatches, by name, such as "aten.mm.default"; backward passes, too."""
    counts: Counter[str] = Counter()
    with _Watching(lambda name, result: counts.update([name])):
        run()
    return counts


def copied_bytes(run: Callable[[], Any]) -> int:
    """Count the bytes that `run` writes in copies: to another place, type or layout."""
    sizes = []

    def look(name: str, result: Any) -> None:
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


def graph_nodes(output: Tensor) -> Counter[str]:
    """Count the nodes of the graph behind `output`, by name, such as "AccumulateGrad"; a leaf has none."""
    return Counter(node.kind for node in walk(output)) if output.grad_fn else Counter()
