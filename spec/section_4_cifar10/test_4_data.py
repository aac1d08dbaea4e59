"""Notes 4.1 and 4.2: how data becomes tensors, what torchvision does for it, and what CIFAR-10 is."""

import inspect
import pickle
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision.transforms import ToTensor

from blitz.cifar10 import data
from spec.faults import then
from spec.harness import QUALIFIED, WRONG, fault, statement
from spec.section_4_cifar10.faults import giving

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

DOWNLOADED = {"CIFAR10": True, "MNIST": True, "ImageNet": False}

# a picture, 4 wide and 2 high
PIXELS = [
    [[0, 10, 20], [30, 40, 50], [60, 70, 80], [90, 100, 110]],
    [[120, 130, 140], [150, 160, 170], [180, 190, 200], [210, 220, 230]],
]
PICTURE = Image.fromarray(np.array(PIXELS, dtype=np.uint8))

# a sound of three frames, left and right, and the file that holds them
FRAMES = [[0, 1], [-2, 300], [32767, -32768]]
SAMPLES = struct.pack("<6h", 0, 1, -2, 300, 32767, -32768)
FORMAT = struct.pack("<hhiihh", 1, 2, 8000, 4 * 8000, 4, 16)  # PCM, 2 channels, frames and bytes a second
PARTS = (
    b"fmt " + struct.pack("<i", len(FORMAT)) + FORMAT + b"data" + struct.pack("<i", len(SAMPLES)) + SAMPLES
)
SOUND = b"RIFF" + struct.pack("<i", 4 + len(PARTS)) + b"WAVE" + PARTS


@pytest.fixture
def testset(tmp_path, monkeypatch):
    """The test set that torchvision reads from a file of two pictures: red is the column, green the row."""
    pixels = np.full((3, 32, 32), 100, dtype=np.uint8)
    pixels[0], pixels[1] = np.arange(32), np.arange(32)[:, None]
    pixels[:, 0, 0], pixels[:, 31, 31] = 0, 255
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    content = {"data": np.stack([pixels.reshape(3072)] * 2), "labels": [0, 1]}
    (folder / "test_batch").write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": CLASSES}))
    monkeypatch.setattr(datasets.cifar, "check_integrity", lambda path, checksum=None: True)
    return datasets.CIFAR10(tmp_path, train=False)


def with_a_transform(real):
    """Let a DataLoader take a transform."""
    return lambda self, dataset, batch_size=1, transform=None: real(self, dataset, batch_size)


@statement(
    "cifar.data-through-numpy",
    notes="4.1",
    verdict=QUALIFIED,
    says="data of any form are read into a NumPy array, which is then converted to a tensor",
)
@fault("channels come first", torch, "from_numpy", lambda real: lambda array: real(array.transpose(2, 0, 1)))
@fault("bytes go backwards", torch, "frombuffer", giving(lambda tensor: tensor.flip(0)))
class TestDataThroughNumpy:
    """`torch.from_numpy` turns the NumPy array of a picture into a tensor of bytes, in the order height,
    width, channel. `torch.frombuffer` makes a tensor of the same bytes without NumPy.
    """

    def test_array_of_a_picture_becomes_a_tensor_of_height_width_channel(self, tmp_path):
        PICTURE.save(tmp_path / "picture.png")

        tensor = torch.from_numpy(np.array(Image.open(tmp_path / "picture.png")))

        assert tensor.dtype == torch.uint8
        assert tensor.tolist() == PIXELS

    def test_frombuffer_makes_a_tensor_of_the_bytes_without_numpy(self):
        tensor = torch.frombuffer(bytearray(PICTURE.tobytes()), dtype=torch.uint8)

        assert tensor.view(2, 4, 3).tolist() == PIXELS


@statement(
    "cifar.data-by-the-standard-library",
    notes="4.1",
    verdict=QUALIFIED,
    says="images, sound and text are loaded into NumPy arrays by Python's standard packages",
)
@fault("sounds have one channel", wave.Wave_read, "getnchannels", lambda real: lambda file: 1)
@fault(
    "the last frame is missing", wave.Wave_read, "readframes", lambda real: lambda file, n: real(file, n - 1)
)
@fault("line ends are left out", Path, "read_bytes", giving(lambda read: read.replace(b"\n", b"")))
@fault(
    "a PNG file holds plain pixels",
    Image.Image,
    "save",
    lambda real: lambda self, path: real(self, path, "PPM"),
)
@fault("Pillow turns pictures round", Image, "open", giving(lambda image: image.rotate(180)))
class TestDataByTheStandardLibrary:
    """NumPy and Python's standard library alone turn a WAV file into its samples, by the module `wave`, and
    any text file into its bytes. In a PNG file the pixels are compressed, and a library such as Pillow
    decodes them.
    """

    def test_wave_reads_the_samples_of_a_sound(self, tmp_path):
        (tmp_path / "sound.wav").write_bytes(SOUND)

        with wave.open(str(tmp_path / "sound.wav")) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            frames = samples.reshape(-1, file.getnchannels())

        assert frames.tolist() == FRAMES

    def test_bytes_of_a_text_make_an_array(self, tmp_path):
        (tmp_path / "text.txt").write_text("a\n张\n", encoding="utf-8")

        array = np.frombuffer((tmp_path / "text.txt").read_bytes(), np.uint8)

        assert array.tolist() == [97, 10, 229, 188, 160, 10]

    def test_pixels_stand_in_no_png_file_until_pillow_decodes_them(self, tmp_path):
        PICTURE.save(tmp_path / "picture.png")

        assert PICTURE.tobytes() not in (tmp_path / "picture.png").read_bytes()
        assert np.array(Image.open(tmp_path / "picture.png")).tolist() == PIXELS


