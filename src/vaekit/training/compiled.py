"""One step of gradient descent as one compiled function (`torch.compile`)."""

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType

import torch
from torch import Tensor

from vaekit.core import Batch
from vaekit.training.step import EPSILON, Ahead, Eager, Noise, Pace, Step, Stepper, Trainable, numbers, of_numbers, told

EAGERLY = 100
"""steps before the first that is compiled or recorded: training starts, and shows what is wrong, at once"""
OPTIONS = {
    "guard_filter_fn": torch.compiler.skip_all_guards_unsafe,
    "cpp_wrapper": True,
    "cpp.use_decompose_tanh": True,
}
"""no look at what stays the same at every call, and no Python between the kernels: a third of a small step; and tanh by
one exponential, within 1e-7"""
FAILURES = (RuntimeError, OSError, ImportError, AssertionError)
"""what a compiler that fails raises; where the step itself is wrong, it is wrong without a compiler too, and says so"""


class Compiled(Stepper):
    """The many small operations of a bound, its gradient and Adam become few. Needs a C++ compiler; without one it is
    `Eager`, and says so.

    The first steps, and those of a warm-up, in which the loss changes from step to step, are not compiled. Model and
    objective are taken to stay as they were when it was: nothing but the shapes of a batch is looked at again.

    settled    the step from which on the loss is the one that is meant
    """

    def __init__(self, settled: int) -> None:
        self.settled = settled
        self.eager = Eager()
        self.functions: dict[tuple, Callable] = {}
        self.flat: list[Tensor] = []
        """all weights, averaged weights, and Adam's means and squares, each in one tensor"""

    def __getstate__(self) -> dict:
        """For pickle: compiled again where it is needed again."""
        return {**vars(self), "functions": {}, "flat": []}

    def __call__(self, trainable: Trainable, batch: Batch, noise: Noise, pace: Pace, number: int, ahead: Ahead) -> Step:
        """The step of this number."""
        if not self._follows(number):
            return self.eager(trainable, batch, noise, pace, number, ahead)
        shapes = shapes_of(batch, noise)
        if shapes in self.functions:
            found = self._call(self.functions[shapes], trainable, batch, noise, pace)
        else:
            try:
                found = self._compile(shapes, trainable, batch, noise, pace)
            except FAILURES as error:
                say("without compiling", error)
                self.failed = 1
                return self.eager(trainable, batch, noise, pace, number, ahead)
        if found.finite:
            trainable.follow()
        return found

    def begins(self, number: int) -> bool:
        """Whether the step of this number is the first that is compiled."""
        return self._follows(number) and not self.functions

    def _follows(self, number: int) -> bool:
        return not self.failed and is_due(number, self.settled)

    def _compile(self, shapes: tuple, trainable: Trainable, batch: Batch, noise: Noise, pace: Pace) -> Step:
        """Compile and go the first step."""
        began = time.monotonic()
        layout = Flat(trainable.parameters)
        self.flat = layout.of(trainable)
        with warnings.catch_warnings():
            for category in (FutureWarning, DeprecationWarning):  # what the compiler has to say of its own code
                warnings.simplefilter("ignore", category)
            function = compiled(tensor_step(trainable, layout, self.settled), OPTIONS)
            found = self._call(function, trainable, batch, noise, pace)
        self.functions[shapes] = function
        self.seconds = (self.seconds or 0.0) + time.monotonic() - began
        return found

    def _call(self, function: Callable, trainable: Trainable, batch: Batch, noise: Noise, pace: Pace) -> Step:
        first, second = trainable.adam.betas
        count = int(trainable.adam.steps.max()) + 1  # of a parameter that nothing uses it stays 0
        unbias = [1 / (1 - beta**count) for beta in (first, second)]
        rates = torch.tensor([*pace, *unbias], device=batch.x.device)
        with torch.no_grad():
            tensors = tuple(None if t is None else t.contiguous() for t in batch.tensors)
            noise = tuple(each.contiguous() for each in noise)
            return of_numbers(*function(*self.flat, trainable.adam.steps, tensors, noise, rates))


def is_due(number: int, settled: int) -> bool:
    """Whether the steps have come that are compiled or recorded."""
    return number >= max(EAGERLY, settled)


def say(how: str, error: Exception) -> None:
    """A warning that a faster way is closed, with its reason."""
    reason = str(error).partition("\n")[0] or type(error).__name__
    warnings.warn(f"training goes on {how}, as that failed: {reason}", stacklevel=4)


