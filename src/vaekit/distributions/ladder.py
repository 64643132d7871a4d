"""A distribution of latents in several layers: a chain of conditional distributions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vaekit.core import Latent
from vaekit.distributions.normal import Normal
from vaekit.noise import fixed_normals

POINTS = 128
"""fixed draws that standard deviations are taken of"""
AT_ONCE = 16
"""of them through the networks at once: a batch is as large as one draw of it has room for"""


@dataclass(frozen=True)
class Rung:
    """One layer of latents given those above it, q(z_l | z_>l), a diagonal normal.

    size       D_l, its latents
    given      z_>l (…, D_L + … + D_{l+1}), *context ↦ a normal with batch (…,) and event (D_l,): an `nn.Module`, or a
               function without weights of its own
    context    tensors (B, …) that it is told beside z_>l
    """

    size: int
    given: Callable[..., Normal]
    context: tuple[Tensor, ...] = ()

    def at(self, above: Tensor) -> Normal:
        """The distribution of z_l, given the latents above it."""
        return self.given(above, *self.context)

    def detach(self) -> "Rung":
        """The same with its weights and its context held constant; the latents above it are not."""
        given = _held(self.given) if isinstance(self.given, nn.Module) else self.given
        return Rung(self.size, given, tuple(tensor.detach() for tensor in self.context))


def _held(module: nn.Module) -> Callable[..., Normal]:
    """What a module makes of its inputs, its weights held constant."""
    weights = {name: weight.detach() for name, weight in module.named_parameters()}

    def given(*inputs: Tensor) -> Normal:
        found: Normal = torch.func.functional_call(module, weights, inputs)
        return found

    return given


class Ladder(Latent):
    """The distribution of z = (z_L, …, z_1), the top rung first, side by side in one vector.

        q(z) = q(z_L) Π_l q(z_l | z_>l),    log q(z) = Σ_l log q(z_l | z_>l)

    top      q(z_L), batch (B,) or none
    below    the rungs below it, from the top down

    A draw takes them from the top, each given the draws above it. `mean` is the mean of each rung given the means above
    it: E[z] where each is linear in what is above, and else a point that stands for it. `stddev` is that of 128 fixed
    draws.

    >>> below = Rung(2, lambda above: Normal(3 * above.expand(*above.shape[:-1], 2), torch.zeros(2)))
    >>> z, log_p = Ladder(Normal(torch.zeros(1), torch.zeros(1)), [below]).draw(torch.tensor([[[1.0, 0.0, 0.5]]]))
    >>> z.tolist(), round(log_p.item(), 4)    # −½ (1 + 0 + ¼ + 3 log 2π)
    ([[[1.0, 3.0, 3.5]]], -3.3818)
    """

    def __init__(self, top: Normal, below: Sequence[Rung]) -> None:
        self.top = top
        self.below = tuple(below)
        self.rungs = (top.shape[-1], *(rung.size for rung in below))

    def _each(self, z: Tensor) -> Iterator[tuple[Normal, Tensor]]:
        """The distribution of each rung given what z (…, D) has above it, with what z has there."""
        start = self.rungs[0]
        yield self.top, z[..., :start]
        for rung in self.below:
            stop = start + rung.size
            yield rung.at(z[..., :start]), z[..., start:stop]
            start = stop

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The draws z (K, B, D) of ε (K, B, D), and log q(z) by ε, (K, B)."""
        first, *others = noise.split(self.rungs, -1)
        z, log_q = self.top.draw(first)
        for rung, epsilon in zip(self.below, others, strict=True):
            own, its_log_q = rung.at(z).draw(epsilon)
            z = torch.cat([z, own], -1)
            log_q = log_q + its_log_q
        return z, log_q

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …, D) from a given generator."""
        z = self.top.sample(generator, shape)
        for rung in self.below:
            z = torch.cat([z, rung.at(z).sample(generator)], -1)
        return z

    def log_prob(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """The log-density of any z (…, D), (…) nats; no coordinate can be left out of it."""
        if mask is not None:
            raise ValueError("a chain of latents cannot sum over some of them: mask must be None")
        total = z.new_zeros(())
        for q, own in self._each(z):
            total = total + q.log_prob(own)
        return total

    def rate(self, p: Latent, z: Tensor, log_q: Tensor) -> Tensor:
        """The divergence of each rung from that of p, given the draws above both, (K, B, D) nats.

            E Σ_l KL(q(z_l | z_>l) ‖ p(z_l | z_>l)),    z_>l ~ q

        It is in closed form but for what is above; p is a ladder of the same rungs, or a diagonal normal. Against any
        other it is as `Latent.rate` has it.
        """
        other = _as_ladder(p, self.rungs)
        if other is None:
            return super().rate(p, z, log_q)
        found = []
        for (q, own), (its, _) in zip(self._each(z), other._each(z), strict=True):
            found.append(q.divergence(its).expand_as(own))
        return torch.cat(found, -1)

    @property
    def mean(self) -> Tensor:
        """The mean of each rung given the means above it, (B, D)."""
        mean = self.top.mean
        for rung in self.below:
            mean = torch.cat([mean, rung.at(mean).mean], -1)
        return mean

    @property
    def stddev(self) -> Tensor:
        """The standard deviation of each latent, (B, D), by fixed draws."""
        dims = sum(self.rungs)
        batch = self.top.shape[:-1]
        points = fixed_normals(POINTS, dims).to(self.top.loc)
        noise = points.reshape(POINTS, *[1] * len(batch), dims).expand(POINTS, *batch, dims)
        z = torch.cat([self.draw(part)[0] for part in noise.split(AT_ONCE)])
        return z.std(0, correction=0)

    def detach(self) -> "Ladder":
        """The same distribution with its parameters held constant, those of the networks too."""
        return Ladder(self.top.detach(), [rung.detach() for rung in self.below])


def _as_ladder(p: Latent, rungs: tuple[int, ...]) -> Ladder | None:
    """A distribution as a ladder of rungs of such sizes; None where it is none."""
    if isinstance(p, Ladder) and p.rungs == rungs:
        return p
    if not isinstance(p, Normal):
        return None
    top, *below = zip(p.mean.split(rungs, -1), p.log_scale.expand(p.shape).split(rungs, -1), strict=True)
    return Ladder(Normal(*top), [Rung(loc.shape[-1], _independent, (loc, log_scale)) for loc, log_scale in below])


def _independent(above: Tensor, loc: Tensor, log_scale: Tensor) -> Normal:
    """The normal that it is whatever the latents above are."""
    return Normal(loc, log_scale)
