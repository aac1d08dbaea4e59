"""blitz/training/distributed.py: joining a group of processes, and what one can ask of the others."""

import signal
import sys
import threading
import weakref

import pytest
import torch
import torch.distributed as dist
from torch import nn

from blitz.errors import BlitzError, CheckpointError, DataError
from blitz.training import distributed


def ask_each_other():
    """In each rank: return what each of the functions gives."""
    number = dist.get_rank()
    return (
        distributed.mean(torch.tensor([2.0, number])).tolist(),
        distributed.any_of(number == 1),
        distributed.any_of(False),
        distributed.gathered({"rank": number}),
        distributed.by_first(lambda: f"done by {dist.get_rank()}"),
        distributed.own_batch_size(8),
        distributed.own_indices(torch.tensor([5, 3, 1])).tolist(),
        (distributed.rank(), distributed.size()),
        type(distributed.replicated(nn.Linear(1, 1), torch.ones(1, 1))).__name__,
    )


def average():
    """In each rank: return the mean of the ranks' numbers, and what it was made of."""
    values = torch.tensor([dist.get_rank() + 1.0])
    return distributed.mean(values).item(), values.item()


def fail_in_the_first():
    """In each rank: have the first one do what fails with a KeyError; return how that ends."""
    try:
        return distributed.by_first(lambda: {}["nothing"])
    except (KeyError, SystemExit) as end:
        return repr(end)


