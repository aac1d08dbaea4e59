"""What checkpoints promise: a file is whole or not there, and is believed only when it is whole."""

import io
import os
import pickle
import random
import stat
import zipfile
from argparse import Namespace

import pytest
import torch
from torch import nn

from blitz.cifar10.data import Split
from blitz.errors import CheckpointError
from blitz.training import checkpoint
from blitz.training.fit import Training
from blitz.training.nets import CifarNet, Net
from blitz.training.recipes import Recipe
from blitz.training.weights import find

RECIPE = Recipe("short", batch_size=2, epochs=1, learning_rate=0.01, momentum=0.9)


def make_net():
    """Return a small net with fresh weights."""
    return nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(12, 10))


def make_state():
    """Return the state of a training after its first mini-batch."""
    training = Training(
        make_net(), Split(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.arange(4)), RECIPE
    )
    next(training.steps())
    return training.state_dict()


def saved(folder, *, times=1):
    """Save a state so many times; return the file's path."""
    state = make_state()
    for number in range(times):
        checkpoint.save({**state, "step": number}, folder / "checkpoint.pt")
    return folder / "checkpoint.pt"


class Dangerous:
    """An object whose unpickling makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


class TestWeights:
    """Saving and loading as the notes do."""

    def test_weights_come_back_bit_by_bit(self, tmp_path):
        """A new net loads what another one saved."""
        net, twin = CifarNet(), CifarNet()

        checkpoint.save_weights(net, tmp_path / "cifar_net.pth")
        checkpoint.load_weights(twin, tmp_path / "cifar_net.pth")

        torch.testing.assert_close(twin.state_dict(), net.state_dict(), rtol=0, atol=0)

    @pytest.mark.parametrize("options", [{}, {"mmap": True}, {"weights_only": False}], ids=str)
    def test_saved_weights_are_read_by_plain_torch_load(self, tmp_path, options):
        """The checksum at the end of the file is nothing PyTorch minds."""
        net = CifarNet()
        checkpoint.save_weights(net, tmp_path / "cifar_net.pth")

        weights = torch.load(tmp_path / "cifar_net.pth", **options)

        torch.testing.assert_close(weights, net.state_dict(), rtol=0, atol=0)

    def test_weights_of_plain_torch_save_are_loaded(self, tmp_path):
        """What the notes' own line wrote is as good as ours."""
        net, twin = CifarNet(), CifarNet()
        torch.save(net.state_dict(), tmp_path / "cifar_net.pth")

        checkpoint.load_weights(twin, tmp_path / "cifar_net.pth")

        torch.testing.assert_close(twin.state_dict(), net.state_dict(), rtol=0, atol=0)

    def test_weights_are_found_in_a_training_state(self, tmp_path):
        """A checkpoint.pt serves where weights are asked for."""
        path, net = saved(tmp_path), make_net()

        checkpoint.load_weights(net, path)

        torch.testing.assert_close(net.state_dict(), torch.load(path)["model"])

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (CifarNet, r"conv1\.weight \(6, 3, 5, 5\), .* where Net has conv1\.weight \(6, 1, 3, 3\), "),
            (make_net, r"2\.weight \(10, 12\), 2\.bias \(10,\) where Net has conv1\.weight \(6, 1, 3, 3\)"),
        ],
        ids=["other shapes", "other names"],
    )
    def test_weights_of_another_net_are_refused(self, tmp_path, other, message):
        """The sentence tells what differs on both sides, and the net keeps its own weights."""
        net = Net()
        before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        checkpoint.save_weights(other(), tmp_path / "other.pth")

        with pytest.raises(
            CheckpointError, match=rf"other\.pth holds the weights of another net: it has {message}"
        ):
            checkpoint.load_weights(net, tmp_path / "other.pth")

        torch.testing.assert_close(dict(net.state_dict()), before, rtol=0, atol=0)

    @pytest.mark.parametrize("wrapping", ["", "module."], ids=["plain", "wrapped"])
    def test_weights_saved_before_pytorch_1_6_are_loaded(self, tmp_path, wrapping):
        """Such a file is no zip archive."""
        net, twin = CifarNet(), CifarNet()
        weights = {wrapping + name: tensor for name, tensor in net.state_dict().items()}
        torch.save(weights, tmp_path / "old.pth", _use_new_zipfile_serialization=False)

        checkpoint.load_weights(twin, tmp_path / "old.pth")

        torch.testing.assert_close(twin.state_dict(), net.state_dict(), rtol=0, atol=0)

    @pytest.mark.parametrize("old", [False, True], ids=["zip", "before PyTorch 1.6"])
    def test_weights_saved_on_a_gpu_are_loaded_without_one(self, tmp_path, monkeypatch, old):
        """The file says cuda:0 of each tensor."""
        net, twin = make_net(), make_net()
        monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save(net.state_dict(), tmp_path / "gpu.pth", _use_new_zipfile_serialization=not old)

        checkpoint.load_weights(twin, tmp_path / "gpu.pth")

        torch.testing.assert_close(twin.state_dict(), net.state_dict(), rtol=0, atol=0)

    def test_classes_are_saved_where_the_notes_own_line_overlooks_them(self, tmp_path):
        """The file stays a state_dict, which a Net takes strictly, and the classes come back with it."""
        names = [f"class {number}" for number in range(10)]
        checkpoint.save_weights(CifarNet(), tmp_path / "cifar_net.pth", names)

        CifarNet().load_state_dict(torch.load(tmp_path / "cifar_net.pth"), strict=True)

        assert find(checkpoint.read(tmp_path / "cifar_net.pth"), [CifarNet()])[1].classes == tuple(names)

    def test_saving_weights_leaves_no_classes_in_the_net(self, tmp_path):
        """Another save of the same net, on other data, does not inherit them."""
        net = CifarNet()

        checkpoint.save_weights(net, tmp_path / "one.pth", ["a", "b"])
        checkpoint.save_weights(net, tmp_path / "other.pth")

        assert find(checkpoint.read(tmp_path / "other.pth"), [net])[1].classes is None


