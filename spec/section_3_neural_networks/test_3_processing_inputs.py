"""3 "Processing inputs and calling backward", and the note on mini-batches."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import log_softmax, softmax

from blitz.training.nets import Net
from spec.harness import OUTDATED, fault, since, statement

MINI_BATCHES_ONLY = "torch.nn takes mini-batches only; one sample needs unsqueeze(0)"


def make_images(device, count=1):
    """Return grey images (count, 1, 32, 32), float64, so that TF32 plays no part on a GPU."""
    return torch.randn(count, 1, 32, 32, dtype=torch.float64, device=device)


def make_net(device):
    """Return a new Net in float64."""
    return Net().double().to(device)


def gradients(net):
    """Return a copy of every parameter's gradient, None where there is none."""
    return [None if parameter.grad is None else parameter.grad.clone() for parameter in net.parameters()]


def leaves(node):
    """Return the tensors that backward() fills from `node` of a graph."""
    if hasattr(node, "variable"):
        return [node.variable]
    return [leaf for following, _ in node.next_functions if following for leaf in leaves(following)]


def overwriting(backward):
    """Return a backward() that replaces gradients instead of adding to them."""

    def overwrite(output, *gradient):
        for leaf in leaves(output.grad_fn):
            leaf.grad = None
        backward(output, *gradient)

    return overwrite


def mistreating(rank, fault):
    """Return a replacement that puts `fault` on the result where the input has `rank` axes."""

    def replace(real):
        def mistreat(*inputs, **options):
            output = real(*inputs, **options)
            x = next(value for value in inputs if isinstance(value, torch.Tensor))
            return fault(output) if x.dim() == rank else output

        return mistreat

    return replace


@statement(
    "nn.forward-output",
    notes="3 processing inputs; notebook nn",
    verdict=OUTDATED,
    says="the printed output ends in grad_fn=<AddmmBackward>",
)
@fault("Net ends in log_softmax", Net, "forward", lambda real: lambda net, x: log_softmax(real(net, x), 1))
@fault("Net drops the batch axis", Net, "forward", lambda real: lambda net, x: real(net, x)[0])
@fault("linear is a product and a sum", F, "linear", lambda real: lambda x, weight, bias: x @ weight.T + bias)
@fault("Net ends in softmax", Net, "forward", lambda real: lambda net, x: softmax(real(net, x), 1))
@fault("Net ends in relu", Net, "forward", lambda real: lambda net, x: real(net, x).relu())
class TestForwardOutput:
    """For one image, Net returns float scores (1, 10) that are no probabilities. Since PyTorch 1.10, they are
    printed with grad_fn=<AddmmBackward0>.
    """

    @since("1.10")
    def test_output_is_one_row_of_ten_scores_from_a_linear_layer(self, device):
        output = Net().to(device)(torch.randn(1, 1, 32, 32, device=device))

        assert output.shape == (1, 10)
        assert output.dtype == torch.float32
        assert repr(output).endswith("grad_fn=<AddmmBackward0>)")

    def test_output_is_not_normalised(self, device):
        net, images = make_net(device), make_images(device)

        before = net(images)
        net.fc3.bias.data += 3
        after = net(images)

        torch.testing.assert_close(after, before + 3)


