"""blitz/training/fit.py: a training that stops, and what it refuses to go on from."""

import copy

import pytest
import torch

from blitz.training.fit import Training
from blitz.training.nets import CifarNet
from blitz.training.recipes import net_for
from spec.blitz.runs import SHORT, make_net, make_split, make_stopped

MUON = SHORT._replace(batch_size=6, muon_learning_rate=0.1, shift=2, flip=True, half=True, widths=(8,))


def go_on(state, training):
    """Load a state and train to the end, whatever has been drawn in between; return the training."""
    torch.manual_seed(99)
    training.load_state_dict(copy.deepcopy(state))
    list(training.steps())
    return training


def assert_same(actual, expected):
    """Fail unless two trainings ended with the same bits and the same history."""
    assert actual.history == expected.history
    states = actual.state_dict(), expected.state_dict()
    for part in states[1].keys() - {"settings", "history"}:
        torch.testing.assert_close(states[0][part], states[1][part], rtol=0, atol=0)


class TestResume:
    """A training that stops and goes on ends as if it never had stopped."""

    @pytest.mark.parametrize("stop", [1, 2, 5, 7, 10])
    def test_resumed_training_ends_with_the_same_bits(self, stop):
        """After any of its 10 mini-batches; a net with dropout and a changing learning rate included."""
        state = make_stopped(stop, seed=1).state_dict()

        resumed = go_on(state, Training(make_net(), make_split(18), SHORT, seed=1))

        assert_same(resumed, make_stopped(None, seed=1))

    @pytest.mark.parametrize("stop", [1, 3, 5])
    def test_training_by_muon_on_moved_images_resumes_with_the_same_bits(self, stop):
        """Of six mini-batches: two optimizers, BatchNorm's means, and where each image has moved."""
        split = make_split(18)
        torch.manual_seed(0)
        whole = Training(net_for(MUON, split.images), split, MUON)
        states = [copy.deepcopy(whole.state_dict()) for _ in whole.steps()]

        resumed = go_on(states[stop - 1], Training(net_for(MUON), split, MUON))

        assert_same(resumed, whole)

    def test_a_state_of_an_older_version_goes_on(self):
        """A setting that it does not name was what is now the default, and two had other names."""
        recipe = SHORT._replace(muon_learning_rate=0.1, widths=(8,))
        state = Training(net_for(recipe), make_split(18), recipe).state_dict()
        state["settings"]["muon"] = state["settings"].pop("muon_learning_rate")
        state["settings"]["one_cycle"] = state["settings"].pop("schedule") == "one cycle"
        del state["settings"]["muon_momentum"], state["settings"]["views"]

        Training(net_for(recipe), make_split(18), recipe).load_state_dict(state)

        state["settings"]["muon"] = 0.2
        with pytest.raises(ValueError, match=r"^it was trained with muon_learning_rate 0\.2, not 0\.1"):
            Training(net_for(recipe), make_split(18), recipe).load_state_dict(state)

    @pytest.mark.parametrize("stop", [4, 10], ids=["stopped", "at its end"])
    def test_training_of_a_constant_rate_goes_on_for_more_epochs(self, stop):
        """It ends with the bits of a training that was asked for as many from the beginning."""
        constant = SHORT._replace(schedule="constant")
        longer = constant._replace(epochs=4)
        state = make_stopped(stop, recipe=constant).state_dict()

        resumed = go_on(state, Training(make_net(), make_split(18), longer))

        assert resumed.step == 20
        assert_same(resumed, make_stopped(None, recipe=longer))

    def test_training_of_a_constant_rate_ends_with_fewer_epochs_if_they_are_not_done(self):
        """Asked for one epoch, it goes on to its end; after that the sentence says how many it has done."""
        constant = SHORT._replace(schedule="constant")
        training = Training(make_net(), make_split(18), constant._replace(epochs=1))

        go_on(make_stopped(4, recipe=constant).state_dict(), training)

        assert (training.step, training.finished) == (5, True)
        with pytest.raises(ValueError, match=r"^it has done 1\.4 epochs, more than the 1 asked for$"):
            training.load_state_dict(make_stopped(7, recipe=constant).state_dict())


REFUSED = {
    "recipe": (
        {"recipe": SHORT._replace(name="long")},
        "^it was trained with recipe short, not long; resume with the recipe, seed and data it began with$",
    ),
    "epochs of a falling rate": (
        {"recipe": SHORT._replace(epochs=9)},
        "^its learning rate falls to 0 in 2 epochs, not in 9: resume with --epochs 2, "
        "or start a new training from its weights with --from$",
    ),
    "seed": ({"seed": 7}, "trained with seed 0, not 7"),
    "images": ({"split": make_split(18, seed=1)}, "trained with checksum of images [0-9a-f]{8}, not "),
    "net": (
        {"net": CifarNet()},
        r"^holds the weights of another net: it has 3\.weight \(10, 48\), .* where CifarNet has conv1",
    ),
}


class TestRefused:
    """What a training does not go on from."""

    @pytest.mark.parametrize(("other", "message"), REFUSED.values(), ids=REFUSED)
    def test_resume_of_another_training_is_refused(self, other, message):
        """The sentence names the first setting or weights that differ, and the training stays as it was."""
        state = make_stopped(3).state_dict()
        arguments = {"net": make_net(), "split": make_split(18), "recipe": SHORT, **other}
        training = Training(**arguments)
        before = copy.deepcopy(training.net.state_dict())

        with pytest.raises(ValueError, match=message):
            training.load_state_dict(state)

        assert training.step == 0
        torch.testing.assert_close(training.net.state_dict(), before, rtol=0, atol=0)

    def test_state_whose_optimizers_have_other_weights_is_refused(self):
        """An older version left no matrix to SGD."""
        training = Training(net_for(MUON), make_split(18), MUON)
        state = copy.deepcopy(training.state_dict())
        state["optimizer"]["param_groups"][0]["params"].pop()

        with pytest.raises(ValueError, match=r"^another version of blitz trained it"):
            training.load_state_dict(state)

    def test_state_with_a_part_missing_is_refused(self):
        """The sentence names all that is missing."""
        training = make_stopped(3)
        state = training.state_dict()
        del state["random of each process"], state["model"]

        with pytest.raises(
            ValueError, match="not the state of a training: model, random of each process is missing"
        ):
            training.load_state_dict(state)
