"""One step of gradient descent, operation by operation.

    G ← ∂loss/∂θ,  shortened to `limit`;    θ ← Adam(θ, G) (Kingma & Ba 2015, arXiv:1412.6980);    θ̄ ← θ̄ + w (θ − θ̄)

`compiled` and `recorded` go the same step faster. Each changes parameters, moments and averaged weights, or, where a
number is not finite, nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.adam import adam as adam_of_torch

from vaekit.core import Batch, Bound, LatentModel, Objective
from vaekit.inference import Averages
from vaekit.training import together

EPSILON = 1e-8
LOSS = "loss"
"""the name of its mean, where there is no bound to be told instead"""

Tensors = tuple[Tensor, Tensor | None, Tensor | None]
"""`Batch.tensors`"""
Noise = tuple[Tensor, ...]
"""what an objective asked for, ε (K, B, E) each"""
Ahead = Callable[[], "tuple[Batch, Noise] | None"]
"""makes what the next step will be called with, if it is known: an accelerator can be given it while it is busy"""


class Pace(NamedTuple):
    """How far a step goes."""

    rate: float
    """learning rate"""
    limit: float
    """the longest gradient that is followed as it is"""
    weight: float
    """w, of the new weights in the averaged ones"""


class Step(NamedTuple):
    """What came of a step."""

    means: dict[str, float]
    """of the bound, under the objective's name, and of its terms over the batch"""
    norm: float
    """length of the gradient, before it was shortened"""
    scale: float
    """by what it was: 1 where it was not"""
    finite: bool


@dataclass
class Adam:
    """Adam's state, a tensor for each parameter."""

    means: list[Tensor]
    squares: list[Tensor]
    steps: Tensor
    """(n,)"""
    betas: tuple[float, float]
    """decay per step of the two"""

    @classmethod
    def zero(cls, parameters: list[nn.Parameter], betas: tuple[float, float]) -> "Adam":
        """As at the start."""
        means = [torch.zeros_like(p, requires_grad=False) for p in parameters]
        squares = [torch.zeros_like(p, requires_grad=False) for p in parameters]
        return cls(means, squares, torch.zeros(len(parameters), device=parameters[0].device), betas)

    def forget(self) -> None:
        """As at the start, in the same memory."""
        for tensor in (*self.means, *self.squares, self.steps):
            tensor.zero_()

    def take(self, means: list[Tensor], squares: list[Tensor], steps: Tensor) -> None:
        """Copies of another's numbers."""
        self.means = [mean.clone() for mean in means]
        self.squares = [square.clone() for square in squares]
        self.steps = steps.clone()

    def __iter__(self) -> "Iterator[list[Tensor] | Tensor]":
        """Its numbers: means, squares and steps, of each parameter."""
        return iter((self.means, self.squares, self.steps))


class Descended(nn.Module):
    """A model and its objective, with all the parameters that are trained: tensors ↦ Bound."""

    model: LatentModel
    objective: Objective

    def __init__(self, model: LatentModel, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, tensors: Tensors, noise: Noise, step: int) -> Bound:
        """The bound on a batch that is given as its tensors, without the draw that it was made of."""
        return self.objective(self.model, Batch(*tensors), *noise, step=step)._replace(draw=None)


class Trainable:
    """All that a step changes.

    last      model and objective as the last step left them
    smooth    the same with averaged weights
    """

    def __init__(self, last: Descended, smooth: Descended, betas: tuple[float, float]) -> None:
        self.last = last
        self.smooth = smooth
        self.names = [name for name, _ in last.named_parameters()]
        self.parameters = list(last.parameters())
        self.averages = list(smooth.parameters())
        self.adam = Adam.zero(self.parameters, betas)
        self._kept = list(smooth.buffers()), list(last.buffers())

    @property
    def objective(self) -> Objective:
        """What is descended."""
        return self.last.objective

    def follow(self) -> None:
        """Give the averaged model what the model keeps besides its parameters."""
        smooth, last = self._kept
        if smooth:
            together.copy(smooth, last)