@statement("nn.zero-grad-before-backward", notes="3 backprop; 3 processing inputs; notebook nn")
@fault("backward overwrites", torch.Tensor, "backward", overwriting)
@fault("zero_grad does nothing", nn.Module, "zero_grad", lambda real: lambda net: None)
@fault(
    "zero_grad clears one parameter",
    nn.Module,
    "zero_grad",
    lambda real: lambda net: net.fc3.weight.grad.zero_(),
)
def test_gradients_add_up_unless_they_are_cleared(device):
    """A second backward() doubles every gradient. After zero_grad() it gives the first gradients again."""
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
@fault(
    "zeros are the default",
    nn.Module,
    "zero_grad",
    lambda real: lambda net, set_to_none=False: real(net, set_to_none),
)
@fault(
    "zero_grad clears one parameter",
    nn.Module,
    "zero_grad",
    lambda real: lambda net: setattr(net.fc3.bias, "grad", None),
)
@fault("set_to_none is ignored", nn.Module, "zero_grad", lambda real: lambda net, set_to_none: real(net))
@fault("set_to_none=False does nothing", nn.Module, "zero_grad", lambda real: lambda net, set_to_none: None)
@fault(
    "zeros are new tensors",
    nn.Module,
    "zero_grad",
    lambda real: lambda net, set_to_none: [setattr(p, "grad", 0 * p.grad) for p in net.parameters()],
)
@fault(
    "the input counts as a parameter",
    Net,
    "forward",
    lambda real: lambda net, x: real(net, setattr(net, "images", x) or x),
)
class TestZeroGradResult:
    """net.zero_grad() sets every gradient of the net to None, since PyTorch 2.0. With set_to_none=False it
    fills the same tensors with zeros. The gradient of the input stays.
    """

    @since("2.0")
    def test_zero_grad_removes_the_gradients(self, device):
        net, images = make_net(device), make_images(device)

        at_first = gradients(net)
        net(images).sum().backward()
        bias_gradient = net.conv1.bias.grad
        net.zero_grad()

        assert at_first == [None] * 10
        assert bias_gradient.shape == (6,)
        assert bias_gradient.cpu().any()
        assert gradients(net) == [None] * 10

    def test_zero_grad_with_set_to_none_false_zeroes_in_place(self, device):
        net = make_net(device)
        net(make_images(device)).sum().backward()
        filled = [parameter.grad for parameter in net.parameters()]

        net.zero_grad(set_to_none=False)

        assert all(p.grad is before for p, before in zip(net.parameters(), filled, strict=True))
        assert not any(gradient.cpu().any() for gradient in filled)

    def test_zero_grad_leaves_the_gradient_of_the_input(self, device):
        net, images = make_net(device), nn.Parameter(make_images(device))

        net(images).sum().backward()
        net.zero_grad()

        assert images.grad is not None
        assert gradients(net) == [None] * 10