@statement(
    "cifar.torchvision-datasets",
    notes="4.1",
    verdict=QUALIFIED,
    says="torchvision downloads ImageNet, CIFAR10, MNIST and other data sets",
)
@fault("ImageNet can be downloaded", datasets, "ImageNet", lambda real: datasets.MNIST)
@fault("CIFAR10 is empty without its files", datasets, "CIFAR10", lambda real: lambda root, download: [])
class TestTorchvisionDatasets:
    """torchvision can download CIFAR10 and MNIST with the option `download=True`. ImageNet has no such
    option. Without `download=True`, CIFAR10 raises a RuntimeError if its files are missing.
    """

    def test_cifar10_and_mnist_can_be_downloaded_and_imagenet_cannot(self):
        options = {name: inspect.signature(getattr(datasets, name)).parameters for name in DOWNLOADED}

        assert {name: "download" in names for name, names in options.items()} == DOWNLOADED

    def test_cifar10_without_its_files_is_an_error_that_names_download(self, tmp_path):
        with pytest.raises(RuntimeError, match="download=True"):
            datasets.CIFAR10(tmp_path, download=False)


@statement(
    "cifar.dataloader-does-not-download",
    notes="4.1",
    verdict=WRONG,
    says="torchvision.datasets and DataLoader download and transform the data",
)
@fault("a DataLoader takes a transform", DataLoader, "__init__", with_a_transform)
@fault("a DataLoader reads ahead", DataLoader, "__iter__", giving(lambda batches: iter(list(batches))))
@fault("the data set reads itself", datasets.FakeData, "__init__", then(lambda source: source[0]))
class TestDataLoaderDoesNotDownload:
    """A DataLoader has no option to download or to transform the data. The data set itself transforms an
    image, each time that a batch needs the image.
    """

    def test_data_loader_takes_neither_download_nor_transform(self):
        options = inspect.signature(torch.utils.data.DataLoader.__init__).parameters

        assert "batch_size" in options
        assert not {"download", "transform"} & set(options)

    def test_data_set_transforms_an_image_each_time_a_batch_needs_it(self):
        transformed, counts = [], []
        source = datasets.FakeData(4, (3, 2, 2), transform=lambda image: transformed.append(image) or 0)

        for _ in range(2):
            batches = iter(DataLoader(source, batch_size=2))
            counts.append(len(transformed))
            next(batches)
            counts.append(len(transformed))

        assert counts == [0, 2, 2, 4]


@statement("cifar.dataset-facts", notes="4.2; notebook cifar")
@fault(
    "pictures lie on a side", Image, "fromarray", lambda real: lambda array: real(array.transpose(1, 0, 2))
)
@fault("it trains on the test images", data.Cifar10, "train", lambda real: property(lambda self: self.test))
@fault("classes are turned round", data.Cifar10, "classes", lambda real: property(lambda self: CLASSES[::-1]))
class TestDatasetFacts:
    """CIFAR-10 has 50,000 training images and 10,000 test images in ten classes of equal size. Each item is
    an RGB picture of 32x32 pixels together with the number of its class.
    """

    def test_item_is_an_rgb_picture_of_32_by_32_and_its_class_number(self, testset):
        image, label = testset[1]

        assert (image.mode, image.size, type(label), label) == ("RGB", (32, 32), int, 1)
        assert image.getpixel((5, 0)) == (5, 0, 100)

    def test_each_of_ten_classes_has_5000_training_and_1000_test_images(self, cifar10):
        assert list(cifar10.classes) == CLASSES
        assert cifar10.train.labels.bincount().tolist() == [5000] * 10
        assert cifar10.test.labels.bincount().tolist() == [1000] * 10
        assert cifar10.train.images.shape == (50_000, 3, 32, 32)


@statement(
    "cifar.pil-range",
    notes="notebook cifar",
    verdict=WRONG,
    says="torchvision data sets return PIL images with values in the range [0, 1]",
)
@fault("ToTensor does not scale", ToTensor, "__call__", giving(lambda tensor: tensor * 255))
@fault("pictures hold 0 and 1", Image, "fromarray", lambda real: lambda array: real(array // 255))
def test_pictures_of_a_data_set_hold_0_to_255_until_to_tensor(testset):
    """The pictures of a torchvision data set hold bytes from 0 to 255. The transform ToTensor scales these
    values to the range [0, 1].
    """
    image, _ = testset[0]
    tensor = ToTensor()(image)

    assert image.getextrema() == ((0, 255), (0, 255), (0, 255))
    assert (tensor.min(), tensor.max()) == (0, 1)