class TestState:
    """Saving and loading all that a training depends on."""

    def test_state_comes_back(self, tmp_path):
        """Tensors, numbers, names and nested tuples are what they were."""
        state = make_state()

        checkpoint.save(state, tmp_path / "checkpoint.pt")
        loaded = checkpoint.load(tmp_path / "checkpoint.pt")

        assert loaded.keys() == state.keys()
        assert loaded["random of each process"][0]["python"] == state["random of each process"][0]["python"]
        torch.testing.assert_close(loaded["optimizer"], state["optimizer"], rtol=0, atol=0)

    def test_save_keeps_the_one_before(self, tmp_path):
        """After three saves the third is there and the second beside it."""
        path = saved(tmp_path, times=3)

        steps = checkpoint.load(path)["step"], checkpoint.load(checkpoint.previous(path))["step"]

        assert steps == (2, 1)
        assert sorted(os.listdir(tmp_path)) == ["checkpoint.previous.pt", "checkpoint.pt"]

    def test_save_keeps_the_one_before_where_files_have_one_name_only(self, tmp_path, monkeypatch):
        """A file system without hard links gets a copy."""

        def refuse(*names):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
        path = saved(tmp_path, times=3)

        steps = checkpoint.load(path)["step"], checkpoint.load(checkpoint.previous(path))["step"]

        assert steps == (2, 1)

    def test_saving_goes_on_where_a_kill_had_left_both_names_on_one_file(self, tmp_path):
        """A save that was killed once the second name was given leaves nothing over for ever."""
        path = saved(tmp_path)
        os.link(path, checkpoint.previous(path))

        checkpoint.save(make_state(), path)

        assert sorted(os.listdir(tmp_path)) == ["checkpoint.previous.pt", "checkpoint.pt"]
        assert checkpoint.load(checkpoint.previous(path))["step"] == 0

    def test_file_and_then_its_folder_are_flushed_to_the_disk(self, tmp_path, monkeypatch):
        """A power cut after save_weights() takes neither the content nor the name."""
        flushed = []
        monkeypatch.setattr(os, "fsync", lambda file: flushed.append(stat.S_ISDIR(os.fstat(file).st_mode)))

        checkpoint.save_weights(make_net(), tmp_path / "cifar_net.pth")

        assert flushed == [False, True]

    def test_damaged_checkpoint_does_not_push_out_the_good_one_before_it(self, tmp_path):
        """Until the next save is complete, the one good file stays."""
        path = saved(tmp_path, times=2)
        path.write_bytes(path.read_bytes()[:-100])

        checkpoint.save(make_state(), path)

        assert checkpoint.load(checkpoint.previous(path))["step"] == 0
        assert checkpoint.load(path)["step"] == 1

    def test_save_that_cannot_keep_the_one_before_is_refused(self, tmp_path):
        """Here a folder has its name; the sentence names the checkpoint, which stays as it was."""
        path = saved(tmp_path)
        checkpoint.previous(path).mkdir()

        with pytest.raises(CheckpointError, match=r"^cannot write .*checkpoint\.pt: Is a directory$"):
            checkpoint.save(make_state(), path)

        assert checkpoint.load(path)["step"] == 0

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf], ids=str)
    def test_weight_that_is_not_finite_is_not_saved(self, tmp_path, bad):
        """A training that has diverged does not overwrite what one could go on from."""
        path = saved(tmp_path, times=2)
        state = make_state()
        state["model"]["2.bias"][3] = bad

        with pytest.raises(
            CheckpointError, match=r"^a weight is not a finite number any more, so .*pt was not"
        ):
            checkpoint.save(state, path)

        steps = [checkpoint.load(each)["step"] for each in (path, checkpoint.previous(path))]
        assert steps == [1, 0]


