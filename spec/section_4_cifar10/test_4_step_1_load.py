"""Notes 4, step 1: the DataLoader, its batches and their order."""

import functools
from itertools import islice

import pytest
import torch
from PIL import Image
from torch.utils import data as torch_data
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, TensorDataset, default_collate

from spec.harness import OUTDATED, QUALIFIED, WRONG, fault, since, statement
from spec.section_4_cifar10.faults import given, giving

SIZES = {8: [4, 4], 9: [4, 4, 1], 11: [4, 4, 3]}


def taken_by_next(real):
    """Let next() take a DataLoader."""
    return type("DataLoader", (real,), {"__next__": lambda loader: next(iter(loader))})


def with_a_method_next(real):
    """Let the iterator of a loader be as it was before PyTorch 1.13."""
    return lambda self: type("Iterator", (), {"__next__": lambda it: next(real(self)), "next": None})()


def in_int32(samples):
    """Collate samples to a batch of integers."""
    return [part.int() for part in default_collate(samples)]


def backwards(real):
    """Let a sampler draw the samples from the last to the first."""
    return lambda self: reversed(range(len(self.data_source)))


def order_of(loader):
    """Return the items of one pass over a loader of numbers."""
    return [number for batch in loader for number in batch.tolist()]


@statement(
    "cifar.loader-is-not-an-iterator",
    notes="4 step 1",
    verdict=WRONG,
    says="the DataLoader returns an iterator",
)
@fault("next takes a DataLoader", torch_data, "DataLoader", taken_by_next)
@fault("there is one iterator", DataLoader, "__iter__", functools.cache)
def test_loader_is_an_iterable_and_each_iter_begins_a_new_pass():
    """A DataLoader is not an iterator, so `next(loader)` raises a TypeError. Each call of `iter(loader)`
    starts a new pass over the data at the first batch.
    """
    loader = torch_data.DataLoader(range(10), batch_size=4)

    with pytest.raises(TypeError, match="not an iterator"):
        next(loader)
    assert next(iter(loader)).tolist() == [0, 1, 2, 3]
    assert next(iter(loader)).tolist() == [0, 1, 2, 3]


@since("1.13")
@statement(
    "cifar.iterator-next-method",
    notes="notebook cifar",
    verdict=OUTDATED,
    says="dataiter.next() returns a batch",
)
@fault("the iterator has a method next", DataLoader, "__iter__", with_a_method_next)
def test_iterator_of_a_loader_has_no_method_next():
    """If `dataiter` is the iterator of a DataLoader, `next(dataiter)` returns a batch. The iterator has no
    method `dataiter.next()`.
    """
    dataiter = iter(DataLoader(range(10), batch_size=4))

    assert not hasattr(dataiter, "next")
    assert next(dataiter).tolist() == [0, 1, 2, 3]


@statement("cifar.batch-structure", notes="4 step 4; notebook cifar")
@fault("inputs and labels are int32", DataLoader, "__init__", given(collate_fn=in_int32))
@fault("batches always have four", DataLoader, "__init__", given(batch_size=4))
@fault("samples make a list", DataLoader, "__init__", given(collate_fn=lambda samples: samples))
class TestBatchStructure:
    """With `batch_size=4`, a DataLoader of CIFAR-10 returns each batch as a list of inputs and labels. The
    inputs are float32 of shape (4, 3, 32, 32), and the labels are int64 of shape (4,). By default a batch has
    one sample.
    """

    def test_batch_is_a_list_of_inputs_and_labels(self):
        batch = next(iter(DataLoader([(torch.zeros(3, 32, 32), 7)] * 8, batch_size=4)))

        assert type(batch) is list
        assert [part.dtype for part in batch] == [torch.float32, torch.int64]
        assert [part.shape for part in batch] == [(4, 3, 32, 32), (4,)]

    def test_batch_has_one_sample_unless_batch_size_says_otherwise(self):
        assert next(iter(DataLoader(range(8)))).tolist() == [0]
        assert next(iter(DataLoader(range(8), batch_size=None))) == 0

    def test_pictures_are_refused(self):
        with pytest.raises(TypeError, match="PIL"):
            next(iter(DataLoader([(Image.new("RGB", (32, 32)), 7)] * 8, batch_size=4)))


