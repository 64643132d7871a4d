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
PARTIALLY: Literal["partially-weighted"] = "partially-weighted"
GRADIENTS = (STANDARD, STICKING, DOUBLY, PARTIALLY)
OfTheELBO = Literal["standard", "sticking-the-landing"]
OfTheWeighted = Literal["standard", "doubly-reparameterised", "partially-weighted"]
Draws = Annotated[int, Range(1, below=2**20 + 1)]
Weight = Annotated[float, Range(0)]
Cycles = Annotated[int, Range(1, below=1001)]
Share = Annotated[float, Range(0, below=1)]
"""of training, or of a loss"""


class BoundObjective(Objective):
    """What the bounds share: how their loss may differ from the negative value.

    samples      draws per row, each through the decoder
    beta         β, the weight of the rate in the loss (Higgins et al. 2017); the value is with 1 whatever β is
    warmup       the part of training over which the weight grows from 0 to β (Bowman et al. 2016, arXiv:1511.06349)
    cycles       M, the times that it does, within `warmup`: each time in a line, and as long as it grew it stays at β
                 before it begins again at 0 (Fu et al. 2019, arXiv:1903.10145, whose M = 4 cycles with R = 0.5 are
                 cycles=4,warmup=0.875: the last stays to the end)
    gradient     "standard", or what the bound has beside it
    """

    title: str
    """what messages call it"""
    gradients: tuple[str, ...] = (STANDARD,)

    def __init__(self, samples: int, beta: float, warmup: float, cycles: int, gradient: str) -> None:
        super().__init__()
        if warmup not in Range(0, below=1):
            raise VaekitError(f"warmup is {warmup:g}: give a part of training, {Range(0, below=1)}.")
        if gradient not in self.gradients:
            raise unknown(f"gradient of the {self.title}", gradient, self.gradients)
        if cycles > 1 and not warmup:
            raise VaekitError(
                f"cycles is {cycles}, and they are those of the warm-up, which is 0: give warmup=0.875, say."
            )
        self.samples = samples
        self.beta = beta
        self.warmup = warmup
        self.cycles = cycles
        self.gradient = gradient
        self.settled = 0
        """steps over which the weight grows: known once training has begun"""

    def begin(self, steps: int) -> None:
        """Settle over how many of so many steps of training the weight grows."""
        self.settled = int(self.warmup * steps)

    def rate_weight(self, step: int) -> float:
        """The rate's weight β_t at a step."""
        return rate_weight(step, self.beta, self.settled, self.cycles)

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
            times = f" in {self.cycles} cycles" if self.cycles > 1 else ""
            grows = f", reached over {self.settled:,} steps{times}"
        return f"{loss} with β = {self.beta:g}{grows}{extra}"


