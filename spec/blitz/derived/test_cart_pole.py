"""blitz/derived/cart_pole.py: what Gymnasium's CartPole does, and how its episodes are counted."""

import sys

import pytest
import torch

from blitz.derived.cart_pole import UNITS, CartPole, play
from blitz.errors import BlitzError


def never_falling(states):
    """Return actions that keep the pole up, by a rule of control."""
    return (states @ torch.tensor([0.1, 0.3, 0.3, 1.0]) > 0).long()


def test_seed_and_actions_determine_an_episode(gymnasium):
    """Another cart that begins with them is in the same state, to the bit."""
    cart, other = CartPole(), CartPole()
    cart.begin(3)
    for action in (1, 0, 0, 1):
        cart.push(action)

    other.begin(cart.seed, *cart.actions)

    assert (other.seed, other.actions, other.state) == (3, [1, 0, 0, 1], cart.state)
    assert other.push(1) == cart.push(1) == (1.0, False, False)
    assert other.state == cart.state


def test_cart_begins_with_a_seed_that_torch_draws(gymnasium):
    """The same state of PyTorch's generator gives the same episodes, one after the other."""
    carts = []
    for _ in range(2):
        torch.manual_seed(5)
        carts.append(CartPole())
        first = carts[-1].seed
        carts[-1].begin_anew()

    assert carts[0].seed == carts[1].seed != first
    assert carts[0].state == carts[1].state


def test_return_of_an_episode_is_its_number_of_steps(gymnasium):
    """A cart alone that begins in the same state falls after as many pushes to the left."""
    returns, film = play(lambda states: torch.zeros(len(states), dtype=torch.int64), episodes=5)
    cart = CartPole()
    cart.env.unwrapped.state = torch.tensor(film[0]).mul(UNITS).tolist()
    pushes, fallen = 0, False
    while not fallen:
        _, fallen, _ = cart.push(0)
        pushes += 1

    assert returns[0] == pushes == len(film)
    assert ((returns >= 8) & (returns <= 11)).all()


def test_episode_is_cut_off_after_500_steps(gymnasium):
    """The return of a pole that never falls is 500."""
    returns, film = play(never_falling, episodes=3)

    assert returns.tolist() == [500, 500, 500]
    assert len(film) == 500


@pytest.mark.parametrize("use", [CartPole, lambda: play(never_falling)], ids=["CartPole", "play"])
def test_missing_gymnasium_is_told_with_the_way_out(monkeypatch, use):
    """The sentence names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "gymnasium", None)

    with pytest.raises(BlitzError, match=r"not installed: pip install 'blitz\[dqn\]'"):
        use()