@statement("nn.backward-with-random-gradient", notes="3 backprop; 3 processing inputs; notebook nn")
@fault(
    "v is taken for ones",
    torch.Tensor,
    "backward",
    lambda real: lambda output, *gradient: real(output, *map(torch.ones_like, gradient)),
)
@fault(
    "v changes its sign",
    torch.Tensor,
    "backward",
    lambda real: lambda output, *gradient: real(output, *[-v for v in gradient]),
)
@fault("backward does nothing", torch.Tensor, "backward", lambda real: lambda output, *gradient: None)
@fault(
    "v is ones by default",
    torch.Tensor,
    "backward",
    lambda real: lambda output: real(output, torch.ones_like(output)),
)
class TestBackwardWithRandomGradient:
    """out.backward(v) gives the gradients of the number (out * v).sum(), so v stands in for a loss. Without
    v, backward() of more than one number is refused.
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


@statement("nn.only-mini-batches", notes="3 note; notebook nn", verdict=OUTDATED, says=MINI_BATCHES_ONLY)
@fault("one image gets a batch axis", F, "conv2d", mistreating(3, lambda output: output.unsqueeze(0)))
@fault("one image is flipped", F, "conv2d", mistreating(3, lambda output: output.flip(0)))
@fault(
    "one image gets no bias",
    F,
    "conv2d",
    lambda real: lambda x, weight, bias, *rest: real(x, weight, bias if x.dim() == 4 else None),
)
@fault(
    "Conv2d adds missing axes",
    F,
    "conv2d",
    lambda real: lambda x, *rest: real(x if x.dim() > 2 else x.unsqueeze(0), *rest),
)
@fault(
    "Conv2d flattens superfluous axes",
    F,
    "conv2d",
    lambda real: lambda x, *rest: real(x.flatten(0, -4) if x.dim() > 4 else x, *rest),
)
@fault(
    "one sequence is reversed",
    nn.LSTM,
    "forward",
    mistreating(2, lambda output: (output[0].flip(0), output[1])),
)
@fault("the loss of one sample is a tenth", F, "cross_entropy", mistreating(1, lambda loss: loss / 10))
@fault("one vector is flipped", F, "linear", mistreating(1, lambda output: output.flip(0)))
@fault("one map gets a batch axis", F, "max_pool2d", mistreating(3, lambda output: output.unsqueeze(0)))
@fault("BatchNorm2d takes one sample", nn.BatchNorm2d, "_check_input_dim", lambda real: lambda layer, x: None)
@fault(
    "Flatten flattens one sample whole",
    nn.Flatten,
    "forward",
    mistreating(3, lambda output: output.flatten()),
)
@fault(
    "Dropout2d knows one sample",
    F,
    "dropout2d",
    lambda real: lambda x, *options: real(x.unsqueeze(0), *options).squeeze(0),
)
@fault("Dropout2d drops nothing of one sample", F, "dropout2d", mistreating(3, torch.ones_like))
class TestOnlyMiniBatches:
    """Since PyTorch 1.11, Conv2d, LSTM and CrossEntropyLoss also take one sample without a batch axis, as
    Linear and MaxPool2d always did. BatchNorm2d refuses it, and Flatten and Dropout2d take its first axis
    for the batch.
    """

    @since("1.11")
    def test_conv2d_takes_one_image_without_a_batch_axis(self, device):
        image = make_images(device)[0]
        conv = nn.Conv2d(1, 6, 3).double().to(device)

        output = conv(image)

        assert output.shape == (6, 30, 30)
        torch.testing.assert_close(output, conv(image.unsqueeze(0))[0])

    @since("1.11")
    def test_conv2d_refuses_fewer_than_three_and_more_than_four_axes(self, device):
        conv = nn.Conv2d(1, 6, 3).to(device)

        for shape in [(32, 32), (1, 1, 1, 32, 32)]:
            with pytest.raises(RuntimeError, match=r"Expected 3D \(unbatched\) or 4D \(batched\) input"):
                conv(torch.zeros(shape, device=device))

    @since("1.11")
    def test_lstm_takes_one_sequence_without_a_batch_axis(self, device):
        sequence = torch.randn(5, 3, dtype=torch.float64, device=device)
        lstm = nn.LSTM(3, 4).double().to(device)

        output, _ = lstm(sequence)

        torch.testing.assert_close(output, lstm(sequence.unsqueeze(1))[0].squeeze(1))

    @since("1.11")
    def test_cross_entropy_takes_one_sample_without_a_batch_axis(self, device):
        scores, label = torch.randn(10, device=device), torch.tensor(3, device=device)
        criterion = nn.CrossEntropyLoss()

        loss = criterion(scores, label)

        torch.testing.assert_close(loss, criterion(scores.unsqueeze(0), label.unsqueeze(0)))

    def test_linear_and_pooling_take_one_sample_without_a_batch_axis(self, device):
        image = make_images(device)[0]
        linear, pool = nn.Linear(32, 5).double().to(device), nn.MaxPool2d(2)

        torch.testing.assert_close(linear(image[0, 0]), linear(image[:, :1])[0, 0])
        assert pool(image).tolist() == pool(image.unsqueeze(0))[0].tolist()

    def test_batch_norm_refuses_one_sample_without_a_batch_axis(self, device):
        with pytest.raises(ValueError, match=r"expected 4D input \(got 3D input\)"):
            nn.BatchNorm2d(6).to(device)(torch.zeros(6, 6, 6, device=device))

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
    """image.unsqueeze(0) is a batch of one, for which Net gives the scores that the image gets in a larger
    batch.
    """
    net, images = make_net(device), make_images(device, count=3)

    batch = images[1].unsqueeze(0)

    assert batch.shape == (1, 1, 32, 32)
    torch.testing.assert_close(net(batch), net(images)[1:2])
