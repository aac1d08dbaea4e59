"""Notes 4.1 and 4.2: how data becomes tensors, what torchvision does for it, and what CIFAR-10 is."""

import functools
import inspect
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils import data as torch_data
from torchvision import datasets, transforms

from blitz.cifar10 import data
from spec.harness import QUALIFIED, WRONG, broken_by, claim

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def make_picture():
    """Return a Pillow image, 4 wide and 2 high, whose 24 bytes all differ."""
    return Image.fromarray(np.arange(0, 240, 10, dtype=np.uint8).reshape(2, 4, 3))


def make_cifar10(folder, monkeypatch, *, train):
    """Return torchvision's CIFAR10 of files drawn in `folder`: two images in each, file k holds class k."""
    pixels = np.zeros((32, 32, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = np.arange(32), np.arange(32)[:, None], 100
    pixels[0, 0], pixels[31, 31] = 0, 255
    rows = np.stack([pixels.transpose(2, 0, 1).reshape(3072)] * 2)  # 1024 red bytes, 1024 green, 1024 blue
    files = {f"data_batch_{k}": {"data": rows, "labels": [k, k]} for k in range(1, 6)}
    files |= {"test_batch": {"data": rows, "labels": [0, 1]}, "batches.meta": {"label_names": CLASSES}}
    (folder / "cifar-10-batches-py").mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(content))
    monkeypatch.setattr(datasets.cifar, "check_integrity", lambda path, checksum=None: True)
    return datasets.CIFAR10(folder, train=train)


def transforming_loader(real):
    """Fault: a DataLoader that has a transform of its own."""

    class DataLoader(real):
        def __init__(self, dataset, batch_size=1, shuffle=False, num_workers=0, transform=None):
            super().__init__(dataset, batch_size, shuffle, num_workers=num_workers)

    return DataLoader


def transforming_at_once(real):
    """Fault: a data set that reads every item while it is made."""

    def init(self, *args, **options):
        real(self, *args, **options)
        for i in range(len(self)):
            self[i]

    return init


class TestDataThroughNumpy:
    """Notes 4.1: read with a standard package, make it an array, then a tensor."""

    @claim(
        "cifar.data-through-numpy",
        notes="4.1",
        verdict=QUALIFIED,
        says="data in any form can be read with a standard package into a NumPy array, then made a tensor",
    )
    @broken_by(torch, "from_numpy", lambda real: lambda array: real(array.transpose(2, 0, 1)))
    @broken_by(torch, "from_numpy", lambda real: lambda array: real(array) / 255)
    def test_array_of_a_picture_becomes_bytes_height_width_channel(self, tmp_path):
        """A picture becomes bytes (H, W, C) by np.array and from_numpy, not yet the (C, H, W) of a net."""
        make_picture().save(tmp_path / "picture.png")

        tensor = torch.from_numpy(np.array(Image.open(tmp_path / "picture.png")))

        assert tensor.dtype == torch.uint8
        assert tensor.tolist() == [
            [[0, 10, 20], [30, 40, 50], [60, 70, 80], [90, 100, 110]],
            [[120, 130, 140], [150, 160, 170], [180, 190, 200], [210, 220, 230]],
        ]

    @claim(
        "cifar.data-through-numpy-read-only",
        notes="4.1",
        verdict=QUALIFIED,
        says="data in any form can be read with a standard package into a NumPy array, then made a tensor",
    )
    @broken_by(np, "asarray", lambda real: np.array)
    def test_from_numpy_warns_of_the_read_only_array_of_a_picture(self, repeated_warnings):
        """The array np.asarray(picture) is read-only, of which from_numpy warns; np.array(picture) is not."""
        with pytest.warns(UserWarning, match="not writable"):
            torch.from_numpy(np.asarray(make_picture()))

        assert np.array(make_picture()).flags.writeable

    @claim(
        "cifar.data-through-numpy-not-required",
        notes="4.1",
        verdict=QUALIFIED,
        says="data in any form can be read with a standard package into a NumPy array, then made a tensor",
    )
    @broken_by(torch, "frombuffer", lambda real: lambda buffer, dtype: real(buffer, dtype=dtype).flip(0))
    def test_frombuffer_makes_a_tensor_of_bytes_without_numpy(self):
        """torch.frombuffer reads the bytes of a picture without an array between."""
        picture = make_picture()

        tensor = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(2, 4, 3)

        assert tensor[1, 3].tolist() == list(picture.getpixel((3, 1)))
        assert tensor[0, 3].tolist() == [90, 100, 110]


class TestTorchvisionDatasets:
    """Notes 4.1: what torchvision loads, and who transforms it."""

    @claim(
        "cifar.torchvision-datasets",
        notes="4.1",
        verdict=QUALIFIED,
        says="torchvision downloads ImageNet, CIFAR10, MNIST and others directly",
    )
    @broken_by(datasets, "ImageNet", lambda real: datasets.MNIST)
    @broken_by(datasets, "CIFAR10", lambda real: datasets.ImageNet)
    def test_cifar10_and_mnist_can_be_downloaded_and_imagenet_cannot(self):
        """CIFAR10 and MNIST have a parameter download; ImageNet, fetched by hand, has none."""
        downloads = {
            name: "download" in inspect.signature(getattr(datasets, name)).parameters
            for name in ("CIFAR10", "MNIST", "ImageNet")
        }

        assert downloads == {"CIFAR10": True, "MNIST": True, "ImageNet": False}

    @claim("cifar.torchvision-datasets-missing-files", notes="notebook cifar")
    @broken_by(datasets, "CIFAR10", lambda real: lambda root, download: [])
    def test_cifar10_without_files_and_download_is_an_error(self, tmp_path):
        """CIFAR10 raises where its files are missing and download is off: it is never silently empty."""
        with pytest.raises(RuntimeError, match="download=True"):
            datasets.CIFAR10(tmp_path, download=False)

    @claim(
        "cifar.dataloader-does-not-download",
        notes="4.1",
        verdict=WRONG,
        says="torchvision.datasets and torch.utils.data.DataLoader download and transform the data",
    )
    @broken_by(torch_data, "DataLoader", transforming_loader)
    def test_data_loader_has_no_part_in_download_or_transform(self):
        """A DataLoader takes neither download nor transform: both belong to the data set."""
        options = set(inspect.signature(torch_data.DataLoader.__init__).parameters)

        assert {"batch_size", "shuffle", "num_workers"} <= options
        assert not {"download", "transform"} & options

    @claim(
        "cifar.dataloader-does-not-download-lazy",
        notes="4.1",
        verdict=WRONG,
        says="torchvision.datasets and torch.utils.data.DataLoader download and transform the data",
    )
    @broken_by(torch_data.DataLoader, "__iter__", lambda real: lambda loader: iter(list(real(loader))))
    @broken_by(datasets.FakeData, "__init__", transforming_at_once)
    @broken_by(datasets.FakeData, "__getitem__", lambda real: functools.cache(real))
    def test_data_set_transforms_an_image_when_it_is_asked_for_it(self):
        """The data set transforms an image each time the loader asks for it, and not before."""
        transformed = []
        source = datasets.FakeData(4, (3, 2, 2), transform=lambda image: transformed.append(image) or 0)

        loader = torch_data.DataLoader(source, batch_size=2)
        counts = []

        for _ in range(2):
            batches = iter(loader)
            counts.append(len(transformed))
            next(batches)
            counts.append(len(transformed))

        assert counts == [0, 2, 2, 4]


class TestCifar10:
    """Notes 4.2: the data set."""

    @claim("cifar.dataset-facts", notes="4.2")
    @broken_by(Image, "fromarray", lambda real: lambda array: real(array.transpose(1, 0, 2)))
    @broken_by(Image, "fromarray", lambda real: lambda array: real(array[..., ::-1].copy()))
    @broken_by(Image, "fromarray", lambda real: lambda array: real(array).convert("L"))
    def test_cifar10_gives_rgb_pictures_of_32_by_32_with_a_class_number(self, tmp_path, monkeypatch):
        """CIFAR10 gives pairs: a 32x32 RGB picture, of 1024 red, green and blue bytes each, and its class."""
        image, label = make_cifar10(tmp_path, monkeypatch, train=False)[1]

        assert (image.mode, image.size, type(label), label) == ("RGB", (32, 32), int, 1)
        assert image.getpixel((5, 0)) == (
            5,
            0,
            100,
        )  # the red of a fake image is its column, the green its row
        assert image.getpixel((0, 7)) == (0, 7, 100)

    @claim("cifar.dataset-facts-files", notes="4.2")
    @broken_by(datasets.CIFAR10, "train_list", lambda real: real[:4])
    @broken_by(datasets.CIFAR10, "train_list", lambda real: [*real[1:], real[0]])
    @broken_by(datasets.CIFAR10, "test_list", lambda real: datasets.CIFAR10.train_list[:1])
    def test_cifar10_trains_on_five_files_and_tests_on_a_sixth(self, tmp_path, monkeypatch):
        """train=True reads data_batch_1 to 5 in their order, train=False reads test_batch."""
        trainset = make_cifar10(tmp_path, monkeypatch, train=True)
        testset = make_cifar10(tmp_path, monkeypatch, train=False)

        assert trainset.targets == [
            1,
            1,
            2,
            2,
            3,
            3,
            4,
            4,
            5,
            5,
        ]  # file k of the fake holds two images of class k
        assert testset.targets == [0, 1]

    @claim("cifar.dataset-facts-counts", notes="4.2; notebook cifar")
    @broken_by(data.Cifar10, "train", lambda real: property(lambda cifar10: cifar10.test))
    @broken_by(data.Cifar10, "classes", lambda real: property(lambda cifar10: CLASSES[1::-1] + CLASSES[2:]))
    @broken_by(torch.Tensor, "bincount", lambda real: lambda labels: real(labels[1:]))
    def test_cifar10_has_6000_images_of_each_of_ten_classes(self, cifar10):
        """CIFAR-10 is ten classes with 5000 training and 1000 test images each, 3x32x32 bytes an image."""
        assert list(cifar10.classes) == CLASSES
        assert cifar10.train.labels.bincount().tolist() == [5000] * 10
        assert cifar10.test.labels.bincount().tolist() == [1000] * 10
        assert cifar10.train.images.shape == (50_000, 3, 32, 32)
        assert cifar10.test.images.shape == (10_000, 3, 32, 32)
        assert cifar10.train.images.dtype == torch.uint8

    @claim(
        "cifar.pil-range",
        notes="notebook cifar",
        verdict=WRONG,
        says="the output of the torchvision data sets are PIL images of range [0, 1]",
    )
    @broken_by(transforms.ToTensor, "__call__", lambda real: lambda self, image: real(self, image) * 255)
    @broken_by(Image, "fromarray", lambda real: lambda array: real(array // 255))
    def test_pictures_of_a_dataset_hold_0_to_255_until_to_tensor(self, tmp_path, monkeypatch):
        """The pictures of a torchvision data set hold bytes from 0 to 255; ToTensor brings them to [0, 1]."""
        image, _ = make_cifar10(tmp_path, monkeypatch, train=True)[0]
        tensor = transforms.ToTensor()(image)

        assert image.getextrema() == ((0, 255), (0, 255), (0, 255))
        assert (tensor.min(), tensor.max()) == (0, 1)
