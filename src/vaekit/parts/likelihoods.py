"""Likelihood families: the decoder's features ↦ p(x|z), in the data's own units.

A likelihood owns the data's scaling. The encoder sees `encode(x, mask)`; log-densities are of x itself, so a change of
units by a factor a shifts log p(x) by −log|a| and nothing else. `initial()` is the decoder's output bias at which the
model says "the data's mean" before it has learned anything.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from vaekit import distributions
from vaekit.data import Schema
from vaekit.errors import VaekitError
from vaekit.maths import soft_clamp


class Likelihood(nn.Module):
    """What the families share: the shape X of an example and `per_feature` decoder outputs for each of its features."""

    per_feature: int = 1
    normalised: bool = True
    """whether p(x|z) sums or integrates to 1 over x: only then is the bound one on log p(x)"""
    integers: bool = False
    """whether it is a probability of values on a grid, so that bits per dimension mean something"""
    support: str = "real numbers"

    def __init__(self, shape: Sequence[int]):
        super().__init__()
        self.shape = tuple(shape)
        self.inputs = math.prod(self.shape)
        """what the encoder sees of an example, as numbers"""
        self.features = self.per_feature * self.inputs

    @classmethod
    def of(cls, schema: Schema) -> "Likelihood":
        """The family for data of a schema, in the units of `Schema.centred`."""
        return cls(schema.shape)

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        """Why this family is the one to choose for such data, in a few words; None where others are."""
        return None

    @classmethod
    def misfit(cls, schema: Schema) -> str | None:
        """Why it has no density for such data, and what to do; None where it has."""
        return None

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the encoder sees of x (B, *X): standardised, and 0 where `mask` is False. (B, *X), or (B, inputs)"""
        standardised = self.standardise(x)
        if mask is None:
            return standardised
        return torch.where(mask, standardised, torch.zeros_like(standardised))

    def standardise(self, x: Tensor) -> Tensor:
        """x in the units that networks like, (…, *X)"""
        return x

    def initial(self) -> Tensor:
        """The decoder's initial output bias, (features,)"""
        return torch.zeros(self.features)

    def supports(self, x: Tensor) -> Tensor:
        """Which cells of x have a density under the family, (…, *X) bool"""
        return torch.isfinite(x)

    def split(self, y: Tensor) -> tuple[Tensor, ...]:
        """y (K, B, features) as `per_feature` tensors (K, B, *X)"""
        return y.unflatten(-1, (self.per_feature, *self.shape)).unbind(-1 - len(self.shape))


BEYOND, BEYOND_PIXEL = 1e-4, 1e-6
"""probability of values outside the range seen in fitting, of a column and of a pixel: what it costs a row, in nats"""


def _values(schema: Schema, of: str) -> str:
    values = int((schema.array("high") - schema.array("low")).max()) + 1
    return f"{of}, at most {values:,} values"


def _binarised(schema: Schema, name: str) -> str | None:
    """Why a family for other values than 0 and 1 does not fit, where the data was made of these."""
    if schema.binarized == "none":
        return None
    return f"binarize '{schema.binarized}' goes with the bernoulli likelihood, not with '{name}'."


