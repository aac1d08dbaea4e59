"""The operations that the notes and their statements name: what NumPy computes, and the forms in PyTorch.

Each row says in words what is computed, then how in NumPy, then how in PyTorch, with a semicolon between the
forms. The operands are at the end. What the result is tells the table in which a row stands. Operations that
draw random numbers are left out.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from torch import nn
from torch.func import functional_call

ARITHMETIC = {  # in the tables from here to WIDER, the result has memory of its own
    "sum": ("x + y", "x + y; x.add(y); torch.add(x, y)"),
    "sum with a number": ("x + 5", "x + 5; 5 + x; x.add(5); torch.add(x, 5)"),
    "sum with a multiple": ("x + 3 * y", "x.add(y, alpha=3); torch.add(x, y, alpha=3)"),
    "sum with a column": ("x + y[:, :1]", "x + y[:, :1]; x.add(y[:, :1]); torch.add(x, y[:, :1])"),
    "difference": ("x - y", "x - y; x.sub(y); torch.sub(x, y)"),
    "difference from a number": ("5 - x", "5 - x; torch.rsub(x, 5)"),
    "product": ("x * y", "x * y; x.mul(y); torch.mul(x, y)"),
    "product with a number": ("3 * x", "3 * x; x * 3; x.mul(3); torch.mul(x, 3)"),
    "quotient": ("x / y", "x / y; x.div(y); torch.div(x, y)"),
    "quotient of a number": ("2 / y", "2 / y"),
    "matrix product": (
        "x @ y.T",
        "x @ y.T; x.matmul(y.T); torch.matmul(x, y.T); x.mm(y.T); torch.mm(x, y.T)",
    ),
    "matrix and vector": ("x @ y[1]", "x @ y[1]; x.matmul(y[1]); torch.matmul(x, y[1])"),
}

FUNCTIONS = {
    "negative": ("-x", "-x; x.neg(); torch.neg(x)"),
    "absolute value": ("abs(x)", "abs(x); x.abs(); torch.abs(x)"),
    "power": ("x**3", "x**3; x.pow(3); torch.pow(x, 3)"),
    "square root": ("np.sqrt(y)", "y**0.5; y.sqrt(); torch.sqrt(y)"),
    "exponential": ("np.exp(x)", "x.exp(); torch.exp(x)"),
    "logarithm": ("np.log(y)", "y.log(); torch.log(y)"),
    "hyperbolic tangent": ("np.tanh(x)", "x.tanh(); torch.tanh(x)"),
    "rounding": ("np.round(x)", "x.round(); torch.round(x)"),
    "clamp": ("np.clip(x, -1, 1)", "x.clamp(-1, 1); torch.clamp(x, -1, 1)"),
    "larger of two": ("np.maximum(x, y)", "x.maximum(y); torch.maximum(x, y)"),
    "relu": ("np.maximum(x, 0)", "x.relu(); torch.relu(x); F.relu(x); nn.ReLU()(x)"),
    "softmax": ("softmax(x)", "x.softmax(1); torch.softmax(x, 1); F.softmax(x, 1); nn.Softmax(1)(x)"),
    "log softmax": ("np.log(softmax(x))", "x.log_softmax(1); F.log_softmax(x, 1)"),
}

REDUCTIONS = {
    "sum of all": ("x.sum()", "x.sum(); torch.sum(x)"),
    "sum of each row": ("x.sum(1)", "x.sum(1); x.sum(axis=1); torch.sum(x, dim=1)"),
    "mean of all": ("x.mean()", "x.mean(); torch.mean(x)"),
    "mean of each column": ("x.mean(0)", "x.mean(0); x.mean(axis=0); torch.mean(x, dim=0)"),
    "variance": ("x.var(ddof=1)", "x.var(); torch.var(x)"),
    "standard deviation": ("x.std(ddof=1)", "x.std(); torch.std(x)"),
    "norm": ("np.sqrt((x**2).sum())", "x.norm(); torch.norm(x)"),
    "product of each row": ("x.prod(1)", "x.prod(1); torch.prod(x, 1)"),
    "running sum": ("x.cumsum(1)", "x.cumsum(1); torch.cumsum(x, 1)"),
    "largest of all": ("x.max()", "x.max(); torch.max(x); x.amax()"),
    "largest of each row": ("x.max(1)", "x.max(1).values; torch.max(x, 1)[0]; x.amax(1)"),
    "smallest of each column": ("x.min(0)", "x.min(0).values; torch.min(x, 0)[0]; x.amin(0)"),
}

COPIES = {
    "rows joined": ("np.concatenate([x, y])", "torch.cat([x, y]); torch.cat((x, y), dim=0)"),
    "columns joined": ("np.concatenate([x, y], 1)", "torch.cat([x, y], 1); torch.cat((x, y), dim=-1)"),
    "stack": ("np.stack([x, y])", "torch.stack([x, y]); torch.stack((x, y), dim=0)"),
    "stack along the last axis": ("np.stack([x, y], 2)", "torch.stack([x, y], 2)"),
    "repetition": ("np.tile(x, (2, 1))", "x.repeat(2, 1)"),
    "each number repeated": ("np.repeat(x, 2)", "x.repeat_interleave(2); torch.repeat_interleave(x, 2)"),
    "rows in reverse": ("x[::-1]", "x.flip(0); torch.flip(x, [0])"),
    "rows by their positions": ("x[[2, 0]]", "x[[2, 0]]; x[torch.tensor([2, 0], device=device)]"),
    "numbers by a mask": ("x[mask]", "x[mask]; torch.masked_select(x, mask)"),
    "copy": ("x", "x.clone(); torch.clone(x); x.to(x.dtype, copy=True)"),
    "copy of a view, row by row": ("x.T", "x.T.contiguous()"),
    "flat transpose": ("x.T.reshape(-1)", "x.T.reshape(-1); x.T.flatten(); torch.flatten(x.T)"),
}

LAYERS = {
    "convolution": (
        "conv2d(image, kernel, bias)",
        "torch.conv2d(image, kernel, bias); F.conv2d(image, kernel, bias);"
        "functional_call(nn.Conv2d(2, 3, (2, 3)), {'weight': kernel, 'bias': bias}, image)",
    ),
    "max pooling": (
        "max_pool2d(image, 2)",
        "torch.max_pool2d(image, 2); F.max_pool2d(image, 2); F.max_pool2d(image, (2, 2));"
        "nn.MaxPool2d(2)(image)",
    ),
    "linear layer": (
        "x @ weight.T + offset",
        "F.linear(x, weight, offset);functional_call(nn.Linear(7, 4), {'weight': weight, 'bias': offset}, x)",
    ),
    "mean squared error": ("((x - y) ** 2).mean()", "F.mse_loss(x, y); nn.MSELoss()(x, y)"),
    "cross entropy": (
        "cross_entropy(x, labels)",
        "F.cross_entropy(x, labels); nn.CrossEntropyLoss()(x, labels);"
        "F.nll_loss(F.log_softmax(x, 1), labels)",
    ),
}

WIDER = {  # an accelerator may lack float64
    "float64": ("x.astype(np.float64)", "x.to(torch.float64); x.double(); x.type(torch.float64)"),
}

VIEWS = {  # the result is a view of an operand
    "another shape": (
        "x.reshape(7, 3)",
        "x.view(7, 3); x.view(-1, 3); x.reshape(7, 3); torch.reshape(x, (7, 3))",
    ),
    "one axis": ("x.reshape(-1)", "x.view(-1); x.reshape(-1); x.flatten(); torch.flatten(x)"),
    "a row for each image": (
        "image.reshape(2, 40)",
        "image.view(-1, 40); image.flatten(1); torch.flatten(image, 1); nn.Flatten()(image)",
    ),
    "transpose": (
        "x.T",
        "x.T; x.t(); torch.t(x); x.transpose(0, 1); torch.transpose(x, 0, 1); x.permute(1, 0)",
    ),
    "two axes swapped": (
        "image.swapaxes(1, 3)",
        "image.transpose(1, 3); torch.transpose(image, 1, 3); image.swapaxes(1, 3)",
    ),
    "axes in another order": (
        "image.transpose(0, 2, 3, 1)",
        "image.permute(0, 2, 3, 1); torch.permute(image, (0, 2, 3, 1)); image.movedim(1, 3)",
    ),
    "each matrix transposed": ("image.swapaxes(2, 3)", "image.mT"),
    "a first axis more": ("x[None]", "x.unsqueeze(0); torch.unsqueeze(x, 0); x[None]"),
    "an axis more in the middle": ("x[:, None]", "x.unsqueeze(1); torch.unsqueeze(x, 1); x[:, None]"),
    "no axes of size 1": ("x[0]", "x[:1, :, None].squeeze(); torch.squeeze(x[:1, :, None])"),
    "one axis less": ("x[:1]", "x[:1, None].squeeze(1); torch.squeeze(x[:1, None], 1)"),
    "a row": ("x[1]", "x[1]; x[-2]; x.unbind()[1]"),
    "a column": ("x[:, 1]", "x[:, 1]; x[..., 1]"),
    "one number": ("x[1, 2]", "x[1, 2]; x[1][2]"),
    "a slice": ("x[1:, ::2]", "x[1:, ::2]; x[1:9, 0:7:2]"),
    "a row expanded": ("np.broadcast_to(x[:1], (4, 7))", "x[:1].expand(4, 7); x[:1].expand(4, -1)"),
}

ITSELF = {  # the result is the operand x itself
    "nothing to convert": ("x", "x.to(x.dtype); x.to(device); x.to(y); x.float(); x.type(torch.float32)"),
    "nothing to copy": ("x", "x.contiguous(); torch.as_tensor(x)"),
}

IN_PLACE = {  # the result is the operand x itself, with other values
    "sum in place": ("x + y", "x += y; x.add_(y)"),
    "sum with a number in place": ("x + 5", "x += 5; x.add_(5)"),
    "sum with a multiple in place": ("x - 0.5 * y", "x.add_(y, alpha=-0.5); x.sub_(0.5 * y)"),
    "difference in place": ("x - y", "x -= y; x.sub_(y)"),
    "product in place": ("x * y", "x *= y; x.mul_(y)"),
    "quotient in place": ("x / y", "x /= y; x.div_(y)"),
    "negative in place": ("-x", "x.neg_(); torch.neg_(x)"),
    "absolute value in place": ("abs(x)", "x.abs_(); torch.abs_(x)"),
    "power in place": ("x**3", "x **= 3; x.pow_(3)"),
    "square root in place": ("np.sqrt(abs(x))", "x.abs_().sqrt_(); torch.sqrt_(x.abs_())"),
    "exponential in place": ("np.exp(x)", "x.exp_(); torch.exp_(x)"),
    "hyperbolic tangent in place": ("np.tanh(x)", "x.tanh_(); torch.tanh_(x)"),
    "clamp in place": ("np.clip(x, -1, 1)", "x.clamp_(-1, 1); torch.clamp_(x, -1, 1)"),
    "relu in place": (
        "np.maximum(x, 0)",
        "x.relu_(); torch.relu_(x); F.relu_(x); F.relu(x, inplace=True); nn.ReLU(inplace=True)(x)",
    ),
    "other values in place": ("0 * x + y", "x.copy_(y); x[:] = y"),
    "one number in place": ("0 * x + 7", "x.fill_(7); x[:] = 7"),
    "zeros in place": ("0 * x", "x.zero_(); torch.zero_(x)"),
    "transpose in place": ("x.T", "x.t_(); x.transpose_(0, 1)"),
    "a first axis more in place": ("x[None]", "x.unsqueeze_(0)"),
    "column assigned": ("x * (np.arange(7) != 1)", "x[:, 1] = 0"),
    "numbers assigned by a mask": ("x * ~mask", "x[mask] = 0"),
}

COMPARISONS = {  # the result has memory of its own, and autograd does not record it
    "greater": ("x > y", "x > y; x.gt(y); torch.gt(x, y)"),
    "less": ("x < y", "x < y; x.lt(y); torch.lt(x, y)"),
    "at least a number": ("x >= 0", "x >= 0; x.ge(0); torch.ge(x, 0)"),
    "at most a number": ("x <= 0", "x <= 0; x.le(0); torch.le(x, 0)"),
    "equal": ("labels == abs(labels - 8)", "labels == abs(labels - 8); labels.eq(abs(labels - 8))"),
    "not equal": ("labels != abs(labels - 8)", "labels != abs(labels - 8); labels.ne(abs(labels - 8))"),
    "how many": ("mask.sum()", "mask.sum(); torch.sum(mask)"),
    "all": ("mask.all(0)", "mask.all(0); torch.all(mask, 0)"),
    "any": ("mask.any(0)", "mask.any(0); torch.any(mask, 0)"),
    "place of the largest": ("x.argmax()", "x.argmax(); torch.argmax(x)"),
    "place of the largest in each row": (
        "x.argmax(1)",
        "x.argmax(1); torch.argmax(x, 1); x.max(1).indices; torch.max(x, 1)[1]",
    ),
    "integers of floats": ("x.astype(np.int64)", "x.long(); x.to(torch.int64)"),
    "floats of integers": ("labels.astype(np.float32)", "labels.float(); labels.to(torch.float32)"),
    "sum of integers": ("labels + 1", "labels + 1; labels.add(1); torch.add(labels, 1)"),
}

NEW_TENSORS = {  # the same
    "tensor of numbers": (
        "np.array([1.5, -2], np.float32)",
        "torch.tensor([1.5, -2], device=device); x.new_tensor([1.5, -2])",
    ),
    "tensor of an array": (
        "x",
        "torch.tensor(array, device=device); torch.from_numpy(array).to(device, copy=True)",
    ),
    "zeros": ("np.zeros((2, 3), np.float32)", "torch.zeros(2, 3, device=device); x.new_zeros(2, 3)"),
    "zeros like x": ("np.zeros_like(x)", "torch.zeros_like(x)"),
    "ones": ("np.ones((2, 3), np.float32)", "torch.ones(2, 3, device=device); x.new_ones(2, 3)"),
    "ones like x": ("np.ones_like(x)", "torch.ones_like(x)"),
    "sevens": (
        "np.full((2, 3), 7, np.float32)",
        "torch.full((2, 3), 7.0, device=device); x.new_full((2, 3), 7)",
    ),
    "sevens like x": ("np.full_like(x, 7)", "torch.full_like(x, 7)"),
    "whole numbers in order": ("np.arange(6)", "torch.arange(6, device=device)"),
    "unit matrix": ("np.eye(3, dtype=np.float32)", "torch.eye(3, device=device)"),
}

DETACHED = {  # the result is a view of x, and autograd does not record it
    "detached": ("x", "x.detach(); torch.detach(x); x.data"),
}


def conv2d(images, kernels, bias):
    """Return the products of each window with each kernel, added up, and the bias."""
    windows = sliding_window_view(images, kernels.shape[2:], (2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, kernels) + bias[:, None, None]


def max_pool2d(images, size):
    """Return the largest number of each square window; the windows lie side by side."""
    return sliding_window_view(images, (size, size), (2, 3))[:, :, ::size, ::size].max((4, 5))


def softmax(scores):
    """Return the share of each score's exponential in the sum of its row."""
    return np.exp(scores) / np.exp(scores).sum(1, keepdims=True)


