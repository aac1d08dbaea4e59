"""DQN: a net learns by trial and error to balance the pole of blitz.derived.cart_pole.

The net gives each action in a state its value: the sum of the rewards that follow, later ones discounted. It
learns from what it tries: an action is worth its reward plus the discounted value of the best next action. It
also forgets, so it is judged now and then by episodes without random actions, and the best one is kept.

Source: "Reinforcement Learning (DQN) Tutorial", which section 6 of the notes points to.
"""

import copy
import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from blitz.derived.cart_pole import CartPole, play, random_actions

# The tutorial learns in every step, and slowly: its TAU is 0.005, its LR 0.0003. We learn less often, and
# more at a time.
BATCH_SIZE = 128  # transitions to learn from at a time
EVERY = 4  # steps from one time to the next
CAPACITY = 20_000  # transitions that are remembered
GAMMA = 0.99  # the discount: what the reward of the next step is worth in this one
EPS_START, EPS_END = 0.9, 0.05  # the share of random actions, at first and in the long run
EPS_DECAY = 4000  # steps in which what it lies above EPS_END falls to 37 %
TAU = 0.02  # the share of the way to the net that the target net moves each time
LR = 1e-3
STEPS = 20_000
GOOD = 195  # the mean return of a hundred episodes from which on Gym counted CartPole-v0 as solved


class ReplayMemory:
    """The newest transitions: state, action, reward, next state, and 1 where that is a fall.

    Batches are drawn from all of them at random: those of one moment are too much alike to learn from.
    """

    def __init__(self, capacity: int, device: torch.device | str = "cpu") -> None:
        self.rows = torch.zeros(capacity, 11, device=device)
        self.pushed = 0

    def push(self, transition: list[float]) -> None:
        """Remember a transition, as eleven numbers; the oldest one makes way where the memory is full."""
        self.rows[self.pushed % len(self.rows)] = torch.tensor(transition)
        self.pushed += 1

    def sample(self, size: int) -> tuple[Tensor, ...]:
        """Draw states (N, 4), actions, rewards (N, 1), next states (N, 4) and falls (N, 1), all float."""
        remembered = min(self.pushed, len(self.rows))
        chosen = torch.randint(remembered, (size,), device=self.rows.device)
        return self.rows[chosen].split([4, 1, 1, 4, 1], dim=1)


def epsilon(step: int) -> float:
    """Return the share of random actions at a step, from 0: much is tried at first, and little at last."""
    return EPS_END + (EPS_START - EPS_END) * math.exp(-step / EPS_DECAY)


def best_actions(net: nn.Module, states: Tensor) -> Tensor:
    """Return the action that a net values most, int64 (N,), in each of some states, float (N, 4)."""
    with torch.no_grad():
        return net(states.to(next(net.parameters()).device)).argmax(dim=1).cpu()


def expected_values(target_net: nn.Module, rewards: Tensor, next_states: Tensor, fallen: Tensor) -> Tensor:
    """Return what the values of actions should be, float (N, 1): after a fall no reward follows."""
    with torch.no_grad():
        best = target_net(next_states).amax(dim=1, keepdim=True)
    return rewards + GAMMA * best * (1 - fallen)


