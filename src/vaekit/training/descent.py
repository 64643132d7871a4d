"""One step of gradient descent: operation by operation, or as one compiled function.

    G ← ∂loss/∂θ,  shortened to `limit`;    θ ← Adam(θ, G) (Kingma & Ba 2015, arXiv:1412.6980);    θ̄ ← θ̄ + w (θ − θ̄)

Both change a State's parameters, moments and averaged weights, or, where a number is not finite, nothing.
"""

import time
import warnings
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from vaekit.core import Batch, Bound, Objective

if TYPE_CHECKING:
    from vaekit.training.state import State

EPSILON = 1e-8
COMPILING = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe, "cpp_wrapper": True}
"""no look at what stays the same at every call, and no Python between the kernels: a third of a small step"""


class Pace(NamedTuple):
    """How far a step goes."""

    rate: float
    """learning rate"""
    limit: float
    """the longest gradient that is followed as it is"""
    weight: float
    """w, of the new weights in the averaged ones"""


class Descent(NamedTuple):
    """What came of a step."""

    bound: Bound
    norm: float
    """length of the gradient, before it was shortened"""
    finite: bool


class Eager:
    """Operation by operation, as PyTorch does by itself."""

    def __call__(self, state: "State", batch: Batch, noise: Tensor, pace: Pace) -> Descent:
        bound = state.objective(state.model, batch, noise, step=state.step)
        gradient = torch.autograd.grad(bound.loss, state.parameters, allow_unused=True)
        used = [g for g in gradient if g is not None]
        norm = torch.nn.utils.get_total_norm(used)
        if not (norm.isfinite() and bound.loss.isfinite()):
            return Descent(bound, norm.item(), False)
        if norm > pace.limit:
            torch._foreach_mul_(used, pace.limit / norm)
        for parameter, g in zip(state.parameters, gradient, strict=True):
            parameter.grad = g
        state.optimizer.param_groups[0]["lr"] = pace.rate
        state.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(state.averaged.parameters()), state.parameters, pace.weight)
        return Descent(bound, norm.item(), True)


class Compiled:
    """The same as one function, compiled when first called (`torch.compile`): the many small operations of a bound, its
    gradient and Adam become few. Needs a C++ compiler; without one it is `Eager`, and says so.

    Steps of a warm-up, in which the loss changes from step to step, are not compiled. Model and objective are taken to
    stay as they were when it was compiled: nothing but the shapes of a batch is looked at again.
    """

    def __init__(self):
        self.eager, self.functions, self.numbers = Eager(), {}, None
        self.seconds: float | None = None
        """what compiling took"""

    def __getstate__(self) -> dict:
        return {**vars(self), "functions": {}, "numbers": None}  # compiled again where it is needed again

    def __call__(self, state: "State", batch: Batch, noise: Tensor, pace: Pace) -> Descent:
        if state.uncompiled or state.step < state.warmup:
            return self.eager(state, batch, noise, pace)
        shapes = (batch.x.shape, batch.x.dtype, batch.mask is None, noise.shape)
        if shapes not in self.functions:
            return self._compile(shapes, state, batch, noise, pace)
        return self._call(self.functions[shapes], state, batch, noise, pace)

    def _compile(self, shapes: tuple, state: "State", batch: Batch, noise: Tensor, pace: Pace) -> Descent:
        """Compile and go the first step."""
        began = time.monotonic()
        function = torch.compile(_of_its_own(_step_of(state)), dynamic=False, options=COMPILING)
        try:
            found = self._call(function, state, batch, noise, pace)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).splitlines()[0]
            warnings.warn(f"training goes on without compiling, as that failed: {reason}", stacklevel=3)
            state.uncompiled = 1
            return self.eager(state, batch, noise, pace)
        self.functions[shapes], self.seconds = function, time.monotonic() - began
        return found

    def _call(self, function: Callable, state: "State", batch: Batch, noise: Tensor, pace: Pace) -> Descent:
        if self.numbers is None or not self.numbers.are_of(state):
            self.numbers = Numbers.of(state)
        numbers, (first, second) = self.numbers, state.recipe.betas
        count = int(numbers.steps[0]) + 1
        rates = torch.tensor([*pace, 1 - first**count, 1 - second**count], device=batch.x.device)
        with torch.no_grad():
            bound, norm, finite = function(*numbers[:4], batch.x, batch.mask, noise, rates)
        if finite := bool(finite):
            numbers.steps.add_(1)
        return Descent(bound, norm.item(), finite)


