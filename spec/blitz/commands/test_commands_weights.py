"""`blitz evaluate` and `blitz predict`: weights as people have them, and the classes that they know."""

import pytest
import torch
from PIL import Image

from blitz.cifar10.data import Cifar10, Split
from blitz.commands import predict, shared
from blitz.commands import train as command
from blitz.training import checkpoint
from blitz.training.fit import Training
from blitz.training.nets import CifarNet, WhitenedNet
from blitz.training.recipes import RECIPES, net_for
from blitz.training.weights import remember
from spec.blitz.runs import train, weights
from spec.command_line import main

pytestmark = pytest.mark.usefixtures("same_threads")

NAMES = tuple("abcdefghij")


def in_another_order(data):
    """Return the same images and classes, numbered from the last class to the first."""
    parts = [Split(images, 9 - labels) for images, labels in (data.train, data.test)]
    return Cifar10(*parts, data.classes[::-1], data.origin)


@pytest.fixture
def net():
    """A net of which some scores differ from image to image."""
    torch.manual_seed(0)
    net = CifarNet()
    net.fc3.weight.data *= 20
    return net


@pytest.fixture
def use(monkeypatch):
    """`use(data)`: every command reads this."""
    return lambda data: monkeypatch.setattr(shared, "load", lambda source, **options: data)


def evaluate(path):
    """Run `blitz evaluate` on the CPU and return its exit status."""
    return main(["evaluate", str(path), "--device", "cpu"])


class TestClasses:
    """What becomes of the classes that weights were trained on."""

    def test_labels_are_matched_by_name(self, tmp_path, capsys, net, little, use):
        """Where the folders sort otherwise the accuracy of each class is the same."""
        checkpoint.save_weights(net, tmp_path / "cifar_net.pth", little.classes)

        printed = []
        for data in (little, in_another_order(little)):
            use(data)
            assert evaluate(tmp_path / "cifar_net.pth") == 0
            printed.append(capsys.readouterr().out)

        assert printed[0] == printed[1]
        assert "Weights:" not in printed[0]

    def test_other_classes_are_refused(self, tmp_path, capsys, net, little, use):
        """The sentence shows both lists, and no accuracy is told."""
        use(little._replace(classes=NAMES))
        checkpoint.save_weights(net, tmp_path / "cifar_net.pth", [*NAMES[:9], "z"])

        status = evaluate(tmp_path / "cifar_net.pth")

        out, err = capsys.readouterr()
        assert (status, "Accuracy" in out) == (2, False)
        assert err == (
            f"blitz: {tmp_path / 'cifar_net.pth'} was trained on the classes a, b, c, d, e, f, g, h, i, z, "
            "and the data has a, b, c, d, e, f, g, h, i, j: name the data of its training with --data\n"
        )

    def test_classes_that_are_not_ten_are_refused(self, tmp_path, capsys, net):
        """Before the data is read."""
        torch.save({"net": net.state_dict(), "classes": ["cat", "dog"]}, tmp_path / "two.pth")

        assert evaluate(tmp_path / "two.pth") == 2

        expected = f"blitz: expected ten classes in {tmp_path / 'two.pth'}, it names cat, dog\n"
        assert capsys.readouterr().err == expected

    def test_weights_without_classes_are_taken_in_the_datas_order(self, tmp_path, capsys, net, little, use):
        """Which is said, since nothing can tell whether it is right."""
        use(little)
        torch.save(net.state_dict(), tmp_path / "plain.pth")

        assert evaluate(tmp_path / "plain.pth") == 0

        said = capsys.readouterr().out.splitlines()[0]
        assert said == "Weights: they name no classes, so the order of the data is assumed"

    @pytest.mark.usefixtures("no_pictures")
    def test_training_leaves_its_classes_in_both_files(self, tmp_path, capsys, little, use):
        """Neither is evaluated on others."""
        use(little)
        train(tmp_path)
        use(little._replace(classes=NAMES))

        statuses = [evaluate(tmp_path / name) for name in ("checkpoint.pt", "cifar_net.pth")]

        assert statuses == [2, 2]
        assert capsys.readouterr().err.count("was trained on the classes disc, ring, ") == 2

    @pytest.mark.usefixtures("no_pictures")
    def test_training_does_not_go_on_with_other_classes(self, tmp_path, capsys, little, use):
        """Not even where images and labels are the same."""
        use(little)
        train(tmp_path)
        use(little._replace(classes=NAMES))

        assert train(tmp_path, "--resume") == 2

        assert "checkpoint.pt was trained on the classes disc, ring, " in capsys.readouterr().err

    @pytest.mark.usefixtures("no_pictures")
    def test_training_goes_on_with_its_classes_in_another_order(self, tmp_path, little, use):
        """The same images under the same names are the same training."""
        use(little)
        train(tmp_path)
        before = weights(tmp_path)
        use(in_another_order(little))

        assert train(tmp_path, "--resume") == 0

        assert weights(tmp_path) == before


