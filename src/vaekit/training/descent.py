"""One step of gradient descent: operation by operation, or as one compiled function.

    G ← ∂loss/∂θ,  shortened to `limit`;    θ ← Adam(θ, G) (Kingma & Ba 2015, arXiv:1412.6980);    θ̄ ← θ̄ + w (θ − θ̄)

Both change a State's parameters, moments and averaged weights, or, where a number is not finite, nothing.
"""

import contextlib
import time
import warnings
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from vaekit.core import Batch, Bound, Objective

if TYPE_CHECKING:
    from vaekit.training.state import State

EPSILON = 1e-8
MANY = 10_000
"""models that one process may compile: each is a new version of one and the same function, of which few are allowed"""


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

    Steps of a warm-up, in which the loss changes from step to step, are not compiled.
    """

    def __init__(self):
        self.eager, self.function = Eager(), None
        self.seconds: float | None = None
        """what compiling took"""

    def __getstate__(self) -> dict:
        return {**vars(self), "function": None}  # compiled again where it is needed again

    def __call__(self, state: "State", batch: Batch, noise: Tensor, pace: Pace) -> Descent:
        if state.uncompiled or state.step < state.warmup:
            return self.eager(state, batch, noise, pace)
        began, compiling = time.monotonic(), self.function is None
        if compiling:
            self.function = torch.compile(_step_of(state), dynamic=False)
        moments = _moments(state)
        count = max(m["step"].item() for m in moments) + 1
        first, second = state.recipe.betas
        numbers = torch.tensor([*pace, 1 - first**count, 1 - second**count], device=batch.x.device)
        try:  # the limit matters while compiling alone, and setting it takes a while
            with torch._dynamo.config.patch(recompile_limit=MANY) if compiling else contextlib.nullcontext():
                bound, norm, finite = self.function(
                    [p.detach() for p in state.parameters],
                    [m["exp_avg"] for m in moments],
                    [m["exp_avg_sq"] for m in moments],
                    list(state.averaged.parameters()),
                    *(batch.x, batch.mask, noise, numbers),
                )
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).splitlines()[0]
            warnings.warn(f"training goes on without compiling, as that failed: {reason}", stacklevel=2)
            state.uncompiled = 1
            return self.eager(state, batch, noise, pace)
        if compiling:
            self.seconds = time.monotonic() - began
        if finite := bool(finite):
            torch._foreach_add_([m["step"] for m in moments], 1)
        return Descent(bound, norm.item(), finite)


def _moments(state: "State") -> list[dict[str, Tensor]]:
    """Adam's state of each parameter, as `torch.optim.Adam` keeps it."""
    for p in state.parameters:
        if not state.optimizer.state[p]:
            zeros = {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
            state.optimizer.state[p] = {"step": torch.zeros((), device=p.device), **zeros}
    return [state.optimizer.state[p] for p in state.parameters]


def _step_of(state: "State"):
    """A state's step as a function of tensors alone, of which it changes the first four lists."""
    bridge, names = _Bridge(state.model, state.objective, state.warmup), [f"model.{name}" for name in state.names]
    first, second = state.recipe.betas

    @torch.no_grad()
    def step(parameters, means, squares, averaged, x, mask, noise, numbers):
        def loss(parameters):
            bound = torch.func.functional_call(bridge, dict(zip(names, parameters, strict=True)), (x, mask, noise))
            return bound.loss, bound

        gradient, (value, bound) = torch.func.grad_and_value(loss, has_aux=True)(parameters)
        rate, limit, weight, unbias_mean, unbias_square = numbers.unbind()
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
