"""Notes 4, "Training on GPU": what sending the inputs at every step waits for, and how not to wait.

Whether a call waits is seen without a clock: the GPU is kept busy for a third of a second or more, and asked
right after the call whether it is done.
"""

import time

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from spec.harness import ANSWERED, broken_by, claim
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


# Faults


def waiting(real):
    """Fault: a method waits for the GPU."""

    def method(tensor, *args, **options):
        result = real(tensor, *args, **options)
        torch.cuda.synchronize()
        return result

    return method


def never_waiting(real):
    """Fault: whatever is asked, a copy is not waited for."""
    return lambda tensor, *target, non_blocking=True: real(tensor, *target, non_blocking=non_blocking)


class TestPinnedMemory:
    """Memory of the CPU that stays where it is, so that a device can read it by itself."""

    @pytest.mark.gpu
    @claim("cifar.pinned-memory", notes="4 GPU", verdict=ANSWERED, says=SENT)
    @broken_by(torch.Tensor, "pin_memory", lambda real: lambda tensor: tensor)
    @broken_by(torch.Tensor, "pin_memory", lambda real: lambda tensor: real(tensor.mul(0)))
    @broken_by(torch.Tensor, "pin_memory", lambda real: lambda tensor: real(tensor).to(accelerator()))
    def test_pin_memory_copies_a_tensor_within_the_cpu(self, with_pinned_memory):
        """pin_memory() gives a copy in pinned memory of the CPU; the tensor itself stays unpinned."""
        tensor = torch.arange(1000.0)

        pinned = tensor.pin_memory()

        assert (pinned.is_pinned(), tensor.is_pinned()) == (True, False)
        assert pinned.device == tensor.device == torch.device("cpu")
        assert pinned.equal(tensor)

    @pytest.mark.gpu
    @claim("cifar.pinned-memory-once", notes="4 GPU", verdict=ANSWERED, says=SENT)
    @broken_by(torch.Tensor, "pin_memory", lambda real: lambda tensor: real(tensor.clone()))
    def test_pin_memory_of_what_is_pinned_is_the_tensor_itself(self, with_pinned_memory):
        """A tensor that is pinned already is not copied again."""
        pinned = torch.arange(1000.0).pin_memory()

        assert pinned.pin_memory().data_ptr() == pinned.data_ptr()

    @pytest.mark.gpu
    @claim("cifar.pinned-memory-loader", notes="4 GPU", verdict=ANSWERED, says=SENT)
    @broken_by(
        DataLoader, "__init__", lambda real: lambda self, data, pin_memory, **rest: real(self, data, **rest)
    )
    @broken_by(torch.Tensor, "pin_memory", lambda real: lambda tensor, *device: real(tensor.mul(0), *device))
    def test_loader_pins_each_batch_where_it_is_asked_to(self, with_pinned_memory):
        """With pin_memory=True a DataLoader gives the same batches, on the CPU still, in pinned memory."""
        if with_pinned_memory.type != "cuda" and torch.__version__ < "2.8":
            not_checked("not-implemented", "the DataLoader of an older PyTorch pins for CUDA alone")
        images, labels = torch.rand(10, 3, 32, 32), torch.arange(10)

        batches = list(DataLoader(TensorDataset(images, labels), batch_size=4, pin_memory=True))

        assert [tensor.is_pinned() for batch in batches for tensor in batch] == [True] * 6
        assert torch.cat([inputs for inputs, _ in batches]).equal(images)
        assert torch.cat([targets for _, targets in batches]).equal(labels)


