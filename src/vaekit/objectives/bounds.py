"""Lower bounds on log p(x).

log p(x) = log E_q[ w ]  ≥  E_q[ log (1/K) Σ_k w_k ]  ≥  E_q[ log w ],    w = p(x, z) / q(z|x)         (Jensen)
    E_q[ log w ] = E_q[ log p(x|z) ] − KL(q(z|x) ‖ p(z)) = −distortion − rate = ELBO(x)

An objective is a value: what it reports is one of these bounds, whatever it descends to get there.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vaekit.core import Batch, Bound, Draw, LatentModel
from vaekit.errors import VaekitError, unknown
from vaekit.maths import log_mean_exp

STANDARD, STICKING, DOUBLY = "standard", "sticking-the-landing", "doubly-reparameterised"
GRADIENTS = (STANDARD, STICKING, DOUBLY)


@dataclass(frozen=True)
class ELBO:
    """The evidence lower bound, the KL in closed form where there is one (Kingma & Welling 2014, arXiv:1312.6114).

        value = (1/m) Σ_j log p(x|z_j) − KL(q(z|x) ‖ p(z)),    z_j = g(ε_j),  j = 1 … m
        loss  = distortion + β_t · Σ_d max(λ, KL_d), averaged over the rows

    samples     m, draws a row, each through the decoder
    beta        weight of the rate in the loss (Higgins et al. 2017); the value is the ELBO whatever β
    warmup      steps over which the weight grows from 0 to β (Bowman et al. 2016, arXiv:1511.06349)
    free_bits   λ, nats per latent below which KL_d, a mean over the batch, costs λ and has no gradient (Kingma et al.
                2016, arXiv:1606.04934)
    gradient    "standard", or "sticking-the-landing": log q(z|x) by draws, its parameters held constant, so that the
                gradient's noise vanishes where q is exact and β = 1 (Roeder et al. 2017, arXiv:1703.09194)

    With the defaults the loss is the negative ELBO.
    """

    samples: int = 1
    beta: float = 1.0
    warmup: int = 0
    free_bits: float = 0.0
    gradient: str = STANDARD
    name: ClassVar[str] = "elbo"

    def __post_init__(self):
        if self.gradient not in (STANDARD, STICKING):
            raise unknown("gradient of the elbo", self.gradient, (STANDARD, STICKING))
        if self.gradient == STICKING and self.free_bits:
            raise VaekitError("free bits need the closed-form KL, and sticking-the-landing draws it: choose one.")

    def __call__(self, model: LatentModel, batch: Batch, noise: Tensor, *, step: int = 0) -> Bound:
        draw = model.draw(batch, noise)
        distortion, weight = -draw.log_px.mean(0), rate_weight(step, self.beta, self.warmup)
        if self.gradient == STICKING:
            paid = (draw.q.detach().log_prob(draw.z) - draw.log_pz).mean()
        else:
            paid = _paid_rate(draw, self.free_bits)
        return _bound(-(distortion + draw.kl), distortion.mean() + weight * paid, draw)

    @property
    def surrogate(self) -> str | None:
        """What is descended where it is not the negative bound."""
        free = f", {self.free_bits:g} nats a latent free" if self.free_bits else ""
        return _surrogate("distortion + β · rate", self.beta, self.warmup, free)


@dataclass(frozen=True)
class ImportanceWeighted:
    """The importance-weighted bound (Burda et al. 2016, arXiv:1509.00519), M times over (Rainforth et al. 2018,
    arXiv:1802.04537):

        value = (1/M) Σ_m log (1/K) Σ_k w_mk,    w = p(x|z) p(z) / q(z|x),   z_mk ~ q(z|x)
        loss  = the same with w_β = p(x|z) (p(z)/q(z|x))^β, negative, averaged over the rows

    samples         M·K, draws a row in all
    repeats         M, the bounds they are shared between: K = samples / repeats
    beta, warmup    as in `ELBO`; the value is with β = 1
    gradient        "standard", or "doubly-reparameterised": the encoder's is Σ_k w̃_k² ∂log w_k/∂z_k · ∂z_k/∂φ, w̃ the
                    normalised weights, whose signal-to-noise does not fall with K (Tucker et al. 2019,
                    arXiv:1810.04152); with β, (1 − β) w̃ + β w̃² in the place of w̃²
    """

    samples: int = 5
    repeats: int = 1
    beta: float = 1.0
    warmup: int = 0
    gradient: str = STANDARD
    name: ClassVar[str] = "iwae"

    def __post_init__(self):
        if self.gradient not in (STANDARD, DOUBLY):
            raise unknown("gradient of the importance-weighted bound", self.gradient, (STANDARD, DOUBLY))
        if self.repeats < 1 or self.samples % self.repeats or self.samples < 2 * self.repeats:
            raise VaekitError(
                f"iwae shares its samples between its repeats, 2 or more to each, and got samples = {self.samples} and "
                f"repeats = {self.repeats}: give samples = {max(5, 5 * self.repeats)}, say (one to each is the elbo)."
            )

    def __call__(self, model: LatentModel, batch: Batch, noise: Tensor, *, step: int = 0) -> Bound:
        draw = model.draw(batch, noise)
        weight = rate_weight(step, self.beta, self.warmup)
        doubly = self.gradient == DOUBLY
        log_q = draw.q.detach().log_prob(draw.z) if doubly else draw.log_q
        log_w = self._grouped(draw.log_px + weight * (draw.log_pz - log_q))
        if doubly and draw.z.requires_grad:  # the draws' own path is weighted again, the decoder's and the prior's not
            again = 1 - weight + weight * log_w.detach().softmax(1).flatten(0, 1)
            draw.z.register_hook(lambda gradient: gradient * again.unsqueeze(-1))
        loss = -log_mean_exp(log_w, 1).mean()
        return _bound(log_mean_exp(self._grouped(draw.log_w), 1).mean(0), loss, draw)

    def _grouped(self, log_w: Tensor) -> Tensor:
        """(M·K, B) ↦ (M, K, B)"""
        return log_w.unflatten(0, (self.repeats, -1))

    @property
    def surrogate(self) -> str | None:
        """What is descended where it is not the negative bound."""
        return _surrogate("−log mean p(x|z) (p(z)/q(z|x))^β", self.beta, self.warmup)


def rate_weight(step: int, beta: float, warmup: int) -> float:
    """β_t = β · min(1, (t + 1) / warmup): what a nat of rate costs at step t.

    >>> [rate_weight(step, 2.0, 4) for step in (0, 1, 3, 100)]
    [0.5, 1.0, 2.0, 2.0]
    """
    return beta * min(1.0, (step + 1) / warmup) if warmup else beta


def _paid_rate(draw: Draw, free: float) -> Tensor:
    """Σ_d max(λ, KL_d), KL_d averaged over rows; of all latents together where the KL does not fall apart."""
    if not free:
        return draw.kl.mean()
    if draw.kl_each is None:
        return draw.kl.mean().clamp(min=free * draw.z.shape[-1])
    return draw.kl_each.mean(0).clamp(min=free).sum()


def _bound(value: Tensor, loss: Tensor, draw: Draw) -> Bound:
    with torch.no_grad():
        rate, distortion = draw.kl, -draw.log_px.mean(0)
        terms = {"elbo": -(rate + distortion), "rate": rate, "distortion": distortion}
    return Bound(value.detach(), loss, {name: term.detach() for name, term in terms.items()})


def _surrogate(loss: str, beta: float, warmup: int, extra: str = "") -> str | None:
    if beta == 1 and not warmup and not extra:
        return None
    grows = f", reached over {warmup:,} steps" if warmup else ""
    return f"{loss} with β = {beta:g}{grows}{extra}"
