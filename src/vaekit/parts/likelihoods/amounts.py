"""Amounts: nothing, or a positive number."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vaekit import distributions
from vaekit.data import Schema
from vaekit.maths import log1mexp, soft_clamp
from vaekit.parts.likelihoods.base import Likelihood, expanded, no_numbers
from vaekit.parts.likelihoods.counts import MOST_EXPLAINED, moments_of_log1p, standardised_log1p

REACH = 20.0
"""μ stays within so many nats of where it starts"""
LOG_SIGMA_MOST = 1.5
"""log σ stays below"""
MOST_DEVIATION = 3.0
"""of log x at the start"""
FLOORS = (1e-3, 0.1)
"""a floor of σ stays inside"""
LEAST_DEVIATION = 0.1
"""of a column beside what a linear decoder explains, as a part of its standard deviation"""
POSITIVE = (0.5, 0.99)
"""the part of positive amounts at which a column starts that has zeros, and one that has none"""


class ZeroInflatedLogNormal(Likelihood):
    """The likelihood of amounts x ≥ 0: 0 with probability 1 − σ(l), and otherwise log-normal; the decoder gives
    (l, y, v) per cell.

        p(0) = 1 − σ(l),    p(x) = σ(l) N(log x; μ, σ²)/x,    μ = m + s y,   σ² = s² e^v

    (Aitchison 1955; a hurdle, Mullahy 1986.) σ never falls below `floor`, smoothly: without one the likelihood is
    unbounded where an amount comes back. The encoder sees log(1 + x/e^m), standardised.

    mean, scale    of the amounts with their zeros, broadcast to X: p starts with this mean, and m and s are as they say
    positive       the part of positive amounts at the start; more, where `mean` and `scale` say so

    >>> likelihood = ZeroInflatedLogNormal((1,), mean=3.0, scale=4.0)
    >>> round(likelihood(likelihood.initial()[None, None]).mean.item(), 4)
    3.0
    """

    per_feature = 3
    support = "numbers from 0 on"

    centre: Tensor
    loc: Tensor
    """m"""
    log_scale: Tensor
    """log s"""
    logit: Tensor
    """where l starts"""
    log_floor: Tensor
    middle: Tensor
    unit: Tensor

    @classmethod
    def of(cls, schema: Schema) -> "ZeroInflatedLogNormal":
        """The family for data of a schema. A difference of one resolution is the finest there is."""
        mean = np.maximum(schema.array("mean"), 1e-12 * schema.array("scale"))
        zeros, none = POSITIVE
        return cls(
            schema.shape,
            mean=schema.array("mean"),
            scale=schema.array("scale"),
            positive=np.where(schema.array("low") > 0, none, zeros),
            floor=schema.array("resolution") / (12**0.5 * mean),
        )

    @classmethod
    def misfit(cls, schema: Schema) -> str | None:
        """That some columns are no amounts."""
        return no_amounts(schema, "zero-inflated-log-normal")

    def __init__(
        self,
        shape: Sequence[int],
        *,
        mean: ArrayLike = 1.0,
        scale: ArrayLike = 1.0,
        positive: ArrayLike = POSITIVE[0],
        floor: ArrayLike = FLOORS[0],
    ) -> None:
        super().__init__(shape)
        centre = expanded(mean, shape)
        spread = expanded(scale, shape)
        amount = torch.maximum(centre, 1e-6 * spread)  # a column of nothing but zeros still starts somewhere
        squares = torch.log1p((spread / amount).square())
        share = torch.maximum(expanded(positive, shape), (-squares / 2).exp()).clamp_max(POSITIVE[1])
        variance = torch.maximum(squares + share.log(), squares / 2)  # of log x: what zeros do not explain
        floors = expanded(floor, shape).clamp(*FLOORS)
        deviation = torch.maximum(variance.sqrt().clamp_max(MOST_DEVIATION), 2 * floors)
        loc = amount.log() - share.log() - deviation.square() / 2
        middle, unit = moments_of_log1p(amount / loc.exp(), spread / loc.exp())
        self.register_buffer("centre", centre)
        self.register_buffer("loc", loc)
        self.register_buffer("log_scale", deviation.log())
        self.register_buffer("logit", torch.logit(share))
        self.register_buffer("log_floor", floors.log())
        self.register_buffer("middle", middle)
        self.register_buffer("unit", unit)

    def standardise(self, x: Tensor) -> Tensor:
        """The cells log(1 + x/e^m), standardised, within ±30, (…, *X)."""
        return standardised_log1p(x * (-self.loc).exp(), self.middle, self.unit)

    def initial(self) -> Tensor:
        """The decoder's initial output bias, (features,): the logits of a positive amount, 0, and v where σ = s."""
        return torch.stack([self.logit, torch.zeros_like(self.logit), self._v(self.log_scale)]).flatten()

    def _v(self, log_sigma: Tensor) -> Tensor:
        """The v of log σ, the inverse of `soft_clamp`, (*X)."""
        above = log1mexp(log_sigma - self.log_floor)
        below = log1mexp(LOG_SIGMA_MOST - log_sigma)
        return 2 * (log_sigma + above - below - self.log_scale)

    def affine(self, centre: Tensor, loading: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The linear decoder, weight (features, D) and bias (features,), for which log(1 + x/e^m), standardised, has
        the mean centre + loading z, roughly: the amounts follow z, and the part of zeros does not.

        centre (U,), loading (U, D), deviation (U,): of the codes
        """
        share = self.logit.sigmoid().flatten()
        unit = self.unit.flatten()
        scale = self.log_scale.exp().flatten()
        log1p = (self.middle.flatten() + unit * centre) / share
        relative = torch.expm1(log1p.clamp(0.05, REACH))  # the amount by that at the start
        slope = ((1 + 1 / relative) * unit / share)[:, None] * loading
        slope = slope * (MOST_EXPLAINED / slope.norm(dim=1).clamp_min(MOST_EXPLAINED))[:, None]
        nothing = torch.zeros_like(slope)
        weight = torch.cat([nothing, slope / scale[:, None], nothing])
        left = self.log_scale + deviation.clamp(LEAST_DEVIATION, 1.0).log().reshape(self.shape)
        v = self._v(torch.maximum(left, self.log_floor + LEAST_DEVIATION)).flatten()
        return weight, torch.cat([self.logit.flatten(), relative.log() / scale, v])

    def supports(self, x: Tensor) -> Tensor:
        """Which cells are finite and not below 0, (…, *X) bool."""
        return torch.isfinite(x) & (x >= 0)

    def forward(self, y: Tensor) -> distributions.ZeroInflatedLogNormal:
        """The likelihood of the decoder's y (K, B, features)."""
        logits, loc, v = self.split(y)
        scale = self.log_scale.exp()
        loc = self.loc + soft_clamp(scale * loc, -REACH, REACH)
        log_scale = soft_clamp(self.log_scale + 0.5 * v, self.log_floor, LOG_SIGMA_MOST)
        return distributions.ZeroInflatedLogNormal(logits, loc, log_scale, len(self.shape))


def no_amounts(schema: Schema, name: str) -> str | None:
    """Why a family for amounts does not fit, where a column holds other things."""
    if schema.binarized != "none":
        return no_numbers(schema, name)
    sizes = schema.sizes()
    if max(sizes) > 0:
        column = int(np.argmax(sizes))
        return (
            f"the {name} likelihood is for amounts, and {schema.column(column)} holds levels: choose another, or auto."
        )
    if schema.array("low").min() < 0:
        column = int(schema.array("low").argmin())
        return (
            f"the {name} likelihood is for amounts, and {schema.column(column)} has negative numbers: choose gaussian."
        )
    if schema.array("offset").any():
        column = int((schema.array("offset") != 0).argmax())
        return (
            f"the {name} likelihood is for amounts from 0 on, and those of {schema.column(column)} lie so far from 0 "
            f"that 32 bits do not tell them apart: choose gaussian."
        )
    return None
