"""CartPole-v1 of Gymnasium: a cart to push to the left (action 0) or right (1), so that its pole stands.

A state is four numbers: position and speed of the cart, angle and angular speed of the pole. Each push earns
a reward of 1, so that the return of an episode, the sum of its rewards, is its number of pushes. A fall ends
it: the pole leans by more than 12°, or the cart leaves the track. After 500 pushes, 10 s, it is cut off.
"""

from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from blitz.errors import BlitzError

# of a state: the angle, 0.2 rad at most, would be lost beside the other numbers
UNITS = torch.tensor([1.0, 1.0, 0.1, 1.0])


def gymnasium() -> ModuleType:
    """Return the package, which comes with the extra `dqn`.

    Raises:
        BlitzError: it is not installed.
    """
    try:
        import gymnasium
    except ImportError as error:
        raise BlitzError(
            "CartPole needs the package gymnasium, which is not installed: pip install 'blitz[dqn]'"
        ) from error
    return gymnasium


class CartPole:
    """The cart with its pole, and the episode that it is in, which its seed and the actions so far determine.

    Raises:
        BlitzError: Gymnasium is not installed.
    """

    def __init__(self) -> None:
        self.env = gymnasium().make("CartPole-v1")
        self.begin_anew()

    def begin_anew(self) -> None:
        """Begin an episode with a seed that PyTorch draws."""
        self.begin(int(torch.randint(2**31, ())))

    def begin(self, seed: int, *actions: int) -> None:
        """Begin the episode of a seed, which decides the first state alone, and do what was done in it."""
        observation, _ = self.env.reset(seed=seed)
        self.state: list[float] = (torch.from_numpy(observation) / UNITS).tolist()
        self.seed, self.actions = seed, list[int]()
        for action in actions:
            self.push(action)

    def push(self, action: int) -> tuple[float, bool, bool]:
        """Push the cart; return the reward, whether there was a fall, and whether the episode was cut off."""
        observation, reward, fallen, cut_off, _ = self.env.step(action)
        self.state = (torch.from_numpy(observation) / UNITS).tolist()
        self.actions.append(action)
        return float(reward), bool(fallen), bool(cut_off)


def play(
    choose: Callable[[Tensor], Tensor], *, episodes: int = 100, seed: int = 0
) -> tuple[Tensor, list[list[float]]]:
    """Play episodes side by side; return the return of each, float (N,), and the states of the first one.

    Args:
        choose: gives the actions, int64 (N,), in states, float (N, 4).
        episodes: how many, N.
        seed: of the states that they begin in.

    Raises:
        BlitzError: Gymnasium is not installed.
    """
    envs = gymnasium().make_vec("CartPole-v1", num_envs=episodes)
    observations, _ = envs.reset(seed=seed)
    returns, going_on, film = torch.zeros(episodes), torch.ones(episodes, dtype=torch.bool), []
    while going_on.any():
        states = torch.from_numpy(observations) / UNITS
        if going_on[0]:
            film.append(states[0].tolist())
        observations, rewards, fallen, cut_off, _ = envs.step(choose(states).numpy())
        returns += torch.from_numpy(rewards) * going_on  # one that has ended begins anew, and counts no more
        going_on &= ~torch.from_numpy(fallen | cut_off)
    envs.close()
    return returns, film


def random_actions(states: Tensor) -> Tensor:
    """Return an action for each state, int64 (N,), without a look at them."""
    return torch.randint(2, (len(states),))
