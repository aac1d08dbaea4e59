"""3 "Processing inputs and calling backward", and the note on mini-batches."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import log_softmax

from blitz.training.nets import Net
from spec.harness import OUTDATED, each_row, fault, since, statement
from spec.zero_grads import clears_nothing, removes, writes_zeros_by_default

ONE_SAMPLE = {  # a layer, and the shape of one sample
    "Conv2d": (lambda: nn.Conv2d(1, 6, 3), (1, 32, 32)),
    "LSTM": (lambda: nn.LSTM(3, 4, batch_first=True), (5, 3)),
    "CrossEntropyLoss": (nn.CrossEntropyLoss, (10,)),
    "Linear": (lambda: nn.Linear(32, 5), (32,)),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), (6, 4, 8)),
}
REFUSED = {
    "Conv2d, two axes": (
        lambda: nn.Conv2d(1, 6, 3),
        (32, 32),
        r"Expected 3D \(unbatched\) or 4D \(batched\)",
    ),
    "Conv2d, five axes": (lambda: nn.Conv2d(1, 6, 3), (1, 1, 1, 32, 32), r"Expected 3D \(unbatched\) or 4D"),
    "BatchNorm2d, three axes": (lambda: nn.BatchNorm2d(6), (6, 6, 6), r"expected 4D input \(got 3D input\)"),
}


def make_net(device):
    """Return a new Net in float64, so that TF32 plays no part on a GPU."""
    return Net().double().to(device)


def make_images(device, count=1):
    """Return grey images (count, 1, 32, 32) in float64."""
    return torch.randn(count, 1, 32, 32, dtype=torch.float64, device=device)


def gradients(net):
    """Return a copy of every parameter's gradient, None where there is none."""
    return [None if parameter.grad is None else parameter.grad.clone() for parameter in net.parameters()]


def output_of(layer, x):
    """Return what a layer gives for `x`: of an LSTM the sequence, of a loss that of class 3."""
    if isinstance(layer, nn.CrossEntropyLoss):
        return layer(x, torch.full(x.shape[:-1], 3, device=x.device))
    return layer(x)[0] if isinstance(layer, nn.LSTM) else layer(x)


def mistreating(rank, fault):
    """Return a replacement that puts `fault` on the result where the input has `rank` axes."""

    def replace(real):
        def mistreat(*inputs, **options):
            output = real(*inputs, **options)
            x = next(value for value in inputs if isinstance(value, torch.Tensor))
            return fault(output) if x.dim() == rank else output

        return mistreat

    return replace


@since("1.10")
@statement(
    "nn.forward-output",
    notes="3 processing inputs; notebook nn",
    verdict=OUTDATED,
    says="the printed output ends in `grad_fn=<AddmmBackward>`",
)
@fault("Net ends in log_softmax", Net, "forward", lambda real: lambda net, x: log_softmax(real(net, x), 1))
@fault("Net drops the batch axis", Net, "forward", lambda real: lambda net, x: real(net, x)[0])
def test_output_is_one_row_of_ten_scores_from_a_linear_layer(device):
    """For one image, Net, the net of the notes, returns ten scores in the shape (1, 10). The scores come
    straight from a linear layer, so they are not probabilities. Since PyTorch 1.10, the printed scores end in
    `grad_fn=<AddmmBackward0>`.
    """
    net, image = make_net(device), make_images(device)

    output = net(image)
    net.fc3.bias.data += 3
    higher = net(image)

    assert output.shape == (1, 10)
    assert repr(output).endswith("grad_fn=<AddmmBackward0>)")
    torch.testing.assert_close(higher, output + 3)


@statement("nn.zero-grad-before-backward", notes="3 backprop; 3 processing inputs; notebook nn")
@fault("forward clears .grad", Net, "forward", lambda real: lambda net, x: net.zero_grad() or real(net, x))
@fault("zero_grad does nothing", nn.Module, "zero_grad", clears_nothing)
def test_gradients_add_up_unless_they_are_cleared(device):
    """Gradients add up, so a second forward and backward pass on the same images doubles every gradient.
    After net.zero_grad(), another pass on these images computes the gradients of the first pass again.
    """
    net, images = make_net(device), make_images(device)

    net(images).sum().backward()
    once = gradients(net)
    net(images).sum().backward()
    twice = gradients(net)
    net.zero_grad()
    net(images).sum().backward()

    torch.testing.assert_close(twice, [2 * gradient for gradient in once])
    torch.testing.assert_close(gradients(net), once)


@statement(
    "nn.zero-grad-result",
    notes="3 processing inputs; footnote 1; notebook nn",
    verdict=OUTDATED,
    says="zero_grad() sets the gradients to zero; conv1.bias.grad is then printed as six zeros",
)
@fault("zeros are the default", nn.Module, "zero_grad", writes_zeros_by_default)
@fault("set_to_none is ignored", nn.Module, "zero_grad", removes)
@fault("x is a parameter", Net, "forward", lambda real: lambda net, x: setattr(net, "x", x) or real(net, x))
class TestZeroGradResult:
    """Since PyTorch 2.0, net.zero_grad() sets the gradient of every parameter of the net to None. With
    set_to_none=False, net.zero_grad() fills the gradients with zeros instead. net.zero_grad() does not remove
    the gradient of the input.
    """

    @since("2.0")
    def test_zero_grad_removes_the_gradients_but_that_of_the_input(self, device):
        net, images = make_net(device), nn.Parameter(make_images(device))

        at_first = gradients(net)
        net(images).sum().backward()
        bias_gradient = net.conv1.bias.grad
        net.zero_grad()

        assert at_first == [None] * 10
        assert bias_gradient.cpu().any()
        assert gradients(net) == [None] * 10
        assert images.grad is not None

    def test_zero_grad_with_set_to_none_false_zeroes_in_place(self, device):
        net = make_net(device)
        net(make_images(device)).sum().backward()
        filled = [parameter.grad for parameter in net.parameters()]

        net.zero_grad(set_to_none=False)

        assert all(p.grad is before for p, before in zip(net.parameters(), filled, strict=True))
        assert not any(gradient.cpu().any() for gradient in filled)


