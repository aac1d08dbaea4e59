"""Notes 4, "Training on GPU": what sending the inputs at every step waits for, and how not to wait.

Whether a call waits is seen without a clock: the GPU is kept busy for a third of a second or more, and asked
right after the call whether it is done.
"""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from spec.harness import ANSWERED, fault, statement
from spec.harness.accelerator.devices import accelerator
from spec.harness.statements.contract import not_checked

SENT = "inputs and labels have to be sent to the GPU at every step; what that waits for is not said"

BUSY = 10**9  # cycles of a GPU's clock, which is below 3 GHz


@pytest.fixture
def cuda():
    """The current CUDA device, with all that is slow only once behind it: memory, kernels, pinned memory."""
    place = accelerator()
    if place.type != "cuda":
        not_checked("not-implemented", "what returns before it is done is shown on CUDA devices alone")
    torch.cuda._sleep(1)
    torch.ones(2**20).pin_memory().to(place, non_blocking=True).add(1).sum().item()
    torch.ones(2**20, device=place).add_(1).fill_(1).cpu()
    torch.cuda.synchronize(place)
    return place


@pytest.fixture
def with_pinned_memory():
    """The current accelerator, which can read pinned memory of the CPU by itself."""
    place = accelerator()
    try:
        torch.ones(1).pin_memory()
    except (RuntimeError, NotImplementedError) as error:
        if place.type == "cuda":
            raise
        not_checked("not-implemented", f"{place.type} has no pinned memory: {str(error).splitlines()[0]}")
    return place


def keep_busy():
    """Give the current CUDA device something to do that takes a while."""
    torch.cuda._sleep(BUSY)


def is_done():
    """Tell whether the current CUDA device has done all that it was given."""
    return torch.cuda.current_stream().query()


def waiting(real):
    """Let a method wait for the GPU."""

    def method(tensor, *args, **options):
        result = real(tensor, *args, **options)
        torch.cuda.synchronize()
        return result

    return method


def never_waiting(real):
    """Let no copy be waited for, whatever is asked."""
    return lambda tensor, *target, non_blocking=True: real(tensor, *target, non_blocking=non_blocking)


def zeroed(real):
    """Let a method of a tensor see zeros in its place."""
    return lambda tensor, *args, **options: real(tensor * 0, *args, **options)


def pinning_nothing(real):
    """Let a DataLoader overlook pin_memory."""
    return lambda self, data, pin_memory, **options: real(self, data, **options)


@statement("cifar.asynchronous-copy", notes="4 GPU", verdict=ANSWERED, says=SENT)
@fault("pin_memory does nothing", torch.Tensor, "pin_memory", lambda real: lambda tensor, *device: tensor)
@fault("a DataLoader pins nothing", DataLoader, "__init__", pinning_nothing)
@fault("what is sent are zeros", torch.Tensor, "to", zeroed)
@fault("every copy is waited for", torch.Tensor, "to", waiting)
@fault("no copy is waited for", torch.Tensor, "to", never_waiting)
@fault("synchronize returns at once", torch.cuda, "synchronize", lambda real: lambda *device: None)
class TestAsynchronousCopy:
    """A copy to a GPU is waited for, unless it comes from pinned memory and `non_blocking=True` is given:
    then its source must not change until it is done, and what is copied back must not be read.
    """

    @pytest.mark.gpu
    def test_pin_memory_copies_a_tensor_within_the_cpu(self, with_pinned_memory):
        tensor = torch.arange(1000.0)

        pinned = tensor.pin_memory()

        assert (pinned.is_pinned(), tensor.is_pinned()) == (True, False)
        assert pinned.device == tensor.device == torch.device("cpu")
        assert pinned.equal(tensor)

    @pytest.mark.gpu
    def test_loader_pins_each_batch_where_it_is_asked_to(self, with_pinned_memory):
        if with_pinned_memory.type != "cuda" and torch.__version__ < "2.8":
            not_checked("not-implemented", "the DataLoader of an older PyTorch pins for CUDA alone")
        images, labels = torch.rand(10, 3, 32, 32), torch.arange(10)

        batches = list(DataLoader(TensorDataset(images, labels), batch_size=4, pin_memory=True))

        assert [tensor.is_pinned() for batch in batches for tensor in batch] == [True] * 6
        assert torch.cat([inputs for inputs, _ in batches]).equal(images)

    def test_copy_that_is_not_waited_for_is_used_like_any_other(self, device):
        inputs = torch.arange(1000.0)

        moved = inputs.to(device, non_blocking=True)
        doubled = moved + moved

        assert moved.device == device
        assert doubled.cpu().equal(inputs + inputs)

    @pytest.mark.gpu
    def test_copy_from_pinned_memory_is_waited_for_unless_it_is_asked_not_to_be(self, cuda):
        pinned = torch.arange(2.0**20).pin_memory()

        keep_busy()
        asynchronous = pinned.to(cuda, non_blocking=True)
        returned_early = not is_done()
        keep_busy()
        synchronous = pinned.to(cuda)
        waited = is_done()

        assert (returned_early, waited) == (True, True)
        assert asynchronous.cpu().equal(pinned)
        assert synchronous.cpu().equal(pinned)

    @pytest.mark.gpu
    def test_source_that_changes_before_the_copy_is_made_is_copied_changed(self, cuda):
        pinned = torch.ones(2**20).pin_memory()

        keep_busy()
        moved = pinned.to(cuda, non_blocking=True)
        pinned.fill_(7)

        assert moved.unique().tolist() == [7]

    @pytest.mark.gpu
    def test_copy_to_the_cpu_is_there_once_the_device_is_synchronised(self, cuda):
        result, there = torch.ones(2**20, device=cuda), torch.zeros(2**20).pin_memory()
        torch.cuda.current_stream(cuda).synchronize()

        keep_busy()
        there.copy_(result, non_blocking=True)
        before = there.clone()
        torch.cuda.synchronize(cuda)
        after = there.clone()

        assert before.unique().tolist() == [0]
        assert after.unique().tolist() == [1]


@pytest.mark.gpu
@statement("cifar.asynchronous-kernels", notes="4 GPU", verdict=ANSWERED, says=SENT)
@fault("add waits", torch.Tensor, "add", waiting)
@fault("item does not wait", torch.Tensor, "item", lambda real: lambda tensor: 0.0)
def test_operation_returns_before_it_is_done_and_item_waits(cuda):
    """An operation on a CUDA device returns before it is done, so a clock shows only its launch; `item()`
    waits for the number.
    """
    ones = torch.ones(2**20, device=cuda)

    keep_busy()
    total = ones.add(1).sum()
    returned_early = not is_done()
    number = total.item()

    assert (returned_early, is_done()) == (True, True)
    assert number == 2 * 2**20