def cross_entropy(scores, labels):
    """Return the mean of minus the logarithm of each right class's share."""
    return -np.log(softmax(scores)[np.arange(len(labels)), labels]).mean()


def numbered(*shape, start, turn):
    """Return numbers a quarter apart, no two alike and in no order: the first is a quarter of `start`."""
    size = np.prod(shape)
    return ((np.arange(size) * turn % size + start) / 4).astype(np.float32).reshape(shape)


OPERANDS = {
    "x": numbered(3, 7, start=-9.7, turn=8),  # of both signs
    "y": numbered(3, 7, start=1.3, turn=5),  # positive
    "mask": np.array([[1, 0, 1, 1, 0, 0, 1], [1, 1, 0, 1, 0, 1, 1], [1, 0, 0, 1, 0, 1, 1]], bool),
    "labels": np.array([4, 0, 6]),
    "image": numbered(2, 2, 4, 5, start=-33.1, turn=27),
    "kernel": numbered(3, 2, 2, 3, start=-15.3, turn=11),
    "bias": np.array([0.5, -2.0, 3.25], np.float32),
    "weight": numbered(4, 7, start=-12.4, turn=9),
    "offset": np.array([0.5, -2.0, 3.25, 7.0], np.float32),
}
OF_NUMPY = {
    "np": np,
    "conv2d": conv2d,
    "max_pool2d": max_pool2d,
    "softmax": softmax,
    "cross_entropy": cross_entropy,
}
OF_PYTORCH = {"torch": torch, "nn": nn, "F": F, "functional_call": functional_call}


def in_numpy(expression, arrays):
    """Return what NumPy makes of the operands in `arrays`."""
    return eval(expression, {**OF_NUMPY, **arrays})


def in_pytorch(form, tensors):
    """Return what a form makes of the operands in `tensors`: its value, or `x` if it is an assignment."""
    names = {**OF_PYTORCH, **tensors, "array": OPERANDS["x"].copy(), "device": tensors["x"].device}
    try:
        return eval(form, names)
    except SyntaxError:  # it is an assignment
        exec(form, names)
        return names["x"]
