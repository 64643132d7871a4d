"""Likelihood families: the decoder's features ↦ p(x|z), in the data's own units.

A likelihood owns the data's scaling. The encoder sees `encode(x, mask)`; log-densities are of x itself, so a change of
units by a factor a shifts log p(x) by −log|a| and nothing else. `initial()` is the decoder's output bias at which the
model says "the data's mean" before it has learned anything.
"""

import math
from collections.abc import Sequence
from typing import Literal, Required, TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import ArrayLike
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

    def __init__(self, shape: Sequence[int]) -> None:
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
        """What the encoder sees of x (B, *X): standardised, and 0 where `mask` is False, (B, *X) or (B, inputs)."""
        standardised = self.standardise(x)
        if mask is None:
            return standardised
        return torch.where(mask, standardised, torch.zeros_like(standardised))

    def standardise(self, x: Tensor) -> Tensor:
        """The cells x in the units that networks like, (…, *X)."""
        return x

    def initial(self) -> Tensor:
        """The decoder's initial output bias, (features,)."""
        return torch.zeros(self.features)

    def supports(self, x: Tensor) -> Tensor:
        """Which cells of x have a density under the family, (…, *X) bool."""
        return torch.isfinite(x)

    def split(self, y: Tensor) -> tuple[Tensor, ...]:
        """The decoder's y (K, B, features) as `per_feature` tensors (K, B, *X)."""
        parts = y.unflatten(-1, (self.per_feature, *self.shape))
        return parts.unbind(-1 - len(self.shape))


BEYOND = 1e-4
"""probability of values outside the range that a column had in fitting: what it costs a row, in nats"""
BEYOND_PIXEL = 1e-6
"""the same of a pixel"""


def _values(schema: Schema, of: str) -> str:
    widest = (schema.array("high") - schema.array("low")).max()
    return f"{of}, at most {int(widest) + 1:,} values"


def _binarised(schema: Schema, name: str) -> str | None:
    """Why a family for other values than 0 and 1 does not fit, where the data was made of these."""
    if schema.binarized == "none":
        return None
    return f"binarize '{schema.binarized}' goes with the bernoulli likelihood, not with '{name}'."


def _buffer(values: ArrayLike, shape: Sequence[int]) -> Tensor:
    """A tensor of its own, broadcast to a shape."""
    return torch.tensor(values, dtype=torch.get_default_dtype()).expand(tuple(shape)).clone()


