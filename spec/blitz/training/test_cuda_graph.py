"""blitz/training/cuda_graph.py: a captured step computes what the step itself would, without a GPU, too."""

import copy
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from blitz.training import cuda_graph, fit
from blitz.training.cuda_graph import WARM_UP, CapturedStep
from blitz.training.fit import Training
from blitz.training.recipes import net_for
from spec.blitz.runs import SHORT, make_split

RECIPE = SHORT._replace(
    batch_size=8, epochs=3, nesterov=True, muon_learning_rate=0.1, shift=2, flip=True, widths=(8, 16)
)


class RecordedGraph(TorchDispatchMode):
    """On the CPU what torch.cuda.CUDAGraph is: the operators of a step, on the same memory at each replay.

    Numbers that Python handed to an operator are a part of it. As on CUDA, capturing changes no tensor.
    """

    def __init__(self):
        super().__init__()
        self.launches, self.before = [], {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.is_mutable or "batch_norm" in str(func):  # whose schema does not tell of its means
            for tensor in filter(torch.is_tensor, torch.utils._pytree.tree_leaves((args, kwargs))):
                self.before.setdefault(id(tensor), (tensor, tensor.clone()))
        result = func(*args, **(kwargs or {}))
        self.launches.append((func, args, kwargs or {}, result))
        return result

    @contextmanager
    def captured(self):
        """Record what is launched within, and put back what it changed."""
        with self:
            yield
        with torch.no_grad():
            for tensor, value in self.before.values():
                tensor.copy_(value)

    @torch.no_grad()
    def replay(self):
        """Launch it all again, into the results that there were."""
        for func, args, kwargs, result in self.launches:
            kept = torch.utils._pytree.tree_leaves(result)
            for old, new in zip(kept, torch.utils._pytree.tree_leaves(func(*args, **kwargs)), strict=True):
                if torch.is_tensor(old) and old is not new:
                    old.copy_(new)


@pytest.fixture
def recorded(monkeypatch):
    """Have CapturedStep record its graphs on the CPU, and return these graphs."""
    graphs = []

    def make_graph():
        graphs.append(RecordedGraph())
        return graphs[-1]

    stream = SimpleNamespace(wait_stream=lambda other: None)
    cuda = SimpleNamespace(
        CUDAGraph=make_graph,
        graph=lambda graph: graph.captured(),
        Stream=lambda: stream,
        current_stream=lambda: stream,
        stream=nullcontext,
    )
    monkeypatch.setattr(cuda_graph, "torch", SimpleNamespace(cuda=cuda))
    return graphs


def make_training(recipe, split, *, captured, device="cpu"):
    """Return a training whose steps are captured, on the CPU by the stand-ins above, or are not."""
    torch.manual_seed(0)
    training = Training(net_for(recipe, split.images), split, recipe, device=device)
    if captured:
        training._rates = {each: torch.zeros((), device=device) for each in training._optimizers}
        training._take_step = CapturedStep(training._learn)
    return training


def state_of(training):
    """Return what a training has learned: weights, buffers, and the losses it reported."""
    losses = torch.tensor([line["loss"] for line in training.history])
    return {**training.net.state_dict(), "losses": losses}


def test_captured_training_ends_as_a_training_step_by_step(recorded):
    """Changing rates, both optimizers' buffers, BatchNorm's means and the smaller last batches included."""
    split = make_split(36)
    step_by_step = make_training(RECIPE, split, captured=False)
    list(step_by_step.steps())

    captured = make_training(RECIPE, split, captured=True)
    list(captured.steps())

    assert len(recorded) == 1
    torch.testing.assert_close(state_of(captured), state_of(step_by_step))


def test_captured_training_resumes(recorded):
    """The state of a captured training, loaded into one whose graph has other buffers, ends as the whole."""
    split = make_split(32)
    whole = make_training(RECIPE, split, captured=True)
    states = [copy.deepcopy(whole.state_dict()) for _ in whole.steps()]

    resumed = make_training(RECIPE, split, captured=True)
    list(resumed.steps())
    resumed.load_state_dict(states[5])
    list(resumed.steps())

    torch.testing.assert_close(state_of(resumed), state_of(whole))


def test_a_step_is_called_to_warm_up_and_once_to_be_captured(recorded):
    """After that it is replayed, on the batch of the call."""
    total, calls = torch.zeros(()), []

    def step(inputs, labels):
        calls.append(len(inputs))
        total.add_(inputs.sum() + labels.sum())

    captured = CapturedStep(step)
    for number in range(6):
        captured(torch.full((2,), number), torch.ones(2))
    captured(torch.ones(1), torch.ones(1))

    assert calls == [2] * (WARM_UP + 1) + [1]
    assert total.item() == 2 * sum(range(6)) + 2 * 6 + 2


def test_a_smaller_batch_among_the_first_is_not_captured(recorded):
    """As a training that resumes near the end of an epoch may begin with it."""
    sizes = []
    captured = CapturedStep(lambda inputs, labels: sizes.append(len(inputs)))

    for size in [2, 2, 2, 1, 2, 2]:
        captured(torch.ones(size), torch.ones(size))

    assert sizes == [2, 2, 2, 1, 2]
    assert len(captured.inputs) == 2


@pytest.mark.gpu
def test_captured_training_ends_with_the_same_bits_on_cuda():
    """As above, by CUDA's own graphs, in bfloat16 as well."""
    if not torch.cuda.is_available():
        pytest.skip("only CUDA has CUDA graphs")
    split = make_split(36)
    ends = []
    for cuda_graph_wanted in (False, True):
        recipe = RECIPE._replace(half=True, cuda_graph=cuda_graph_wanted)
        training = make_training(recipe, split, captured=False, device="cuda")
        list(training.steps())
        assert isinstance(training._take_step, CapturedStep) == cuda_graph_wanted
        ends.append(state_of(training))

    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("wanted", "kind", "processes", "expected"),
    [(True, "cuda", 1, True), (False, "cuda", 1, False), (True, "meta", 1, False), (True, "cuda", 2, False)],
    ids=["one CUDA device", "not asked for", "another device", "two processes"],
)
def test_one_cuda_device_captures_its_steps(wanted, kind, processes, expected, monkeypatch):
    """Where a recipe asks for it."""
    monkeypatch.setattr(fit.distributed, "size", lambda: processes)

    assert fit.takes_graphs(RECIPE._replace(cuda_graph=wanted), torch.device(kind)) is expected
