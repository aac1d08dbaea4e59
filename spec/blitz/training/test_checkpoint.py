"""blitz/training/checkpoint.py: what is saved comes back, and a file is believed only when it is whole."""

import io
import os
import random
from argparse import Namespace

import pytest
import torch

from blitz.errors import CheckpointError
from blitz.training import checkpoint
from blitz.training.nets import CifarNet, Net
from blitz.training.weights import find
from spec.blitz.runs import make_net, make_stopped


def saved(folder, *, times=1):
    """Save a training's state so many times, with the steps 0, 1, ...; return the file's path."""
    state = make_stopped(1).state_dict()
    for number in range(times):
        checkpoint.save({**state, "step": number}, folder / "checkpoint.pt")
    return folder / "checkpoint.pt"


def plain(content, **options):
    """Return what plain torch.save writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def old(content):
    """Return what torch.save wrote before PyTorch 1.6, which is no zip archive."""
    return plain(content, _use_new_zipfile_serialization=False)


def changed(data, at, bit=1):
    """Return the data with a bit changed."""
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]


class TestWeights:
    """Saving and loading as the notes do."""

    @pytest.mark.parametrize("options", [{}, {"mmap": True}, {"weights_only": False}], ids=str)
    def test_saved_weights_are_read_by_plain_torch_load(self, tmp_path, options):
        """The checksum at the end of the file is nothing PyTorch minds."""
        net = CifarNet()
        checkpoint.save_weights(net, tmp_path / "cifar_net.pth")

        weights = torch.load(tmp_path / "cifar_net.pth", **options)

        torch.testing.assert_close(weights, net.state_dict(), rtol=0, atol=0)

    @pytest.mark.parametrize("write", [plain, old], ids=["now", "before 1.6"])
    def test_weights_of_plain_torch_save_are_loaded(self, tmp_path, monkeypatch, write):
        """What the notes' own line wrote on a GPU, by whatever release, is loaded on the CPU."""
        net, twin = CifarNet(), CifarNet()
        monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        (tmp_path / "cifar_net.pth").write_bytes(write(net.state_dict()))

        checkpoint.load_weights(twin, tmp_path / "cifar_net.pth")

        torch.testing.assert_close(twin.state_dict(), net.state_dict(), rtol=0, atol=0)

    def test_weights_of_another_net_are_refused(self, tmp_path):
        """The sentence names the file, and the net keeps its own weights."""
        net = Net()
        before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        checkpoint.save_weights(CifarNet(), tmp_path / "other.pth")

        with pytest.raises(CheckpointError, match=r"other\.pth holds the weights of another net: it has "):
            checkpoint.load_weights(net, tmp_path / "other.pth")

        torch.testing.assert_close(dict(net.state_dict()), before, rtol=0, atol=0)

    def test_classes_are_saved_where_a_net_overlooks_them(self, tmp_path):
        """The file stays a state_dict; another save of the same net, on other data, does not inherit them."""
        net, names = CifarNet(), tuple("abcdefghij")
        checkpoint.save_weights(net, tmp_path / "one.pth", names)
        checkpoint.save_weights(net, tmp_path / "other.pth")

        CifarNet().load_state_dict(torch.load(tmp_path / "one.pth"), strict=True)

        found = [find(checkpoint.read(tmp_path / name), [net])[1] for name in ("one.pth", "other.pth")]
        assert [weights.classes for weights in found] == [names, None]


class TestState:
    """Saving and loading all that a training depends on."""

    def test_state_comes_back_and_the_save_before_it_is_kept(self, tmp_path):
        """After three saves the third is there and the second beside it; tensors are what they were."""
        path, state = saved(tmp_path, times=3), make_stopped(1).state_dict()

        loaded, before = checkpoint.load(path), checkpoint.load(checkpoint.previous(path))

        assert (loaded["step"], before["step"]) == (2, 1)
        assert sorted(os.listdir(tmp_path)) == ["checkpoint.previous.pt", "checkpoint.pt"]
        assert loaded["settings"] == state["settings"]
        for part in ("model", "optimizer", "random of each process"):
            torch.testing.assert_close(loaded[part], state[part], rtol=0, atol=0)

    def test_damaged_checkpoint_does_not_push_out_the_good_one_before_it(self, tmp_path):
        """Until the next save is complete, the one good file stays."""
        path = saved(tmp_path, times=2)
        path.write_bytes(path.read_bytes()[:-100])

        checkpoint.save(make_stopped(3).state_dict(), path)

        assert checkpoint.load(checkpoint.previous(path))["step"] == 0
        assert checkpoint.load(path)["step"] == 3

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf], ids=str)
    def test_weight_that_is_not_finite_is_not_saved(self, tmp_path, bad):
        """A training that has diverged does not overwrite what one could go on from."""
        path, state = saved(tmp_path, times=2), make_stopped(3).state_dict()
        state["model"]["3.bias"][3] = bad

        with pytest.raises(
            CheckpointError, match=r"^a weight is not a finite number any more, so .*pt was not"
        ):
            checkpoint.save(state, path)

        steps = [checkpoint.load(each)["step"] for each in (path, checkpoint.previous(path))]
        assert steps == [1, 0]


def change_a_weight(data):
    """Return the file with one bit of the first tensor changed, which plain torch.load does not see."""
    return changed(data, data.index(b"/data/0") + 200)


def mark_as_a_folder(data):
    """Return the file with one bit changed that has PyTorch skip a tensor and load what memory held."""
    name = data.index(b"/data/0", data.index(b"PK\x01\x02"))
    return changed(data, data.rindex(b"PK\x01\x02", 0, name) + 38, 0x10)


