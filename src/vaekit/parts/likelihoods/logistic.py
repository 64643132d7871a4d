"""Whole numbers: logistic variables, rounded."""

import math
from collections.abc import Sequence
from typing import Literal, Required, TypedDict, Unpack

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vaekit import distributions
from vaekit.data import Schema
from vaekit.errors import VaekitError
from vaekit.maths import soft_clamp
from vaekit.parts.likelihoods.base import FARTHEST_SEEN, Likelihood, expanded, no_numbers, possible_values

BEYOND = 1e-4
"""probability of values outside the range that a column had in fitting: what it costs a row, in nats"""
BEYOND_PIXEL = 1e-6
"""the same of a pixel"""
SCALE_OF_DEVIATION = math.sqrt(3) / math.pi
"""of a logistic variable, of standard deviation 1"""


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
        return cls(schema.shape, **cls.grid(schema, range))

    @classmethod
    def grid(cls, schema: Schema, range: Literal["seen", "open"]) -> Grid:
        """What a schema says of the grid, and of where the decoder starts; `range` as in `of`."""
        return {
            "low": schema.shifted("low"),
            "high": schema.shifted("high"),
            "step": schema.array("resolution"),
            "mean": schema.shifted("mean"),
            "scale": schema.array("scale"),
            "bounded": range == "seen",
            "least": 0 - schema.array("offset"),  # and not −offset, which may be −0, and be drawn as that
            "by_scale": not schema.is_image,
            "beyond": cls.tails[schema.is_image],
        }

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        """That the data are whole numbers."""
        if schema.kind not in ("binary", "integer") or schema.binarized != "none":
            return None
        return possible_values(schema, "whole numbers")

    @classmethod
    def misfit(cls, schema: Schema) -> str | None:
        """That the data are no whole numbers, or binarised."""
        if schema.kind == "real":
            return "discretized-logistic is for whole numbers, and this data has others: choose gaussian."
        return no_numbers(schema, "discretized-logistic")

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
        self.register_buffer("low", expanded(low, shape))
        self.register_buffer("high", expanded(high, shape))
        self.register_buffer("step", expanded(step, shape))
        middle = (self.low + self.high) / 2
        half_range = torch.maximum(self.high - self.low, self.step) / 2
        self.register_buffer("centre", middle if mean is None else expanded(mean, shape))
        self.register_buffer("spread", half_range if scale is None else expanded(scale, shape))
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
            bottom = expanded(least, shape)
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
        """The linear decoder, weight (features, D) and bias (features,), for a standardised location
        centre + loading z and a standard deviation π s/√3 of the logistic.

        centre (U,), loading (U, D), deviation (U,): of the codes
        """
        least = (0.1 * self.step / self.unit).flatten()
        scale = torch.maximum(deviation, least) * SCALE_OF_DEVIATION
        others = loading.new_zeros((self.per_feature - 1) * len(loading), loading.shape[1])
        weight = torch.cat([loading, others])
        rest = self.initial()[2 * len(loading) :]
        return weight, torch.cat([centre, scale.log(), rest])

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
        return possible_values(schema, "colour images")

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