class Bernoulli(Likelihood):
    """The likelihood p(x|z) = Π_j x̂_j^x_j (1 − x̂_j)^(1−x_j) for x in {0, 1}; the decoder gives logits.

    With `expected=True` x may be grey, in [0, 1], and the value is Σ x log x̂ + (1 − x) log(1 − x̂): the mean
    log-likelihood of the image binarised with those probabilities, so the bound is one on *that*, and `normalised` is
    False. `mean` is the data's mean, where the logits start.

    >>> Bernoulli((2,))(torch.zeros(1, 1, 2)).log_prob(torch.tensor([[1.0, 0.0]])).exp().item()
    0.25
    """

    integers = True
    support = "0 and 1 only"

    centre: Tensor

    @classmethod
    def of(cls, schema: Schema) -> "Bernoulli":
        """The family for data of a schema: x̂ starts at the data's mean."""
        return cls(schema.shape, mean=schema.array("mean"), expected=schema.binarized == "expected")

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        """That the data is, or is made, 0 and 1."""
        if schema.binarized != "none":
            return f"binarised data ({schema.binarized})"
        if schema.kind == "binary":
            return "every value is 0 or 1"
        return None

    @classmethod
    def misfit(cls, schema: Schema) -> str | None:
        """That the data has other values than 0 and 1, and is not binarised."""
        if schema.kind == "binary" or schema.binarized != "none":
            return None
        return (
            "the bernoulli likelihood is for 0 and 1, and this data has other values: binarize it (dynamic, threshold, "
            "or expected for the textbook's grey-value form), or choose discretized-logistic or gaussian."
        )

    def __init__(self, shape: Sequence[int], *, mean: ArrayLike = 0.5, expected: bool = False) -> None:
        super().__init__(shape)
        self.expected = expected
        self.normalised = not expected
        self.integers = not expected
        if expected:
            self.support = "values from 0 to 1"
        self.register_buffer("centre", _buffer(mean, shape))

    def initial(self) -> Tensor:
        """The logits of the mean, (features,)."""
        return torch.logit(self.centre, eps=1e-3).flatten()

    def affine(self, centre: Tensor, loading: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The linear decoder, weight (features, D) and bias (features,), whose x̂ is centre + loading z to first order.

        centre (U,), loading (U, D)
        """
        mean = centre.clamp(1e-3, 1 - 1e-3)
        return loading / (mean * (1 - mean))[:, None], torch.logit(mean)

    def supports(self, x: Tensor) -> Tensor:
        """Which cells are 0 or 1, or where x may be grey from 0 to 1, (…, *X) bool."""
        if self.expected:
            return (x >= 0) & (x <= 1)
        return (x == 0) | (x == 1)

    def forward(self, y: Tensor) -> distributions.Bernoulli:
        """The likelihood of the decoder's logits y (K, B, features)."""
        (logits,) = self.split(y)
        return distributions.Bernoulli(logits, len(self.shape))


RELATIVE_FLOOR = (1e-6, 100.0)
"""a floor as a multiple of the data's standard deviation stays inside"""
LOG_SIGMA_MOST = 8.0
"""log(σ/s) stays below"""
FARTHEST_SEEN = 30.0
"""networks see no standardised number beyond ±30, whatever a cell holds"""


SCALE_OF_DEVIATION = math.sqrt(3) / math.pi
"""of a logistic variable, of standard deviation 1"""
Sigma = Literal["unit", "shared", "column"]


class Gaussian(Likelihood):
    """The likelihood p(x|z) = N(x; x̂(z), σ²), x̂ = m + s ⊙ y: the decoder works in standardised units, the density in
    the data's.

    sigma="unit"     N(x; x̂, I), the textbook's: σ = 1 in the data's own units
    sigma="shared"   one learned σ for all features
    sigma="column"   a learned σ per feature

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

    centre: Tensor
    scale: Tensor
    constant: Tensor | None
    log_floor: Tensor
    """of σ/s; there is one where a σ is learned, as there is `raw`"""
    raw: nn.Parameter
    """log(σ/s) before it is bounded"""

    @classmethod
    def of(cls, schema: Schema, sigma: Sigma = "column") -> "Gaussian":
        """The family for data of a schema.

        A difference of one resolution r is the finest there is: rounding alone has the standard deviation r/√12.
        """
        return cls(
            schema.shape,
            sigma=sigma,
            mean=schema.shifted("mean"),
            scale=schema.array("scale"),
            floor=schema.array("resolution") / 12**0.5,
            constant=schema.array("constant"),
        )

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        """That the data are real numbers."""
        if schema.kind == "real":
            return "real numbers"
        return None

    @classmethod
    def misfit(cls, schema: Schema) -> str | None:
        """That the data is binarised."""
        return _binarised(schema, "gaussian")

    def __init__(
        self,
        shape: Sequence[int],
        *,
        sigma: Sigma = "column",
        mean: ArrayLike = 0.0,
        scale: ArrayLike = 1.0,
        floor: ArrayLike = 1e-6,
        constant: ArrayLike = False,
    ) -> None:
        super().__init__(shape)
        scales = np.broadcast_to(np.asarray(scale), self.shape)
        floors = np.broadcast_to(np.asarray(floor), self.shape)
        constants = np.broadcast_to(np.asarray(constant), self.shape)
        varies = ~constants
        if constants.all():
            varies = np.ones_like(constants)
        if sigma != "column":
            squares = np.square(scales[varies], dtype=np.float64)
            scales = np.broadcast_to(np.sqrt(squares.mean()), self.shape)
        self.sigma = sigma
        self.register_buffer("centre", _buffer(mean, shape))
        self.register_buffer("scale", _buffer(scales, shape))
        self.register_buffer("constant", torch.tensor(constants) if constants.any() else None)
        if sigma == "unit":
            return
        relative = floors / scales
        sizes = self.shape
        if sigma == "shared":
            relative = relative[varies].min()
            sizes = (1,) * len(self.shape)
        log_floor = np.log(np.clip(relative, *RELATIVE_FLOOR))
        self.register_buffer("log_floor", _buffer(log_floor, sizes))
        self.raw = nn.Parameter(torch.zeros(sizes))

    def standardise(self, x: Tensor) -> Tensor:
        """The cells (x − m)/s, within ±30, (…, *X)."""
        return ((x - self.centre) / self.scale).clamp(-FARTHEST_SEEN, FARTHEST_SEEN)

    def log_sigma(self) -> Tensor:
        """The logarithm of σ in the data's own units, broadcastable to X."""
        if self.sigma == "unit":
            return torch.zeros_like(self.scale)
        return self.scale.log() + soft_clamp(self.raw, self.log_floor, LOG_SIGMA_MOST)

    def affine(self, centre: Tensor, loading: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The linear decoder, weight (features, D) and bias (features,), for x̂ = centre + loading z.

        A learned σ is set to `deviation`, as far as the floor allows.

        centre (U,), loading (U, D), deviation (U,): in the data's own units
        """
        scale = self.scale.flatten()
        if self.sigma != "unit":
            self._set_sigma(deviation / scale)
        bias = self.standardise(centre.reshape(self.shape)).flatten()
        return loading / scale[:, None], bias

    @torch.no_grad()
    def _set_sigma(self, relative: Tensor) -> None:
        """Set a learned σ by σ/s of each feature, (U,)."""
        if self.sigma == "shared":
            if self.constant is not None:
                relative = relative[~self.constant.flatten()]
            relative = relative.square().mean().sqrt().expand(1)
        self.raw.copy_(relative.log().reshape(self.raw.shape))

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
        """The likelihood of the decoder's standardised means y (K, B, features)."""
        (standardised,) = self.split(y)
        if self.constant is not None:
            standardised = torch.where(self.constant, 0.0, standardised)
        loc = self.centre + self.scale * standardised
        normal = distributions.Normal(loc, self.log_sigma(), len(self.shape))
        if self.constant is None or self.sigma == "unit":
            return normal
        return distributions.WithAtoms(normal, self.constant, self.centre)


class Grid(TypedDict, total=False):
    """The arguments of `DiscretizedLogistic` beside the shape."""

    low: Required[ArrayLike]
    high: Required[ArrayLike]
    step: ArrayLike
    mean: ArrayLike | None
    scale: ArrayLike | None
    bounded: bool
    least: ArrayLike
    by_scale: bool
    beyond: float


class DiscretizedLogistic(Likelihood):
    """A logistic rounded to the grid low, low + step, …, high; the decoder gives (μ, log s) per feature.

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
    low: Tensor
    high: Tensor
    step: Tensor
    centre: Tensor
    """where the decoder starts"""
    spread: Tensor
    """the standard deviation at which it starts"""
    middle: Tensor
    """networks see (x − middle)/unit"""
    unit: Tensor
    first: Tensor
    """the grid's least value; −∞ where it has none"""
    last: Tensor
    """its greatest; ∞ where it has none"""

    @classmethod
    def of(cls, schema: Schema, range: Literal["seen", "open"] = "seen") -> "DiscretizedLogistic":
        """The family for data of a schema.

        A pixel's values are known beforehand, and so is its unit; a column's are as far apart as they are.

        range    "seen": no values outside those between the least and the greatest of each column are drawn; "open":
                 larger ones are possible, and smaller ones where some are negative
        """
        return cls(
            schema.shape,
            low=schema.shifted("low"),
            high=schema.shifted("high"),
            mean=schema.shifted("mean"),
            scale=schema.array("scale"),
            bounded=range == "seen",
            least=0 - schema.array("offset"),  # and not −offset, which may be −0, and be drawn as that
            by_scale=not schema.is_image,
            beyond=cls.tails[schema.is_image],
        )

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        """That the data are whole numbers."""
        if schema.kind == "real" or schema.binarized != "none":
            return None
        return _values(schema, "whole numbers")

    @classmethod
    def misfit(cls, schema: Schema) -> str | None:
        """That the data are no whole numbers, or binarised."""
        if schema.kind == "real":
            return "discretized-logistic is for whole numbers, and this data has others: choose gaussian."
        return _binarised(schema, "discretized-logistic")

    def __init__(
        self,
        shape: Sequence[int],
        *,
        low: ArrayLike,
        high: ArrayLike,
        step: ArrayLike = 1.0,
        mean: ArrayLike | None = None,
        scale: ArrayLike | None = None,
        bounded: bool = True,
        least: ArrayLike = 0.0,
        by_scale: bool = False,
        beyond: float = 0.0,
    ) -> None:
        super().__init__(shape)
        self.register_buffer("low", _buffer(low, shape))
        self.register_buffer("high", _buffer(high, shape))
        self.register_buffer("step", _buffer(step, shape))
        middle = (self.low + self.high) / 2
        half_range = torch.maximum(self.high - self.low, self.step) / 2
        self.register_buffer("centre", middle if mean is None else _buffer(mean, shape))
        self.register_buffer("spread", half_range if scale is None else _buffer(scale, shape))
        if by_scale:
            self.register_buffer("middle", self.centre.clone())
            self.register_buffer("unit", torch.maximum(self.spread, self.step / 2))
        else:
            self.register_buffer("middle", middle)
            self.register_buffer("unit", half_range)
        self.support = "whole steps on the data's grid"
        if bounded:
            self.register_buffer("first", self.low)
            self.register_buffer("last", self.high)
            self.beyond = beyond
            if not beyond:
                lifted = "--likelihood discretized-logistic:range=open lifts it"
                self.support += f", within the range seen in fitting ({lifted})"
        else:
            bottom = _buffer(least, shape)
            never = torch.full_like(self.low, torch.inf)
            self.register_buffer("first", torch.where(self.low >= bottom, bottom, -never))
            self.register_buffer("last", never)
            self.beyond = 0.0
            self.support += ", not below 0 if it was not"

    def standardise(self, x: Tensor) -> Tensor:
        """The cells x with the range [low, high] as [−1, 1], or as (x − mean)/scale, within ±30, (…, *X)."""
        return ((x - self.middle) / self.unit).clamp(-FARTHEST_SEEN, FARTHEST_SEEN)

    def initial(self) -> Tensor:
        """The decoder's initial output bias, (features,): the locations, then the logarithms of the scales."""
        least = 0.1 * self.step  # a constant feature still needs a scale to learn from
        location = self.standardise(self.centre)
        scale = torch.maximum(self.spread, least) * SCALE_OF_DEVIATION
        return torch.stack([location, (scale / self.unit).log()]).flatten()

    def affine(self, centre: Tensor, loading: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The linear decoder, weight (features, D) and bias (features,), for a location centre + loading z and a
        standard deviation π s/√3 of the logistic.

        centre (U,), loading (U, D), deviation (U,): in the data's own units
        """
        unit = self.unit.flatten()
        least = 0.1 * self.step.flatten()
        scale = torch.maximum(deviation, least) * SCALE_OF_DEVIATION
        others = loading.new_zeros((self.per_feature - 1) * len(loading), loading.shape[1])
        weight = torch.cat([loading / unit[:, None], others])
        location = self.standardise(centre.reshape(self.shape)).flatten()
        rest = self.initial()[2 * len(loading) :]
        return weight, torch.cat([location, (scale / unit).log(), rest])

    def supports(self, x: Tensor) -> Tensor:
        """Which cells are on the grid, and within it unless there is something beyond, (…, *X) bool."""
        index = (x - self.low) / self.step
        on_grid = (index - index.round()).abs() < 1e-3
        if self.beyond:
            return on_grid
        return on_grid & (x >= self.first) & (x <= self.last)

    def forward(self, y: Tensor) -> distributions.Factorised:
        """The likelihood of the decoder's y (K, B, features)."""
        loc, log_scale = self.in_units(*self.split(y))
        return distributions.DiscretizedLogistic(
            loc, log_scale, self.first, self.last, self.step, len(self.shape), self.beyond
        )

    def in_units(self, loc: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        """The location μ and the logarithm of the scale s in the data's units, from the decoder's, (K, B, *X) each."""
        lowest = (1e-2 * self.step / self.unit).log()
        bounded = soft_clamp(log_scale, lowest, 4.0)
        return self.middle + self.unit * loc, self.unit.log() + bounded


class ColourLogistic(DiscretizedLogistic):
    """Images (3, H, W), whose colours each follow those before them in their pixel.

    Each colour is a `DiscretizedLogistic`, whose location depends on the colours before it; the decoder gives
    (μ, log s, slope) per feature. (Salimans et al. 2017, arXiv:1701.05517)

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
        """That the data are images of three colours in whole numbers."""
        whole = schema.kind == "integer" and schema.binarized == "none"
        if not whole or schema.channels != 3:
            return None
        return _values(schema, "colour images")

    def __init__(self, shape: Sequence[int], **grid: Unpack[Grid]) -> None:
        if len(shape) != 3 or shape[0] != 3:
            raise VaekitError(f"colour-logistic is for images of three colours (3, H, W), and got {tuple(shape)}.")
        super().__init__(shape, **grid)

    def initial(self) -> Tensor:
        """The decoder's initial output bias, (features,): locations, logarithms of the scales, and slopes."""
        slopes = torch.tensor([1.0, 0.0, 1.0])[:, None, None]  # each colour follows the one before it
        return torch.cat([super().initial(), slopes.expand(self.shape).flatten()])

    def forward(self, y: Tensor) -> distributions.ColourLogistic:
        """The likelihood of the decoder's y (K, B, features)."""
        loc, log_scale, slopes = self.split(y)
        loc, log_scale = self.in_units(loc, log_scale)
        return distributions.ColourLogistic(loc, log_scale, slopes, self.first, self.last, self.step)
