"""Notes 4, step 1: the DataLoader, its batches and their order."""

import math
from itertools import islice

import pytest
import torch
from PIL import Image
from torch.utils import data as torch_data
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, TensorDataset, default_collate

from spec.harness import OUTDATED, QUALIFIED, WRONG, broken_by, claim

# Python 3.12 and later warn when a process with threads forks; these workers only count.
forking = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def forced(**values):
    """Fault: a parameter is what it should not be, whatever the caller says."""
    return lambda real: lambda self, *args, **options: real(self, *args, **{**options, **values})


def default(**values):
    """Fault: a parameter has another default."""
    return lambda real: lambda self, *args, **options: real(self, *args, **{**values, **options})


def its_own_iterator(real):
    """Fault: a DataLoader that next() takes."""
    return type("DataLoader", (real,), {"__next__": lambda loader: next(iter(loader))})


class OldIterator:
    """The iterator of a loader as it was before PyTorch 1.13."""

    def __init__(self, iterator):
        self.iterator = iterator

    def __next__(self):
        """Return the next batch."""
        return next(self.iterator)

    next = __next__


def collated_by(change):
    """Fault: batches are changed on their way out."""
    return forced(collate_fn=lambda samples: change(*default_collate(samples)))


def make_samples(n):
    """Return n images (3, 32, 32) with their labels, as one data set."""
    return TensorDataset(torch.rand(n, 3, 32, 32), torch.arange(n) % 10)


def order_of(loader):
    """Return the items of one pass over a loader of numbers."""
    return [number for batch in loader for number in batch.tolist()]


@claim(
    "cifar.loader-is-not-an-iterator",
    notes="4 step 1",
    verdict=WRONG,
    says="the DataLoader returns an iterator",
)
@broken_by(torch_data, "DataLoader", its_own_iterator)
@broken_by(DataLoader, "__iter__", lambda real: lambda self: self.__dict__.setdefault("only", real(self)))
def test_loader_is_an_iterable_and_each_iter_begins_a_new_pass():
    """A DataLoader is an iterable: next() refuses it, and each iter() of it begins at the first batch."""
    loader = torch_data.DataLoader(range(10), batch_size=4)

    with pytest.raises(TypeError, match="not an iterator"):
        next(loader)
    assert next(iter(loader)).tolist() == [0, 1, 2, 3]
    assert next(iter(loader)).tolist() == [0, 1, 2, 3]


@claim(
    "cifar.iterator-next-method",
    notes="notebook cifar",
    verdict=OUTDATED,
    since="1.13",
    says="dataiter.next() gives a batch",
)
@broken_by(DataLoader, "__iter__", lambda real: lambda self: OldIterator(real(self)))
def test_iterator_of_a_loader_has_no_method_next():
    """The iterator of a DataLoader gives a batch to next(dataiter) and has no method dataiter.next()."""
    dataiter = iter(DataLoader(range(10), batch_size=4))

    assert not hasattr(dataiter, "next")
    assert next(dataiter).tolist() == [0, 1, 2, 3]


@claim("cifar.batch-structure", notes="4 step 4 code comments; notebook cifar")
@broken_by(DataLoader, "__init__", collated_by(lambda inputs, labels: (inputs, labels)))
@broken_by(DataLoader, "__init__", collated_by(lambda inputs, labels: [inputs, labels.int()]))
@broken_by(DataLoader, "__init__", collated_by(lambda inputs, labels: [inputs.permute(0, 2, 3, 1), labels]))
def test_batch_is_a_list_of_inputs_and_labels():
    """A batch of pairs is a list of two: the inputs, float32 (4, 3, 32, 32), and the labels, int64 (4,)."""
    batch = next(iter(DataLoader([(torch.zeros(3, 32, 32), 7)] * 8, batch_size=4)))

    assert type(batch) is list
    assert [(part.dtype, tuple(part.shape)) for part in batch] == [
        (torch.float32, (4, 3, 32, 32)),
        (torch.int64, (4,)),
    ]


@claim("cifar.batch-structure-no-pictures", notes="4 step 4 code comments; notebook cifar")
@broken_by(DataLoader, "__init__", forced(collate_fn=lambda samples: samples))
def test_loader_makes_no_batch_of_pictures():
    """Pictures cannot be batched before they are tensors: the loader raises a TypeError that names them."""
    loader = DataLoader([(Image.new("RGB", (32, 32)), 7)] * 8, batch_size=4)

    with pytest.raises(TypeError, match="PIL"):
        next(iter(loader))


@claim("cifar.batch-structure-batch-size", notes="4 step 4 code comments; notebook cifar")
@broken_by(DataLoader, "__init__", default(batch_size=4))
@broken_by(
    DataLoader,
    "__init__",
    lambda real: lambda self, source, batch_size=1: real(self, source, batch_size or 1),
)
def test_batch_size_is_one_by_default_and_none_gives_single_samples():
    """Without batch_size a loader makes batches of one sample; with batch_size=None it gives bare samples."""
    samples = make_samples(8)

    by_default, _ = next(iter(DataLoader(samples)))
    bare, _ = next(iter(DataLoader(samples, batch_size=None)))

    assert by_default.shape == (1, 3, 32, 32)
    assert bare.shape == (3, 32, 32)


