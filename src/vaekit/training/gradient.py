"""The bound of a batch and its gradient: operation by operation, or as one compiled function."""

import time
import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaekit.core import Batch, Bound, Objective


class Gradient(NamedTuple):
    """What a step of descent needs to know of a batch."""

    bound: Bound
    each: tuple[Tensor | None, ...]
    """∂loss/∂θ, one for each of the model's parameters; None where the loss does not depend on it"""
    norm: Tensor
    """the length of all of them together, a scalar"""


class Eager:
    """Operation by operation, as PyTorch does by itself."""

    def __init__(self, model: nn.Module, objective: Objective):
        self.model, self.objective = model, objective
        self.parameters = tuple(model.parameters())

    def __call__(self, batch: Batch, noise: Tensor, step: int) -> Gradient:
        bound = self.objective(self.model, batch, noise, step=step)
        each = torch.autograd.grad(bound.loss, self.parameters, allow_unused=True)
        return Gradient(bound, each, torch.nn.utils.get_total_norm([g for g in each if g is not None]))


class Compiled:
    """As one function of parameters, batch and noise, compiled when first called (`torch.compile`): the many small
    operations of a bound and its gradient become few. Needs a C++ compiler; without one it is `Eager`, and says so.

    Steps of a warm-up, in which the loss changes from step to step, are not compiled.
    """

    def __init__(self, model: nn.Module, objective: Objective):
        self.eager, self.warmup = Eager(model, objective), getattr(objective, "warmup", 0)
        self.bridge = _Bridge(model, objective, self.warmup)
        self.parameters = {name: p.detach() for name, p in self.bridge.named_parameters()}
        self.function = None
        self.failed = False
        self.seconds: float | None = None
        """what compiling took"""

    def __getstate__(self) -> dict:
        return {**vars(self), "function": None}  # compiled again where it is needed again

    def __call__(self, batch: Batch, noise: Tensor, step: int) -> Gradient:
        if step < self.warmup or self.failed:
            return self.eager(batch, noise, step)
        began, self.function = time.monotonic(), self.function or torch.compile(self._function)
        try:
            found = self.function(self.parameters, batch.x, batch.mask, noise)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).splitlines()[0]
            warnings.warn(f"training goes on without compiling, as that failed: {reason}", stacklevel=2)
            self.failed = True
            return self.eager(batch, noise, step)
        self.seconds = self.seconds or time.monotonic() - began
        return found

    @torch.no_grad()
    def _function(self, parameters: dict[str, Tensor], x: Tensor, mask: Tensor | None, noise: Tensor) -> Gradient:
        def loss(parameters):
            bound = torch.func.functional_call(self.bridge, parameters, (x, mask, noise))
            return bound.loss, bound

        each, (value, bound) = torch.func.grad_and_value(loss, has_aux=True)(parameters)
        norm = torch.stack([g.square().sum() for g in each.values()]).sum().sqrt()
        return Gradient(Bound(bound.value, value, dict(bound.terms)), tuple(each.values()), norm)


class _Bridge(nn.Module):
    """The objective as a module's forward, so that it can be called with other parameters."""

    def __init__(self, model: nn.Module, objective: Objective, step: int):
        super().__init__()
        self.model, self.objective, self.step = model, objective, step

    def forward(self, x: Tensor, mask: Tensor | None, noise: Tensor) -> Bound:
        return self.objective(self.model, Batch(x, mask), noise, step=self.step)
