"""blitz/training/distributed.py: joining a group of processes, and what one can ask of the others."""

import sys
import threading

import pytest
import torch
import torch.distributed as dist
from torch import nn

from blitz.errors import BlitzError, DataError
from blitz.training import distributed


def ask_each_other():
    """In each rank: return what each of the functions gives."""
    values = torch.tensor([2.0, dist.get_rank()])
    return {
        "rank": (distributed.rank(), distributed.size()),
        "mean": distributed.mean(values).tolist(),
        "values": values.tolist(),
        "any": (distributed.any_of(dist.get_rank() == 1), distributed.any_of(False)),
        "gathered": distributed.gathered({"rank": dist.get_rank()}),
        "by first": distributed.by_first(lambda: f"done by {dist.get_rank()}"),
        "failure": fail_in_the_first(),
        "replicated": replicate(),
    }


def fail_in_the_first():
    """In each rank: have the first one do what fails with a KeyError; return how that ends."""
    try:
        return distributed.by_first(lambda: {}["nothing"])
    except (KeyError, SystemExit) as end:
        return repr(end)


def replicate():
    """In each rank: return what a replica is, and what becoming one changes in a net of the same weights."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
    net[3].eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    random = torch.get_rng_state()

    replica = distributed.replicated(net, torch.ones(1, 2))

    after = net.state_dict()
    changed = [name for name in before if not before[name].equal(after[name])]
    changed += [name for name, weight in net.named_parameters() if weight.grad is not None]
    changed += [] if random.equal(torch.get_rng_state()) else ["random numbers"]
    return type(replica).__name__, changed, [module.training for module in net]


class TestFunctions:
    """What a process can ask of the others."""

    def test_processes_of_a_group(self, ranks):
        """Each gets the same answers, but its own number. A failure of the first ends the others at once.

        A replica is made without a trace: what settles the order in which gradients are added up is no
        mini-batch of the training.
        """
        common = {
            "mean": [2.0, 0.5],
            "any": (True, False),
            "gathered": [{"rank": 0}, {"rank": 1}],
            "by first": "done by 0",
            "replicated": ("DistributedDataParallel", [], [True, True, True, False]),
        }

        first, second = ranks(2, ask_each_other)

        assert first == {"rank": (0, 2), "values": [2, 0], "failure": "KeyError('nothing')", **common}
        assert second == {"rank": (1, 2), "values": [2, 1], "failure": "SystemExit(1)", **common}

    @pytest.mark.parametrize(("size", "repeated"), [(2, []), (4, [9, 8])])
    def test_processes_together_take_an_order_batch_by_batch(self, monkeypatch, size, repeated):
        """Each has an equal part of each; the last one is filled up from the beginning of the order."""
        order = torch.arange(9, -1, -1)
        monkeypatch.setattr(distributed, "size", lambda: size)
        parts = []
        for number in range(size):
            monkeypatch.setattr(distributed, "rank", lambda number=number: number)
            parts.append(distributed.own_indices(order).split(distributed.own_batch_size(4)))

        together = [sorted(torch.cat(shares).tolist()) for shares in zip(*parts, strict=True)]

        assert together == [[6, 7, 8, 9], [2, 3, 4, 5], sorted([1, 0, *repeated])]

    def test_batch_that_cannot_be_shared_equally_is_refused(self, monkeypatch):
        """A mean over unequal parts would be another one."""
        monkeypatch.setattr(distributed, "size", lambda: 3)

        with pytest.raises(BlitzError) as caught:
            distributed.own_batch_size(4)

        assert str(caught.value) == (
            "3 processes cannot share a batch of 4 equally: choose a batch size that is a multiple of 3"
        )

    def test_run_is_named_by_the_folder_of_its_torchrun(self, monkeypatch):
        """A restart has the name of its run. No other start has it, with torchrun's folder or without."""
        names = []
        for file in (
            "/tmp/torchelastic_a/100_b/attempt_0/1/error.json",
            "/tmp/torchelastic_a/100_b/attempt_1/0/error.json",
            "/tmp/torchelastic_c/100_d/attempt_0/0/error.json",
            "",
            "",
        ):
            monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", file)
            names.append(distributed.run_name())

        assert names[:3] == ["/tmp/torchelastic_a/100_b"] * 2 + ["/tmp/torchelastic_c/100_d"]
        assert len(set(names)) == 4