class Numbers(NamedTuple):
    """What a step changes: the very tensors of a state, parameter by parameter."""

    parameters: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    averaged: list[Tensor]
    steps: Tensor
    """Adam's count for each parameter: of all the same"""

    @staticmethod
    def of(state: "State") -> "Numbers":
        """Adam's state is made where there is none yet, as `torch.optim.Adam` keeps it."""
        parameters = [p.detach() for p in state.parameters]
        moments = [state.optimizer.state[p] for p in state.parameters]
        known = [m["step"] for m in moments if m]
        steps = torch.stack(known) if known else torch.zeros(len(parameters), device=parameters[0].device)
        for parameter, moment, step in zip(parameters, moments, steps, strict=True):
            moment["step"] = step
            for name in ("exp_avg", "exp_avg_sq"):
                moment.setdefault(name, torch.zeros_like(parameter))
        means, squares = ([m[name] for m in moments] for name in ("exp_avg", "exp_avg_sq"))
        return Numbers(parameters, means, squares, list(state.averaged.parameters()), steps)

    def are_of(self, state: "State") -> bool:
        """Whether they still are: moments are others after a state was loaded, or went back."""
        return state.optimizer.state[state.parameters[0]].get("exp_avg") is self.means[0]


def _of_its_own(function: Callable) -> Callable:
    """The same function with code of its own: what is compiled is kept by the code, and each state has its own."""
    return FunctionType(
        function.__code__.replace(), function.__globals__, function.__name__, None, function.__closure__
    )


def _step_of(state: "State") -> Callable:
    """A state's step as a function of tensors alone, of which it changes the first four lists."""
    bridge, names = _Bridge(state.model, state.objective, state.warmup), [f"model.{name}" for name in state.names]
    first, second = state.recipe.betas

    def step(parameters, means, squares, averaged, x, mask, noise, rates):
        def loss(parameters):
            bound = torch.func.functional_call(bridge, dict(zip(names, parameters, strict=True)), (x, mask, noise))
            return bound.loss, bound

        gradient, (value, bound) = torch.func.grad_and_value(loss, has_aux=True)(parameters)
        rate, limit, weight, unbias_mean, unbias_square = rates.unbind()
        norm = torch.stack([g.square().sum() for g in gradient]).sum().sqrt()
        finite = norm.isfinite() & value.isfinite()
        scale = torch.where(norm > limit, limit / norm, 1.0)
        for p, m, s, average, g in zip(parameters, means, squares, averaged, gradient, strict=True):
            g = g * scale
            mean, square = m.lerp(g, 1 - first), second * s + (1 - second) * g * g
            new = p - rate * (mean / unbias_mean) / ((square / unbias_square).sqrt() + EPSILON)
            for old, now in ((m, mean), (s, square), (p, new), (average, average.lerp(new, weight))):
                old.copy_(torch.where(finite, now, old))
        return Bound(bound.value, value, dict(bound.terms)), norm, finite

    return step


class _Bridge(nn.Module):
    """The objective as a module's forward, so that it can be called with other parameters."""

    def __init__(self, model: nn.Module, objective: Objective, step: int):
        super().__init__()
        self.model, self.objective, self.step = model, objective, step

    def forward(self, x: Tensor, mask: Tensor | None, noise: Tensor) -> Bound:
        return self.objective(self.model, Batch(x, mask), noise, step=self.step)
