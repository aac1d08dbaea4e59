"""blitz/training/fit.py: a training that stops, and what it refuses to go on from."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

from blitz.training.fit import Training, check_weights
from blitz.training.nets import CifarNet
from blitz.training.recipes import net_for
from spec.blitz.runs import SHORT, make_net, make_split, make_stopped


class TestResume:
    """A training that stops and goes on ends as if it never had stopped."""

    @pytest.mark.parametrize("stop", [1, 2, 3, 5, 7, 10])
    def test_resumed_training_ends_with_the_same_bits(self, stop):
        """After any of its 10 mini-batches; a net with dropout and a changing learning rate included."""
        whole = make_stopped(None, seed=1)
        state = torch.utils._pytree.tree_map(
            lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf,
            make_stopped(stop, seed=1).state_dict(),
        )
        resumed = Training(make_net(), make_split(18), SHORT, seed=1)
        torch.manual_seed(99)

        resumed.load_state_dict(state)
        for _ in resumed.steps():
            pass

        assert resumed.history == whole.history
        actual, expected = resumed.state_dict(), whole.state_dict()
        for part in ("model", "optimizer", "running_loss"):
            torch.testing.assert_close(actual[part], expected[part], rtol=0, atol=0)

    @pytest.mark.parametrize("stop", [1, 3, 5])
    def test_training_by_muon_on_moved_images_resumes_with_the_same_bits(self, stop):
        """Of six mini-batches: two optimizers, BatchNorm's means, and where each image has moved."""
        recipe = SHORT._replace(
            batch_size=6, muon_learning_rate=0.1, shift=2, flip=True, half=True, widths=(8,)
        )
        split = make_split(18)

        def train(training, steps):
            for _ in training.steps():
                if training.step == steps:
                    break
            return training

        def begin():
            torch.manual_seed(0)
            return Training(net_for(recipe, split.images), split, recipe)

        whole = train(begin(), None)
        state = copy.deepcopy(train(begin(), stop).state_dict())
        torch.manual_seed(99)
        resumed = Training(net_for(recipe), split, recipe)

        resumed.load_state_dict(state)
        train(resumed, None)

        assert resumed.history == whole.history
        for part in ("model", "optimizer", "muon"):
            torch.testing.assert_close(resumed.state_dict()[part], whole.state_dict()[part], rtol=0, atol=0)

    def test_a_state_from_before_a_setting_existed_is_of_its_default(self):
        """Trainings saved by an older version go on, unless the recipe sets what they did not know."""
        state = make_stopped(3).state_dict()
        del state["settings"]["muon_learning_rate"], state["settings"]["widths"]
        training = Training(make_net(), make_split(18), SHORT)

        training.load_state_dict(state)

        assert training.step == 3
        smoothed = {**state, "settings": {**state["settings"]}}
        del smoothed["settings"]["label_smoothing"]
        with pytest.raises(ValueError, match=r"^it was trained with label_smoothing 0\.0, not 0\.1"):
            Training(make_net(), make_split(18), SHORT._replace(label_smoothing=0.1)).load_state_dict(
                smoothed
            )

    def test_a_state_that_calls_the_rate_of_muon_muon_goes_on(self):
        """So it was called, and its momentum was that of SGD; another rate is still refused."""
        recipe = SHORT._replace(muon_learning_rate=0.1, widths=(8,))
        state = Training(net_for(recipe), make_split(18), recipe).state_dict()
        state["settings"]["muon"] = state["settings"].pop("muon_learning_rate")
        del state["settings"]["muon_momentum"]

        Training(net_for(recipe), make_split(18), recipe).load_state_dict(state)

        state["settings"]["muon"] = 0.2
        with pytest.raises(ValueError, match=r"^it was trained with muon_learning_rate 0\.2, not 0\.1"):
            Training(net_for(recipe), make_split(18), recipe).load_state_dict(state)

    @pytest.mark.parametrize("stop", [4, 10], ids=["stopped", "at its end"])
    def test_training_of_a_constant_rate_goes_on_for_more_epochs(self, stop):
        """It ends with the bits of a training that was asked for as many from the beginning."""
        constant = SHORT._replace(one_cycle=False)
        longer = constant._replace(epochs=4)
        whole = make_stopped(None, recipe=longer)
        state = copy.deepcopy(make_stopped(stop, recipe=constant).state_dict())
        resumed = Training(make_net(), make_split(18), longer)

        resumed.load_state_dict(state)
        list(resumed.steps())

        assert (resumed.step, resumed.history) == (20, whole.history)
        assert resumed.state_dict()["settings"]["epochs"] == 4
        torch.testing.assert_close(resumed.state_dict()["model"], whole.state_dict()["model"], rtol=0, atol=0)

    def test_training_of_a_constant_rate_ends_with_fewer_epochs_if_they_are_not_done(self):
        """Asked for one epoch, it goes on to its end; after that the sentence says how many it has done."""
        constant = SHORT._replace(one_cycle=False)
        shorter = constant._replace(epochs=1)
        training = Training(make_net(), make_split(18), shorter)

        training.load_state_dict(make_stopped(4, recipe=constant).state_dict())

        assert len(list(training.steps())) == 1
        with pytest.raises(ValueError, match=r"^it has done 1\.4 epochs, more than the 1 asked for$"):
            training.load_state_dict(make_stopped(7, recipe=constant).state_dict())

    def test_running_loss_of_an_older_version_is_that_of_each_process(self):
        """It was saved as one number, the mean."""
        state = make_stopped(2).state_dict()
        training = Training(make_net(), make_split(18), SHORT)

        training.load_state_dict({**state, "running_loss": torch.tensor(2.5)})

        assert training.running_loss == 2.5

    def test_generators_of_python_numpy_and_torch_come_back(self):
        """What is drawn after a resume is what would have been drawn."""
        training = make_stopped(2)
        state = training.state_dict()
        drawn = random.random(), np.random.rand(), torch.rand(1).item()

        training.load_state_dict(state)

        assert (random.random(), np.random.rand(), torch.rand(1).item()) == drawn

    def test_epoch_counts_what_is_complete(self):
        """Of two epochs of 5 mini-batches one is complete after 5 and after 9, and both after 10."""
        epochs = [make_stopped(steps).epoch for steps in (1, 5, 9, 10)]

        assert epochs == [0, 1, 1, 2]

    def test_finished_training_has_no_step_left(self):
        """A training at its end makes no further mini-batch."""
        training = make_stopped(10)

        assert training.finished
        assert list(training.steps()) == []

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (
                {"recipe": SHORT._replace(name="long")},
                "^it was trained with recipe short, not long; "
                "resume with the recipe, seed and data it began with$",
            ),
            (
                {"recipe": SHORT._replace(epochs=9)},
                "^its learning rate falls to 0 in 2 epochs, not in 9: resume with --epochs 2, "
                "or start a new training from its weights with --from$",
            ),
            ({"seed": 7}, "trained with seed 0, not 7"),
            ({"split": make_split(17)}, "trained with images 18, not 17"),
            ({"split": make_split(18, seed=1)}, "trained with checksum of images [0-9a-f]{8}, not "),
        ],
        ids=["recipe", "its values", "seed", "number of images", "images"],
    )
    def test_resume_with_other_settings_is_refused(self, other, message):
        """The sentence names the first setting that differs, and the training stays as it was."""
        state = make_stopped(3).state_dict()
        arguments = {"net": make_net(), "split": make_split(18), "recipe": SHORT, "seed": 0, **other}
        training = Training(**arguments)

        with pytest.raises(ValueError, match=message):
            training.load_state_dict(state)

        assert training.step == 0

    def test_resume_with_another_net_is_refused(self):
        """The sentence names the first weight that differs, and none is loaded."""
        state = make_stopped(3).state_dict()
        training = Training(CifarNet(), make_split(18), SHORT)

        with pytest.raises(ValueError, match=r"weights of another net: conv1\.weight is missing$"):
            training.load_state_dict(state)

        assert training.step == 0

    @pytest.mark.parametrize(
        ("weight", "message"),
        [
            ({"4.bias": torch.zeros(10)}, r"4\.bias is not a part of this net$"),
            ({"3.bias": 0.5}, r"3\.bias has shape \(\), not \(10,\)$"),
        ],
        ids=["one too many", "a number"],
    )
    def test_weights_that_the_net_has_no_use_for_are_refused(self, weight, message):
        """A weight of a layer more, and a number where a tensor belongs."""
        net = make_net()

        with pytest.raises(ValueError, match=message):
            check_weights(net, {**net.state_dict(), **weight})

    def test_weights_of_another_shape_are_refused(self):
        """Equal names are not enough."""
        state = make_stopped(3).state_dict()
        wide = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(192, 10))

        with pytest.raises(ValueError, match=r"3\.weight has shape \(10, 48\), not \(10, 192\)"):
            Training(wide, make_split(18), SHORT).load_state_dict(state)

    def test_state_with_a_part_missing_is_refused(self):
        """The sentence names all that is missing."""
        training = make_stopped(3)
        state = training.state_dict()
        del state["random of each process"], state["model"]

        with pytest.raises(
            ValueError, match="not the state of a training: model, random of each process is missing"
        ):
            training.load_state_dict(state)
