"""Notes 4, steps 4 and 5: saving the net, loading it, and counting what it gets right."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from blitz.training.nets import CifarNet
from spec.harness import OUTDATED, QUALIFIED, WRONG, broken_by, claim


def loading(change):
    """Fault: what is loaded into a net is changed on the way."""
    return lambda real: lambda self, state, strict=True: real(self, change(self, state), strict=strict)


def without_biases(real):
    """Fault: a state holds weights alone."""
    return lambda self: OrderedDict((name, value) for name, value in real(self).items() if "weight" in name)


def fitting(net, state):
    """Return the part of `state` that has the shapes of `net`."""
    own = net.state_dict()
    return {name: value for name, value in state.items() if name not in own or own[name].shape == value.shape}


def known(net, state):
    """Return the part of `state` that `net` has a place for."""
    return {name: value for name, value in state.items() if name in net.state_dict()}


def running_what_it_refuses(real):
    """Fault: torch.load looks at the whole file before it refuses it."""

    def load(path):
        real(path, weights_only=False)
        return real(path)

    return load


class Touch:
    """An object whose pickle makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        """Have pickle call Path(path).touch()."""
        return Path.touch, (self.path,)


class TestSavingAndLoading:
    """The end of step 4 and the beginning of step 5."""

    @claim("cifar.save-state-dict", notes="4 step 4")
    @broken_by(CifarNet, "state_dict", without_biases)
    @broken_by(CifarNet, "state_dict", lambda real: lambda self: real(self, keep_vars=True))
    @broken_by(torch, "save", lambda real: lambda *args: real(*args, _use_new_zipfile_serialization=False))
    def test_saved_state_is_a_zip_of_ten_plain_tensors(self, tmp_path):
        """A saved state is a zip file of an OrderedDict: the ten parameters as plain, detached tensors."""
        net = CifarNet()

        torch.save(net.state_dict(), tmp_path / "net.pth")
        state = torch.load(tmp_path / "net.pth")

        assert zipfile.is_zipfile(tmp_path / "net.pth")
        assert type(state) is OrderedDict
        assert list(state) == [name for name, _ in net.named_parameters()]
        assert not any(isinstance(value, nn.Parameter) or value.requires_grad for value in state.values())

    @claim("cifar.save-state-dict-snapshot", notes="4 step 4")
    @broken_by(
        CifarNet, "state_dict", lambda real: lambda self: {k: v.clone() for k, v in real(self).items()}
    )
    @broken_by(torch, "load", lambda real: lambda path: {k: v.zero_() for k, v in real(path).items()})
    def test_saved_state_is_a_snapshot_and_a_state_in_memory_is_not(self, tmp_path):
        """A saved state stays as it was when the net learns on; state_dict() shares memory and follows."""
        net = CifarNet()
        before = net.fc3.bias.detach().clone()
        state = net.state_dict()
        torch.save(state, tmp_path / "net.pth")

        with torch.no_grad():
            net.fc3.bias.add_(1)

        assert torch.equal(torch.load(tmp_path / "net.pth")["fc3.bias"], before)
        assert torch.equal(state["fc3.bias"], before + 1)

    @claim("cifar.load-state-dict", notes="4 step 5")
    @broken_by(nn.Module, "load_state_dict", loading(lambda net, state: net.state_dict()))
    @broken_by(nn.Module, "load_state_dict", lambda real: lambda self, state: real(self, state, assign=True))
    def test_new_net_loads_a_saved_state_into_its_own_parameters(self, tmp_path):
        """A net that loads a state keeps its Parameter objects, and gives the bitwise same scores."""
        net, other = CifarNet(), CifarNet()
        parameters = list(other.parameters())
        torch.save(net.state_dict(), tmp_path / "net.pth")

        report = other.load_state_dict(torch.load(tmp_path / "net.pth"))

        images = torch.rand(4, 3, 32, 32)
        assert repr(report) == "<All keys matched successfully>"
        assert all(new is old for new, old in zip(other.parameters(), parameters, strict=True))
        assert torch.equal(other(images), net(images))

    @claim("cifar.load-state-dict-refuses-other-keys", notes="4 step 5")
    @broken_by(nn.Module, "load_state_dict", lambda real: lambda self, state: real(self, state, strict=False))
    def test_load_state_dict_refuses_missing_and_unexpected_keys(self):
        """A state in which a name is missing, or one more than the net has, raises."""
        net = CifarNet()
        state = net.state_dict()

        with pytest.raises(RuntimeError, match=r'Missing key.* "fc3.bias"'):
            net.load_state_dict({name: value for name, value in state.items() if name != "fc3.bias"})
        with pytest.raises(RuntimeError, match=r'Unexpected key.* "fc4.bias"'):
            net.load_state_dict({**state, "fc4.bias": torch.zeros(10)})

    @claim("cifar.load-state-dict-refuses-other-shapes", notes="4 step 5")
    @broken_by(nn.Module, "load_state_dict", loading(fitting))
    @broken_by(nn.Module, "load_state_dict", loading(known))
    def test_load_state_dict_refuses_other_shapes_even_if_not_strict(self):
        """With strict=False the names that do not match are listed; a shape that does not still raises."""
        net = CifarNet()
        state = net.state_dict()
        state["fc4.bias"] = state.pop("fc3.bias")

        report = net.load_state_dict(state, strict=False)

        assert (report.missing_keys, report.unexpected_keys) == (["fc3.bias"], ["fc4.bias"])
        with pytest.raises(RuntimeError, match=r"size mismatch for fc3\.bias"):
            net.load_state_dict({**net.state_dict(), "fc3.bias": torch.zeros(1)}, strict=False)

    @claim(
        "cifar.load-default-weights-only",
        notes="4 step 5",
        verdict=OUTDATED,
        since="2.6",
        says="net.load_state_dict(torch.load(PATH)): plain torch.load, without weights_only",
    )
    @broken_by(
        torch, "load", lambda real: lambda path, weights_only=False: real(path, weights_only=weights_only)
    )
    @pytest.mark.filterwarnings("ignore:You are using `torch.load`:FutureWarning")  # 2.4 and 2.5 only warned
    def test_load_refuses_a_whole_net_by_default(self, tmp_path):
        """Plain torch.load reads a state_dict; a whole pickled net it refuses without weights_only=False."""
        net = CifarNet()
        torch.save(net, tmp_path / "net.pth")
        torch.save(net.state_dict(), tmp_path / "state.pth")

        assert torch.load(tmp_path / "state.pth").keys() == net.state_dict().keys()
        with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
            torch.load(tmp_path / "net.pth")

        assert type(torch.load(tmp_path / "net.pth", weights_only=False)) is CifarNet

    @claim(
        "cifar.load-default-weights-only-runs-nothing",
        notes="4 step 5",
        verdict=OUTDATED,
        since="2.6",
        says="net.load_state_dict(torch.load(PATH)): plain torch.load, without weights_only",
    )
    @broken_by(torch, "load", running_what_it_refuses)
    @broken_by(torch, "load", lambda real: lambda path: real(path, weights_only=False))
    @pytest.mark.filterwarnings("ignore:You are using `torch.load`:FutureWarning")  # 2.4 and 2.5 only warned
    def test_load_does_not_run_what_a_pickle_asks_for(self, tmp_path):
        """A file whose pickle calls a function is refused by default, and the function is not called."""
        torch.save(Touch(tmp_path / "called"), tmp_path / "net.pth")

        with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
            torch.load(tmp_path / "net.pth")

        assert not (tmp_path / "called").exists()


