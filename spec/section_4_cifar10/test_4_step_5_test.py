"""Notes 4, step 5: loading the net, what it says of an image, and counting what it gets right."""

import pickle
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from blitz.training.nets import CifarNet
from spec.harness import ANSWERED, OUTDATED, QUALIFIED, WRONG, fault, since, statement
from spec.section_4_cifar10.faults import given, giving

ONE_BIAS = {"fc3.bias": torch.zeros(1)}

# a state that does not fit: the name that it lacks, what is put in, how it is loaded, and what is said
UNFIT = {
    "a name is missing": ("fc3.bias", {}, {}, r'Missing key.* "fc3.bias"'),
    "a name is unknown": (None, {"fc4.bias": torch.zeros(10)}, {}, r'Unexpected key.* "fc4.bias"'),
    "a shape differs": (None, ONE_BIAS, {}, r"size mismatch for fc3\.bias"),
    "a shape differs, not strict": (None, ONE_BIAS, {"strict": False}, r"size mismatch for fc3\.bias"),
}


def loading_nothing(real):
    """Let a net load its own state, whatever it is given."""
    return lambda net, state, strict=True: real(net, net.state_dict())


def trusting(real):
    """Let torch.load load any pickle by default."""
    return lambda path, weights_only=False: real(path, weights_only=weights_only)


def running_what_it_refuses(real):
    """Let torch.load look at the whole file before it refuses it."""
    return lambda path: (real(path, weights_only=False), real(path))[1]


def for_ever(real):
    """Let what is safe within `with` be safe afterwards."""
    return lambda classes: nullcontext(torch.serialization.add_safe_globals(classes))


def dropping_out(real):
    """Let the net drop out while it is in training mode."""
    return lambda net, images: F.dropout(real(net, images), training=net.training)


class Touch:
    """An object whose pickle makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        """Have pickle call Path(path).touch()."""
        return Path.touch, (self.path,)


class Progress:
    """An object of a class of one's own, as people keep beside the weights in a checkpoint."""

    def __init__(self, epoch):
        self.epoch = epoch


@pytest.fixture
def checkpoint(tmp_path):
    """A file with weights and an object of a class of one's own; what is declared safe is forgotten again."""
    torch.save({"weights": torch.ones(2), "progress": Progress(3)}, tmp_path / "checkpoint.pt")
    before = torch.serialization.get_safe_globals()
    yield tmp_path / "checkpoint.pt"
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


def epoch_in(checkpoint):
    """Return the epoch that torch.load finds in a file, or "refused" where it refuses the class."""
    try:
        return torch.load(checkpoint, weights_only=True)["progress"].epoch
    except pickle.UnpicklingError as error:
        return "refused" if "Progress was not an allowed global" in str(error) else str(error)


def count_by_class(predicted, labels):
    """Count the right predictions of a batch by class, as the notebook does."""
    counts = [0] * 10
    c = (predicted == labels).squeeze()
    for i in range(4):
        label = labels[i]
        counts[label] += c[i].item()
    return counts


@statement("cifar.load-state-dict", notes="4 step 5")
@fault("nothing is loaded", nn.Module, "load_state_dict", loading_nothing)
@fault("parameters are replaced", nn.Module, "load_state_dict", given(assign=True))
@fault("other names are passed over", nn.Module, "load_state_dict", given(strict=False))
class TestLoadStateDict:
    """`load_state_dict` copies saved parameters into a new net. The new net then returns exactly the same
    scores as the saved net. By default, a missing name, an unknown name or a wrong shape raises a
    RuntimeError.
    """

    def test_net_loads_a_saved_state_into_its_own_parameters(self, tmp_path):
        net, other = CifarNet(), CifarNet()
        parameters, images = list(other.parameters()), torch.rand(4, 3, 32, 32)
        torch.save(net.state_dict(), tmp_path / "net.pth")

        report = other.load_state_dict(torch.load(tmp_path / "net.pth"))

        assert repr(report) == "<All keys matched successfully>"
        assert all(new is old for new, old in zip(other.parameters(), parameters, strict=True))
        assert torch.equal(other(images), net(images))

    @pytest.mark.parametrize(("less", "more", "options", "message"), UNFIT.values(), ids=UNFIT)
    def test_state_that_does_not_fit_is_refused(self, less, more, options, message):
        state = {name: value for name, value in CifarNet().state_dict().items() if name != less}

        with pytest.raises(RuntimeError, match=message):
            CifarNet().load_state_dict({**state, **more}, **options)


