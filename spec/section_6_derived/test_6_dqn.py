"""DQN: what each part of it does, on small examples, and that all of them together balance the pole.

The implementation is blitz/derived/dqn.py.
"""

from functools import partial

import pytest
import torch
from torch import nn

from blitz.derived import dqn
from blitz.derived.cart_pole import CartPole, play, random_actions
from blitz.derived.dqn import DQN, ReplayMemory
from spec.harness import fault, statement


def with_values(net, values):
    """Let a net value the two actions so in every state."""
    with torch.no_grad():
        for weight in net.parameters():
            weight.zero_()
        net[-1].bias.copy_(torch.tensor(values))


def remember(learner, *, reward, fallen):
    """Let nothing be remembered but that action 0 led to this reward."""
    for _ in range(dqn.BATCH_SIZE):
        learner.memory.push([0.0] * 4 + [0, reward] + [0.0] * 4 + [fallen])


def falls_ignored(real):
    """Return an expected_values() in which rewards go on after a fall."""
    return lambda target_net, rewards, next_states, fallen: real(target_net, rewards, next_states, 0 * fallen)


def newest(memory, size):
    """Return the newest transitions as a batch."""
    rows = (memory.pushed - 1 - torch.arange(size)) % min(memory.pushed, len(memory.rows))
    return memory.rows[rows.to(memory.rows.device)].split([4, 1, 1, 4, 1], dim=1)


def empty_places_too(memory, size):
    """Return a batch from all places of the memory, whether something is remembered there or not."""
    rows = torch.randint(len(memory.rows), (size,), device=memory.rows.device)
    return memory.rows[rows].split([4, 1, 1, 4, 1], dim=1)


def until_full(real):
    """Return a push() that remembers nothing more when the memory is full."""
    return lambda memory, row: real(memory, row) if memory.pushed < len(memory.rows) else None


def cut_is_a_fall(real):
    """Return a push() that tells of a fall where the episode is cut off."""

    def push(cart, action):
        reward, fallen, cut_off = real(cart, action)
        return reward, fallen or cut_off, cut_off

    return push


def own_values(real):
    """Return a learn() in which the net expects what it says itself."""

    def learn(learner):
        target_net, learner.target_net = learner.target_net, learner.net
        real(learner)
        learner.target_net = target_net

    return learn


@statement("derived.dqn-random-policy", notes="6 DQN")
@fault(
    "high is taken for the largest number", torch, "randint", lambda real: lambda n, size: real(n - 1, size)
)
def test_random_actions_balance_a_while_and_equal_ones_do_not(gymnasium):
    """In CartPole, random actions keep the pole up for 20 to 25 steps on average. The same action in each
    step keeps the pole up for fewer than 11 steps on average.
    """
    random, _ = play(random_actions, episodes=1000)
    same = [play(lambda states, n=n: torch.full((len(states),), n), episodes=1000)[0] for n in (0, 1)]

    assert 20 < random.mean() < 25
    assert max(returns.mean() for returns in same) < 11


@statement("derived.dqn-replay-memory", notes="6 DQN")
@fault("a batch is of the newest transitions", ReplayMemory, "sample", lambda real: newest)
@fault("empty places are drawn", ReplayMemory, "sample", lambda real: empty_places_too)
@fault("a full memory remembers nothing more", ReplayMemory, "push", until_full)
class TestReplayMemory:
    """The replay memory of deep Q-learning keeps the newest transitions, up to its capacity. A batch is drawn
    at random from all transitions in the memory.
    """

    @pytest.mark.parametrize(
        ("pushed", "kept"),
        [(20, range(1, 21)), (50, range(1, 51)), (70, range(21, 71))],
        ids=["half full", "full", "twenty too many"],
    )
    def test_a_large_batch_holds_every_transition_that_is_kept(self, device, pushed, kept):
        memory = ReplayMemory(50, device)
        for number in range(1, pushed + 1):
            memory.push([float(number)] * 11)

        states, actions, rewards, next_states, fallen = memory.sample(2000)

        assert set(states[:, 0].tolist()) == set(kept)
        whole = torch.cat([states, actions, rewards, next_states, fallen], dim=1)
        assert whole.tolist() == states[:, :1].expand(-1, 11).tolist()

    def test_a_small_batch_is_of_many_moments(self, device):
        memory = ReplayMemory(1000, device)
        for number in range(1000):
            memory.push([float(number)] * 11)

        states, *_ = memory.sample(64)

        assert states[:, 0].cpu().max() - states[:, 0].cpu().min() > 500