def shapes_of(batch: Batch, noise: Noise) -> tuple:
    """What a step is compiled, or recorded, for."""
    return tuple(None if t is None else (t.shape, t.dtype) for t in (*batch.tensors, *noise))


class Flat:
    """Many tensors in one, each with its axes in the order in which they lie in memory: of which the rounding of a
    convolution depends, and a step that looks at no strides."""

    def __init__(self, tensors: Sequence[Tensor], aligned: int = 1) -> None:
        self.shapes = [tensor.shape for tensor in tensors]
        self.gaps = [-tensor.numel() % aligned for tensor in tensors]
        self.orders = [sorted(range(t.dim()), key=t.stride, reverse=True) for t in tensors]

    def joined(self, tensors: Iterable[Tensor]) -> Tensor:
        """The numbers of tensors of these shapes, one after another."""
        pieces = []
        for tensor, order, gap in zip(tensors, self.orders, self.gaps, strict=True):
            pieces.append(tensor.permute(order).flatten())
            if gap:
                pieces.append(tensor.new_zeros(gap))
        return torch.cat(pieces)

    def parts(self, flat: Tensor) -> list[Tensor]:
        """The tensors that `joined` would have it from: what changes it changes them."""
        sizes = [shape.numel() for shape in self.shapes]
        pieces = flat.split([size + gap for size, gap in zip(sizes, self.gaps, strict=True)])
        return [
            piece[:size]
            .view([shape[axis] for axis in order])
            .permute([order.index(axis) for axis in range(len(order))])
            for piece, size, shape, order in zip(pieces, sizes, self.shapes, self.orders, strict=True)
        ]

    def flattened(self, tensors: Sequence[Tensor]) -> Tensor:
        """The numbers of tensors, which become the parts of it."""
        flat = self.joined([tensor.detach() for tensor in tensors])
        for tensor, part in zip(tensors, self.parts(flat), strict=True):
            tensor.data = part
        return flat

    def of(self, trainable: Trainable) -> list[Tensor]:
        """All weights, averaged weights, and Adam's means and squares."""
        each = (trainable.parameters, trainable.averages, trainable.adam.means, trainable.adam.squares)
        return [self.flattened(tensors) for tensors in each]


def compiled(function: Callable, options: dict) -> Callable:
    """`torch.compile` of a function with code of its own: what is compiled is kept by the code, and each training has
    its own."""
    own = FunctionType(function.__code__.replace(), function.__globals__, function.__name__, None, function.__closure__)
    return torch.compile(own, dynamic=False, options=options)


def tensor_step(trainable: Trainable, layout: Flat, settled: int) -> Callable:
    """A step as a function of tensors alone, of which it changes the first five.

    rates    a Pace, and Adam's corrections of its means and squares, which it computes itself where they are left out
    """
    last = trainable.last
    names = trainable.names
    first, second = trainable.adam.betas

    def step(
        weights: Tensor, averaged: Tensor, means: Tensor, squares: Tensor, steps: Tensor, tensors: tuple, noise: Noise,
        rates: Tensor,
    ) -> tuple[list[str], Tensor]:  # fmt: skip
        def loss(parameters: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            given = dict(zip(names, parameters, strict=True))
            bound = torch.func.functional_call(last, given, (tensors, noise, settled))
            return bound.loss, told(last.objective, bound)

        gradient, (total, values) = torch.func.grad_and_value(loss, has_aux=True)(layout.parts(weights))
        rate, limit, weight, *unbias = rates.unbind()
        unbias_mean, unbias_square = unbias or [1 / (1 - beta ** (steps.max() + 1)) for beta in (first, second)]
        g = layout.joined(gradient)
        terms, found = numbers(values, total, g.square().sum().sqrt(), limit)
        scale = found[-2]  # read from there: computed once, not beside each weight
        finite = found[-1] > 0
        g = scale * g
        mean = means.lerp(g, 1 - first)
        square = second * squares + (1 - second) * g * g
        new = weights - rate * unbias_mean * mean / ((unbias_square * square).sqrt() + EPSILON)
        for old, now in ((means, mean), (squares, square), (weights, new), (averaged, averaged.lerp(new, weight))):
            old.copy_(torch.where(finite, now, old))
        steps.add_(finite)
        return terms, found

    return step
