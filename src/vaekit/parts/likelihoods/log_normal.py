"""Positive numbers whose logarithm is normal."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vaekit import distributions
from vaekit.data import Schema
from vaekit.parts.likelihoods.base import FARTHEST_SEEN, expanded, no_numbers
from vaekit.parts.likelihoods.gaussian import LEAST_PART
from vaekit.parts.likelihoods.location_scale import LocationScale


class LogNormal(LocationScale):
    """Positive skewed numbers: log x is normal, (μ, log σ) of it from the decoder for each cell.

        log p(x|z) = Σ_j log N(log x_j; μ_j(z), σ_j(z)²) − log x_j

    The density is of x itself, hence −log x. Networks see (log x − `log_mean`)/`log_scale`, the mean and the standard
    deviation of log x; unless they are given, those that a log-normal column of this `mean` m and `scale` s has:
    log_scale² = log(1 + s²/m²), log_mean = log m − log_scale²/2. `floor` is of x at its mean, and `constant` as in
    `LocationScale`. (Aitchison & Brown 1957)

    >>> p = LogNormal((1,), mean=2.0, scale=3.0)
    >>> start = p(p.initial()[None, None])
    >>> round(start.mean.item(), 4), round(start.stddev.item(), 4)
    (2.0, 3.0)
    """

    support = "numbers above 0"
    most = 2.0
    log_centre: Tensor
    """the mean of log x"""

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        """That every column holds positive skewed numbers."""
        if set(schema.groups()) == {"positive"} and cls.misfit(schema) is None:
            return "positive numbers, skewed"
        return None

    @classmethod
    def misfit(cls, schema: Schema) -> str | None:
        """That some number is not above 0, or that all are far above it for what they differ by."""
        low = schema.array("low").flatten()
        if low.min() <= 0:
            where = schema.column(int(low.argmin()))
            return f"log-normal is for numbers above 0, and {where} goes down to {low.min():g}: choose gaussian."
        if np.any(schema.array("offset")):
            where = schema.column(int(np.abs(schema.array("offset")).argmax()))
            return (
                f"log-normal is for skewed numbers, and those of {where} differ little for their size: choose gaussian."
            )
        return no_numbers(schema, cls.name())

    @classmethod
    def name(cls) -> str:
        """The family as messages call it."""
        return "log-normal"

    def __init__(
        self,
        shape: Sequence[int],
        *,
        mean: ArrayLike = 1.0,
        scale: ArrayLike = 1.0,
        floor: ArrayLike = LEAST_PART,
        constant: ArrayLike = False,
        log_mean: ArrayLike | None = None,
        log_scale: ArrayLike | None = None,
    ) -> None:
        means = np.broadcast_to(np.asarray(mean, np.float64), tuple(shape))
        varies = ~np.broadcast_to(np.asarray(constant), tuple(shape))
        above = np.where(means > 0, means, 1.0)  # that of a constant may be any number
        if log_scale is None:
            log_scale = np.sqrt(np.log1p(np.square(np.asarray(scale, np.float64) / above)))
        if log_mean is None:
            log_mean = np.log(above) - np.square(log_scale) / 2
        start = np.exp(np.asarray(log_mean) + np.square(log_scale) / 2)
        relative = np.clip(np.asarray(floor) / above, LEAST_PART * np.asarray(log_scale), log_scale)
        super().__init__(shape, mean=np.where(varies, start, means), scale=log_scale, floor=relative, constant=constant)
        self.register_buffer("log_centre", expanded(log_mean, shape))

    def standardise(self, x: Tensor) -> Tensor:
        """The cells (log x − log_mean)/log_scale, within ±30, (…, *X)."""
        log_x = x.clamp_min(torch.finfo(x.dtype).tiny).log()
        return ((log_x - self.log_centre) / self.scale).clamp(-FARTHEST_SEEN, FARTHEST_SEEN)

    def supports(self, x: Tensor) -> Tensor:
        """Which cells are above 0, and of features that are constant any, (…, *X) bool."""
        positive = torch.isfinite(x) & (x > 0)
        if self.constant is None:
            return positive
        return positive | (self.constant & torch.isfinite(x))

    def law(self, y: Tensor) -> distributions.LogNormal:
        """The log-normal law of the decoder's y (K, B, features)."""
        loc, raw = self.split(y)
        _, log_scale = self.in_units(loc, raw)
        return distributions.LogNormal(self.log_centre + self.scale * loc, log_scale, len(self.shape))