@claim("cifar.batch-count", notes="4 step 4; notebook cifar")
@broken_by(DataLoader, "__init__", default(drop_last=True))
@broken_by(DataLoader, "__init__", forced(drop_last=False))
@broken_by(DataLoader, "__iter__", lambda real: lambda self: (torch.arange(4) for _ in real(self)))
def test_n_samples_make_n_over_b_batches_rounded_up():
    """Of n samples come ⌈n/b⌉ batches of b, the last one smaller unless b divides n or drop_last drops it."""
    for n in (8, 9, 10, 11):
        loader = DataLoader(range(n), batch_size=4)
        whole = DataLoader(range(n), batch_size=4, drop_last=True)

        assert len(loader) == math.ceil(n / 4)
        assert [len(batch) for batch in loader] == [4] * (n // 4) + [n % 4] * (n % 4 > 0)
        assert [len(batch) for batch in whole] == [4] * (n // 4)


@claim("cifar.batch-count-reports", notes="4 step 4; notebook cifar")
@broken_by(DataLoader, "__init__", forced(batch_size=5))
@broken_by(DataLoader, "__iter__", lambda real: lambda self: islice(real(self), 11_999))
def test_report_every_2000_batches_leaves_out_the_last_500():
    """Of 12,500 batches of 4 the notes report six times, at 2000, 4000 ... 12,000: never the last 500."""
    trainloader = DataLoader(range(50_000), batch_size=4)

    reports = [f"[1, {i + 1:5d}]" for i, _ in enumerate(trainloader) if i % 2000 == 1999]

    assert len(trainloader) == 12_500
    assert reports == ["[1,  2000]", "[1,  4000]", "[1,  6000]", "[1,  8000]", "[1, 10000]", "[1, 12000]"]


@claim("cifar.shuffle", notes="notebook cifar")
@broken_by(RandomSampler, "__init__", forced(replacement=True))
@broken_by(RandomSampler, "__iter__", lambda real: lambda self: iter(list(real(self))[1:]))
@broken_by(RandomSampler, "__iter__", lambda real: lambda self: reversed(range(len(self.data_source))))
def test_shuffle_draws_a_new_permutation_for_each_pass():
    """With shuffle=True each pass takes every sample once, in an order of its own."""
    loader = DataLoader(range(20), batch_size=4, shuffle=True)

    first, second = order_of(loader), order_of(loader)

    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second


@forking
@claim("cifar.shuffle-repeats", notes="notebook cifar")
@broken_by(torch, "manual_seed", lambda real: lambda seed: None)
@broken_by(
    DataLoader, "__iter__", lambda real: lambda self: (batch + self.num_workers for batch in real(self))
)
def test_shuffled_order_repeats_after_the_same_seed_with_any_workers():
    """After the same manual_seed the shuffled order is the same, with no worker process as with two."""
    orders = []
    for num_workers in (0, 0, 2):
        torch.manual_seed(1)
        orders.append(order_of(DataLoader(range(20), batch_size=4, shuffle=True, num_workers=num_workers)))

    assert orders[0] == orders[1]
    assert orders[0] == orders[2]


@forking
@claim("cifar.shuffle-off-keeps-order", notes="notebook cifar")
@broken_by(DataLoader, "__init__", forced(shuffle=True))
@broken_by(SequentialSampler, "__iter__", lambda real: lambda self: reversed(range(len(self.data_source))))
def test_loader_without_shuffle_keeps_the_order_with_any_workers():
    """Without shuffle the samples come in the order of the data set, from two workers as from none."""
    for num_workers in (0, 2):
        loader = DataLoader(range(20), batch_size=4, num_workers=num_workers)

        assert order_of(loader) == list(range(20))


@claim(
    "cifar.first-test-batch",
    notes="notebook cifar",
    verdict=QUALIFIED,
    says="the first four test images are cat, ship, ship, plane; the net says cat, ship, ship, ship",
)
@broken_by(DataLoader, "__init__", forced(shuffle=True))
@broken_by(DataLoader, "__init__", collated_by(lambda images, labels: [images.flip(0), labels]))
def test_first_test_batch_is_the_first_four_images_of_the_source(cifar10):
    """Unshuffled, the test set begins cat, ship, ship, plane; a folder of images begins with airplanes.

    What a net says of these four differs from one training to the next.
    """
    expected = {"official": [3, 8, 8, 0], "image folder": [0, 0, 0, 0]}[cifar10.origin]

    images, labels = next(iter(DataLoader(TensorDataset(*cifar10.test), batch_size=4)))

    assert labels.tolist() == expected
    assert torch.equal(images, cifar10.test.images[:4])