class ELBO(BoundObjective):
    """The evidence lower bound, the KL in closed form where there is one (Kingma & Welling 2014, arXiv:1312.6114).

        value = (1/m) Σ_j log p(x|z_j) − KL(q(z|x) ‖ p(z)),    z_j ~ q(z|x),  j = 1 … m
        loss  = distortion + β_t · Σ_d max(λ, KL_d), averaged over the rows; or, with a capacity C,
                distortion + β · |KL − C_t|

    samples, beta, warmup, cycles    as in `BoundObjective`; m = samples
    free_bits   λ, nats per latent below which KL_d, a mean over the batch, costs λ and has no gradient (Kingma et al.
                2016, arXiv:1606.04934)
    gradient    "standard", or "sticking-the-landing": log q(z|x) by draws, its parameters held constant, so that the
                gradient's noise vanishes where q is exact and β = 1 (Roeder et al. 2017, arXiv:1703.09194)
    capacity    C, nats that the mean rate over a batch is drawn to, from above and below, with β for a weight (γ of
                Burgess et al. 2018, arXiv:1804.03599): then C_t grows over the warm-up, in the place of the weight;
                0: none

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
        cycles: Cycles = 1,
        capacity: Weight = 0.0,
    ) -> None:
        super().__init__(samples, beta, warmup, cycles, gradient)
        if gradient == STICKING and free_bits:
            raise VaekitError("free bits need the closed-form KL, and sticking-the-landing draws it: choose one.")
        if capacity and (gradient == STICKING or free_bits):
            other = "free bits" if free_bits else STICKING
            raise VaekitError(f"a capacity draws the rate to a number of nats, and {other} to none: choose one.")
        self.free_bits = free_bits
        self.capacity = capacity

    def forward(self, model: LatentModel, batch: Batch, *noise: Tensor, step: int = 0) -> Bound:
        """The bound of a batch, by ε (m, B, E), at a step of training."""
        (epsilon,) = noise
        draw = model.draw(batch, epsilon)
        value = -(draw.distortion + draw.rate)
        if self.capacity:
            wanted = rate_weight(step, self.capacity, self.settled, self.cycles)
            paid = self.beta * (draw.rate.mean() - wanted).abs()
        else:
            paid = self.rate_weight(step) * self._paid(draw)
        return self.bound(value, draw.distortion.mean() + paid, draw)

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
        if self.capacity:
            grows = f", reached over {self.settled:,} steps" if self.settled else ""
            return f"distortion + β · |rate − C| with β = {self.beta:g} and C = {self.capacity:g} nats{grows}"
        free = ""
        if self.free_bits:
            free = f", {self.free_bits:g} nats per latent free"
        return self.described("distortion + β · rate", free)


class ImportanceWeighted(BoundObjective):
    """The importance-weighted bound (Burda et al. 2016, arXiv:1509.00519), M times over.

        value = (1/M) Σ_m log (1/K) Σ_k w_mk,    w = p(x|z) p(z) / q(z|x),   z_mk ~ q(z|x)
        loss  = the same with w_β = p(x|z) (p(z)/q(z|x))^β, negative, averaged over the rows; or, with a share s,
                s · (distortion + β · rate) + (1 − s) · that

    The mean over M bounds is that of Rainforth et al. (2018, arXiv:1802.04537), and so are share and partial weights.

    beta, warmup, cycles    as in `BoundObjective`
    samples     M·K, draws per row in all
    repeats     M, the bounds they are shared between: K = samples / repeats
    gradient    "standard", or "doubly-reparameterised": the encoder's is Σ_k w̃_k² ∂log w_k/∂z_k · ∂z_k/∂φ, w̃ the
                normalised weights, whose signal-to-noise does not fall with K (Tucker et al. 2019,
                arXiv:1810.04152); with β, (1 − β) w̃ + β w̃² in the place of w̃²; or "partially-weighted": the
                encoder's is that of the M bounds of K draws, and that of decoder, likelihood and prior is that of one
                bound of all M·K draws (PIWAE). Each z goes twice through the decoder for it
    share       s, the part of the loss that is the ELBO's (CIWAE, whose β it is; the best found there is 0.05)
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
        cycles: Cycles = 1,
        share: Share = 0.0,
    ) -> None:
        super().__init__(samples, beta, warmup, cycles, gradient)
        if repeats < 1 or samples % repeats or samples < 2 * repeats:
            raise VaekitError(
                f"iwae shares its samples between its repeats, 2 or more to each, and got samples = {samples} and "
                f"repeats = {repeats}: give samples = {max(5, 5 * repeats)}, say (one to each is the elbo)."
            )
        if gradient == PARTIALLY and repeats == 1:
            raise VaekitError(f"{PARTIALLY} is of several bounds: give repeats=2, say, or leave the gradient standard.")
        if gradient != STANDARD and share:
            raise VaekitError(f"a share of the elbo has the standard gradient, and {gradient} is another: choose one.")
        self.repeats = repeats
        self.share = share

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
        if self.gradient == PARTIALLY:
            loss = self._partially(model, draw, log_w, weight)
        if self.share:
            loss = self.share * (draw.distortion.mean() + weight * draw.rate.mean()) + (1 - self.share) * loss
        value = log_mean_exp(self._grouped(draw.log_w), 1).mean(0)
        return self.bound(value, loss, draw)

    def _partially(self, model: LatentModel, draw: Draw, log_w: Tensor, weight: float) -> Tensor:
        """A scalar with the value of one bound of all draws, and its gradient for decoder, likelihood and prior, and
        with that of the M bounds for the encoder.

        log_w    (M, K, B)

        The gradient of a bound is Σ w̃ ∂log w, w̃ the normalised weights, among K draws or among all. So log w has the
        weights of the encoder, and what has no path to the encoder, log p of z held constant, their difference from
        those that decoder and prior are to have.
        """
        z = draw.z.detach()
        px = model.decode(z, draw.batch.c)
        still = px.log_prob(draw.batch.x, draw.batch.mask) + weight * draw.p.log_prob(z)
        among_all = log_w.detach().flatten(0, 1).softmax(0)
        among_few = (log_w.detach().softmax(1) / self.repeats).flatten(0, 1)
        climbed = among_few * log_w.flatten(0, 1) + (among_all - among_few) * still
        value = log_mean_exp(log_w.detach().flatten(0, 1), 0)
        surrogate = climbed.sum(0)
        return -(value + surrogate - surrogate.detach()).mean()

    def _grouped(self, log_w: Tensor) -> Tensor:
        """The weights (M·K, B) of each bound, (M, K, B)."""
        return log_w.unflatten(0, (self.repeats, -1))

    @property
    def surrogate(self) -> str | None:  # type: ignore[override]  # made of the weights as they are: nobody sets it
        """What is descended where it is not the negative bound."""
        share = f", of which {self.share:g} is distortion + β · rate" if self.share else ""
        if self.gradient == PARTIALLY:
            share = ", for decoder and prior over all draws at once"
        return self.described("−log mean p(x|z) (p(z)/q(z|x))^β", share)


def rate_weight(step: int, beta: float, warmup: int, cycles: int = 1) -> float:
    """The weight β_t: what a nat of rate costs at step t.

        β · min(1, (t mod 2g + 1) / g) while t < warmup, g = warmup / (2 · cycles − 1);    then β

    >>> [rate_weight(step, 2.0, 4) for step in (0, 1, 3, 100)]
    [0.5, 1.0, 2.0, 2.0]
    >>> [rate_weight(step, 1.0, 6, cycles=2) for step in range(8)]
    [0.5, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0]
    """
    if step >= warmup:
        return beta
    growing = warmup / (2 * cycles - 1)
    return beta * min(1.0, (step % (2 * growing) + 1) / growing)