@since("2.6")
@statement(
    "cifar.load-default-weights-only",
    notes="4 step 5",
    verdict=OUTDATED,
    says="a saved net is loaded by net.load_state_dict(torch.load(PATH)), without weights_only",
)
@fault("any pickle is loaded", torch, "load", trusting)
@fault("a pickle is run before it is refused", torch, "load", running_what_it_refuses)
@pytest.mark.filterwarnings("ignore:You are using `torch.load`:FutureWarning")  # 2.4 and 2.5 only warned
class TestLoadDefaultWeightsOnly:
    """By default, `torch.load` raises an UnpicklingError if the file holds a whole net. A file that calls a
    function such as `Path.touch` raises the same error, and the function is not run. With
    `weights_only=False`, `torch.load` loads the whole net.
    """

    def test_whole_net_is_refused_unless_weights_only_is_false(self, tmp_path):
        torch.save(CifarNet(), tmp_path / "net.pth")

        with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
            torch.load(tmp_path / "net.pth")
        assert type(torch.load(tmp_path / "net.pth", weights_only=False)) is CifarNet

    def test_function_that_a_pickle_calls_is_not_run(self, tmp_path):
        torch.save(Touch(tmp_path / "called"), tmp_path / "net.pth")

        with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
            torch.load(tmp_path / "net.pth")
        assert not (tmp_path / "called").exists()


@statement(
    "cifar.load-own-classes",
    notes="4 step 5",
    verdict=ANSWERED,
    says="a saved net is loaded by net.load_state_dict(torch.load(PATH))",
)
@fault(
    "any class is loaded",
    torch,
    "load",
    lambda real: lambda path, weights_only: real(path, weights_only=False),
)
@fault("no class is ever safe", torch.serialization, "add_safe_globals", lambda real: lambda classes: None)
@fault("safe once is safe for ever", torch.serialization, "safe_globals", for_ever)
class TestLoadOwnClasses:
    """With `weights_only=True`, `torch.load` refuses a file that holds an object of your own class. After
    `torch.serialization.add_safe_globals([YourClass])`, `torch.load` loads this file. In a block `with
    torch.serialization.safe_globals([YourClass]):`, it does so until the block ends.
    """

    def test_own_class_is_loaded_once_it_was_added_to_the_safe_ones(self, checkpoint):
        before = epoch_in(checkpoint)

        torch.serialization.add_safe_globals([Progress])

        assert (before, epoch_in(checkpoint)) == ("refused", 3)

    def test_own_class_is_loaded_within_safe_globals_alone(self, checkpoint):
        with torch.serialization.safe_globals([Progress]):
            within = epoch_in(checkpoint)

        assert (within, epoch_in(checkpoint)) == (3, "refused")


@statement("cifar.max-picks-class", notes="4 step 5")
@fault("max goes down the columns", torch, "max", lambda real: lambda scores, dim: real(scores, 0))
@fault("max is of absolute values", torch, "max", lambda real: lambda x, *dim: real(x.abs(), *dim))
@fault("nan counts as the least", torch, "max", lambda real: lambda x, *dim: real(x.nan_to_num(-9), *dim))
class TestMaxPicksClass:
    """For each image, `torch.max(outputs, 1)` returns the largest score and the number of the class with this
    score. Without the 1, `torch.max(outputs)` returns only the largest of all scores. A score of nan counts
    as the largest.
    """

    def test_max_over_dimension_1_picks_a_class_for_each_image(self, device):
        outputs = torch.tensor(
            [[1.0, -9.0, 3.0], [7.0, 5.0, -8.0], [1.0, torch.nan, torch.inf]], device=device
        )

        values, predicted = torch.max(outputs.data, 1)

        assert values[:2].tolist() == [3, 7]
        assert predicted.tolist() == [2, 0, 1]
        assert predicted.dtype == torch.int64

    def test_max_without_a_dimension_is_the_largest_score_alone(self, device):
        assert torch.max(torch.tensor([[1.0, -9.0, 3.0], [7.0, 5.0, -8.0]], device=device)).tolist() == 7


