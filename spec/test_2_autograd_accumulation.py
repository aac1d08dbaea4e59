"""Sections 2.4, 3 and 7 of the notes: gradients accumulate."""

import warnings

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from spec.harness import broken_by, claim

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=5)


def make_batch(sizes, device):
    """Return rows (sum(sizes), 2) and targets of small integers, float64, in parts of `sizes`."""
    rows, targets = torch.randint(-9, 10, (sum(sizes), 2)), torch.randint(-9, 10, (sum(sizes),))
    return [tensor.double().to(device).split(sizes) for tensor in (rows, targets)]


def sum_by_hand(rows, targets):
    """Return the derivative of Σ (row · weight - target)² at weight (1, -2), as integers."""
    errors = [2 * (x - 2 * y - target) for (x, y), target in zip(rows, targets, strict=True)]
    return [sum(e * row[axis] for e, row in zip(errors, rows, strict=True)) for axis in range(2)]


# Faults


def leaves_of(result):
    """Return the leaves that backward() of `result` fills."""
    nodes, leaves = [result.grad_fn], []
    while nodes:
        node = nodes.pop()
        nodes += [following for following, _ in node.next_functions if following]
        if hasattr(node, "variable"):
            leaves.append(node.variable)
    return leaves


def overwriting(real):
    """Return a backward() that replaces the gradients of earlier ones."""

    def backward(result, *args, **options):
        for leaf in leaves_of(result):
            leaf.grad = None
        real(result, *args, **options)

    return backward


def averaging(real):
    """Return a backward() that leaves the mean of the earlier gradient and its own."""

    def backward(result, *args, **options):
        known = {leaf for leaf in leaves_of(result) if leaf.grad is not None}
        real(result, *args, **options)
        for leaf in known:
            leaf.grad.div_(2)

    return backward


def first_again(real):
    """Return a backward() that adds the gradient of its first call to what stands in .grad."""
    first = []

    def backward(result):
        (leaf,) = leaves_of(result)
        if not first:
            real(result)
            first.append(leaf.grad.clone())
        else:
            leaf.grad = first[0] if leaf.grad is None else leaf.grad + first[0]

    return backward


def renewing(real):
    """Return a backward() that leaves each sum in a new tensor."""

    def backward(result, *args, **options):
        leaves = leaves_of(result)
        real(result, *args, **options)
        for leaf in leaves:
            leaf.grad = leaf.grad.clone()

    return backward


@claim("autograd.gradients-accumulate", notes="3 processing inputs; 7, demo")
@broken_by(torch.Tensor, "backward", overwriting)
@broken_by(torch.Tensor, "backward", averaging)
@broken_by(torch.Tensor, "backward", first_again)
@broken_by(torch.Tensor, "sum", lambda real: lambda x: x.mean())
def test_gradients_add_up_until_they_are_cleared(device):
    """Each backward() adds to the gradients that it finds; after x.grad = None it starts anew."""
    x = torch.tensor([1.0, 1.0], device=device, requires_grad=True)
    factors = torch.tensor([2.0, -5.0], device=device)

    seen = []
    for number, clear in ((1, False), (10, False), (100, False), (1000, True)):
        x.grad = None if clear else x.grad
        (number * factors * x).sum().backward()
        seen.append(x.grad.tolist())

    assert seen == [[2, -5], [2 * 11, -5 * 11], [2 * 111, -5 * 111], [2000, -5000]]


@claim("autograd.gradients-accumulate-over-paths", notes="notebook autograd")
@broken_by(torch.Tensor, "__mul__", lambda real: lambda x, y: real(x, y.detach()))
@broken_by(torch.Tensor, "__add__", lambda real: lambda x, y: real(x, y.detach()))
@broken_by(torch.Tensor, "__add__", lambda real: lambda x, y: real(x.detach(), y))
def test_gradients_of_several_paths_add_up(device):
    """A tensor that leads to the loss on several paths gets their sum: x x + 3 x gives 2x + 3."""
    x = torch.tensor(2.0, device=device, requires_grad=True)

    (x * x + 3 * x).backward()

    assert x.grad.item() == 2 * 2 + 3


@claim("autograd.gradients-accumulate-in-place", notes="3 processing inputs")
@broken_by(torch.Tensor, "backward", renewing)
@broken_by(torch.Tensor, "backward", overwriting)
def test_gradient_is_added_to_in_place(device):
    """backward() adds into the tensor that stands in .grad: who holds it sees it change."""
    x = torch.tensor([1.0, 3.0], device=device, requires_grad=True)
    x.grad = held = torch.tensor([10.0, 20.0], device=device)

    x.square().sum().backward()

    assert x.grad is held
    assert held.tolist() == [10 + 2, 20 + 6]


@claim("autograd.gradients-accumulate-anew-with-create-graph", notes="3 processing inputs")
@broken_by(torch.Tensor, "backward", lambda real: lambda loss, create_graph: real(loss))
@broken_by(torch.Tensor, "backward", overwriting)
def test_create_graph_leaves_the_sum_in_a_new_tensor(device):
    """With create_graph=True the sum is a new tensor with a graph of its own; the old stays as it is."""
    x = torch.tensor([1.0, 3.0], device=device, requires_grad=True)
    x.grad = held = torch.tensor([10.0, 20.0], device=device)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Using backward\(\) with create_graph=True")  # once
        x.square().sum().backward(create_graph=True)
    summed, x.grad = x.grad, None  # x and a gradient with a graph hold each other

    assert held.tolist() == [10, 20]
    assert summed.tolist() == [10 + 2, 20 + 6]
    assert summed.requires_grad


@claim("autograd.gradients-accumulate-over-a-split-batch", notes="3 processing inputs")
@broken_by(torch.Tensor, "backward", overwriting)
@broken_by(torch.Tensor, "backward", averaging)
@broken_by(torch.Tensor, "sum", lambda real: lambda x: x.mean())
@settings(max_examples=30)
@given(sizes=SIZES)
def test_parts_of_a_batch_add_up_to_the_whole(device, sizes):
    """backward() of a summed loss of each part of a batch, however cut, adds up to that of the whole."""
    weight = torch.tensor([1.0, -2.0], dtype=torch.float64, device=device, requires_grad=True)
    rows, targets = make_batch(sizes, device)

    for some, wanted in zip(rows, targets, strict=True):
        (some @ weight - wanted).square().sum().backward()

    assert weight.grad.tolist() == sum_by_hand(torch.cat(rows).tolist(), torch.cat(targets).tolist())


@claim("autograd.gradients-accumulate-means-by-their-share", notes="3 processing inputs")
@broken_by(torch.Tensor, "backward", overwriting)
@broken_by(torch.Tensor, "backward", averaging)
@broken_by(F, "mse_loss", lambda real: lambda output, target: real(output, target, reduction="sum"))
@settings(max_examples=30)
@given(sizes=SIZES)
def test_means_of_parts_count_by_their_share(device, sizes):
    """Mean losses of parts add up to the mean of the whole if each counts by its share of the rows."""
    weight = torch.tensor([1.0, -2.0], dtype=torch.float64, device=device, requires_grad=True)
    rows, targets = make_batch(sizes, device)

    for some, wanted in zip(rows, targets, strict=True):
        share = len(some) / sum(sizes)
        (share * F.mse_loss(some @ weight, wanted)).backward()

    whole = sum_by_hand(torch.cat(rows).tolist(), torch.cat(targets).tolist())
    expected = torch.tensor(whole, dtype=torch.float64, device=device) / sum(sizes)
    torch.testing.assert_close(weight.grad, expected)