class TestPredictions:
    """Step 5: from scores to an accuracy."""

    @claim("cifar.max-picks-class", notes="4 step 5")
    @broken_by(torch, "max", lambda real: lambda scores, dim: real(scores, 0))
    @broken_by(torch, "max", lambda real: torch.min)
    @broken_by(torch, "max", lambda real: lambda scores, dim: real(scores.abs(), dim))
    def test_max_over_dimension_1_picks_a_class_for_each_image(self, device):
        """torch.max(outputs, 1) gives for each row its largest value and, as int64, where it stands."""
        outputs = torch.tensor([[1.0, -9.0, 3.0], [7.0, 5.0, -8.0]], device=device)

        values, predicted = torch.max(outputs.data, 1)

        assert values.tolist() == [3, 7]
        assert predicted.tolist() == np.argmax(outputs.tolist(), axis=1).tolist() == [2, 0]
        assert predicted.dtype == torch.int64

    @claim("cifar.max-picks-class-dimension", notes="4 step 5")
    @broken_by(torch, "max", lambda real: lambda scores: real(scores, 0).values)
    def test_max_without_a_dimension_is_only_the_largest_value(self, device):
        """torch.max(outputs) without a dimension is the one largest value of all, and no index."""
        largest = torch.max(torch.tensor([[1.0, -9.0, 3.0], [7.0, 5.0, -8.0]], device=device))

        assert largest.tolist() == 7

    @claim("cifar.max-picks-class-nan", notes="4 step 5")
    @broken_by(torch, "max", lambda real: lambda scores, dim: real(scores.nan_to_num(-torch.inf), dim))
    def test_max_counts_nan_as_the_largest_value(self, device):
        """A score that is nan wins: the prediction of a diverged net is where the nan stands."""
        _, predicted = torch.max(torch.tensor([[1.0, torch.nan, torch.inf]], device=device), 1)

        assert predicted.tolist() == [1]

    @claim(
        "cifar.energy-is-not-probability",
        notes="notebook cifar, an aside",
        verdict=WRONG,
        says='an output of the net, an "energy", can be thought of as a probability',
    )
    @broken_by(CifarNet, "forward", lambda real: lambda self, images: real(self, images).softmax(1))
    @broken_by(CifarNet, "forward", lambda real: lambda self, images: real(self, images).relu())
    @broken_by(F, "softmax", lambda real: lambda scores, dim: scores / scores.sum(dim, keepdim=True))
    def test_outputs_are_scores_and_softmax_makes_probabilities(self, device):
        """Outputs can be negative and do not sum to 1; softmax makes them probabilities in the same order."""
        outputs = CifarNet().to(device).double()(torch.rand(4, 3, 32, 32).double().to(device))
        probabilities = F.softmax(outputs, 1)

        assert outputs.cpu().min() < 0
        # a probability misses 1 by rounding, 1e-15, alone
        assert (outputs.cpu().sum(1) - 1).abs().min() > 0.01
        assert probabilities.cpu().min() > 0
        torch.testing.assert_close(probabilities.sum(1), torch.ones(4, device=device).double())
        assert probabilities.argsort(1).tolist() == outputs.argsort(1).tolist()

    @claim("cifar.no-grad-evaluation", notes="4 step 5")
    @broken_by(CifarNet, "forward", lambda real: torch.enable_grad()(real))
    @broken_by(CifarNet, "forward", lambda real: lambda net, x: real(net, x * (1 + torch.is_grad_enabled())))
    def test_no_grad_changes_no_output_and_makes_data_redundant(self, device):
        """Within no_grad the outputs are the same but require no gradient, so that .data adds nothing."""
        net = CifarNet().to(device).double()
        images = torch.rand(4, 3, 32, 32, device=device).double()

        with torch.no_grad():
            outputs = net(images)

        assert not outputs.requires_grad
        assert outputs.grad_fn is None
        torch.testing.assert_close(outputs, net(images).detach())

    @claim("cifar.no-grad-evaluation-without-eval", notes="4 step 5")
    @broken_by(
        CifarNet, "forward", lambda real: lambda net, x: F.dropout(real(net, x), training=net.training)
    )
    def test_net_without_dropout_needs_no_eval(self, device):
        """The net has neither dropout nor batch norm: training and evaluation mode give the same."""
        net = CifarNet().to(device).double()
        images = torch.rand(4, 3, 32, 32, device=device).double()

        torch.testing.assert_close(net.train()(images), net.eval()(images))

    @claim(
        "cifar.accuracy-arithmetic",
        notes="4 step 5",
        verdict=QUALIFIED,
        says="%d prints the share of (predicted == labels).sum().item() as a percentage",
    )
    @broken_by(torch.Tensor, "item", lambda real: lambda count: float(real(count)))
    @broken_by(torch.Tensor, "sum", lambda real: lambda same: real(~same))
    @broken_by(torch.Tensor, "sum", lambda real: lambda same: same.any())
    @pytest.mark.asks_the_device
    def test_correct_predictions_are_counted_as_an_int_and_printed_cut_off(self, device):
        """Correct predictions are counted as a Python int, and %d cuts off: 54.99 % is printed as 54 %."""
        labels = torch.randint(10, (10_000,), device=device)
        predicted = torch.cat([labels[:5499], (labels[5499:] + 1) % 10])

        correct = (predicted == labels).sum().item()

        assert type(correct) is int
        assert correct == 5499
        assert "%d %%" % (100 * correct / 10_000) == "54 %"  # noqa: UP031 - the notes' own formatting

    @claim(
        "cifar.accuracy-arithmetic-short-batch",
        notes="notebook cifar",
        verdict=QUALIFIED,
        says="for i in range(4) counts each test batch by class",
    )
    @broken_by(torch.Tensor, "__getitem__", lambda real: lambda t, i: real(t, i if i != 3 else -1))
    @pytest.mark.asks_the_device
    def test_counting_four_a_batch_needs_full_batches(self, device):
        """A loop over range(4) counts a batch of four by class, and raises an IndexError on one of three."""
        labels, predicted = torch.tensor([[3, 8, 8, 0], [3, 8, 1, 0]], device=device)

        assert count_by_class(predicted, labels) == [1, 0, 0, 1, 0, 0, 0, 0, 1, 0]
        with pytest.raises(IndexError, match="index 3 is out of bounds"):
            count_by_class(predicted[:3], labels[:3])

    @claim(
        "cifar.accuracy-arithmetic-single",
        notes="notebook cifar",
        verdict=QUALIFIED,
        says="(predicted == labels).squeeze() can be indexed by the number of the image",
    )
    @broken_by(torch.Tensor, "squeeze", lambda real: lambda same: same)
    @pytest.mark.asks_the_device
    def test_squeeze_takes_the_batch_axis_of_a_single_image(self, device):
        """squeeze() makes the comparison of a batch of one image 0-d, which cannot be indexed."""
        labels = torch.tensor([3], device=device)

        with pytest.raises(IndexError, match="0-dim"):
            count_by_class(labels, labels)


def count_by_class(predicted, labels):
    """Count the right predictions of a batch by class, as the notebook does."""
    counts = [0] * 10
    c = (predicted == labels).squeeze()
    for i in range(4):
        label = labels[i]
        counts[label] += c[i].item()
    return counts
