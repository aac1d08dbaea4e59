"""blitz.data: which data set is loaded, batches by index, and the tutorial's way through a DataLoader."""

import pytest
import torch
from PIL import Image
from torchvision.transforms import Compose, Normalize, ToTensor

from blitz import stand_in
from blitz.data import Images, Split, batches, find, load, loader, normalize
from blitz.errors import DataError
from spec.library.data_folders import CLASSES, pixels, write_image_folder, write_official


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    """An empty cache of this test's own, and no BLITZ_DATA."""
    monkeypatch.setenv("BLITZ_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BLITZ_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def split():
    """Ten images of noise, labelled 0 to 9."""
    return Split(torch.from_numpy(pixels(count=10, seed=0)), torch.arange(10))


class TestSource:
    """What `source` names, and what is taken when it names nothing."""

    def test_image_folder_is_loaded(self, tmp_path):
        """A folder with train and test gives uint8 images and int64 labels of ten classes."""
        data = load(write_image_folder(tmp_path / "images"))

        assert data.train.images.shape == (20, 3, 32, 32)
        assert data.train.images.dtype == torch.uint8
        assert data.train.labels.dtype == torch.int64
        assert data.classes == CLASSES

    def test_official_copy_is_loaded(self, tmp_path, monkeypatch):
        """A folder with cifar-10-batches-py gives the same kind of data, also the second time."""
        folder = write_official(tmp_path / "official", monkeypatch)

        first, second = load(folder), load(folder)

        assert first.origin == second.origin == "official"
        assert torch.equal(first.test.images, torch.from_numpy(pixels(count=10, seed=5)))
        assert torch.equal(second.test.images, first.test.images)

    def test_official_copy_goes_before_images(self, tmp_path, monkeypatch):
        """A folder that holds both layouts is read as the official copy."""
        folder = write_official(write_image_folder(tmp_path / "both"), monkeypatch)

        assert find(folder) == ("official", folder)

    def test_stand_in_is_asked_for_by_name(self, capsys, cache_folder):
        """The source "stand-in" gives the drawn data set, in silence and without a cache."""
        data = load("stand-in")

        assert data.origin == "stand-in"
        assert capsys.readouterr().err == ""
        assert not cache_folder.exists()

    def test_blitz_data_names_the_default(self, tmp_path, monkeypatch):
        """Without a source, BLITZ_DATA names it."""
        folder = write_image_folder(tmp_path / "images")
        monkeypatch.setenv("BLITZ_DATA", str(folder))

        assert find() == ("image folder", folder)
        assert load().origin == "image folder"

    def test_source_goes_before_blitz_data(self, monkeypatch):
        """A source that is given wins over BLITZ_DATA."""
        monkeypatch.setenv("BLITZ_DATA", "/nowhere")

        assert find("stand-in") == ("stand-in", None)

    def test_official_copy_in_the_cache_is_the_default(self, cache_folder, monkeypatch):
        """Without a source and BLITZ_DATA, an official copy in the user's cache is taken."""
        write_official(cache_folder, monkeypatch)

        assert find() == ("official", cache_folder)
        assert load().origin == "official"

    def test_default_without_any_data_is_the_stand_in_and_says_so(self, capsys):
        """Where there is no CIFAR-10 one line on stderr says so, with the command that gets it."""
        data = load()

        said = capsys.readouterr().err
        assert data.origin == "stand-in"
        assert said.count("\n") == 1
        assert "stand-in; blitz train --download fetches the real one, --data PATH names a copy" in said

    def test_find_reads_no_image(self, tmp_path, cache_folder):
        """`find` answers from the layout alone: empty files do for it, and nothing is cached."""
        for part in ("train", "test"):
            (tmp_path / part).mkdir()

        assert find(tmp_path) == ("image folder", tmp_path)
        assert not cache_folder.exists()


class TestUnusableSource:
    """What is wrong with a source, in one sentence."""

    def test_folder_that_is_not_there(self, tmp_path):
        """The folder is named."""
        with pytest.raises(
            DataError, match=r"^expected a folder with CIFAR-10, but there is no folder .*/none$"
        ):
            load(tmp_path / "none")

    def test_folder_that_blitz_data_names(self, monkeypatch):
        """Where BLITZ_DATA is at fault the sentence says so."""
        monkeypatch.setenv("BLITZ_DATA", "/nowhere")

        with pytest.raises(DataError, match=r"there is no folder /nowhere \(named by BLITZ_DATA\)$"):
            load()

    def test_file_instead_of_a_folder(self, tmp_path):
        """A file, such as the archive itself, is no folder."""
        archive = tmp_path / "cifar-10-python.tar.gz"
        archive.touch()

        with pytest.raises(DataError, match=r"there is no folder .*/cifar-10-python\.tar\.gz$"):
            load(archive)

    def test_folder_of_neither_layout(self, tmp_path):
        """The sentence says what was looked for and what lies there instead."""
        (tmp_path / "train").mkdir()
        (tmp_path / "holiday").mkdir()

        with pytest.raises(
            DataError, match=r"^expected cifar-10-batches-py, or train and test, in .*, found holiday, train$"
        ):
            load(tmp_path)

    def test_empty_folder(self, tmp_path):
        """An empty folder is of neither layout."""
        with pytest.raises(DataError, match=r"found nothing$"):
            load(tmp_path)

    def test_download_of_the_stand_in(self):
        """The stand-in is built in, so downloading it is a misunderstanding."""
        with pytest.raises(
            DataError, match=r"^expected a folder to download to, got stand-in, which is built in$"
        ):
            load("stand-in", download=True)


class TestDownload:
    """`download=True`."""

    @pytest.fixture
    def folders(self, monkeypatch, tmp_path):
        """The folders downloaded to; what arrives is a small official copy."""
        seen = []

        def arrive(folder):
            seen.append(folder)
            write_official(folder, monkeypatch)

        monkeypatch.setattr("blitz.official.download", arrive)
        return seen

    def test_goes_to_the_cache_by_default(self, folders, cache_folder):
        """Without a folder the archive goes to the user's cache, and is what is loaded."""
        data = load(download=True)

        assert folders == [cache_folder]
        assert data.origin == "official"

    def test_goes_to_the_folder_named(self, folders, tmp_path):
        """With a folder, which need not exist, the archive goes there."""
        data = load(tmp_path / "new", download=True)

        assert folders == [tmp_path / "new"]
        assert data.origin == "official"

    def test_never_happens_unasked(self, folders):
        """Without download=True nothing is fetched, although there is no data."""
        load()

        assert folders == []


class TestNormalize:
    """uint8 images to float32 in [-1, 1]."""

    def test_all_256_values_are_bitwise_those_of_torchvision(self):
        """Every value of a pixel becomes the float that ToTensor and Normalize give, to the last bit."""
        values = torch.arange(3 * 1024).remainder(256).to(torch.uint8).view(3, 32, 32)
        transform = Compose([ToTensor(), Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])

        expected = transform(Image.fromarray(values.permute(1, 2, 0).numpy()))

        assert torch.equal(normalize(values), expected)
        assert torch.equal(normalize(values[None])[0], expected)

    def test_images_themselves_stay_as_they_are(self, split):
        """The arithmetic in place is on a copy."""
        before = split.images.clone()

        normalize(split.images)

        assert torch.equal(split.images, before)

    def test_float_images_are_refused(self):
        """Images that are floats already are not scaled a second time."""
        with pytest.raises(
            ValueError, match=r"expected images uint8 \(\.\.\., 3, 32, 32\), got torch.float32"
        ):
            normalize(torch.zeros(3, 32, 32))

    def test_another_shape_is_refused(self):
        """Channel-last images, as PIL and Matplotlib have them, are refused."""
        with pytest.raises(ValueError, match=r"got torch.uint8 \(32, 32, 3\)"):
            normalize(torch.zeros(32, 32, 3, dtype=torch.uint8))


class TestBatches:
    """Batches by index."""

    def test_batches_come_in_the_order_given(self, split):
        """The indices say which images make each batch, and how often."""
        order = torch.tensor([3, 1, 1, 9])

        labels = [labels.tolist() for _, labels in batches(split, 2, order=order)]

        assert labels == [[3, 1], [1, 9]]

    def test_inputs_belong_to_their_labels(self, split):
        """Image and label of an index come together."""
        (inputs, _), *_ = batches(split, 4, order=torch.tensor([7, 2, 5, 0]))

        assert torch.equal(inputs, normalize(split.images)[[7, 2, 5, 0]])

    def test_default_order_is_as_they_stand(self, split):
        """Without an order every image comes once, in its place."""
        labels = [label for _, labels in batches(split, 3) for label in labels.tolist()]

        assert labels == list(range(10))

    def test_last_batch_is_smaller_when_sizes_do_not_divide(self, split):
        """Ten images in batches of four are 4, 4 and 2."""
        assert [len(inputs) for inputs, _ in batches(split, 4)] == [4, 4, 2]

    def test_empty_order_gives_no_batch(self, split):
        """No index, no batch: not one of size zero, whose mean loss would be nan."""
        order = torch.empty(0, dtype=torch.int64)

        assert list(batches(split, 4, order=order)) == []

    def test_device_receives_the_batches(self, split):
        """Inputs and labels are on the device asked for."""
        inputs, labels = next(batches(split, 4, device="meta", order=torch.arange(8)))

        assert inputs.device.type == labels.device.type == "meta"

    def test_batch_size_of_zero_is_refused_at_once(self, split):
        """The error comes with the call, not with the first batch."""
        with pytest.raises(ValueError, match=r"expected a batch size of at least 1, got 0"):
            batches(split, 0)

    def test_missing_labels_are_refused(self, split):
        """Ten images with nine labels are no split."""
        with pytest.raises(ValueError, match=r"expected one label per image, got 10 and 9"):
            batches(Split(split.images, split.labels[:9]), 4)


class TestLoader:
    """The tutorial's way: a DataLoader over PIL images."""

    def test_loader_gives_exactly_what_batches_gives(self, split):
        """Two worker processes, PIL and torchvision's transforms give the same bits, in the same batches."""
        ours = list(batches(split, 4))
        theirs = list(loader(split, shuffle=False))

        assert len(ours) == len(theirs)
        for (inputs, labels), (expected_inputs, expected_labels) in zip(ours, theirs, strict=True):
            assert torch.equal(inputs, expected_inputs)
            assert torch.equal(labels, expected_labels)

    def test_defaults_are_those_of_the_tutorial(self, split):
        """Batches of four, shuffled, by two workers."""
        trainloader = loader(split)

        assert trainloader.batch_size == 4
        assert trainloader.num_workers == 2
        assert isinstance(trainloader.sampler, torch.utils.data.RandomSampler)

    def test_shuffling_gives_every_image_once(self, split):
        """A shuffled epoch has every image once, in an order of its own."""
        torch.manual_seed(0)

        labels = torch.cat([labels for _, labels in loader(split, num_workers=0)]).tolist()

        assert labels != list(range(10))
        assert sorted(labels) == list(range(10))

    def test_transform_receives_the_pil_image(self, split):
        """Any transform of a PIL image can stand in for the tutorial's."""
        images = Images(split, transform=lambda image: (image.mode, image.size))

        assert images[3] == (("RGB", (32, 32)), 3)


def test_stand_in_has_the_origin_that_find_names():
    """`find` and `load` agree on what the stand-in is called."""
    assert find("stand-in")[0] == stand_in.draw(train=10, test=10).origin