WEIGHTS = make_net().state_dict()
DAMAGED = "is damaged: it was cut off or changed since it was saved"
FOREIGN = r"is not a file that torch\.save wrote, as by torch\.save\(net\.state_dict\(\), PATH\)"
WEIGHTS_ONLY = "holds weights only, not the state of a training that can be resumed"
CODE = (
    "and was not loaded: that could run code; where it was saved, save the weights alone, "
    r"torch\.save\(net\.state_dict\(\), PATH\)"
)
BAD = {
    "empty": (lambda data: b"", "is empty"),
    "one byte": (lambda data: data[:1], FOREIGN),
    "half": (lambda data: data[: len(data) // 2], DAMAGED),
    "one byte short": (lambda data: data[:-1], DAMAGED),
    "checksum cut off": (lambda data: data[:-64], DAMAGED),
    "one byte more": (lambda data: data + b"\0", DAMAGED),
    "one bit of a weight": (change_a_weight, DAMAGED),
    "half a plain file": (lambda data: plain(WEIGHTS)[:1000], DAMAGED),
    "one bit of a plain weight": (lambda data: change_a_weight(plain(WEIGHTS)), DAMAGED),
    "plain weights marked as a folder": (lambda data: mark_as_a_folder(plain(WEIGHTS)), DAMAGED),
    "plain weights without a directory": (
        lambda data: plain(WEIGHTS).replace(b"PK\x01\x02", b"PK\x01\x03"),
        DAMAGED,
    ),
    "half a file of before 1.6": (lambda data: old(WEIGHTS)[:1000], DAMAGED),
    "JSON": (lambda data: b'{"step": 1}', FOREIGN),
    "an empty zip": (lambda data: b"PK\x03\x04" + b"PK\x05\x06" + bytes(18), FOREIGN),
    "weights": (lambda data: plain(WEIGHTS), WEIGHTS_ONLY),
    "a part of a state": (lambda data: plain({"model": {}, "settings": {}, "step": 1}), WEIGHTS_ONLY),
    "a list": (lambda data: plain([1]), "holds a list, not the state of a training that can be resumed"),
    "a whole net": (
        lambda data: plain(make_net()),
        rf"holds more than tensors and plain values \(torch\.nn\.modules\.container\.Sequential\), {CODE}",
    ),
    "an object": (
        lambda data: plain({"args": Namespace(lr=1)}),
        rf"holds more than tensors and plain values \(argparse\.Namespace\), {CODE}",
    ),
    "a newer pickle": (
        lambda data: plain(WEIGHTS, pickle_protocol=4),
        f"holds more than tensors and plain values, {CODE}",
    ),
}


class Dangerous:
    """An object whose unpickling makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


class TestBadFiles:
    """What cannot be believed is refused in a sentence that names the file and the way out."""

    @pytest.mark.parametrize(("spoil", "message"), BAD.values(), ids=BAD)
    def test_bad_checkpoint_is_refused(self, tmp_path, spoil, message):
        """The sentence says what is wrong, and how to go on from the save before it."""
        path = saved(tmp_path, times=2)
        path.write_bytes(spoil(path.read_bytes()))
        way_out = r"; the save before it is intact: resume from it with --resume .*checkpoint\.previous\.pt$"

        with pytest.raises(CheckpointError, match=rf"checkpoint\.pt {message}{way_out}"):
            checkpoint.load(path)

    def test_damaged_save_before_is_no_way_out(self, tmp_path):
        """It is named only where it is whole."""
        path = saved(tmp_path, times=2)
        for each in (path, checkpoint.previous(path)):
            each.write_bytes(each.read_bytes()[:-1])

        with pytest.raises(CheckpointError, match=rf"{DAMAGED}$"):
            checkpoint.load(path)

    def test_what_is_not_there_is_refused(self, tmp_path):
        """The sentence names the path; a folder is no checkpoint."""
        with pytest.raises(CheckpointError, match=r"there is no checkpoint .*nowhere\.pt$"):
            checkpoint.load(tmp_path / "nowhere.pt")
        with pytest.raises(CheckpointError, match="cannot be read: Is a directory"):
            checkpoint.load(tmp_path)

    def test_no_single_bit_can_change_unseen(self, tmp_path):
        """Of 200 flips all over the file, header, tensors, directory and checksum, each is refused."""
        path = saved(tmp_path)
        data = path.read_bytes()
        chance = random.Random(0)
        flips = [*range(40), *range(len(data) - 120, len(data))]
        flips += [chance.randrange(len(data)) for _ in range(40)]

        unseen = []
        for at in flips:
            path.write_bytes(changed(data, at, 1 << chance.randrange(8)))
            try:
                checkpoint.load(path)
            except CheckpointError:
                continue
            unseen.append(at)

        assert unseen == []

    def test_code_in_a_file_is_not_run(self, tmp_path, monkeypatch):
        """A pickle with a valid checksum would make a folder, and makes none, whatever is allowed."""
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        content = {"model": {}, "settings": Dangerous(tmp_path / "trap"), "optimizer": {}, "step": 1}
        checkpoint.save(content, tmp_path / "checkpoint.pt")

        with pytest.raises(CheckpointError, match=rf"values \(\w+\.mkdir\), {CODE}$"):
            checkpoint.load(tmp_path / "checkpoint.pt")

        assert not (tmp_path / "trap").exists()