@statement("derived.dqn-expected-values", notes="6 DQN")
@fault("rewards follow a fall", dqn, "expected_values", falls_ignored)
@fault("the mean of the values is taken", torch.Tensor, "amax", lambda real: torch.Tensor.mean)
@fault("nothing is discounted", dqn, "GAMMA", lambda real: 1.0)
@fault("gradients reach the target net", torch, "no_grad", lambda real: torch.enable_grad)
@fault("the cut after 500 steps counts as a fall", CartPole, "push", cut_is_a_fall)
class TestExpectedValues:
    """In deep Q-learning, the expected value of an action is its reward plus 0.99 times the best value of the
    next state. If the pole falls, the expected value is the reward alone. Reaching the time limit does not
    count as a fall. The expected value passes no gradient back.
    """

    @pytest.mark.parametrize(("fallen", "expected"), [(0, 1 + 0.99 * 7), (1, 1)], ids=["goes on", "falls"])
    def test_it_is_what_arithmetic_gives(self, device, fallen, expected):
        weights = torch.tensor([[1.0, 0], [0, 2], [0, 1], [0, 0]], device=device, requires_grad=True)
        next_state = torch.tensor([[5.0, 3, 1, 0]], device=device)  # whose values are 5 and 7
        reward, fall = (torch.tensor([[number]], device=device) for number in (1.0, fallen))

        values = dqn.expected_values(lambda states: states @ weights, reward, next_state, fall)

        assert not values.requires_grad
        assert values.tolist() == [[pytest.approx(expected)]]

    @pytest.mark.parametrize(("limit", "last"), [(3, 0), (500, 1)], ids=["cut off", "fallen"])
    def test_falls_alone_are_remembered_as_falls(self, gymnasium, device, limit, last):
        learner = DQN(seed=0, device=device)
        learner.cart.env = gymnasium.make("CartPole-v1", max_episode_steps=limit)
        learner.cart.begin(0)

        while not learner.history:
            learner.push(1)

        steps = learner.memory.pushed
        assert learner.memory.rows[:steps, -1].tolist() == [0] * (steps - 1) + [last]


@statement("derived.dqn-target-net", notes="6 DQN")
@fault("the net expects what it says itself", DQN, "learn", own_values)
@fault("the target net is the net one step later", dqn, "TAU", lambda real: 1.0)
@fault("the target net never moves", dqn, "TAU", lambda real: 0.0)
def test_target_net_gives_the_expected_values_and_follows(gymnasium, device):
    """Deep Q-learning computes the expected values with a second net, the target net. After each learning
    step, the target net moves 2 % of the way to the net that learns.
    """
    learner = DQN(seed=0, device=device)
    with_values(learner.net, [0.3, 0.3])
    with_values(learner.target_net, [-0.8, -0.8])
    remember(learner, reward=1.0, fallen=0)

    learner.learn()

    expected = 1 - 0.99 * 0.8
    assert learner.net[-1].bias.grad.tolist() == pytest.approx([0.3 - expected, 0], abs=1e-6)
    net, target_net = learner.net[-1].bias[0].item(), learner.target_net[-1].bias[0].item()
    assert net != pytest.approx(0.3, abs=1e-4)
    assert target_net == pytest.approx(-0.8 + 0.02 * (net + 0.8))


@statement("derived.dqn-huber", notes="6 DQN")
@fault("the loss is quadratic", nn, "HuberLoss", lambda real: nn.MSELoss)
@fault("the loss is linear", nn, "HuberLoss", lambda real: nn.L1Loss)
@pytest.mark.parametrize("error", [0.5, 1.5, -1000.0], ids=["small", "large", "huge"])
def test_derivative_is_the_error_and_at_most_1(gymnasium, device, error):
    """The derivative of the Huber loss is the error itself if the error lies between -1 and 1. For every
    other error, the derivative is 1 or -1.
    """
    learner = DQN(seed=0, device=device)
    with_values(learner.net, [0.0, 0.0])
    remember(learner, reward=error, fallen=1)

    learner.learn()

    assert learner.net[-1].bias.grad.tolist() == pytest.approx([-max(-1, min(error, 1)), 0])


@statement("derived.dqn-exploration", notes="6 DQN")
@fault("nothing is tried at random", dqn, "epsilon", lambda real: lambda step: 0.0)
@fault("the share of random actions never falls", dqn, "epsilon", lambda real: lambda step: 0.9)
@fault("the worst action is taken", torch.Tensor, "argmax", lambda real: torch.Tensor.argmin)
@pytest.mark.parametrize(("step", "share"), [(0, 0.9), (4000, 0.363), (20_000, 0.056)])
def test_random_actions_become_rare(gymnasium, device, step, share):
    """Deep Q-learning begins with 90 % random actions. After 20,000 steps, 6 % of the actions are random. All
    other actions are those that the net values most.
    """
    learner = DQN(seed=0, device=device)
    with_values(learner.net, [0.0, 1.0])
    learner.step = step

    actions = [learner.choose() for _ in range(500)]

    assert dqn.epsilon(step) == pytest.approx(share, abs=0.001)
    assert actions.count(0) / 500 == pytest.approx(share / 2, abs=0.07)


@pytest.mark.slow
@pytest.mark.timeout(900)
@statement("derived.dqn-balances", notes="6 DQN")
@fault("rewards follow a fall", dqn, "expected_values", falls_ignored)
@fault("the target net never moves", dqn, "TAU", lambda real: 0.0)
def test_trained_net_balances_for_195_steps(gymnasium, device, measured):
    """After 20,000 steps of deep Q-learning, the best net so far keeps the pole of CartPole up for at
    least 195 steps on average over 100 new episodes. All of three seeds reach this.
    """
    returns = measured["mean returns"] = []
    for seed in range(3):
        torch.manual_seed(seed)
        learner = DQN(seed=seed, device=device)
        for _ in learner.steps():
            pass
        returns.append(play(partial(dqn.best_actions, learner.kept), seed=seed)[0].mean().item())
        assert returns[-1] >= dqn.GOOD