class TestCopies:
    """to(device, non_blocking=True), and copies back."""

    @claim("cifar.asynchronous-copy-result", notes="4 GPU", verdict=ANSWERED, says=SENT)
    @broken_by(
        torch.Tensor, "to", lambda real: lambda tensor, *target, **rest: real(tensor * 0, *target, **rest)
    )
    def test_copy_that_is_not_waited_for_is_used_like_any_other(self, device):
        """What is computed from a copy made with non_blocking=True is computed from what its source had."""
        inputs = torch.arange(1000.0)

        moved = inputs.to(device, non_blocking=True)
        doubled = moved + moved

        assert moved.device == device
        assert doubled.cpu().equal(inputs + inputs)

    @pytest.mark.gpu
    @claim("cifar.asynchronous-copy", notes="4 GPU", verdict=ANSWERED, says=SENT)
    @broken_by(torch.Tensor, "to", waiting)
    @broken_by(torch.Tensor, "to", never_waiting)
    @broken_by(torch.Tensor, "pin_memory", lambda real: lambda tensor: real(tensor.mul(0)))
    def test_copy_from_pinned_memory_is_waited_for_unless_it_is_asked_not_to_be(self, cuda):
        """From pinned memory to(device) waits for the copy, and with non_blocking=True returns before it."""
        inputs = torch.arange(2.0**20)
        pinned = inputs.pin_memory()

        keep_busy()
        asynchronous = pinned.to(cuda, non_blocking=True)
        returned_early = not is_done()
        keep_busy()
        synchronous = pinned.to(cuda)
        waited = is_done()

        assert (returned_early, waited) == (True, True)
        assert asynchronous.cpu().equal(inputs)
        assert synchronous.cpu().equal(inputs)

    @pytest.mark.gpu
    @claim("cifar.asynchronous-copy-overwritten", notes="4 GPU", verdict=ANSWERED, says=SENT)
    @broken_by(torch.Tensor, "to", waiting)
    def test_source_that_changes_before_the_copy_is_made_is_copied_changed(self, cuda):
        """Pinned memory that is written to before the copy is done goes to the device as it is by then."""
        pinned = torch.ones(2**20).pin_memory()

        keep_busy()
        moved = pinned.to(cuda, non_blocking=True)
        pinned.fill_(7)

        assert moved.unique().tolist() == [7]

    @pytest.mark.gpu
    @claim("cifar.asynchronous-copy-back", notes="4 GPU", verdict=ANSWERED, says=SENT)
    @broken_by(torch.Tensor, "copy_", waiting)
    @broken_by(torch.cuda, "synchronize", lambda real: lambda *device: None)
    def test_copy_to_the_cpu_is_there_once_the_device_is_synchronised(self, cuda):
        """After a copy back with non_blocking=True the memory is the old one until synchronize() returns."""
        result, there = torch.ones(2**20, device=cuda), torch.zeros(2**20).pin_memory()
        torch.cuda.current_stream(cuda).synchronize()

        keep_busy()
        there.copy_(result, non_blocking=True)
        before = there.clone()
        torch.cuda.synchronize(cuda)
        after = there.clone()

        assert before.unique().tolist() == [0]
        assert after.unique().tolist() == [1]


class TestKernels:
    """What is computed on a CUDA device is queued, and the program goes on."""

    @pytest.mark.gpu
    @claim("cifar.asynchronous-kernels", notes="4 GPU", verdict=ANSWERED, says=SENT)
    @broken_by(torch.Tensor, "add", waiting)
    @broken_by(torch.Tensor, "item", lambda real: lambda tensor: 0.0)
    @broken_by(torch.Tensor, "sum", waiting)
    def test_operation_returns_before_it_is_done_and_item_waits(self, cuda):
        """An operation returns before it is done, and item() waits for all that its number needs."""
        ones = torch.ones(2**20, device=cuda)

        keep_busy()
        total = ones.add(1).sum()
        returned_early = not is_done()
        number = total.item()

        assert (returned_early, is_done()) == (True, True)
        assert number == 2 * 2**20

    @pytest.mark.gpu
    @pytest.mark.timed
    @claim("cifar.asynchronous-kernels-clock", notes="4 GPU", verdict=ANSWERED, says=SENT)
    @broken_by(torch.Tensor, "add", waiting)
    @broken_by(torch.cuda, "synchronize", lambda real: lambda *device: None)
    def test_clock_shows_the_launch_alone_until_the_device_is_synchronised(self, cuda, measured):
        """A clock read right after an operation shows its launch, less than a tenth of what it takes."""
        ones = torch.ones(2**20, device=cuda)

        begin = time.perf_counter()
        keep_busy()
        ones.add(1)
        launched = time.perf_counter() - begin
        torch.cuda.synchronize(cuda)
        done = time.perf_counter() - begin

        measured["seconds"] = {"launched": launched, "done": done}
        assert launched < done / 10