@statement("cifar.batch-count", notes="4 step 4; notebook cifar")
@fault("drop_last is ignored", DataLoader, "__init__", given(drop_last=False))
@fault("the last batch is missing", DataLoader, "__iter__", giving(lambda batches: islice(batches, 11_999)))
class TestBatchCount:
    """With `batch_size=4`, the last batch of a DataLoader is smaller if four does not divide the number of
    samples. `drop_last=True` leaves this batch out. An epoch of CIFAR-10 has 12,500 batches, so a report
    after every 2,000 batches misses the last 500.
    """

    @pytest.mark.parametrize(("n", "sizes"), SIZES.items(), ids=SIZES)
    def test_last_batch_is_smaller_or_dropped_where_four_does_not_divide(self, n, sizes):
        loader = DataLoader(range(n), batch_size=4)

        assert len(loader) == len(sizes)
        assert [len(batch) for batch in loader] == sizes
        assert [len(batch) for batch in DataLoader(range(n), batch_size=4, drop_last=True)] == [4, 4]

    def test_epoch_of_12500_batches_is_reported_six_times(self):
        trainloader = DataLoader(range(50_000), batch_size=4)

        reports = [i + 1 for i, _ in enumerate(trainloader) if i % 2000 == 1999]

        assert len(trainloader) == 12_500
        assert reports == [2000, 4000, 6000, 8000, 10_000, 12_000]


@statement("cifar.shuffle", notes="notebook cifar")
@fault("samples are drawn with replacement", RandomSampler, "__init__", given(replacement=True))
@fault("shuffle only turns the order round", RandomSampler, "__iter__", backwards)
@fault("the seed has no effect", torch, "manual_seed", lambda real: lambda seed: None)
@fault("without shuffle the order is turned round", SequentialSampler, "__iter__", backwards)
# Python 3.12 and later warn when a process with threads forks; these workers only count.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
class TestShuffle:
    """With `shuffle=True`, each pass over a DataLoader returns every sample once, in a new order. The same
    seed repeats this order. Without `shuffle=True`, the samples come in the order of the data set.
    """

    def test_shuffle_draws_a_new_permutation_for_each_pass(self):
        loader = DataLoader(range(20), batch_size=4, shuffle=True)

        first, second = order_of(loader), order_of(loader)

        assert sorted(first) == sorted(second) == list(range(20))
        assert first != second

    def test_seed_repeats_the_shuffled_order_with_any_number_of_workers(self):
        orders = []
        for num_workers in (0, 2):
            torch.manual_seed(1)
            orders.append(order_of(DataLoader(range(20), shuffle=True, num_workers=num_workers)))

        assert orders[0] == orders[1]

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_order_is_kept_without_shuffle(self, num_workers):
        assert order_of(DataLoader(range(20), batch_size=4, num_workers=num_workers)) == list(range(20))


@statement(
    "cifar.first-test-batch",
    notes="notebook cifar",
    verdict=QUALIFIED,
    says="the first four test images are cat, ship, ship, plane; the net predicts cat, ship, ship, ship",
)
@fault("the loader shuffles", DataLoader, "__init__", given(shuffle=True))
def test_first_test_batch_is_the_first_four_images_of_the_source(cifar10):
    """Without shuffling, the first test batch of the official CIFAR-10 shows a cat, a ship, a ship and a
    plane. If CIFAR-10 is read from folders of images instead, the images are sorted by class, so the first
    four test images are all planes.
    """
    expected = {"official": [3, 8, 8, 0], "image folder": [0, 0, 0, 0]}[cifar10.origin]

    images, labels = next(iter(DataLoader(TensorDataset(*cifar10.test), batch_size=4)))

    assert labels.tolist() == expected
    assert torch.equal(images, cifar10.test.images[:4])