class TestProcessGroup:
    """Joining what torchrun started."""

    @pytest.fixture
    def joined(self, monkeypatch):
        """Let this process be rank 1 of 3 for torchrun, and let the joining itself be nothing but noted."""
        for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "3"}.items():
            monkeypatch.setenv(name, value)
        noted = {"store of torchrun": dist.HashStore(), "signals": []}

        def rendezvous(url, timeout):
            return iter([(noted["store of torchrun"], 1, 3)])

        monkeypatch.setattr(distributed, "rendezvous", rendezvous)
        monkeypatch.setattr(distributed, "_unused_part", lambda store, *numbers: f"part of {numbers}")
        monkeypatch.setattr(distributed, "take_own_accelerator", lambda name: noted.update(taken=name))
        monkeypatch.setattr(distributed, "find_device", torch.device)
        monkeypatch.setattr(dist, "init_process_group", lambda kinds, **how: noted.update(how, kinds=kinds))
        monkeypatch.setattr(distributed, "rank", lambda: 1)
        monkeypatch.setattr(distributed.signal, "signal", lambda *how: noted["signals"].append(how))
        return noted

    @pytest.mark.parametrize(("kind", "backends"), [("cpu", "gloo"), ("cuda", "cpu:gloo,cuda:nccl")])
    def test_group_is_that_of_torchrun(self, joined, kind, backends):
        """Its rank and size, in a part of its store; what is on an accelerator travels by its own backend."""
        with distributed.process_group(kind) as device:
            joined["store"].set("key", "value")

        assert (joined["rank"], joined["world_size"], joined["timeout"].total_seconds()) == (1, 3, 60)
        assert joined["store of torchrun"].check(["part of (1, 3)/key"])
        assert (device.type, joined["taken"], joined["kinds"]) == (kind, kind, backends)

    def test_accelerator_without_a_backend_is_refused(self, joined):
        """The sentence tells the way out."""
        expected = "^rank 1 of 3: PyTorch cannot train in several processes on meta: use --device cpu$"

        with pytest.raises(BlitzError, match=expected), distributed.process_group("meta"):
            pass

    @pytest.mark.parametrize("rank", [0, 1])
    def test_first_process_alone_is_heard(self, joined, capsys, monkeypatch, rank):
        """On both streams, until the group is left."""
        monkeypatch.setattr(distributed, "rank", lambda: rank)

        with distributed.process_group("cpu"):
            print("to stdout")
            print("to stderr", file=sys.stderr)
        print("afterwards")

        heard = ("", "") if rank else ("to stdout\n", "to stderr\n")
        assert capsys.readouterr() == (f"{heard[0]}afterwards\n", heard[1])

    @pytest.mark.parametrize(
        ("error", "kind", "sentence"),
        [
            (DataError("no"), DataError, "rank 1 of 3: no"),
            (
                RuntimeError("the pair of gloo is closed\nmore"),
                BlitzError,
                "rank 1 of 3 lost another process, or had no answer from it for 60 seconds: "
                "the pair of gloo is closed",
            ),
            (
                dist.DistNetworkError("the store is gone"),
                BlitzError,
                "rank 1 of 3 lost another process, or had no answer from it for 60 seconds: "
                "the store is gone",
            ),
            (RuntimeError("out of memory"), RuntimeError, "out of memory"),
        ],
        ids=["refusal", "gloo", "store", "any other"],
    )
    def test_failure_is_told_with_the_rank(self, joined, error, kind, sentence):
        """Where another process was lost, it says so. torchrun cuts nobody short."""
        with pytest.raises(kind) as caught, distributed.process_group("cpu"):
            raise error

        assert str(caught.value) == sentence
        assert joined["signals"] == [(distributed.signal.SIGTERM, distributed.signal.SIG_IGN)]

    def test_sentence_that_several_processes_have_is_told_by_one(self, joined, monkeypatch):
        """The second to come ends with the same status, in silence; where torchrun is gone, each tells it."""

        def refuse():
            with distributed.process_group("cpu"):
                raise BlitzError("no")

        def fail(store, *arguments):
            raise dist.DistNetworkError("torchrun is gone")

        with pytest.raises(BlitzError, match=r"^rank 1 of 3: no$"):
            refuse()
        with pytest.raises(SystemExit) as caught:
            refuse()
        monkeypatch.setattr(distributed.PrefixStore, "add", fail)
        with pytest.raises(BlitzError, match=r"^rank 1 of 3: no$"):
            refuse()

        assert caught.value.code == BlitzError.status


class TestUnusedPart:
    """The part of a store that no earlier start has used."""

    def test_processes_agree_on_a_new_name_at_every_start(self):
        """What earlier starts left in the store leads nobody astray, nor a question asked in vain."""
        store = dist.HashStore()
        store.set("question of 1", "asked by a process that is gone")

        names = [self.meet(store) for _ in range(5)]

        assert [len(set(of_a_start)) for of_a_start in names] == [1] * 5
        assert len({of_a_start[0] for of_a_start in names} - {None}) == 5

    def meet(self, store, size=3):
        """Return the name that each of several processes, threads here, agrees on."""
        names = [None] * size

        def agree(number):
            names[number] = distributed._unused_part(store, number, size)

        threads = [threading.Thread(target=agree, args=(number,)) for number in reversed(range(size))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        return names

    def test_process_that_does_not_come_is_not_waited_for_without_end(self, monkeypatch):
        """The first process gives up after the timeout."""
        monkeypatch.setattr(distributed, "TIMEOUT", distributed.timedelta(seconds=0.1))

        with pytest.raises(dist.DistStoreError, match="not all processes have joined"):
            distributed._unused_part(dist.HashStore(), 0, 2)
