"""A distribution of latents pushed through a flow."""

from typing import Protocol

import torch
from torch import Tensor, nn

from vaekit.core import Latent, UnknownError
from vaekit.distributions.normal import Normal
from vaekit.noise import fixed_normals

POINTS = 128
"""fixed draws that mean and standard deviation are taken of"""


class Map(Protocol):
    """z (…, D), c (B, C) ↦ T(z; c) and log |det ∂T/∂z|, or with `inverse` those of T⁻¹: `parts.flows.Flow`."""

    @property
    def invertible(self) -> bool:
        """Whether T⁻¹ is known."""
        ...

    @property
    def title(self) -> str:
        """What messages call it."""
        ...

    def __call__(self, z: Tensor, c: Tensor | None = None, *, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """The value at z (…, D), and the log-determinant (…)."""
        ...


class Pushed(Latent):
    """The distribution of z = T(u; c), u ~ N(μ, diag σ²), T an invertible map.

        log q(z) = log N(u; μ, σ²) − log |det ∂T/∂u|,    u = T⁻¹(z; c)

    base       the normal, batch (B,) or none, event (D,)
    flow       T, of `parts.flows`
    context    c (B, C), or None

    A T whose inverse is not known leaves the density of its own draws, for which none is needed. Mean and standard
    deviation have no closed form: they are those of T(u) at 128 fixed points u, evenly spread, with the mean and the
    variances of the normal, and with its covariances too in up to 32 latents. So they are the same whenever they are
    asked for, exact where T is affine (with more latents, where it moves and scales each by itself), and else close.

    >>> from vaekit.parts.flows import couplings
    >>> q = Pushed(Normal(torch.zeros(2), torch.zeros(2)), couplings(2, steps=4, width=8))
    >>> round(q.log_prob(torch.zeros(2)).item(), 6)   # the flow starts at the identity: −log 2π
    -1.837877
    """

    def __init__(self, base: Normal, flow: Map, context: Tensor | None = None) -> None:
        self.base = base
        self.flow = flow
        self.context = context

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The draws z (K, B, D) of ε (K, B, D), and log q(z) by ε, (K, B)."""
        u, log_q = self.base.draw(noise)
        z, log_det = self.flow(u, self.context)
        return z, log_q - log_det

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …, D) from a given generator."""
        z, _ = self.flow(self.base.sample(generator, shape), self.context)
        return z

    def log_prob(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """The log-density of any z (…, D), (…) nats; no coordinate can be left out of it."""
        if mask is not None:
            raise ValueError("a distribution pushed through a flow cannot sum over some coordinates: mask must be None")
        if not self.flow.invertible:
            raise UnknownError(f"a posterior of {self.flow.title} steps knows the density of its own draws only.")
        u, log_det = self.flow(z, self.context, inverse=True)
        return self.base.log_prob(u) + log_det

    def _points(self) -> Tensor:
        """The fixed points' z, (128, …, D)."""
        shape = self.base.shape
        u = fixed_normals(POINTS, shape[-1]).to(self.base.loc)
        z, _ = self.draw(u.reshape(POINTS, *[1] * (len(shape) - 1), shape[-1]))
        return z

    @property
    def mean(self) -> Tensor:
        """The mean E[z], (B, D), by fixed points."""
        return self._points().mean(0)

    @property
    def stddev(self) -> Tensor:
        """The standard deviation of each latent, (B, D), by fixed points."""
        return self._points().std(0, correction=0)

    def detach(self) -> "Pushed":
        """The same distribution with its parameters held constant, those of the flow too."""
        if not self.flow.invertible:
            raise UnknownError(
                f"a posterior of {self.flow.title} steps knows the density of its own draws only, with their gradient: "
                f"choose the standard gradient."
            )
        context = self.context
        if context is not None:
            context = context.detach()
        flow = _Held(self.flow) if isinstance(self.flow, nn.Module) else self.flow
        return Pushed(self.base.detach(), flow, context)


class _Held:
    """A flow with its weights held constant."""

    def __init__(self, flow: Map) -> None:
        assert isinstance(flow, nn.Module)
        self.invertible = flow.invertible
        self.title = flow.title
        self.flow: nn.Module = flow
        self.weights = {name: weight.detach() for name, weight in flow.named_parameters()}

    def __call__(self, z: Tensor, c: Tensor | None = None, *, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """The flow's value and log-determinant."""
        found: tuple[Tensor, Tensor] = torch.func.functional_call(self.flow, self.weights, (z, c), {"inverse": inverse})
        return found
