"""Counts: Poisson, negative binomial, and negative binomial with more zeros."""

from collections.abc import Sequence
from typing import Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from vaekit import distributions
from vaekit.data import Schema
from vaekit.data.survey import EXACT
from vaekit.maths import soft_clamp
from vaekit.parts.likelihoods.base import FARTHEST_SEEN, Likelihood, expanded, no_numbers

LOG_MEAN_RANGE = (-20.0, 20.0)
"""log μ stays inside; counts above 2²⁴ are not told apart in 32 bits"""
LOG_DISPERSION_RANGE = (-10.0, 12.0)
"""log r stays inside: beyond, the law is Poisson"""
LEAST_MEAN = 1e-3
"""a mean starts here or above"""
LEAST_UNIT = 1e-4
"""of log(1 + x)"""
MOST_EXPLAINED = 1.5
"""standard deviation of log μ over the latents with which a linear decoder starts, at most"""
DISPERSION_AT_START = (0.05, 1e3)
ZEROS_AT_START = -2.0
"""the logit of the zeros that are added"""

Dispersion = Literal["column", "cell"]


class Poisson(Likelihood):
    """The Poisson likelihood p(x|z) = μ^x e^(−μ)/x! of counts, log μ = log m + s y: the decoder gives y.

    The encoder sees (log(1 + x) − c)/s, where c and s are mean and standard deviation of log(1 + x) as those of x say
    them (of a log-normal 1 + x). `mean` m and `scale`, broadcast to X, are those of the counts. log μ stays within ±20,
    smoothly.

    The variance is μ: choose it where that is known; counts that vary more are `NegativeBinomial`.

    >>> p = Poisson((1,), mean=3.0)(torch.zeros(1, 1, 1))
    >>> round(p.log_prob(torch.tensor([[0.0]])).item(), 4)
    -3.0
    """

    integers = True
    support = "whole numbers from 0 on"
    named: str = "poisson"
    kept: float = 1.0
    """the part of the mean of `inner` that is left at the start"""

    centre: Tensor
    log_mean: Tensor
    """where log μ starts"""
    middle: Tensor
    """c"""
    unit: Tensor
    """s"""

    @classmethod
    def of(cls, schema: Schema) -> "Poisson":
        """The family for data of a schema."""
        return cls(schema.shape, mean=schema.array("mean"), scale=schema.array("scale"))

    @classmethod
    def misfit(cls, schema: Schema) -> str | None:
        """That some columns are no counts."""
        return no_counts(schema, cls.named)

    def __init__(self, shape: Sequence[int], *, mean: ArrayLike = 1.0, scale: ArrayLike = 1.0) -> None:
        super().__init__(shape)
        centre = expanded(mean, shape)
        middle, unit = moments_of_log1p(centre, expanded(scale, shape))
        self.register_buffer("centre", centre)
        self.register_buffer("log_mean", (centre.clamp_min(LEAST_MEAN) / self.kept).log())
        self.register_buffer("middle", middle)
        self.register_buffer("unit", unit)

    def standardise(self, x: Tensor) -> Tensor:
        """The cells (log(1 + x) − c)/s, within ±30, (…, *X)."""
        return standardised_log1p(x, self.middle, self.unit)

    def affine(self, centre: Tensor, loading: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The linear decoder, weight (features, D) and bias (features,), for which log(1 + x), standardised, has the
        mean centre + loading z to first order, where it has `deviation` beside.

        The slope is limited, where it would lead to means that no column has.

        centre (U,), loading (U, D), deviation (U,): of the codes
        """
        log_mean = self._mean_of_codes(centre, deviation)
        unit = self.unit.flatten()
        slope = (1 + (-log_mean).exp())[:, None] * loading
        explained = unit * slope.norm(dim=1)
        slope = slope * (MOST_EXPLAINED / explained.clamp_min(MOST_EXPLAINED))[:, None]
        return slope, (log_mean - self.centre.clamp_min(LEAST_MEAN).log().flatten()) / unit

    def _mean_of_codes(self, centre: Tensor, deviation: Tensor) -> Tensor:
        """The logarithm of the mean of counts, (U,), by mean and standard deviation of their codes."""
        unit = self.unit.flatten()
        log1p_mean = self.middle.flatten() + unit * centre + 0.5 * (unit * deviation).square()
        log1p_mean = log1p_mean.clamp_min(LEAST_MEAN)
        return log1p_mean + torch.log(-torch.expm1(-log1p_mean))

    def supports(self, x: Tensor) -> Tensor:
        """Which cells are whole numbers from 0 on, (…, *X) bool."""
        return torch.isfinite(x) & (x >= 0) & (x == x.floor())

    def bounded_log_mean(self, y: Tensor) -> Tensor:
        """The logarithm log μ by the decoder's y, (K, B, *X)."""
        return soft_clamp(self.log_mean + self.unit * y, *LOG_MEAN_RANGE)

    def forward(self, y: Tensor) -> distributions.Factorised:
        """The likelihood of the decoder's y (K, B, features)."""
        (mean,) = self.split(y)
        return distributions.Poisson(self.bounded_log_mean(mean), len(self.shape))


class NegativeBinomial(Poisson):
    """The negative binomial likelihood of counts with mean μ and variance μ + μ²/r; log μ = log m + s y as for
    `Poisson`.

    dispersion="column"    a learned r per column
    dispersion="cell"      the decoder gives log r too, per cell

    r starts where `mean` and `scale` say it, and log r stays within (−10, 12), smoothly.

    >>> p = NegativeBinomial((1,), mean=2.0, scale=6**0.5)(torch.zeros(1, 1, 1))   # r = 1
    >>> round(p.log_prob(torch.tensor([[1.0]])).exp().item(), 4)
    0.2222
    """

    named = "negative-binomial"
    raw: Tensor
    """where log r starts, before it is bounded; learned with dispersion="column\""""

    @classmethod
    def of(cls, schema: Schema, dispersion: Dispersion = "column") -> "NegativeBinomial":
        """The family for data of a schema."""
        return cls(schema.shape, mean=schema.array("mean"), scale=schema.array("scale"), dispersion=dispersion)

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        """That all columns are counts."""
        if schema.kinds is None or set(schema.kinds) != {"count"}:
            return None
        columns = f"{schema.features} columns" if schema.features > 1 else "a column"
        return f"{columns} of counts, up to {int(schema.array('high').max()):,}"

    def __init__(
        self,
        shape: Sequence[int],
        *,
        mean: ArrayLike = 1.0,
        scale: ArrayLike = 1.0,
        dispersion: Dispersion = "column",
    ) -> None:
        super().__init__(shape, mean=mean, scale=scale)
        self.dispersion = dispersion
        log_dispersion = log_dispersion_of(self.log_mean, expanded(scale, shape).square())
        if dispersion == "cell":
            self.per_feature = type(self).per_feature + 1
            self.features = self.per_feature * self.codes
            self.register_buffer("raw", log_dispersion)
        else:
            self.raw = nn.Parameter(log_dispersion)

    def affine(self, centre: Tensor, loading: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The linear decoder as for `Poisson`; r is set by `deviation`, what z does not explain.

        centre (U,), loading (U, D), deviation (U,): of the codes
        """
        weight, bias = super().affine(centre, loading, deviation)
        log_mean = self._mean_of_codes(centre, deviation)
        variance = (1 + log_mean.exp()).square() * torch.expm1((self.unit.flatten() * deviation).square())
        log_dispersion = log_dispersion_of(log_mean, variance)
        rest = self.initial()[len(bias) :].clone()
        if self.dispersion == "cell":
            rest[: len(bias)] = log_dispersion - self.raw.flatten()
        else:
            self._set_dispersion(log_dispersion)
        others = loading.new_zeros(len(rest), loading.shape[1])
        return torch.cat([weight, others]), torch.cat([bias, rest])

    @torch.no_grad()
    def _set_dispersion(self, log_dispersion: Tensor) -> None:
        self.raw.copy_(log_dispersion.reshape(self.shape))

    def log_dispersion(self, y: Tensor | float = 0.0) -> Tensor:
        """The logarithm log r by the decoder's y, if it gives any, broadcastable to X."""
        return soft_clamp(self.raw + y, *LOG_DISPERSION_RANGE)

    def counts(self, y: Sequence[Tensor]) -> distributions.NegativeBinomial:
        """The law of the counts by the decoder's y for each cell, (K, B, *X) each."""
        log_dispersion = self.log_dispersion(y[1]) if self.dispersion == "cell" else self.log_dispersion()
        return distributions.NegativeBinomial(self.bounded_log_mean(y[0]), log_dispersion, len(self.shape))

    def forward(self, y: Tensor) -> distributions.Factorised:
        """The likelihood of the decoder's y (K, B, features)."""
        return self.counts(self.split(y))


class ZeroInflatedNegativeBinomial(NegativeBinomial):
    """The negative binomial likelihood with more zeros: with probability σ(l) a cell is 0 whatever its law; the decoder
    gives l per cell, after the y of `NegativeBinomial`.

    p(0) = σ(l) + σ(−l) p_NB(0), and p(x) = σ(−l) p_NB(x) elsewhere. l starts at −2. (scVI: Lopez et al. 2018, Deep
    generative modeling for single-cell transcriptomics.)

    >>> likelihood = ZeroInflatedNegativeBinomial((1,), mean=2.0, scale=3.0)
    >>> likelihood.features, round(likelihood(likelihood.initial()[None, None]).mean.item(), 4)
    (2, 2.0)
    """

    named = "zero-inflated-negative-binomial"
    per_feature = 2
    kept = torch.tensor(-ZEROS_AT_START).sigmoid().item()

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        """Nothing: whether there are more zeros than a negative binomial has, no schema says."""
        return None

    def initial(self) -> Tensor:
        """The decoder's initial output bias, (features,): 0, and the logits of the zeros."""
        start = super().initial()
        start[-self.codes :] = ZEROS_AT_START
        return start

    def forward(self, y: Tensor) -> distributions.ZeroInflated:
        """The likelihood of the decoder's y (K, B, features)."""
        *counts, logits = self.split(y)
        return distributions.ZeroInflated(self.counts(counts), logits)


def moments_of_log1p(mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of log(1 + x), by those of x, as if 1 + x were log-normal.

    >>> [round(v.item(), 3) for v in moments_of_log1p(torch.tensor(9.0), torch.tensor(10.0))]
    [1.956, 0.833]
    """
    variance = torch.log1p((scale / (1 + mean)).square())
    return torch.log1p(mean) - variance / 2, variance.sqrt().clamp_min(LEAST_UNIT)


def standardised_log1p(x: Tensor, middle: Tensor, unit: Tensor) -> Tensor:
    """The cells (log(1 + x) − middle)/unit, within ±30; those below 0, which hide behind a mask, as 0."""
    return ((torch.log1p(x.clamp_min(0)) - middle) / unit).clamp(-FARTHEST_SEEN, FARTHEST_SEEN)


def log_dispersion_of(log_mean: Tensor, variance: Tensor) -> Tensor:
    """The logarithm log r of counts of this mean and variance, r = μ²/(variance − μ), within 0.05 to 1,000."""
    least, most = DISPERSION_AT_START
    mean = log_mean.exp()
    beyond = (variance - mean) / mean.square()
    return -beyond.clamp(1 / most, 1 / least).log()


def no_counts(schema: Schema, name: str) -> str | None:
    """Why a family for counts does not fit, where a column holds other things."""
    if schema.binarized != "none":
        return no_numbers(schema, name)
    for column in range(schema.features):
        if schema.kind_of(column) not in ("binary", "count", "integer"):
            return (
                f"the {name} likelihood is for counts, and {schema.column(column)} is {schema.kind_of(column)}: choose "
                f"another, or auto."
            )
    if schema.array("low").min() < 0:
        column = int(schema.array("low").argmin())
        return (
            f"the {name} likelihood is for counts, and {schema.column(column)} has negative numbers: choose "
            f"discretized-logistic."
        )
    if schema.array("offset").any():
        column = int((schema.array("offset") != 0).argmax())
        return (
            f"the {name} likelihood is for counts up to {EXACT:,.0f}, and those of {schema.column(column)} are larger: "
            f"choose discretized-logistic."
        )
    return None