def cut(data):
    """Return the first half."""
    return data[: len(data) // 2]


def change_a_weight(data):
    """Return the file with one bit of the first tensor changed, which plain torch.load does not see."""
    at = data.index(b"/data/0") + 200
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def plain(content, *, old=False, **options):
    """Return what plain torch.save writes, today or before PyTorch 1.6."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not old, **options)
    return buffer.getvalue()


def script():
    """Return an archive with what a TorchScript archive has and torch.save does not write."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("net/data.pkl", "net/code/__torch__.py", "net/constants.pkl"):
            archive.writestr(name, b"")
    return buffer.getvalue()


WHOLE_NET = (
    "holds a whole net or another module, and was not loaded: that could run code; where it was saved, "
    r"save the weights alone, torch\.save\(net\.state_dict\(\), PATH\)"
)
BAD = {
    "empty": (lambda data: b"", "is empty"),
    "one byte": (lambda data: data[:1], "is not a file that torch.save wrote"),
    "half": (cut, "is damaged: it was cut off or changed since it was saved"),
    "one byte short": (lambda data: data[:-1], "is damaged: it was cut off or changed since it was saved"),
    "checksum cut off": (lambda data: data[:-64], "is damaged: it was cut off or changed since it was saved"),
    "one byte more": (lambda data: data + b"\0", "is damaged: it was cut off or changed since it was saved"),
    "one bit of a weight": (change_a_weight, "is damaged: it was cut off or changed since it was saved"),
    "PNG": (lambda data: b"\x89PNG\r\n\x1a\n" + bytes(100), "is not a file that torch.save wrote"),
    "JSON": (lambda data: b'{"step": 1}', "is not a file that torch.save wrote"),
    "plain pickle": (lambda data: pickle.dumps({"step": 1}), "is not a file that torch.save wrote"),
    "plain state_dict": (
        lambda data: plain(make_net().state_dict()),
        "holds weights only, not the state of a training that can be resumed",
    ),
    "weights with nothing to go on from": (
        lambda data: plain({"model": {}, "settings": {}, "step": 1}),
        "holds weights only, not the state of a training that can be resumed",
    ),
    "a list": (lambda data: plain([1]), "holds a list, not the state of a training that can be resumed"),
    "a whole net": (lambda data: plain(make_net()), WHOLE_NET),
    "a whole net of PyTorch before 1.6": (lambda data: plain(make_net(), old=True), WHOLE_NET),
    "a whole net in a dict": (lambda data: plain({"net": make_net(), "epoch": 1}), WHOLE_NET),
    "an object": (
        lambda data: plain({"args": Namespace(lr=1)}),
        r"holds more than tensors and plain values \(argparse\.Namespace\), and was not loaded",
    ),
    "a newer pickle": (
        lambda data: plain(make_net().state_dict(), pickle_protocol=4),
        "holds what PyTorch does not take for weights only, and was not loaded: that could run code",
    ),
    "half a file of PyTorch before 1.6": (
        lambda data: cut(plain(make_net().state_dict(), old=True)),
        "is damaged: it was cut off or changed",
    ),
    "the beginning of a file of PyTorch before 1.6": (
        lambda data: plain(make_net().state_dict(), old=True)[:40],
        "is damaged: it was cut off or changed",
    ),
    "TorchScript": (lambda data: script(), r"is a TorchScript archive: load it by torch\.jit\.load"),
    "safetensors": (
        lambda data: (16).to_bytes(8, "little") + b'{"w": {}}' + bytes(20),
        r"is a safetensors file: read it by safetensors\.torch\.load_file",
    ),
    "ONNX": (lambda data: b"\x08\x08\x12\x07pytorch", "is an ONNX file: where it was exported"),
    "half a state_dict": (
        lambda data: cut(plain(make_net().state_dict())),
        "is damaged: it was cut off or changed",
    ),
    "a directory without its mark": (
        lambda data: plain(make_net().state_dict()).replace(b"PK\x01\x02", b"PK\x01\x03"),
        "is damaged: it was cut off or changed since it was saved",
    ),
    "an empty zip": (
        lambda data: b"PK\x03\x04" + b"PK\x05\x06" + bytes(18),
        "is (damaged|not a file that torch.save wrote)",
    ),
}


class TestBadFiles:
    """What cannot be believed is refused in a sentence that names the file and the way out."""

    @pytest.mark.parametrize(("spoil", "message"), BAD.values(), ids=BAD)
    def test_bad_checkpoint_is_refused(self, tmp_path, spoil, message):
        """The sentence says what is wrong, and how to go on from the save before it."""
        path = saved(tmp_path, times=2)
        path.write_bytes(spoil(path.read_bytes()))
        way_out = r"; the save before it is intact: resume from it with --resume .*checkpoint\.previous\.pt$"

        with pytest.raises(CheckpointError, match=rf"checkpoint\.pt {message}.*{way_out}"):
            checkpoint.load(path)

    @pytest.mark.parametrize("name", ["no save before", "damaged save before", "is the save before"])
    def test_no_way_out_is_named_where_there_is_none(self, tmp_path, name):
        """A save before it is named only if it is another file, and whole."""
        path = saved(tmp_path, times=2)
        before = checkpoint.previous(path)
        path.write_bytes(b"")
        if name == "no save before":
            before.unlink()
        else:
            before.write_bytes(before.read_bytes()[:-1])

        with pytest.raises(CheckpointError) as caught:
            checkpoint.load(before if name == "is the save before" else path)

        assert "intact" not in str(caught.value)

    def test_missing_checkpoint_is_refused(self, tmp_path):
        """The sentence names the path."""
        with pytest.raises(CheckpointError, match=r"there is no checkpoint .*nowhere\.pt$"):
            checkpoint.load(tmp_path / "nowhere.pt")

    def test_folder_is_refused(self, tmp_path):
        """A folder is no checkpoint."""
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
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :])
            try:
                checkpoint.load(path)
            except CheckpointError:
                continue
            unseen.append(at)

        assert len(flips) == 200
        assert unseen == []

    def test_flipped_bit_in_plain_weights_is_seen(self, tmp_path):
        """A file of plain torch.save has no checksum of the whole, but its tensors have theirs."""
        path = tmp_path / "cifar_net.pth"
        path.write_bytes(change_a_weight(plain(make_net().state_dict())))

        with pytest.raises(CheckpointError, match=r"cifar_net\.pth is damaged"):
            checkpoint.load_weights(make_net(), path)

    def test_weights_marked_as_a_folder_are_seen(self, tmp_path):
        """One bit of the archive's directory would make PyTorch skip a tensor and load what memory held."""
        data = plain(make_net().state_dict())
        at = data.index(b"/data/0", data.index(b"PK\x01\x02"))
        mark = data.rindex(b"PK\x01\x02", 0, at) + 38
        path = tmp_path / "cifar_net.pth"
        path.write_bytes(data[:mark] + bytes([data[mark] | 0x10]) + data[mark + 1 :])

        with pytest.raises(CheckpointError, match=r"cifar_net\.pth is damaged"):
            checkpoint.load_weights(make_net(), path)

    @pytest.mark.parametrize("sealed", [False, True], ids=["plain", "with a valid checksum"])
    def test_code_in_a_file_is_not_run(self, tmp_path, monkeypatch, sealed):
        """A pickle that would make a folder is refused, and makes none, whatever the environment allows."""
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        content = {"model": {}, "settings": Dangerous(tmp_path / "trap"), "optimizer": {}, "step": 1}
        path = tmp_path / "checkpoint.pt"
        path.write_bytes(plain(content))
        if sealed:
            checkpoint.save(content, path)

        with pytest.raises(
            CheckpointError,
            match=r"holds more than tensors and plain values \(\w+\.mkdir\), and was not loaded",
        ):
            checkpoint.load(path)

        assert not (tmp_path / "trap").exists()
