"""What the likelihood families share."""

import math
from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from vaekit.data import Schema

FARTHEST_SEEN = 30.0
"""networks see no standardised number beyond ±30, whatever a cell holds"""


class Likelihood(nn.Module):
    """What the families share: the shape X of an example and `per_feature` decoder outputs for each of its features."""

    per_feature: int = 1
    normalised: bool = True
    """whether p(x|z) sums or integrates to 1 over x: only then is the bound one on log p(x)"""
    integers: bool = False
    """whether it is a probability of values on a grid, so that bits per dimension mean something"""
    support: str = "real numbers"
    left: float = 5e-3
    """see `unexplained`"""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.codes = math.prod(self.shape)
        """U, how many numbers `standardise` makes of an example"""
        self.features = self.per_feature * self.codes
        self.indicates = False
        """whether the encoder is told, beside the codes, which of them are observed"""

    @property
    def inputs(self) -> int:
        """What the encoder sees of an example, as numbers: the codes, and where `indicates` as many indicators."""
        if self.indicates:
            return 2 * self.codes
        return self.codes

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
        """What the encoder sees of x (B, *X): its codes, 0 where `mask` is False, (B, *X) or (B, U).

        Where `indicates`, (B, 2U): the codes, then 1 for each of them that is observed and 0 for the others.
        """
        codes = self.standardise(x)
        observed = None if mask is None else self.spread_out(mask)
        if observed is not None:
            codes = torch.where(observed, codes, torch.zeros_like(codes))
        if not self.indicates:
            return codes
        codes = codes.flatten(1)
        if observed is None:
            return torch.cat([codes, torch.ones_like(codes)], -1)
        return torch.cat([codes, observed.flatten(1).to(codes)], -1)

    def standardise(self, x: Tensor) -> Tensor:
        """The codes of cells x in the units that networks like, (…, *X) or (…, U)."""
        return x

    def spread_out(self, mask: Tensor) -> Tensor:
        """What holds of each cell, (…, *X), for each of its codes, (…, *X) or (…, U)."""
        return mask

    def unexplained(self) -> Tensor:
        """The part of each code's variance, (U,), that a linear start is to leave unexplained at the least.

        What stands for levels is no normal variable: a linear model of few rows' codes explains them too well.
        """
        return torch.full((self.codes,), self.left)

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


def possible_values(schema: Schema, of: str) -> str:
    """What whole numbers are, in a few words, and how many there can be in a column."""
    widest = (schema.array("high") - schema.array("low")).max()
    return f"{of}, at most {int(widest) + 1:,} values"


def no_numbers(schema: Schema, name: str) -> str | None:
    """Why a family of numbers does not fit: the data is made 0 and 1, or some of it stands for levels."""
    if schema.kind == "mixed":
        return f"{name} is for numbers, and some columns hold codes of levels: choose columns, or auto."
    if schema.binarized == "none":
        return None
    return f"binarize '{schema.binarized}' goes with the bernoulli likelihood, not with '{name}'."


def expanded(values: ArrayLike, shape: Sequence[int]) -> Tensor:
    """A tensor of its own, broadcast to a shape."""
    return torch.tensor(values, dtype=torch.get_default_dtype()).expand(tuple(shape)).clone()
