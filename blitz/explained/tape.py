"""Reverse-mode differentiation from first principles, over NumPy arrays of float64.

Each operation gives a new Variable that remembers its inputs and one rule of calculus: how the gradient
of a loss with respect to its output becomes the gradients with respect to its inputs. `grad` walks back
over what was recorded, latest first, and applies the rules. The rules are made of the same operations,
so gradients are recorded in their turn and can be differentiated again.

Where torch.Tensor has a method of the same name it does the same, so one expression runs on both.
Outside a function's domain (log of -1) the values are NumPy's, with its warnings. There are no in-place
operations, hence nothing that autograd needs version counters for.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Shape: TypeAlias = tuple[int, ...]
Rule: TypeAlias = Callable[["Variable"], tuple["Variable", ...]]

_clock = itertools.count()


class Variable:
    """An array of float64 that never changes, and how it came about.

    Attributes:
        value: the array, read-only, of any shape.
        inputs: the Variables that it was computed from; none for one made by hand.
        backward: from the gradient of a loss with respect to this Variable, the gradients of the loss
            with respect to each of `inputs`, for this one use of them.

    >>> x = Variable([1, 2])
    >>> (3 * x**2).sum()
    Variable(15.0)
    """

    def __init__(
        self, value: ArrayLike, inputs: tuple["Variable", ...] = (), backward: Rule = lambda gradient: ()
    ) -> None:
        self.value: NDArray[np.float64] = np.array(value, dtype=np.float64)  # a copy
        self.value.setflags(write=False)
        self.inputs = inputs
        self.backward = backward
        self._made = next(_clock)

    def __repr__(self) -> str:
        return f"Variable({self.value.tolist()})"

    @property
    def shape(self) -> Shape:
        """The sizes of the axes."""
        return self.value.shape

    def __add__(self, other: "Variable | ArrayLike") -> "Variable":
        a, b = _fitted(self, other)
        return Variable(a.value + b.value, (a, b), lambda gradient: (gradient, gradient))

    def __mul__(self, other: "Variable | ArrayLike") -> "Variable":
        a, b = _fitted(self, other)
        return Variable(a.value * b.value, (a, b), lambda gradient: (gradient * b, gradient * a))

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> "Variable":
        return self * -1

    def __sub__(self, other: "Variable | float") -> "Variable":
        return self + -1 * other

    def __pow__(self, exponent: float) -> "Variable":
        def backward(gradient: Variable) -> tuple[Variable]:
            # x**0 is 1 everywhere, where the general rule would make 0 * infinity of x = 0.
            slope = exponent * self ** (exponent - 1) if exponent else 0.0
            return (gradient * slope,)

        return Variable(self.value**exponent, (self,), backward)

    def __matmul__(self, other: "Variable") -> "Variable":
        a, b = self, other
        if not (len(a.shape) == len(b.shape) == 2 and a.shape[1] == b.shape[0]):
            raise ValueError(f"expected matrices (n, k) @ (k, m), got {a.shape} @ {b.shape}")
        return Variable(a.value @ b.value, (a, b), lambda gradient: (gradient @ b.T, a.T @ gradient))

    @property
    def T(self) -> "Variable":  # noqa: N802 - the name that it has in NumPy and PyTorch
        """The same values with the axes in reverse order."""
        return Variable(self.value.T, (self,), lambda gradient: (gradient.T,))

    def expand(self, shape: Shape) -> "Variable":
        """Repeat the values along new leading axes and along axes of size 1, until the shape is `shape`."""
        value = np.broadcast_to(self.value, shape)
        return Variable(value, (self,), lambda gradient: (gradient.sum_to_size(self.shape),))

    def sum_to_size(self, shape: Shape) -> "Variable":
        """Add up, for each value of an array of shape `shape`, the places that `expand` would copy it to."""
        padded = (1,) * (len(self.shape) - len(shape)) + shape
        axes = tuple(axis for axis, size in enumerate(padded) if size == 1)
        value = self.value.sum(axes).reshape(shape)
        return Variable(value, (self,), lambda gradient: (gradient.expand(self.shape),))

    def sum(self) -> "Variable":
        """Add up all values; the shape is ()."""
        return self.sum_to_size(())

    def relu(self) -> "Variable":
        """Return what is positive and 0 for the rest; the slope at 0 is taken to be 0, as in PyTorch."""
        positive = self.value > 0  # the slope, 0 or 1, is itself constant
        return Variable(np.maximum(self.value, 0), (self,), lambda gradient: (gradient * positive,))

    def exp(self) -> "Variable":
        """Return e to the power of each value."""
        # The rule computes exp again: the array at hand would hide from a second derivative that it is of x.
        return Variable(np.exp(self.value), (self,), lambda gradient: (gradient * self.exp(),))

    def log(self) -> "Variable":
        """Return the natural logarithm of each value."""
        return Variable(np.log(self.value), (self,), lambda gradient: (gradient * self**-1,))


def grad(
    output: Variable, inputs: Sequence[Variable], *, allow_unused: bool = False
) -> tuple[Variable | None, ...]:
    """Return the gradient of `output` with respect to each of `inputs`, as Variables of their shapes.

    The gradients can be differentiated like anything computed, as with create_graph=True in PyTorch.

    Args:
        output: what to differentiate, of one value.
        inputs: with respect to what; results on the way to `output` as well.
        allow_unused: whether an input that `output` was not computed from gets None, or is an error.

    Raises:
        ValueError: `output` has several values, or an input was not used.

    Source: the notebook Simple_Grad, to which the notes link; torch.autograd.grad.

    >>> x = Variable([2, 3])
    >>> (slope,) = grad((x**3).sum(), [x])
    >>> slope
    Variable([12.0, 27.0])
    >>> grad((slope * [1, 10]).sum(), [x])
    (Variable([12.0, 180.0]),)
    """
    if output.value.size != 1:
        raise ValueError(f"expected an output of one value, got shape {output.shape}; take its sum()")
    gradients = {output: Variable(np.ones(output.shape))}
    for result in reversed(_tape(output)):
        # Whatever used this result was made later, so its gradient is complete by now.
        for used, contribution in zip(result.inputs, result.backward(gradients[result]), strict=True):
            gradients[used] = _accumulated(gradients.get(used), contribution)
    unused = [index for index, variable in enumerate(inputs) if variable not in gradients]
    if unused and not allow_unused:
        raise ValueError(
            f"expected inputs that the output was computed from, got others at {unused}; "
            "allow_unused=True gives None for them"
        )
    return tuple(map(gradients.get, inputs))


def _tape(output: Variable) -> list[Variable]:
    """List what `output` was computed from, and itself, in the order in which it was computed."""
    found, waiting = {output}, [output]
    while waiting:
        new = set(waiting.pop().inputs) - found
        found |= new
        waiting += new
    return sorted(found, key=lambda variable: variable._made)


def _accumulated(so_far: Variable | None, contribution: Variable) -> Variable:
    """Each use of a Variable contributes to its gradient; the sum is the gradient."""
    return contribution if so_far is None else so_far + contribution


def _fitted(a: Variable, other: Variable | ArrayLike) -> tuple[Variable, Variable]:
    """Expand the smaller of two, so that the operations themselves need no rule for broadcasting."""
    b = other if isinstance(other, Variable) else Variable(other)
    shape = np.broadcast_shapes(a.shape, b.shape)
    return a if a.shape == shape else a.expand(shape), b if b.shape == shape else b.expand(shape)
