"""Lower bounds on log p(x).

log p(x) = log E_q[ w ]  ≥  E_q[ log (1/K) Σ_k w_k ]  ≥  E_q[ log w ],    w = p(x, z) / q(z|x)         (Jensen)
    E_q[ log w ] = E_q[ log p(x|z) ] − KL(q(z|x) ‖ p(z)) = −distortion − rate = ELBO(x)

What an objective reports is one of these bounds, whatever it descends to get there.
"""

import copy
from typing import Annotated, Literal, get_args

import torch
from torch import Tensor

from vaekit.core import Batch, Bound, Draw, LatentModel, Objective, Range
from vaekit.errors import VaekitError, unknown
from vaekit.maths import log_mean_exp

STANDARD: Literal["standard"] = "standard"
STICKING: Literal["sticking-the-landing"] = "sticking-the-landing"
DOUBLY: Literal["doubly-reparameterised"] = "doubly-reparameterised"
GRADIENTS = (STANDARD, STICKING, DOUBLY)
OfTheELBO = Literal["standard", "sticking-the-landing"]
OfTheWeighted = Literal["standard", "doubly-reparameterised"]
Draws = Annotated[int, Range(1, below=2**20 + 1)]
Weight = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, below=1)]
"""of training"""


class BoundObjective(Objective):
    """What the bounds share: how their loss may differ from the negative value.

    samples      draws per row, each through the decoder
    beta         β, the weight of the rate in the loss (Higgins et al. 2017); the value is with 1 whatever β is
    warmup       the part of training over which the weight grows from 0 to β (Bowman et al. 2016, arXiv:1511.06349)
    gradient     "standard", or what the bound has beside it
    """

    title: str
    """what messages call it"""
    gradients: tuple[str, ...] = (STANDARD,)

    def __init__(self, samples: int, beta: float, warmup: float, gradient: str) -> None:
        super().__init__()
        if warmup not in Range(0, below=1):
            raise VaekitError(f"warmup is {warmup:g}: give a part of training, {Range(0, below=1)}.")
        if gradient not in self.gradients:
            raise unknown(f"gradient of the {self.title}", gradient, self.gradients)
        self.samples = samples
        self.beta = beta
        self.warmup = warmup
        self.gradient = gradient
        self.settled = 0
        """steps over which the weight grows: known once training has begun"""

    def begin(self, steps: int) -> None:
        """Settle over how many of so many steps of training the weight grows."""
        self.settled = int(self.warmup * steps)

    def rate_weight(self, step: int) -> float:
        """The rate's weight β_t at a step."""
        return rate_weight(step, self.beta, self.settled)

    def bound(self, value: Tensor, loss: Tensor, draw: Draw) -> Bound:
        """The value as it may be reported, and the loss with all that is paid beside it."""
        if isinstance(draw.q.owed, Tensor):
            loss = loss + draw.q.owed.mean()
        with torch.no_grad():
            terms = {"elbo": -(draw.rate + draw.distortion), "rate": draw.rate, "distortion": draw.distortion}
        return Bound(value.detach(), loss, {name: term.detach() for name, term in terms.items()}, draw)

    def described(self, loss: str, extra: str = "") -> str | None:
        """The loss in words, where it is not the negative bound."""
        if self.beta == 1 and not self.settled and not extra:
            return None
        grows = ""
        if self.settled:
            grows = f", reached over {self.settled:,} steps"
        return f"{loss} with β = {self.beta:g}{grows}{extra}"


class ELBO(BoundObjective):
    """The evidence lower bound, the KL in closed form where there is one (Kingma & Welling 2014, arXiv:1312.6114).

        value = (1/m) Σ_j log p(x|z_j) − KL(q(z|x) ‖ p(z)),    z_j ~ q(z|x),  j = 1 … m
        loss  = distortion + β_t · Σ_d max(λ, KL_d), averaged over the rows

    samples, beta, warmup    as in `BoundObjective`; m = samples
    free_bits   λ, nats per latent below which KL_d, a mean over the batch, costs λ and has no gradient (Kingma et al.
                2016, arXiv:1606.04934)
    gradient    "standard", or "sticking-the-landing": log q(z|x) by draws, its parameters held constant, so that the
                gradient's noise vanishes where q is exact and β = 1 (Roeder et al. 2017, arXiv:1703.09194)

    With the defaults the loss is the negative ELBO.
    """

    name = "elbo"
    title = "elbo"
    gradients = get_args(OfTheELBO)

    def __init__(
        self,
        samples: Draws = 1,
        beta: Weight = 1.0,
        warmup: Share = 0.0,
        free_bits: Weight = 0.0,
        gradient: OfTheELBO = STANDARD,
    ) -> None:
        super().__init__(samples, beta, warmup, gradient)
        if gradient == STICKING and free_bits:
            raise VaekitError("free bits need the closed-form KL, and sticking-the-landing draws it: choose one.")
        self.free_bits = free_bits

    def forward(self, model: LatentModel, batch: Batch, *noise: Tensor, step: int = 0) -> Bound:
        """The bound of a batch, by ε (m, B, E), at a step of training."""
        (epsilon,) = noise
        draw = model.draw(batch, epsilon)
        value = -(draw.distortion + draw.rate)
        loss = draw.distortion.mean() + self.rate_weight(step) * self._paid(draw)
        return self.bound(value, loss, draw)

    def _paid(self, draw: Draw) -> Tensor:
        """The rate as the loss has it, a scalar in nats."""
        if self.gradient == STICKING:
            log_q = draw.q.detach().log_prob(draw.z)
            return (log_q - draw.log_pz).mean()
        if not self.free_bits:
            return draw.rate.mean()
        each = draw.rate_each.mean((0, 1))
        together = draw.z.shape[-1] // len(each)  # latents whose rate does not fall apart
        return each.clamp(min=self.free_bits * together).sum()

    def parts(self, most: int) -> list[Objective]:
        """The ELBO of many draws is the mean of ELBOs of at most `most` draws."""
        if self.samples <= most:
            return [self]
        parts: list[Objective] = []
        for start in range(0, self.samples, most):
            part = copy.copy(self)
            part.samples = min(most, self.samples - start)
            parts.append(part)
        return parts

    @property
    def surrogate(self) -> str | None:  # type: ignore[override]  # made of the weights as they are: nobody sets it
        """What is descended where it is not the negative bound."""
        free = ""
        if self.free_bits:
            free = f", {self.free_bits:g} nats per latent free"
        return self.described("distortion + β · rate", free)


