"""blitz/commands/predict.py: what saved weights take images for."""

import pytest
import torch
from PIL import Image

from blitz.cifar10.data import Split
from blitz.commands import predict
from blitz.training import checkpoint
from blitz.training.fit import Training
from blitz.training.recipes import RECIPES, net_for
from blitz.training.weights import remember
from spec.command_line import main

NAMES = tuple("abcdefghij")


@pytest.fixture
def photos(tmp_path):
    """A folder of two photos of different colours."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (60, 80), "red").save(folder / "1.jpg")
    Image.new("RGBA", (20, 20), "blue").save(folder / "2.png")
    return folder


def run(*words):
    """Run `blitz predict` on the CPU and return its exit status."""
    return main(["predict", *map(str, words), "--device", "cpu"])


def test_three_most_probable_classes_are_printed(tmp_path, capsys, net, photos):
    """Of the classes that the weights remember, in per cent."""
    checkpoint.save_weights(net, tmp_path / "cifar_net.pth", NAMES)

    assert run(tmp_path / "cifar_net.pth", photos / "1.jpg") == 0

    pixels = torch.tensor(Image.open(photos / "1.jpg").getpixel((0, 0))) / 127.5 - 1
    scores = net(pixels.view(1, 3, 1, 1).expand(1, 3, 32, 32)).softmax(1)[0]
    best = [(NAMES[label], 100 * scores[label]) for label in scores.argsort(descending=True)[:3]]
    assert capsys.readouterr().out.splitlines() == [
        "Images: of each the square in the middle, scaled to 32x32",
        f"{photos / '1.jpg'}: " + ", ".join(f"{name} {share:.1f} %" for name, share in best),
    ]


def test_weights_without_classes_are_taken_for_cifar_10s(tmp_path, capsys, net, photos):
    """Which is said."""
    net.fc3.bias.data[3] = 1000
    torch.save(net.state_dict(), tmp_path / "plain.pth")

    assert run(tmp_path / "plain.pth", photos / "1.jpg") == 0

    lines = capsys.readouterr().out.splitlines()
    said = "Weights: they name no classes, so CIFAR-10's in their official order are assumed"
    assert lines[0] == said
    assert lines[2].startswith(f"{photos / '1.jpg'}: cat 100.0 %, ")


def test_what_is_no_image_does_not_stop_the_others(tmp_path, capsys, net, photos):
    """Files and folders are gone through in order; what cannot be read is told on stderr, with status 2."""
    checkpoint.save_weights(net, tmp_path / "cifar_net.pth", NAMES)
    (photos / "0.jpg").write_text("a cat")

    status = run(tmp_path / "cifar_net.pth", photos / "2.png", photos, photos / "*.gif")

    out, err = capsys.readouterr()
    printed = [line.split(": ")[0] for line in out.splitlines()[1:]]
    assert (status, printed) == (2, [str(photos / name) for name in ("2.png", "1.jpg", "2.png")])
    assert err == (
        f"blitz: cannot read {photos / '0.jpg'}: cannot identify image file '{photos / '0.jpg'}'\n"
        f"blitz: cannot read {photos / '*.gif'}: No such file or directory\n"
    )


@pytest.mark.parametrize("name", ["cifar_net.pth", "checkpoint.pt"])
def test_the_net_is_the_one_that_the_file_names(tmp_path, monkeypatch, photos, name):
    """Weights and checkpoint of a recipe of one's own say how wide its net is, and how it is used."""
    asked, real = [], predict.probabilities
    monkeypatch.setattr(predict, "probabilities", lambda *a, **o: asked.append(o) or real(*a, **o))
    own = RECIPES["strong"]._replace(name="own", widths=(8, 16), views=2)
    checkpoint.save_weights(net_for(own), tmp_path / "cifar_net.pth", NAMES, own)
    split = Split(torch.zeros(8, 3, 32, 32, dtype=torch.uint8), torch.arange(8))
    checkpoint.save(Training(net_for(own), split, own).state_dict(), tmp_path / "checkpoint.pt")

    assert run(tmp_path / name, photos / "1.jpg") == 0

    assert asked == [{"device": torch.device("cpu"), "half": True, "views": 2}]


@pytest.mark.parametrize(
    "noted",
    [{"batch_size": 4}, {"widths": "wide"}, {"widths": [8, -1]}, {"widths": [10**12]}],
    ids=["not whole", "text", "negative", "huge"],
)
def test_a_recipe_that_is_none_is_refused(tmp_path, capsys, net, photos, noted):
    """Whatever a file calls for is one sentence, and takes no memory."""
    weights = net.state_dict()
    remember(weights, recipe=RECIPES["tutorial"])
    recipe = weights._metadata[""]["recipe"]
    weights._metadata[""]["recipe"] = noted if "batch_size" in noted else {**recipe, **noted}
    torch.save(weights, tmp_path / "net.pth")

    assert run(tmp_path / "net.pth", photos / "1.jpg") == 2

    error = capsys.readouterr().err
    assert error.startswith(f"blitz: {tmp_path / 'net.pth'} ")
    assert error.count("\n") == 1
