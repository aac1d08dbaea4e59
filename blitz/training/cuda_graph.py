"""A step of a training as one CUDA graph: Python launches it as a whole, instead of each of its kernels."""

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  # steps until the libraries have chosen their kernels and the optimizers have their buffers


class CapturedStep:
    """Calls `step`, and after WARM_UP batches of one size replays what it launched for it instead.

    A replay computes anew with the tensors that `step` used when it was captured, whatever they hold by then.
    All else stays as it was: numbers that Python handed to a kernel, and which way an `if` went. So a rate
    that changes has to be a tensor, and a tensor must not be replaced by another one.

    Args:
        step: takes inputs and labels, on a CUDA device, and waits for no value.

    Source: CUDA graphs, https://docs.pytorch.org/docs/stable/notes/cuda.html

    >>> step = CapturedStep(learn)  # doctest: +SKIP
    >>> for inputs, labels in batches(split, 2000):  # doctest: +SKIP
    ...     step(inputs, labels)
    """

    def __init__(self, step: Callable[[Tensor, Tensor], None]) -> None:
        self.step = step
        self.warm_ups: Counter[int] = Counter()  # by size of batch
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, inputs: Tensor, labels: Tensor) -> None:
        """Take a step: as it is to warm up or for a batch of another size, else by replaying the graph."""
        if self.graph is None and self.warm_ups[len(inputs)] < WARM_UP:
            self.warm_ups[len(inputs)] += 1
            self._on_another_stream(inputs, labels)
        elif self.graph is None:
            self.inputs, self.labels = inputs.clone(), labels.clone()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):  # launches nothing yet
                self.step(self.inputs, self.labels)
            self.graph.replay()
        elif inputs.shape == self.inputs.shape:
            self.inputs.copy_(inputs)
            self.labels.copy_(labels)
            self.graph.replay()
        else:  # an epoch's smaller last batch
            self.step(inputs, labels)

    def _on_another_stream(self, inputs: Tensor, labels: Tensor) -> None:
        """Take a step where graphs are captured as well: never on the default stream."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.step(inputs, labels)
        torch.cuda.current_stream().wait_stream(stream)
