"""Ordered levels: a location for each column, and cutpoints."""

import math
from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit import distributions
from vaekit.data import Schema
from vaekit.distributions.categorical import is_code
from vaekit.parts.likelihoods.base import FARTHEST_SEEN, Likelihood, expanded
from vaekit.parts.likelihoods.categorical import check_sizes, columns_of, numbers_among, shares

LEAST_GAP = 1e-4
"""between cutpoints"""
LEAST_DEVIATION = 0.1
"""of a column beside what a linear decoder explains, as a part of its standard deviation"""
DEVIATION = math.pi / math.sqrt(3)
"""of a logistic variable of scale 1"""


class Ordinal(Likelihood):
    """The likelihood P(x_j ≤ k|z) = σ(c_jk − η_j(z)) of codes x_j in {0, …, n_j − 1} that have an order; the decoder
    gives η, and the cutpoints c_j0 < c_j1 < … are learned: the first of each column, and the gaps between them.

    (McCullagh 1980, Regression models for ordinal data.) The encoder sees (x − mean)/scale.

    sizes          the numbers n_j, one a cell of the shape in C order
    frequencies    of all levels, side by side, (Σ_j n_j,), at which P starts with η = 0
    mean, scale    of the codes, broadcast to X: by default those of the frequencies, and where there are none either,
                   of even ones. Without frequencies, P starts as that of a logistic variable with these, rounded

    >>> likelihood = Ordinal((1,), sizes=[3], frequencies=[0.5, 0.25, 0.25])
    >>> p = likelihood(likelihood.initial()[None, None])
    >>> [round(p.log_prob(torch.tensor([[k]])).exp().item(), 4) for k in (0.0, 1.0, 2.0)]
    [0.5, 0.25, 0.25]
    """

    integers = True
    left = 0.7
    support = "the levels seen in fitting"

    size: Tensor
    centre: Tensor
    scale: Tensor

    @classmethod
    def of(cls, schema: Schema, frequencies: ArrayLike | None = None) -> "Ordinal":
        """The family for data of a schema."""
        sizes = schema.sizes()
        if frequencies is not None:
            return cls(schema.shape, sizes=sizes, frequencies=frequencies)
        return cls(schema.shape, sizes=sizes, mean=schema.array("mean"), scale=schema.array("scale"))

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        """That all columns are ordered levels."""
        return columns_of("ordinal", "ordered levels", schema)

    @classmethod
    def misfit(cls, schema: Schema) -> str | None:
        """That some columns are numbers."""
        return numbers_among(schema, "ordinal")

    def __init__(
        self,
        shape: Sequence[int],
        *,
        sizes: Sequence[int],
        frequencies: ArrayLike | None = None,
        mean: ArrayLike | None = None,
        scale: ArrayLike | None = None,
    ) -> None:
        super().__init__(shape)
        check_sizes(sizes, self.codes)
        size = torch.tensor([int(size) for size in sizes])
        p = _side_by_side(shares(sizes, frequencies), sizes)
        codes = torch.arange(p.shape[-1])
        centre = (p * codes).sum(-1)
        spread = (p * (codes - centre[:, None]).square()).sum(-1).sqrt()
        if mean is not None:
            centre = expanded(mean, shape).flatten()
        if scale is not None:
            spread = expanded(scale, shape).flatten()
        spread = torch.where(size > 1, spread.clamp_min(0.1), 1.0)
        self.register_buffer("size", size.reshape(self.shape), persistent=False)
        self.register_buffer("centre", centre.reshape(self.shape))
        self.register_buffer("scale", spread.reshape(self.shape))
        if frequencies is not None:
            cuts = torch.logit(p.double().cumsum(-1)[:, :-1], eps=1e-6).to(p.dtype)
        else:
            cuts = (codes[:-1] + 0.5 - centre[:, None]) * (DEVIATION / spread[:, None])
        gaps = cuts.diff(dim=-1).clamp_min(2 * LEAST_GAP) - LEAST_GAP
        self.first = nn.Parameter(cuts[:, 0].reshape(self.shape))
        self.raw = nn.Parameter(_inverse_softplus(gaps).reshape(*self.shape, -1))

    def gaps(self) -> Tensor:
        """The gaps between the cutpoints of each column, (*X, N − 2)."""
        return LEAST_GAP + F.softplus(self.raw)

    def standardise(self, x: Tensor) -> Tensor:
        """The cells (x − mean)/scale, within ±30, (…, *X)."""
        return ((x - self.centre) / self.scale).clamp(-FARTHEST_SEEN, FARTHEST_SEEN)

    def affine(self, centre: Tensor, loading: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The linear decoder, weight (features, D) and bias (features,), where centre + loading z ± deviation is the
        logistic variable that is cut, in standard deviations of its own.

        Given z it is of scale 1 once it is divided by its deviation, and so are the cutpoints.

        centre (U,), loading (U, D), deviation (U,): of the codes
        """
        least = deviation.clamp_min(LEAST_DEVIATION)
        self._divide_cuts(least)
        slope = DEVIATION / least
        return slope[:, None] * loading, slope * centre

    @torch.no_grad()
    def _divide_cuts(self, deviation: Tensor) -> None:
        by = deviation.reshape(self.shape)
        gaps = (self.gaps() / by.unsqueeze(-1) - LEAST_GAP).clamp_min(LEAST_GAP)
        self.first.div_(by)
        self.raw.copy_(_inverse_softplus(gaps))

    def supports(self, x: Tensor) -> Tensor:
        """Which cells are codes of their column, (…, *X) bool."""
        return is_code(x, self.size)

    def forward(self, y: Tensor) -> distributions.Ordinal:
        """The likelihood of the decoder's locations y (K, B, features)."""
        (loc,) = self.split(y)
        return distributions.Ordinal(loc, self.first, self.gaps(), self.size)


def _inverse_softplus(x: Tensor) -> Tensor:
    return x + torch.log(-torch.expm1(-x))


def _side_by_side(values: Tensor, sizes: Sequence[int]) -> Tensor:
    """Values of all levels, (Σ_j n_j,), as (columns, N), N ≥ 3: 0 where a column has fewer than N levels."""
    most = max(3, *sizes)
    return torch.stack([F.pad(column, (0, most - len(column))) for column in values.split(list(sizes))])