class Stepper:
    """A way to go a step."""

    failed = 0
    """1 where compiling failed, 2 where recording did: what is resumed does not try again, and repeats"""
    seconds: float | None = None
    """what compiling took"""

    def __call__(self, trainable: Trainable, batch: Batch, noise: Noise, pace: Pace, number: int, ahead: Ahead) -> Step:
        """The step of this number."""
        raise NotImplementedError

    def begins(self, number: int) -> bool:
        """Whether the step of this number takes some seconds more."""
        return False


class Eager(Stepper):
    """Operation by operation, as PyTorch does by itself."""

    def __call__(self, trainable: Trainable, batch: Batch, noise: Noise, pace: Pace, number: int, ahead: Ahead) -> Step:
        """The step of this number."""
        return step(trainable, batch, noise, pace, number)


def step(trainable: Trainable, batch: Batch, noise: Noise, pace: Pace, number: int) -> Step:
    """The step of this number."""
    with repeatable(batch.x.device):
        bound, used = gradient(trainable, batch, noise, number)
    with torch.no_grad():
        norm = together.norm(used.gradient)
        found = of_numbers(*numbers(told(trainable.objective, bound), bound.loss, norm, pace.limit))
        if not found.finite:
            return found
        if found.scale < 1:
            together.scale(used.gradient, found.scale)
        adam(used, trainable.adam.betas, pace.rate)
        together.follow(trainable.averages, trainable.parameters, pace.weight)
        trainable.follow()
    return found


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Of cuDNN's ways to convolve, those alone that repeat to the bit. Of all else that a step is made of, PyTorch's
    kernels do so by themselves."""
    before = torch.backends.cudnn.deterministic
    if device.type != "cuda" or before:
        yield
        return
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


class Used(NamedTuple):
    """The parameters on which a loss depends, with what goes with each."""

    parameters: list[Tensor]
    gradient: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]


def gradient(trainable: Trainable, batch: Batch, noise: Noise, number: int) -> tuple[Bound, Used]:
    """The bound on a batch, and the gradient of its loss."""
    bound = trainable.last(batch.tensors, noise, number)
    found = torch.autograd.grad(bound.loss, trainable.parameters, allow_unused=True)
    state = trainable.adam
    each = zip(trainable.parameters, found, state.means, state.squares, state.steps.unbind(), strict=True)
    used = [tensors for tensors in each if tensors[1] is not None]
    return bound, Used(*map(list, zip(*used, strict=True)))


def adam(
    used: Used,
    betas: tuple[float, float],
    rate: Tensor | float,
    *,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
) -> None:
    """One update of the parameters used, in place.

    grad_scale    by what the gradient is divided first
    found_inf     1 where nothing is to change
    """
    adam_of_torch(
        used.parameters, used.gradient, used.means, used.squares, [], used.steps, lr=rate, beta1=betas[0],
        beta2=betas[1], eps=EPSILON, weight_decay=0.0, amsgrad=False, maximize=False, fused=True,
        grad_scale=grad_scale, found_inf=found_inf,
    )  # fmt: skip


def told(objective: Objective, found: Bound | Averages) -> dict[str, Tensor]:
    """What is recorded, by name: the bound and its terms; where there is no bound, the loss."""
    first = {LOSS: found.loss} if found.value is None else {objective.name: found.value}
    return {**first, **found.terms}


def numbers(values: dict[str, Tensor], loss: Tensor, norm: Tensor, limit: Tensor | float) -> tuple[list[str], Tensor]:
    """Names of the means of what is told, and all of a Step as one tensor: it leaves the device once."""
    scale = torch.where(norm > limit, limit / norm, 1.0)
    finite = (norm + loss).isfinite().to(norm.dtype)
    means = [value.mean() for value in values.values()]
    return list(values), torch.stack([*means, norm, scale, finite])


def of_numbers(names: list[str], found: Tensor) -> Step:
    """The Step that `numbers` made one tensor of."""
    *means, norm, scale, finite = found.tolist()
    return Step(dict(zip(names, means, strict=True)), norm, scale, bool(finite))
