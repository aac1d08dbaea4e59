"""blitz/derived/dqn.py: what the statements of section 6 do not prove of it."""

import pytest
import torch

from blitz import pictures
from blitz.derived.dqn import DQN
from blitz.training import checkpoint
from spec.command_line import main


def run(learner, *, until):
    """Learn up to that step; return the lines that were due."""
    steps = learner.steps()
    return [line for line in (next(steps) for _ in range(until - learner.step)) if line]


@pytest.mark.parametrize("stop", [30, 150], ids=["before learning", "while learning"])
def test_stopped_learner_goes_on_to_the_same_bits(gymnasium, tmp_path, stop):
    """Weights, memory, episode and history are those of a run without a stop, from a file of plain values."""
    torch.manual_seed(1)
    whole = DQN(seed=1, steps=160)
    run(whole, until=160)

    torch.manual_seed(1)
    first = DQN(seed=1, steps=160)
    run(first, until=stop)
    own = {"settings": first.settings, "step": first.step, "history": first.history}
    checkpoint.save({**own, **first.state_dict()}, tmp_path / "state.pt")
    random = torch.get_rng_state()
    second = DQN(seed=1, steps=160)
    state = checkpoint.load(tmp_path / "state.pt")
    second.step, second.history = state["step"], state["history"]
    second.load_state_dict(state)
    torch.set_rng_state(random)
    run(second, until=160)

    assert second.history == whole.history
    assert second.cart.state == whole.cart.state
    expected = whole.state_dict()
    for name, value in second.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


def test_command_tells_the_mean_return_and_leaves_two_pictures(gymnasium, tmp_path, capsys, monkeypatch):
    """A run too short for a whole episode does so, too."""
    drawn = []
    monkeypatch.setattr(pictures, "returns", lambda history, *, levels: drawn.append(levels) or b"returns")
    monkeypatch.setattr(pictures, "cart_pole", lambda episodes: drawn.append(episodes) or b"episodes")

    status = main(["chapter", "dqn", "--device", "cpu", "--steps", "3", "--out", str(tmp_path)])

    lines = capsys.readouterr().out.splitlines()
    levels, episodes = drawn
    assert status == 0
    assert lines[0].startswith("step     3 of 3: 90% of the actions random; without them a mean return of ")
    assert lines[1].startswith("Mean return of the best net in 100 new episodes: ")
    assert 15 < levels["random actions"] < 30
    assert episodes.keys() == {"random actions", "the net"}
    assert (tmp_path / "returns.png").read_bytes() == b"returns"
    assert (tmp_path / "episodes.png").read_bytes() == b"episodes"


def test_best_net_is_kept_when_the_net_forgets(gymnasium):
    """What is kept is the net of the judgement with the highest mean return."""
    learner = DQN(seed=0, steps=1)
    means = []
    for step, lean in enumerate(
        [-1.0, 1.0, -1.0]
    ):  # pushed against the lean of the pole, with it, against it
        for weight in learner.net.parameters():
            weight.data.zero_()
        learner.net[0].weight.data[:2, 2] = torch.tensor([-lean, lean])
        learner.net[2].weight.data.fill_diagonal_(1)
        learner.net[4].weight.data.fill_diagonal_(1)
        learner.step = 1000 * step
        learner._report()
        means.append(learner.history[-1]["mean"])

    assert means[1] > max(means[0], means[2])
    assert learner.kept[0].weight[1, 2] == 1