def test_what_weights_were_taken_out_of_is_said(tmp_path, capsys, net, little, use):
    """One line, and then the accuracy of the same weights alone."""
    use(little)
    torch.save(net.state_dict(), tmp_path / "plain.pth")
    wrapped = {f"module.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"state_dict": wrapped, "epoch": 2}, tmp_path / "wrapped.pth")

    printed = []
    for name in ("plain.pth", "wrapped.pth"):
        assert evaluate(tmp_path / name) == 0
        printed.append(capsys.readouterr().out.splitlines())

    assert printed[1] == [
        "Weights: found in the entry 'state_dict' behind the prefix 'module.'",
        *printed[0],
    ]


@pytest.mark.usefixtures("little_data")
def test_weights_that_are_no_numbers_have_no_accuracy(tmp_path, capsys, net):
    """An argmax would give ten per cent."""
    net.fc3.bias.data.fill_(float("nan"))
    torch.save(net.state_dict(), tmp_path / "nan.pth")

    assert evaluate(tmp_path / "nan.pth") == 2

    out, err = capsys.readouterr()
    assert "Accuracy" not in out
    assert err.startswith("blitz: the scores of 50 of 50 images are not finite numbers: ")


@pytest.mark.usefixtures("little_data", "no_pictures")
def test_training_whose_scores_are_no_numbers_keeps_its_last_good_checkpoint(tmp_path, capsys, monkeypatch):
    """Its loss was finite until the last step of the second epoch."""
    real = command.Training._learn

    def learn(self, *batch):
        real(self, *batch)
        if self.step == 50:
            self.net.conv1.bias.data.fill_(float("nan"))

    monkeypatch.setattr(command.Training, "_learn", learn)

    assert train(tmp_path) == 2

    kept = checkpoint.load(tmp_path / "checkpoint.pt")
    assert "blitz: the scores of 50 of 50 images are not finite numbers" in capsys.readouterr().err
    assert kept["step"] == 25
    assert all(tensor.isfinite().all() for tensor in kept["model"].values())
    assert not (tmp_path / "cifar_net.pth").exists()


class TestPredict:
    """What `blitz predict` prints."""

    @pytest.fixture
    def saved(self, tmp_path, net):
        """The path of weights that know their classes."""
        checkpoint.save_weights(net, tmp_path / "cifar_net.pth", NAMES)
        return tmp_path / "cifar_net.pth"

    @pytest.fixture
    def photos(self, tmp_path):
        """A folder of two photos of different colours."""
        folder = tmp_path / "photos"
        folder.mkdir()
        Image.new("RGB", (60, 80), "red").save(folder / "1.jpg")
        Image.new("RGBA", (20, 20), "blue").save(folder / "2.png")
        return folder

    def predict(self, *words):
        """Run `blitz predict` on the CPU and return its exit status."""
        return main(["predict", *map(str, words), "--device", "cpu"])

    def test_three_most_probable_classes_are_printed(self, capsys, net, saved, photos):
        """Of the classes that the weights remember, in per cent."""
        assert self.predict(saved, photos / "1.jpg") == 0

        pixels = torch.tensor(Image.open(photos / "1.jpg").getpixel((0, 0))) / 127.5 - 1
        scores = net(pixels.view(1, 3, 1, 1).expand(1, 3, 32, 32)).softmax(1)[0]
        best = [(NAMES[label], 100 * scores[label]) for label in scores.argsort(descending=True)[:3]]
        assert capsys.readouterr().out.splitlines() == [
            "Images: of each the square in the middle, scaled to 32x32",
            f"{photos / '1.jpg'}: " + ", ".join(f"{name} {share:.1f} %" for name, share in best),
        ]

    def test_folder_and_files_are_gone_through_in_order(self, capsys, saved, photos):
        """A line for each image."""
        assert self.predict(saved, photos / "2.png", photos) == 0

        lines = capsys.readouterr().out.splitlines()[1:]
        assert [line.split(": ")[0] for line in lines] == [
            str(photos / name) for name in ("2.png", "1.jpg", "2.png")
        ]

    def test_what_is_no_image_does_not_stop_the_others(self, capsys, saved, photos):
        """It is told on stderr, and in the status."""
        (photos / "cat.jpg").write_text("a cat")

        status = self.predict(saved, photos, photos / "*.gif")

        out, err = capsys.readouterr()
        assert (status, len(out.splitlines())) == (2, 3)
        assert err == (
            f"blitz: {photos / 'cat.jpg'} is not an image that Pillow can read\n"
            f"blitz: there is no file {photos / '*.gif'}\n"
        )

    def test_weights_without_classes_are_taken_for_cifar_10s(self, tmp_path, capsys, net, photos):
        """Which is said."""
        net.fc3.bias.data[3] = 1000
        torch.save(net.state_dict(), tmp_path / "plain.pth")

        assert self.predict(tmp_path / "plain.pth", photos / "1.jpg") == 0

        lines = capsys.readouterr().out.splitlines()
        said = "Weights: they name no classes, so CIFAR-10's in their official order are assumed"
        assert lines[0] == said
        assert lines[2].startswith(f"{photos / '1.jpg'}: cat 100.0 %, ")

    def test_views_are_those_of_the_recipe(self, tmp_path, monkeypatch, photos):
        """As in `blitz evaluate`."""
        asked, real = [], predict.probabilities
        monkeypatch.setattr(predict, "probabilities", lambda *a, **o: asked.append(o) or real(*a, **o))
        checkpoint.save_weights(WhitenedNet(), tmp_path / "strong.pth", NAMES)

        self.predict(tmp_path / "strong.pth", photos / "1.jpg")

        assert asked == [{"device": torch.device("cpu"), "half": True, "views": 6}]

    @pytest.mark.parametrize("name", ["cifar_net.pth", "checkpoint.pt"])
    def test_the_net_is_the_one_that_the_file_names(self, tmp_path, monkeypatch, photos, name):
        """Weights and checkpoint of a recipe of one's own say how wide its net is, and how it is used."""
        asked, real = [], predict.probabilities
        monkeypatch.setattr(
            predict, "probabilities", lambda *a, **o: asked.append(o["views"]) or real(*a, **o)
        )
        own = RECIPES["strong"]._replace(name="own", widths=(8, 16), views=2)
        checkpoint.save_weights(net_for(own), tmp_path / "cifar_net.pth", NAMES, own)
        split = Split(torch.zeros(8, 3, 32, 32, dtype=torch.uint8), torch.arange(8))
        checkpoint.save(Training(net_for(own), split, own).state_dict(), tmp_path / "checkpoint.pt")

        assert self.predict(tmp_path / name, photos / "1.jpg") == 0

        assert asked == [2]

    @pytest.mark.parametrize(
        "noted",
        [{"batch_size": 4}, {"widths": "wide"}, {"widths": [8, -1]}, {"widths": [10**12]}],
        ids=["not whole", "text", "negative", "huge"],
    )
    def test_a_recipe_that_is_none_is_refused(self, tmp_path, capsys, net, photos, noted):
        """Whatever a file calls for is one sentence, and takes no memory."""
        weights = net.state_dict()
        remember(weights, recipe=RECIPES["tutorial"])
        recipe = weights._metadata[""]["recipe"]
        weights._metadata[""]["recipe"] = noted if "batch_size" in noted else {**recipe, **noted}
        torch.save(weights, tmp_path / "net.pth")

        assert self.predict(tmp_path / "net.pth", photos / "1.jpg") == 2

        error = capsys.readouterr().err
        assert error.startswith(f"blitz: {tmp_path / 'net.pth'} ")
        assert error.count("\n") == 1

    def test_scores_that_are_no_numbers_are_refused(self, tmp_path, capsys, net, photos):
        """No class is named."""
        net.fc3.bias.data.fill_(float("nan"))
        torch.save(net.state_dict(), tmp_path / "nan.pth")

        assert self.predict(tmp_path / "nan.pth", photos) == 2

        assert capsys.readouterr().err.startswith("blitz: the scores of 1 of 1 images are not finite numbers")

    def test_no_data_set_is_read(self, monkeypatch, saved, photos):
        """Weights and images are all it takes."""
        monkeypatch.setattr(shared, "load", None)

        assert self.predict(saved, photos) == 0