def _buffer(values, shape: Sequence[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.get_default_dtype()).expand(tuple(shape)).clone()


class Bernoulli(Likelihood):
    """p(x|z) = Π_j x̂_j^x_j (1 − x̂_j)^(1−x_j) for x in {0, 1}; the decoder gives logits.

    With `expected=True` x may be grey, in [0, 1], and the value is Σ x log x̂ + (1 − x) log(1 − x̂): the mean
    log-likelihood of the image binarised with those probabilities, so the bound is one on *that*, and `normalised` is
    False. `mean` is the data's mean, where the logits start.

    >>> Bernoulli((2,))(torch.zeros(1, 1, 2)).log_prob(torch.tensor([[1.0, 0.0]])).exp().item()
    0.25
    """

    integers = True
    support = "0 and 1 only"

    @classmethod
    def of(cls, schema: Schema) -> "Bernoulli":
        return cls(schema.shape, mean=schema.array("mean"), expected=schema.binarized == "expected")

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        if schema.binarized != "none":
            return f"binarised data ({schema.binarized})"
        return "every value is 0 or 1" if schema.kind == "binary" else None

    @classmethod
    def misfit(cls, schema: Schema) -> str | None:
        if schema.kind == "binary" or schema.binarized != "none":
            return None
        return (
            "the bernoulli likelihood is for 0 and 1, and this data has other values: binarize it (dynamic, threshold, "
            "or expected for the textbook's grey-value form), or choose discretized-logistic or gaussian."
        )

    def __init__(self, shape: Sequence[int], *, mean=0.5, expected: bool = False):
        super().__init__(shape)
        self.normalised = self.integers = not expected
        self.support = "values from 0 to 1" if expected else Bernoulli.support
        self.expected = expected
        self.register_buffer("centre", _buffer(mean, shape))

    def initial(self) -> Tensor:
        return torch.logit(self.centre, eps=1e-3).flatten()

    def affine(self, centre: Tensor, loading: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The linear decoder, weight (features, D) and bias (features,), whose x̂ is centre + loading z to first order.

        centre (U,), loading (U, D)
        """
        mean = centre.clamp(1e-3, 1 - 1e-3)
        return loading / (mean * (1 - mean))[:, None], torch.logit(mean)

    def supports(self, x: Tensor) -> Tensor:
        return (x >= 0) & (x <= 1) if self.expected else (x == 0) | (x == 1)

    def forward(self, y: Tensor) -> distributions.Bernoulli:
        (logits,) = self.split(y)
        return distributions.Bernoulli(logits, len(self.shape))


RELATIVE_FLOOR = (1e-6, 100.0)
"""a floor as a multiple of the data's standard deviation stays inside"""
LOG_SIGMA_MOST = 8.0
"""log(σ/s) stays below"""
FARTHEST_SEEN = 30.0
"""networks see no standardised number beyond ±30, whatever a cell holds"""


Sigma = Literal["unit", "shared", "column"]


class Gaussian(Likelihood):
    """p(x|z) = N(x; x̂(z), σ²), x̂ = m + s ⊙ y: the decoder works in standardised units, the density in the data's.

    sigma="unit"     N(x; x̂, I), the textbook's: σ = 1 in the data's own units
    sigma="shared"   one learned σ for all features
    sigma="column"   a learned σ a feature

    `mean` m and `scale` s, broadcast to X, are the data's; a learned σ starts near s (its root mean square where
    shared) and never falls below `floor` (its smallest where shared), smoothly: without one the likelihood is unbounded
    (Mattei & Frellsen 2018, arXiv:1802.04826).

    Where `constant` is True, a feature has the value m and no σ of its own: all but 1e-9 of its probability is at m
    (`distributions.log_atom`), and a shared σ takes its start and its floor from the others. With sigma="unit" only its
    mean is m.

    >>> p = Gaussian((2,), sigma="unit")(torch.zeros(1, 1, 2))
    >>> round(p.log_prob(torch.zeros(1, 2)).item(), 4)
    -1.8379
    """

    @classmethod
    def of(cls, schema: Schema, sigma: Sigma = "column") -> "Gaussian":
        """A difference of one resolution is the finest there is: rounding alone has the standard deviation r/√12."""
        floor = schema.array("resolution") / 12**0.5
        mean, scale, constant = schema.shifted("mean"), schema.array("scale"), schema.array("constant")
        return cls(schema.shape, sigma=sigma, mean=mean, scale=scale, floor=floor, constant=constant)

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        return "real numbers" if schema.kind == "real" else None

    @classmethod
    def misfit(cls, schema: Schema) -> str | None:
        return _binarised(schema, "gaussian")

    def __init__(
        self, shape: Sequence[int], *, sigma: Sigma = "column", mean=0.0, scale=1.0, floor=1e-6, constant=False
    ):
        super().__init__(shape)
        scale, floor, constant = (np.broadcast_to(np.asarray(v), self.shape) for v in (scale, floor, constant))
        varies = np.ones_like(constant) if constant.all() else ~constant
        if sigma != "column":
            scale = np.broadcast_to(np.sqrt(np.square(scale[varies], dtype=np.float64).mean()), self.shape)
        self.sigma = sigma
        self.register_buffer("centre", _buffer(mean, shape))
        self.register_buffer("scale", _buffer(scale, shape))
        self.register_buffer("constant", torch.tensor(constant) if constant.any() else None)
        if sigma != "unit":
            one_or_each = (1,) * len(self.shape) if sigma == "shared" else self.shape
            relative = floor / scale
            relative = relative[varies].min() if sigma == "shared" else relative
            self.register_buffer("log_floor", _buffer(np.log(np.clip(relative, *RELATIVE_FLOOR)), one_or_each))
            self.raw = nn.Parameter(torch.zeros(one_or_each))

    def standardise(self, x: Tensor) -> Tensor:
        return ((x - self.centre) / self.scale).clamp(-FARTHEST_SEEN, FARTHEST_SEEN)

    def log_sigma(self) -> Tensor:
        """log σ in the data's own units, broadcastable to X"""
        if self.sigma == "unit":
            return torch.zeros_like(self.scale)
        return self.scale.log() + soft_clamp(self.raw, self.log_floor, LOG_SIGMA_MOST)

    def affine(self, centre: Tensor, loading: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The linear decoder, weight (features, D) and bias (features,), for x̂ = centre + loading z; a learned σ is
        set to `deviation`, as far as the floor allows.

        centre (U,), loading (U, D), deviation (U,): in the data's own units
        """
        scale = self.scale.flatten()
        if self.sigma != "unit":
            relative = deviation / scale
            if self.sigma == "shared":
                varies = slice(None) if self.constant is None else ~self.constant.flatten()
                relative = relative[varies].square().mean().sqrt().expand(1)
            with torch.no_grad():
                self.raw.copy_(relative.log().reshape(self.raw.shape))
        return loading / scale[:, None], self.standardise(centre.reshape(self.shape)).flatten()

    @property
    def sigmas(self) -> int:
        """How many σ are learned: those of constants mean nothing."""
        if self.sigma == "unit":
            return 0
        if self.sigma == "shared" or self.constant is None:
            return self.raw.numel()
        return int((~self.constant).sum())

    def at_floor(self) -> int:
        """How many of the learned σ stand within 5 % of their floor: their density is as sharp as the data allows."""
        if self.sigma == "unit":
            return 0
        above = soft_clamp(self.raw, self.log_floor, LOG_SIGMA_MOST) - self.log_floor
        low = above < math.log(1.05)
        if self.sigma == "column" and self.constant is not None:
            low = low & ~self.constant
        return int(low.sum())

    def forward(self, y: Tensor) -> distributions.Normal | distributions.WithAtoms:
        (standardised,) = self.split(y)
        if self.constant is None:
            return distributions.Normal(self.centre + self.scale * standardised, self.log_sigma(), len(self.shape))
        standardised = torch.where(self.constant, 0.0, standardised)
        normal = distributions.Normal(self.centre + self.scale * standardised, self.log_sigma(), len(self.shape))
        return normal if self.sigma == "unit" else distributions.WithAtoms(normal, self.constant, self.centre)


class DiscretizedLogistic(Likelihood):
    """p(x|z): a logistic rounded to the grid low, low + step, …, high; the decoder gives (μ, log s) a feature.

    A probability of integers, so −log₂ p(x)/dim is a code length. (Kingma et al. 2016, arXiv:1606.04934)

    With `bounded=False` low and high only say where the data lay: the grid goes on, from `least` where low is not below
    it (0: a count), and without end otherwise, so that a count larger than any seen has a probability too.

    With `beyond` = ε a value outside a bounded range has a small probability, as in
    `distributions.DiscretizedLogistic`, and is not refused: other rows of the same columns can hold what none of the
    first did.

    `mean` and `scale` are where the decoder starts. Networks see the range as [−1, 1]; with `by_scale=True` they see
    (x − mean)/scale, which a few values far from the others do not squeeze, and learn in these units.

    >>> p = DiscretizedLogistic((1,), low=0, high=255, step=1)(torch.zeros(1, 1, 2))
    >>> round(p.log_prob(torch.arange(256.0)[:, None, None]).exp().sum().item(), 4)
    1.0
    """

    per_feature = 2
    integers = True
    tails: tuple[float, float] = (BEYOND, BEYOND_PIXEL)
    """`beyond` for tables and for images, where the data says what else there is"""

    @classmethod
    def of(cls, schema: Schema, range: Literal["seen", "open"] = "seen") -> "DiscretizedLogistic":
        """A pixel's values are known beforehand, and so is its unit; a column's are as far apart as they are.

        range    "seen": no values outside those between the least and the greatest of each column are drawn; "open":
                 larger ones are possible, and smaller ones where some are negative
        """
        low, high, mean = (schema.shifted(name) for name in ("low", "high", "mean"))
        least = 0 - schema.array("offset")  # and not −offset, which may be −0, and be drawn as that
        return cls(
            schema.shape, low=low, high=high, mean=mean, scale=schema.array("scale"), bounded=range == "seen",
            least=least, by_scale=not schema.is_image, beyond=cls.tails[schema.is_image],
        )  # fmt: skip

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        return None if schema.kind == "real" or schema.binarized != "none" else _values(schema, "whole numbers")

    @classmethod
    def misfit(cls, schema: Schema) -> str | None:
        if schema.kind == "real":
            return "discretized-logistic is for whole numbers, and this data has others: choose gaussian."
        return _binarised(schema, "discretized-logistic")

    def __init__(
        self, shape: Sequence[int], *, low, high, step=1.0, mean=None, scale=None, bounded: bool = True, least=0.0,
        by_scale: bool = False, beyond: float = 0.0,
    ):  # fmt: skip
        super().__init__(shape)
        low, high, step = (_buffer(v, shape) for v in (low, high, step))
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.register_buffer("step", step)
        middle, half_range = (low + high) / 2, torch.maximum(high - low, step) / 2
        self.register_buffer("centre", middle if mean is None else _buffer(mean, shape))
        self.register_buffer("spread", half_range if scale is None else _buffer(scale, shape))
        self.register_buffer("middle", self.centre.clone() if by_scale else middle)
        self.register_buffer("unit", torch.maximum(self.spread, step / 2) if by_scale else half_range)
        never, least = torch.full_like(low, torch.inf), _buffer(least, shape)
        self.register_buffer("first", low if bounded else torch.where(low >= least, least, -never))
        self.register_buffer("last", high if bounded else never)
        self.beyond = beyond if bounded else 0.0
        self.support = "whole steps on the data's grid"
        if not self.beyond:
            self.support += ", " + (
                "within the range seen in fitting (--likelihood discretized-logistic:range=open lifts it)"
                if bounded
                else "not below 0 if it was not"
            )

    def standardise(self, x: Tensor) -> Tensor:
        """[low, high] ↦ [−1, 1], or (x − mean)/scale"""
        return ((x - self.middle) / self.unit).clamp(-FARTHEST_SEEN, FARTHEST_SEEN)

    def initial(self) -> Tensor:
        least = 0.1 * self.step  # a constant feature still needs a scale to learn from
        spread = torch.maximum(self.spread, least) * (math.sqrt(3) / math.pi)
        return torch.stack([self.standardise(self.centre), (spread / self.unit).log()]).flatten()

    def affine(self, centre: Tensor, loading: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The linear decoder, weight (features, D) and bias (features,), for a location centre + loading z and a
        standard deviation π s/√3 of the logistic.

        centre (U,), loading (U, D), deviation (U,): in the data's own units
        """
        unit = self.unit.flatten()
        least = 0.1 * self.step.flatten()
        log_scale = (torch.maximum(deviation, least) * (math.sqrt(3) / math.pi) / unit).log()
        others = loading.new_zeros((self.per_feature - 1) * len(loading), loading.shape[1])
        weight = torch.cat([loading / unit[:, None], others])
        location = self.standardise(centre.reshape(self.shape)).flatten()
        return weight, torch.cat([location, log_scale, self.initial()[2 * len(loading) :]])

    def supports(self, x: Tensor) -> Tensor:
        index = (x - self.low) / self.step
        on_grid = (index - index.round()).abs() < 1e-3
        return on_grid if self.beyond else on_grid & (x >= self.first) & (x <= self.last)

    def forward(self, y: Tensor) -> distributions.DiscretizedLogistic:
        loc, log_scale = self.in_units(*self.split(y))
        grid = self.first, self.last, self.step
        return distributions.DiscretizedLogistic(loc, log_scale, *grid, len(self.shape), self.beyond)

    def in_units(self, loc: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log s of the data's units, from the decoder's"""
        lowest = (1e-2 * self.step / self.unit).log()
        return self.middle + self.unit * loc, self.unit.log() + soft_clamp(log_scale, lowest, 4.0)


class ColourLogistic(DiscretizedLogistic):
    """Images (3, H, W): a `DiscretizedLogistic` a colour, whose location follows the colours before it in its pixel;
    the decoder gives (μ, log s, slope) a feature. (Salimans et al. 2017, arXiv:1701.05517)

    The colours of a photograph's pixel go together, and one latent code for the image cannot say how: independent, each
    of the three pays for the same detail.

    >>> p = ColourLogistic((3, 1, 1), low=0, high=3)(torch.zeros(1, 1, 9))
    >>> grid = torch.cartesian_prod(*[torch.arange(4.0)] * 3)[:, None, :, None, None]
    >>> round(p.log_prob(grid).exp().sum().item(), 4)
    1.0
    """

    per_feature = 3
    tails = (0.0, 0.0)

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        whole = schema.kind == "integer" and schema.binarized == "none"
        return _values(schema, "colour images") if whole and schema.channels == 3 else None

    def __init__(self, shape: Sequence[int], **grid):
        if len(shape) != 3 or shape[0] != 3:
            raise VaekitError(f"colour-logistic is for images of three colours (3, H, W), and got {tuple(shape)}.")
        super().__init__(shape, **grid)

    def initial(self) -> Tensor:
        slopes = torch.tensor([1.0, 0.0, 1.0])[:, None, None]  # each colour follows the one before it
        return torch.cat([super().initial(), slopes.expand(self.shape).flatten()])

    def forward(self, y: Tensor) -> distributions.ColourLogistic:
        loc, log_scale, slopes = self.split(y)
        loc, log_scale = self.in_units(loc, log_scale)
        return distributions.ColourLogistic(loc, log_scale, slopes, self.first, self.last, self.step)