class DQN:
    """Learning to balance; a step is a push of the cart (see System in blitz.commands.chapter).

    Args:
        seed: of the episodes that judge the net; what else is drawn comes from PyTorch's generators.
        steps: how long to learn.
        device: where the net learns; CartPole itself is computed on the CPU.

    Raises:
        BlitzError: Gymnasium is not installed.
    """

    def __init__(self, *, seed: int, steps: int = STEPS, device: torch.device | str = "cpu") -> None:
        self.cart = CartPole()
        self.seed, self.device = seed, torch.device(device)
        self.settings: dict[str, Any] = {"steps": steps}
        self.step, self.total_steps = 0, steps
        self.history: list[dict[str, float]] = []  # of each episode, and of each judgement
        layers = nn.Linear(4, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2)
        self.net = nn.Sequential(*layers).to(self.device)
        self.target_net = copy.deepcopy(self.net).requires_grad_(False)
        self.kept = copy.deepcopy(self.net)  # the best so far
        self.memory = ReplayMemory(CAPACITY, self.device)
        self.criterion = nn.HuberLoss()  # the pull of an error grows up to 1 and no further
        fused = self.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=LR, amsgrad=True, fused=fused)

    def steps(self) -> Iterator[str | None]:
        """Push the cart, remember what followed, and learn from a batch of what is remembered."""
        while self.step < self.total_steps:
            self.push(self.choose())
            if self.step % EVERY == 0 and self.memory.pushed >= BATCH_SIZE:
                self.learn()
            self.step += 1
            yield self._report()

    def choose(self) -> int:
        """Return a random action, or the one that the net values most."""
        if torch.rand(()).item() < epsilon(self.step):
            return int(torch.randint(2, ()))
        return int(best_actions(self.net, torch.tensor([self.cart.state])))

    def push(self, action: int) -> None:
        """Push the cart and remember what followed; an episode that ends makes way for the next one."""
        before = self.cart.state
        reward, fallen, cut_off = self.cart.push(action)
        # a cut is no fall: the pole would have stood on, and earned more
        self.memory.push([*before, action, reward, *self.cart.state, fallen])
        if fallen or cut_off:
            self.history.append({"step": self.step + 1, "return": len(self.cart.actions)})
            self.cart.begin_anew()

    def learn(self) -> None:
        """Move the net's values towards the expected ones, and the target net towards the net."""
        states, actions, rewards, next_states, fallen = self.memory.sample(BATCH_SIZE)
        values = self.net(states).gather(1, actions.long())
        loss = self.criterion(values, expected_values(self.target_net, rewards, next_states, fallen))
        # the learning rate falls to 0 in the course of the training
        self.optimizer.param_groups[0]["lr"] = LR * (1 - self.step / self.total_steps)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            for target, weight in zip(self.target_net.parameters(), self.net.parameters(), strict=True):
                target.lerp_(weight, TAU)

    def state_dict(self) -> dict[str, Any]:
        """Return the nets, what is remembered, and the episode by its seed and its actions."""
        return {
            "model": self.net.state_dict(),
            "target": self.target_net.state_dict(),
            "kept": self.kept.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "memory": self.memory.rows,
            "pushed": self.memory.pushed,
            "episode": [self.cart.seed, *self.cart.actions],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; its episode is played again."""
        self.net.load_state_dict(state["model"])
        self.target_net.load_state_dict(state["target"])
        self.kept.load_state_dict(state["kept"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.memory.rows.copy_(state["memory"])
        self.memory.pushed = state["pushed"]
        self.cart.begin(*state["episode"])

    def results(self) -> dict[str, bytes]:
        """Return pictures of all returns, and of an episode of the kept net beside one of random actions."""
        from blitz import pictures  # matplotlib takes a second to import

        _, film = play(partial(best_actions, self.kept), seed=self.seed)
        by_chance, its_film = play(random_actions, seed=self.seed)
        levels = {"solved": GOOD, "random actions": by_chance.mean().item()}
        return {
            "returns.png": pictures.returns(self.history, levels=levels),
            "episodes.png": pictures.cart_pole({"random actions": its_film, "the net": film}),
        }

    def _report(self) -> str | None:
        if self.step % 1000 and self.step < self.total_steps:
            return None
        returns, _ = play(partial(best_actions, self.net), seed=2**32 + self.step)  # not the last judgement's
        mean = returns.mean().item()
        if mean >= max((record["mean"] for record in self.history if "mean" in record), default=0):
            self.kept.load_state_dict(self.net.state_dict())
        self.history.append({"step": self.step, "mean": mean})
        line = f"step {self.step:5} of {self.total_steps}: {epsilon(self.step):3.0%} of the actions random; "
        line += f"without them a mean return of {mean:5.1f}"
        if self.step == self.total_steps:
            returns, _ = play(partial(best_actions, self.kept), seed=self.seed)
            line += f"\nMean return of the best net in {len(returns)} new episodes: {returns.mean():.1f}"
        return line