def replicate():
    """In each rank: return what becoming a replica changes in a net, and in the random numbers."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
    net[3].eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    random = torch.get_rng_state()

    distributed.replicated(net, torch.ones(1, 2))

    after = net.state_dict()
    changed = [name for name in before if not before[name].equal(after[name])]
    left = [name for name, weight in net.named_parameters() if weight.grad is not None]
    return changed, left, random.equal(torch.get_rng_state()), [module.training for module in net]


class TestFunctions:
    """What a process can ask of the others."""

    def test_failure_of_the_first_process_ends_the_others_at_once(self, ranks):
        """Whatever it is: they would wait for an answer until the timeout."""
        assert ranks(2, fail_in_the_first) == ["KeyError('nothing')", "SystemExit(1)"]

    def test_mean_is_over_all_processes_and_leaves_its_values(self, ranks):
        """However many they are."""
        assert ranks(3, average) == [(2.0, 1.0), (2.0, 2.0), (2.0, 3.0)]

    def test_processes_of_a_group(self, ranks):
        """Each gets the same answers, but its own number and its own part."""
        common = [1.0, True, False, [{"rank": 0}, {"rank": 1}], "done by 0", 4]

        (first, second) = ranks(2, ask_each_other)

        assert [list(answers[1:6]) for answers in (first, second)] == [common[1:]] * 2
        assert first[0] == second[0] == [2.0, 0.5]
        assert first[6:] == ([5, 1], (0, 2), "DistributedDataParallel")
        assert second[6:] == ([3, 5], (1, 2), "DistributedDataParallel")

    def test_replica_is_made_without_a_trace(self, ranks):
        """What settles the order in which gradients are added up is no mini-batch of the training."""
        assert ranks(1, replicate) == [([], [], True, [True, True, True, False])]

    def test_process_alone_answers_itself(self):
        """Without a group each function gives what it would for a single process, the very tensors."""
        values, order, net = torch.tensor([2.0]), torch.tensor([5, 3, 1]), nn.Linear(1, 1)

        assert distributed.mean(values) is values
        assert (distributed.any_of(True), distributed.any_of(False)) == (True, False)
        assert distributed.gathered(3) == [3]
        assert distributed.by_first(lambda: 4) == 4
        assert distributed.own_batch_size(7) == 7
        assert distributed.own_indices(order) is order
        assert (distributed.rank(), distributed.size()) == (0, 1)
        assert distributed.replicated(net, values) is net


class TestProcessGroup:
    """Joining what torchrun started."""

    @pytest.fixture
    def joined(self, monkeypatch):
        """Let this process be rank 1 of 3 for torchrun, and let the joining itself be nothing."""
        for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "3"}.items():
            monkeypatch.setenv(name, value)
        options = {"torchrun's": dist.HashStore()}

        def rendezvous(*how, **more):
            options["asked"] = (how, more)
            return iter([(options["torchrun's"], 1, 3)])

        monkeypatch.setattr(distributed, "rendezvous", rendezvous)
        monkeypatch.setattr(distributed, "_unused_part", lambda store, *numbers: f"part of {numbers}")
        monkeypatch.setattr(dist, "init_process_group", lambda backend, **how: options.update(how, b=backend))
        monkeypatch.setattr(distributed, "rank", lambda: 1)
        monkeypatch.setattr(signal, "signal", lambda *how: options.setdefault("signals", []).append(how))
        return options

    def test_group_has_a_timeout_of_a_minute(self, joined):
        """And talks by gloo on the CPU."""
        with distributed.process_group("cpu"):
            pass

        assert (joined["b"], joined["timeout"].total_seconds()) == ("gloo", 60)
        assert joined["asked"] == (("env://",), {"timeout": joined["timeout"]})

    def test_group_is_that_of_torchrun_in_a_part_of_its_store(self, joined):
        """With the rank and the size that torchrun gave."""
        with distributed.process_group("cpu"):
            joined["store"].set("key", "value")

        assert (joined["rank"], joined["world_size"]) == (1, 3)
        assert joined["torchrun's"].check(["part of (1, 3)/key"])

    def test_group_is_left_once_garbage_is_collected(self, joined, monkeypatch):
        """A net that trained in it is held by a cycle of its DDP, which would hold the group, too."""
        net, left = nn.Linear(1, 1), []
        net.cycle, garbage = [net], weakref.ref(net)
        monkeypatch.setattr(dist, "is_initialized", lambda: True)
        monkeypatch.setattr(dist, "destroy_process_group", lambda: left.append(garbage()))

        with distributed.process_group("cpu"):
            del net

        assert left == [None]

    @pytest.mark.parametrize(
        ("kind", "backends"), [("cuda", "cpu:gloo,cuda:nccl"), ("xpu", "cpu:gloo,xpu:xccl")]
    )
    def test_accelerator_has_a_backend_of_its_own(self, joined, monkeypatch, kind, backends):
        """What is on the CPU still travels by gloo."""
        monkeypatch.setattr(distributed, "find_device", torch.device)

        with distributed.process_group(kind):
            pass

        assert joined["b"] == backends

    def test_accelerator_without_a_backend_is_refused(self, joined, monkeypatch):
        """The sentence tells the way out."""
        monkeypatch.setattr(distributed, "find_device", torch.device)
        expected = "rank 1 of 3: PyTorch cannot train in several processes on meta: use --device cpu"

        with pytest.raises(BlitzError) as caught, distributed.process_group("meta"):
            pass

        assert str(caught.value) == expected

    def test_processes_but_the_first_are_silent(self, joined, capsys):
        """On both streams, until the group is left."""
        with distributed.process_group("cpu"):
            print("to stdout")
            print("to stderr", file=sys.stderr)
        print("afterwards")

        assert capsys.readouterr() == ("afterwards\n", "")

    def test_first_process_is_heard(self, joined, capsys, monkeypatch):
        """On both streams."""
        monkeypatch.setattr(distributed, "rank", lambda: 0)

        with distributed.process_group("cpu"):
            print("to stdout")
            print("to stderr", file=sys.stderr)

        assert capsys.readouterr() == ("to stdout\n", "to stderr\n")

    @pytest.mark.parametrize("kind", [BlitzError, CheckpointError, DataError])
    def test_refusals_tell_the_rank(self, joined, kind):
        """And stay of their kind."""
        with pytest.raises(kind, match=r"^rank 1 of 3: no$"), distributed.process_group("cpu"):
            raise kind("no")
        assert joined["signals"] == [(signal.SIGTERM, signal.SIG_IGN)]  # torchrun cuts nobody short

    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError("the pair of gloo is closed\nmore"),
            dist.DistNetworkError("the connection is closed"),
        ],
        ids=["gloo", "store"],
    )
    def test_lost_process_is_told_in_one_sentence(self, joined, error):
        """The first line of what the engine says is in it."""
        expected = (
            "rank 1 of 3 lost another process, or had no answer from it for 60 seconds: "
            f"{str(error).splitlines()[0]}"
        )

        with pytest.raises(BlitzError) as caught, distributed.process_group("cpu"):
            raise error

        assert str(caught.value) == expected
        assert joined["signals"] == [(signal.SIGTERM, signal.SIG_IGN)]

    def test_other_errors_stay_as_they_are_but_for_a_note(self, joined):
        """Out of memory is no lost process."""
        message = r"^out of memory\n\(rank 1 of 3\)$"

        with pytest.raises(RuntimeError, match=message), distributed.process_group("cpu"):
            raise RuntimeError("out of memory")

    def test_sentence_that_several_processes_have_is_told_by_one(self, joined):
        """The second to come ends with the status of the error, and without a word."""
        with pytest.raises(BlitzError, match=r"^rank 1 of 3: no$"), distributed.process_group("cpu"):
            raise BlitzError("no")

        with pytest.raises(SystemExit) as caught, distributed.process_group("cpu"):
            raise BlitzError("no")

        assert caught.value.code == BlitzError.status

    def test_sentence_is_told_where_torchrun_is_gone(self, joined, monkeypatch):
        """Nobody is left to ask whether another process has told it."""

        def fail(store, *arguments):
            raise dist.DistNetworkError("gone")

        monkeypatch.setattr(distributed.PrefixStore, "add", fail)

        with pytest.raises(BlitzError, match=r"^rank 1 of 3: no$"), distributed.process_group("cpu"):
            raise BlitzError("no")

    @pytest.mark.parametrize(("name", "device"), [("auto", "cuda:1"), ("cpu", "cpu")])
    def test_device_is_found_once_the_process_has_taken_its_own(self, joined, monkeypatch, name, device):
        """Which is what "auto" then means."""
        current = ["cuda:0"]
        monkeypatch.setattr(distributed, "take_own_accelerator", lambda name: current.append("cuda:1"))
        found = {"auto": current, "cpu": ["cpu"]}
        monkeypatch.setattr(distributed, "find_device", lambda name: torch.device(found[name][-1]))

        with distributed.process_group(name) as used:
            assert str(used) == device

    def test_run_is_named_by_the_folder_of_its_torchrun(self, monkeypatch):
        """A restart has the name of its run; another start has another name, whatever its --rdzv-id is."""
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "100")
        files = [
            "/tmp/torchelastic_a/100_b/attempt_0/1/error.json",
            "/tmp/torchelastic_a/100_b/attempt_1/0/error.json",
            "/tmp/torchelastic_c/100_d/attempt_0/0/error.json",
        ]
        names = []
        for file in files:
            monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", file)
            names.append(distributed.run_name())

        assert names == ["/tmp/torchelastic_a/100_b"] * 2 + ["/tmp/torchelastic_c/100_d"]

    @pytest.mark.parametrize("run", [None, "100"], ids=["alone", "torchrun without a folder"])
    def test_run_without_a_folder_is_never_taken_for_another_one(self, monkeypatch, run):
        """Each call gives a name of its own."""
        if run:
            monkeypatch.setenv("TORCHELASTIC_RUN_ID", run)
            monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", "")

        assert distributed.run_name() != distributed.run_name()

    def test_without_torchrun_nothing_is_joined(self, capsys):
        """And nothing is silent."""
        with distributed.process_group("cpu"):
            print("heard")
            assert not dist.is_initialized()

        assert capsys.readouterr().out == "heard\n"


class TestUnusedPart:
    """The part of a store that no earlier start has used."""

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

    def test_processes_agree_on_a_new_name_at_every_start(self):
        """What earlier starts left in the store leads nobody astray."""
        store = dist.HashStore()

        names = [self.meet(store) for _ in range(5)]

        assert [len(set(of_a_start)) for of_a_start in names] == [1] * 5
        assert len({of_a_start[0] for of_a_start in names}) == 5

    def test_start_that_was_cut_off_does_no_harm(self):
        """A question that was asked by a process that is gone is answered, and the answer not waited for."""
        store = dist.HashStore()
        store.set("question of 1", "asked in vain")

        names = self.meet(store)

        assert len(set(names)) == 1
        assert None not in names

    def test_process_that_does_not_come_is_not_waited_for_without_end(self, monkeypatch):
        """The first process gives up after the timeout."""
        monkeypatch.setattr(distributed, "TIMEOUT", distributed.timedelta(seconds=0.1))

        with pytest.raises(dist.DistStoreError, match="not all processes have joined"):
            distributed._unused_part(dist.HashStore(), 0, 2)