@statement(
    "cifar.energy-is-not-probability",
    notes="notebook cifar",
    verdict=WRONG,
    says='an output of the net is an "energy", which can be thought of as a probability',
)
@fault("the net ends in softmax", CifarNet, "forward", giving(lambda scores: scores.softmax(1)))
@fault("the net ends in relu", CifarNet, "forward", giving(torch.relu))
@fault("softmax only divides", F, "softmax", lambda real: lambda x, dim: x / x.sum(dim, keepdim=True))
def test_outputs_are_scores_and_softmax_makes_probabilities(device):
    """The outputs of the CIFAR-10 net are scores, not probabilities. The scores of an image can be negative
    and do not sum to 1. Softmax turns the scores into probabilities and keeps the order of the classes.
    """
    outputs = CifarNet().to(device).double()(torch.rand(4, 3, 32, 32).double().to(device))
    probabilities = F.softmax(outputs, 1)

    assert outputs.cpu().min() < 0
    assert (outputs.cpu().sum(1) - 1).abs().min() > 0.01  # rounding alone makes 1e-15
    assert probabilities.cpu().min() > 0
    torch.testing.assert_close(probabilities.sum(1), torch.ones(4, device=device).double())
    assert probabilities.argsort(1).tolist() == outputs.argsort(1).tolist()


@statement("cifar.no-grad-evaluation", notes="4 step 5")
@fault("gradients stay on", CifarNet, "forward", torch.enable_grad())
@fault("the net drops out", CifarNet, "forward", dropping_out)
def test_no_grad_and_eval_change_no_output(device):
    """The CIFAR-10 net returns the same outputs within `torch.no_grad()` as outside. Within
    `torch.no_grad()`, the outputs require no gradient. A call of `net.eval()` changes no output, because this
    net has neither dropout nor batch norm.
    """
    net = CifarNet().to(device).double()
    images = torch.rand(4, 3, 32, 32, device=device).double()

    with torch.no_grad():
        outputs = net(images)

    assert not outputs.requires_grad
    torch.testing.assert_close(outputs, net(images).detach())
    torch.testing.assert_close(outputs, net.eval()(images).detach())


@statement(
    "cifar.accuracy-arithmetic",
    notes="4 step 5; notebook cifar",
    verdict=QUALIFIED,
    says="the accuracy, from (predicted == labels).sum().item(), is printed as a percentage with %d",
)
@fault("a count is a float", torch.Tensor, "item", giving(float))
@fault("wrong predictions are counted", torch.Tensor, "sum", lambda real: lambda same: real(~same))
@fault("squeeze keeps an axis", torch.Tensor, "squeeze", lambda real: lambda same: same)
@pytest.mark.asks_the_device
class TestAccuracyArithmetic:
    """`(predicted == labels).sum().item()` returns the number of right predictions as a Python int. The
    format `%d` cuts off the decimals, so 54.99 % is printed as 54 %. The notebook's count by class raises an
    IndexError for a batch of fewer than four images.
    """

    def test_right_predictions_are_counted_as_an_int_and_printed_cut_off(self, device):
        labels = torch.randint(10, (10_000,), device=device)
        predicted = torch.cat([labels[:5499], (labels[5499:] + 1) % 10])

        correct = (predicted == labels).sum().item()

        assert type(correct) is int
        assert correct == 5499
        assert "%d %%" % (100 * correct / 10_000) == "54 %"  # noqa: UP031 - the notes' own formatting

    def test_loop_over_four_counts_by_class_and_refuses_a_smaller_batch(self, device):
        labels, predicted = torch.tensor([[3, 8, 8, 0], [3, 8, 1, 0]], device=device)

        assert count_by_class(predicted, labels) == [1, 0, 0, 1, 0, 0, 0, 0, 1, 0]
        with pytest.raises(IndexError, match="index 3 is out of bounds"):
            count_by_class(predicted[:3], labels[:3])
        with pytest.raises(IndexError, match="0-dim"):
            count_by_class(predicted[:1], labels[:1])
