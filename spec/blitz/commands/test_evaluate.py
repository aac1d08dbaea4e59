"""blitz/commands/evaluate.py and shared.py: weights as people have them, and the classes that they know."""

import pytest
import torch

from blitz.cifar10.data import Cifar10, Split
from blitz.commands import shared
from blitz.commands import train as command
from blitz.training import checkpoint
from blitz.training.evaluation import Evaluation
from spec.blitz.runs import train
from spec.command_line import main

pytestmark = pytest.mark.usefixtures("quick")

NAMES = tuple("abcdefghij")


def in_another_order(data):
    """Return the same images and classes, numbered from the last class to the first."""
    parts = [Split(images, 9 - labels) for images, labels in (data.train, data.test)]
    return Cifar10(*parts, data.classes[::-1], data.origin)


@pytest.fixture
def slim(monkeypatch):
    """Let the recipe strong have a small net."""
    recipe = command.RECIPES["strong"]._replace(widths=(8,), batch_size=20, epochs=2)
    monkeypatch.setitem(command.RECIPES, "strong", recipe)


@pytest.fixture
def use(monkeypatch):
    """`use(data)`: every command reads this."""
    return lambda data: monkeypatch.setattr(shared, "load", lambda source, **options: data)


def evaluate(path):
    """Run `blitz evaluate` on the CPU and return its exit status."""
    return main(["evaluate", str(path), "--device", "cpu"])


def test_per_cent_are_rounded_down_as_the_notes_do(capsys):
    """29 of 100 are 29 %, which 100 * 0.29 is not, and 999 of 1000 are 99 %."""
    confusion = torch.tensor([[29, 71, 0], [1, 999, 0], [0, 0, 0]])
    data = Cifar10(None, None, ("plane", "car", "bird"), "official")

    shared.print_accuracy(Evaluation(1028 / 1100, torch.zeros(3), confusion), data)

    assert capsys.readouterr().out.splitlines() == [
        "Accuracy of the network on the 1100 test images: 93 %",
        "Accuracy of plane : 29 %",
        "Accuracy of   car : 99 %",
        "Accuracy of  bird : no images",
    ]


class TestWeights:
    """Weights of a training, and those that others have saved."""

    @pytest.mark.usefixtures("slim")
    def test_recipe_with_another_net_is_evaluated_as_at_the_end_of_its_training(
        self, tmp_path, monkeypatch, capsys
    ):
        """From either file, on the device named, with all views; an epoch before the last takes one."""
        real, seen = shared.evaluate, []

        def watched(*arguments, device, views, **options):
            seen.append((str(device), views))
            return real(*arguments, device=device, views=views, **options)

        monkeypatch.setattr(shared, "evaluate", watched)
        train(tmp_path, "--device", "cpu:0", recipe="strong")
        trained = capsys.readouterr().out.splitlines()
        for name in ("checkpoint.pt", "cifar_net.pth"):
            assert main(["evaluate", str(tmp_path / name), "--device", "cpu:0"]) == 0
            assert capsys.readouterr().out.splitlines()[1:] == trained[-12:-1]
        assert seen == [("cpu:0", 1), ("cpu:0", 6), ("cpu:0", 6), ("cpu:0", 6)]

    def test_what_weights_were_taken_out_of_is_said(self, tmp_path, capsys, net, little, use):
        """And that they name no classes, since nothing can tell whether the order of the data is right."""
        use(little)
        torch.save(net.state_dict(), tmp_path / "plain.pth")
        wrapped = {f"module.{name}": tensor for name, tensor in net.state_dict().items()}
        torch.save({"state_dict": wrapped, "epoch": 2}, tmp_path / "wrapped.pth")

        printed = []
        for name in ("plain.pth", "wrapped.pth"):
            assert evaluate(tmp_path / name) == 0
            printed.append(capsys.readouterr().out.splitlines())

        found = "Weights: found in the entry 'state_dict' behind the prefix 'module.'"
        assert printed[1] == [found, *printed[0]]
        assert printed[0][0] == "Weights: they name no classes, so the order of the data is assumed"

    def test_weights_that_are_no_numbers_have_no_accuracy(self, tmp_path, capsys, net):
        """An argmax would give ten per cent."""
        net.fc3.bias.data.fill_(float("nan"))
        torch.save(net.state_dict(), tmp_path / "nan.pth")

        assert evaluate(tmp_path / "nan.pth") == 2

        out, err = capsys.readouterr()
        assert "Accuracy" not in out
        assert err.startswith("blitz: the scores of 20 of 20 images are not finite numbers: ")


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

    def test_classes_that_are_not_ten_are_refused(self, tmp_path, capsys, net):
        """Before the data is read."""
        torch.save({"net": net.state_dict(), "classes": ["cat", "dog"]}, tmp_path / "two.pth")

        assert evaluate(tmp_path / "two.pth") == 2

        expected = f"blitz: expected ten classes in {tmp_path / 'two.pth'}, it names cat, dog\n"
        assert capsys.readouterr().err == expected

    def test_other_classes_are_refused(self, tmp_path, capsys, little, use):
        """To evaluate both files of a training, and to go on; the sentence shows both lists."""
        use(little._replace(classes=NAMES))
        train(tmp_path)
        use(little._replace(classes=(*NAMES[:9], "z")))
        capsys.readouterr()

        statuses = [evaluate(tmp_path / name) for name in ("checkpoint.pt", "cifar_net.pth")]
        statuses.append(train(tmp_path, "--resume"))

        out, err = capsys.readouterr()
        assert (statuses, "Accuracy" in out) == ([2, 2, 2], False)
        assert err.startswith(
            f"blitz: {tmp_path / 'checkpoint.pt'} was trained on the classes a, b, c, d, e, f, g, h, i, j, "
            "and the data has a, b, c, d, e, f, g, h, i, z: name the data of its training with --data\n"
        )
        assert err.count("was trained on the classes a, b, c") == 3