class ImportanceWeighted(BoundObjective):
    """The importance-weighted bound (Burda et al. 2016, arXiv:1509.00519), M times over.

        value = (1/M) Σ_m log (1/K) Σ_k w_mk,    w = p(x|z) p(z) / q(z|x),   z_mk ~ q(z|x)
        loss  = the same with w_β = p(x|z) (p(z)/q(z|x))^β, negative, averaged over the rows

    The mean over M bounds is that of Rainforth et al. (2018, arXiv:1802.04537).

    beta, warmup    as in `BoundObjective`
    samples     M·K, draws per row in all
    repeats     M, the bounds they are shared between: K = samples / repeats
    gradient    "standard", or "doubly-reparameterised": the encoder's is Σ_k w̃_k² ∂log w_k/∂z_k · ∂z_k/∂φ, w̃ the
                normalised weights, whose signal-to-noise does not fall with K (Tucker et al. 2019,
                arXiv:1810.04152); with β, (1 − β) w̃ + β w̃² in the place of w̃²
    """

    name = "iwae"
    title = "importance-weighted bound"
    gradients = get_args(OfTheWeighted)

    def __init__(
        self,
        samples: Draws = 5,
        repeats: Draws = 1,
        beta: Weight = 1.0,
        warmup: Share = 0.0,
        gradient: OfTheWeighted = STANDARD,
    ) -> None:
        super().__init__(samples, beta, warmup, gradient)
        if repeats < 1 or samples % repeats or samples < 2 * repeats:
            raise VaekitError(
                f"iwae shares its samples between its repeats, 2 or more to each, and got samples = {samples} and "
                f"repeats = {repeats}: give samples = {max(5, 5 * repeats)}, say (one to each is the elbo)."
            )
        self.repeats = repeats

    def forward(self, model: LatentModel, batch: Batch, *noise: Tensor, step: int = 0) -> Bound:
        """The bound of a batch, by ε (M·K, B, E), at a step of training."""
        (epsilon,) = noise
        draw = model.draw(batch, epsilon)
        weight = self.rate_weight(step)
        doubly = self.gradient == DOUBLY
        log_q = draw.q.detach().log_prob(draw.z) if doubly else draw.log_q
        log_w = self._grouped(draw.log_px + weight * (draw.log_pz - log_q))
        if doubly and draw.z.requires_grad:  # the draws' own path is weighted again, the decoder's and the prior's not
            normalised = log_w.detach().softmax(1)
            again = 1 - weight + weight * normalised.flatten(0, 1)
            draw.z.register_hook(lambda gradient: gradient * again.unsqueeze(-1))
        loss = -log_mean_exp(log_w, 1).mean()
        value = log_mean_exp(self._grouped(draw.log_w), 1).mean(0)
        return self.bound(value, loss, draw)

    def _grouped(self, log_w: Tensor) -> Tensor:
        """The weights (M·K, B) of each bound, (M, K, B)."""
        return log_w.unflatten(0, (self.repeats, -1))

    @property
    def surrogate(self) -> str | None:  # type: ignore[override]  # made of the weights as they are: nobody sets it
        """What is descended where it is not the negative bound."""
        return self.described("−log mean p(x|z) (p(z)/q(z|x))^β")


def rate_weight(step: int, beta: float, warmup: int) -> float:
    """The weight β_t = β · min(1, (t + 1) / warmup): what a nat of rate costs at step t.

    >>> [rate_weight(step, 2.0, 4) for step in (0, 1, 3, 100)]
    [0.5, 1.0, 2.0, 2.0]
    """
    if not warmup:
        return beta
    return beta * min(1.0, (step + 1) / warmup)
