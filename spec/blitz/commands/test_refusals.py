"""What the commands refuse: one sentence, with status 2; nothing is written and no data read."""

import pytest
import torch
from filelock import FileLock

from blitz.commands import shared
from blitz.commands import train as command
from blitz.training import checkpoint
from spec.blitz.runs import train
from spec.command_line import main

pytestmark = pytest.mark.usefixtures("quick")

REFUSED = {
    "missing device": (
        "train --device cuda:99",
        f"there is no device cuda:99 here: PyTorch {torch.__version__} sees only cpu\n",
    ),
    "device that cannot compute": (
        "evaluate other/checkpoint.pt --device meta",
        "there is no device meta here",
    ),
    "recipe for a GPU": (
        "train --recipe record --device cpu",
        "the recipe record is sized for a GPU, and would take most of an hour on a CPU: "
        "use --recipe strong\n",
    ),
    "folder that cannot be made": (
        "train --out cat.png/out",
        "cannot write to the folder cat.png/out: Not a directory\n",
    ),
    "folder of another training": (
        "train --out used",
        "used already holds training.png: continue with --resume, or choose another --out\n",
    ),
    "folder of another training, resumed": (
        "train --out used --resume other/checkpoint.pt",
        "used already holds training.png: ",
    ),
    "folder of the weights": (
        "train --out other --from other/checkpoint.pt",
        "other already holds checkpoint.pt: ",
    ),
    "no checkpoint": ("train --out new --resume", "there is no checkpoint new/checkpoint.pt"),
    "foreign file": (
        "evaluate cat.png",
        "cat.png is not a file that torch.save wrote, as by torch.save(net.state_dict(), PATH)\n",
    ),
}


@pytest.mark.parametrize(("words", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_one_sentence(tmp_path, monkeypatch, capsys, words, sentence):
    """It says what is wrong and the way out, and every file stays as it was."""
    (tmp_path / "used").mkdir()
    (tmp_path / "used/training.png").write_text("precious")
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "other").mkdir()
    state = {"model": {}, "settings": {}, "optimizer": {}, "step": 1}
    checkpoint.save(state, tmp_path / "other/checkpoint.pt")
    before = contents(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shared, "load", None)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)

    status = main(words.split())

    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"blitz: {sentence}")
    assert contents(tmp_path) == before


def contents(folder):
    """Return the bytes of each file below a folder, and None for a folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_missing_device_is_told_beside_the_accelerator_that_is_there(monkeypatch, capsys):
    """Whoever has mistyped a name sees the right one."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))

    assert main(["evaluate", "checkpoint.pt", "--device", "cuda:99"]) == 2

    assert capsys.readouterr().err.endswith("sees cpu and mps\n")


def test_folder_in_use_is_refused(tmp_path, capsys):
    """Two trainings do not write to one folder."""
    with FileLock(tmp_path / ".lock"):
        status = train(tmp_path)

    sentence = f"blitz: another training is writing to {tmp_path}: choose another --out\n"
    assert (status, capsys.readouterr().err) == (2, sentence)


def test_too_little_memory_is_a_sentence(tmp_path, monkeypatch, capsys):
    """It names the device, the recipe and its batch, and two ways out."""

    def fail(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(command, "Training", fail)

    assert train(tmp_path) == 2

    assert capsys.readouterr().err == (
        "blitz: cpu has too little memory for tutorial at 4 images a step: "
        "choose a smaller --batch, or another --recipe\n"
    )


MISUSED = {
    "negative seed": ("--seed=-1", "argument --seed: expected a seed in 0..4294967295, got -1"),
    "huge seed": ("--seed=4294967296", "argument --seed: expected a seed in 0..4294967295, got 4294967296"),
    "no images": ("--batch=0", "argument --batch: expected a number of at least 1, got 0"),
    "no number": ("--epochs=x", "argument --epochs: expected a number of at least 1, got x"),
    "unknown recipe": ("--recipe=slow", "argument --recipe: invalid choice: 'slow'"),
    "two starts": ("--resume --from a.pth", "argument --from: not allowed with argument --resume"),
}


@pytest.mark.parametrize(("words", "sentence"), MISUSED.values(), ids=MISUSED)
def test_wrong_option_is_told_by_argparse(capsys, words, sentence):
    """With status 2; the message says what the option takes."""
    with pytest.raises(SystemExit) as caught:
        main(["train", *words.split()])

    assert caught.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_help_is_printed(capsys, command):
    """Argparse would stumble over a per cent sign in it."""
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])

    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: blitz {command} [-h] ")