@statement("nn.backward-with-random-gradient", notes="3 backprop; 3 processing inputs; notebook nn")
@fault(
    "v is ones", torch.Tensor, "backward", lambda real: lambda out, v=None: real(out, torch.ones_like(out))
)
@fault("backward does nothing", torch.Tensor, "backward", lambda real: lambda output, v=None: None)
class TestBackwardWithRandomGradient:
    """out.backward(v) computes the same gradients as (out * v).sum().backward(). If out has more than one
    element, out.backward() without v raises a RuntimeError.
    """

    def test_backward_weights_the_outputs_by_its_argument(self, device):
        net, images = make_net(device), make_images(device)
        v = torch.randn(1, 10, dtype=torch.float64, device=device)

        net(images).backward(v)
        weighted = gradients(net)
        net.zero_grad()
        (net(images) * v).sum().backward()

        assert all(gradient is not None for gradient in weighted)
        torch.testing.assert_close(weighted, gradients(net))

    def test_backward_of_ten_scores_needs_an_argument(self, device):
        output = make_net(device)(make_images(device))

        with pytest.raises(RuntimeError, match="can be implicitly created only for scalar outputs"):
            output.backward()


@since("1.11")
@statement(
    "nn.only-mini-batches",
    notes="3 note; notebook nn",
    verdict=OUTDATED,
    says="torch.nn accepts only mini-batches; a single sample needs unsqueeze(0)",
)
@fault("one image is flipped", F, "conv2d", mistreating(3, lambda output: output.flip(0)))
@fault("one sequence is reversed", nn.LSTM, "forward", mistreating(2, lambda out: (out[0].flip(0), out[1])))
@fault("the loss of one sample is a tenth", F, "cross_entropy", mistreating(1, lambda loss: loss / 10))
@fault("one vector is flipped", F, "linear", mistreating(1, lambda output: output.flip(0)))
@fault("one map gets a batch axis", F, "max_pool2d", mistreating(3, lambda output: output.unsqueeze(0)))
@fault("BatchNorm2d takes one sample", nn.BatchNorm2d, "_check_input_dim", lambda real: lambda layer, x: None)
@fault("Flatten flattens one sample whole", nn.Flatten, "forward", mistreating(3, torch.flatten))
@fault("Dropout2d drops nothing of one sample", F, "dropout2d", mistreating(3, torch.ones_like))
class TestOnlyMiniBatches:
    """Since PyTorch 1.11, Conv2d, LSTM and CrossEntropyLoss accept a single sample without a batch axis.
    BatchNorm2d raises an error for such a sample. Flatten and Dropout2d treat the first axis of such a sample
    as the batch axis.
    """

    @each_row
    @pytest.mark.parametrize(("make_layer", "shape"), ONE_SAMPLE.values(), ids=ONE_SAMPLE)
    def test_one_sample_gives_what_it_gives_in_a_batch_of_one(self, make_layer, shape, device):
        layer = make_layer().double().to(device)
        sample = torch.randn(shape, dtype=torch.float64, device=device)

        alone = output_of(layer, sample)
        in_a_batch = output_of(layer, sample.unsqueeze(0))

        torch.testing.assert_close(alone, in_a_batch.squeeze(0))

    @pytest.mark.parametrize(("make_layer", "shape", "why"), REFUSED.values(), ids=REFUSED)
    def test_layer_refuses_other_axes(self, make_layer, shape, why, device):
        with pytest.raises((RuntimeError, ValueError), match=why):
            make_layer().to(device)(torch.zeros(shape, device=device))

    def test_flatten_layer_takes_the_first_axis_for_the_batch(self, device):
        maps = torch.zeros(2, 16, 6, 6, device=device)

        assert nn.Flatten()(maps).shape == (2, 576)
        assert nn.Flatten()(maps[0]).shape == (16, 36)

    def test_dropout2d_takes_the_first_axis_for_the_batch(self, device):
        maps = torch.ones(8, 6, 6, device=device)

        with pytest.warns(UserWarning, match="input is interpreted as shape"):
            rows = nn.Dropout2d(0.5)(maps)

        assert all(row in ([0] * 6, [2] * 6) for row in rows.flatten(0, 1).tolist())
        # a map of six rows is wholly kept or wholly dropped once in 32: all eight of them once in 10**12
        assert any(0 < channel.count_nonzero() < channel.numel() for channel in rows.cpu())


@statement("nn.unsqueeze-fake-batch", notes="3 note; notebook nn")
@fault("unsqueeze adds the last axis", torch.Tensor, "unsqueeze", lambda real: lambda x, axis: real(x, -1))
@fault("unsqueeze transposes", torch.Tensor, "unsqueeze", lambda real: lambda x, axis: real(x, axis).mT)
def test_unsqueeze_makes_a_batch_of_one(device):
    """image.unsqueeze(0) turns one image into a batch of one image. For this batch, Net, the net of the
    notes, returns the same scores that the image gets in a larger batch.
    """
    net, images = make_net(device), make_images(device, count=3)

    batch = images[1].unsqueeze(0)

    assert batch.shape == (1, 1, 32, 32)
    torch.testing.assert_close(net(batch), net(images)[1:2])
