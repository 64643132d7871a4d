"""Gaussians by the eigenvalues of a covariance, and mixtures of Gaussians."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from vaekit.maths import LOG_2PI

RELATIVE_FLOOR = 1e-6
"""the least standard deviation that a Gaussian gives a column, as a part of the data's: as in `parts.likelihoods`"""


@dataclass(frozen=True)
class PrincipalGaussian:
    """The Gaussian of probabilistic PCA, in columns divided by s (Tipping & Bishop 1999).

        p(x) = N(y; 0, U Λ Uᵀ + σ²(I − U Uᵀ)) / Π_j s_j,    y = (x − m) / s

    Λ and U are the k leading eigenvalues and eigenvectors of the covariance of y, σ² is the mean of the other
    eigenvalues: the greatest likelihood with k latents. k = 0 are independent columns, k = d − 1 is a full covariance.
    `mean` m and `scale` s are (d,), `variances` Λ (k,), `axes` U (d, k), `rest` σ².

    >>> p = PrincipalGaussian.fit(torch.zeros(2), torch.ones(2), torch.ones(2), torch.eye(2), k=1)
    >>> round(p.log_prob(torch.zeros(1, 2)).item(), 6)   # −log 2π
    -1.837877
    """

    mean: Tensor
    scale: Tensor
    variances: Tensor
    axes: Tensor
    rest: float

    @staticmethod
    def fit(mean: Tensor, scale: Tensor, values: Tensor, vectors: Tensor, k: int) -> "PrincipalGaussian":
        """The Gaussian by the eigenvalues (m,), ascending, and eigenvectors (d, m) of the covariance of y.

        They are all that are not 0, or for independent columns none.
        """
        d, m = vectors.shape
        k = min(k, m, d - 1)
        left = float(d)
        if m:
            left = values[: m - k].sum().item()
        rest = max(left / (d - k), RELATIVE_FLOOR**2)
        return PrincipalGaussian(mean, scale, values[m - k :], vectors[:, m - k :], rest)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density of x (n, d), (n,) nats."""
        d, k = self.axes.shape
        y = (x - self.mean) / self.scale
        squared = (y @ self.axes).square()
        across = (y.square().sum(1) - squared.sum(1)) / self.rest
        distance = across + (squared / self.variances).sum(1)
        log_determinant = self.variances.log().sum() + (d - k) * math.log(self.rest) + 2 * self.scale.log().sum()
        return -0.5 * (d * LOG_2PI + log_determinant + distance)

    def precision(self) -> Tensor:
        """The diagonal of Σ⁻¹, (d,), in the data's units."""
        squared = self.axes.square()
        across = (1 - squared.sum(1)) / self.rest
        along = (squared / self.variances).sum(1)
        return (across + along) / self.scale.square()


class Principal(NamedTuple):
    """The covariance of columns divided by their scale, C = U Λ Uᵀ."""

    mean: Tensor
    """(d,)"""
    scale: Tensor
    """(d,)"""
    values: Tensor
    """Λ, (m,), ascending: those that are not 0, m ≤ min(n, d)"""
    vectors: Tensor
    """U, (d, m)"""

    def ridged(self, rows: int, ridge: float) -> PrincipalGaussian:
        """The Gaussian of covariance (n C + r I) / (n + r)."""
        values = (rows * self.values + ridge) / (rows + ridge)
        d, m = self.vectors.shape
        if m == d:
            return PrincipalGaussian.fit(self.mean, self.scale, values, self.vectors, d - 1)
        rest = max(ridge / (rows + ridge), RELATIVE_FLOOR**2)
        return PrincipalGaussian(self.mean, self.scale, values, self.vectors, rest)


def principal(
    blocks: Callable[[], Iterable[Tensor]], centre: Tensor, resolution: Tensor, rows: int, wide: bool
) -> Principal:
    """The covariance of rows (B, d), given a block at a time.

    Where there are fewer rows than columns, it is made of the products of rows with rows.

    centre    (d,), near the mean
    wide      no correlations are wanted
    """
    d = len(centre)
    first = summed((x - centre).sum(0) for x in blocks()) / rows
    variance = summed((x - centre - first).square().sum(0) for x in blocks()) / rows
    least = torch.maximum(resolution.square() / 12, RELATIVE_FLOOR**2 * variance)
    scale = (variance + least).sqrt()
    mean = centre + first
    if wide:
        return Principal(mean, scale, scale.new_empty(0), scale.new_empty(d, 0))
    standardised = ((x - mean) / scale for x in blocks())
    if rows < d:
        y = torch.cat(list(standardised)) / math.sqrt(rows)
        values, left = torch.linalg.eigh(y @ y.mT)
        known = values > RELATIVE_FLOOR * values[-1].clamp_min(RELATIVE_FLOOR)
        values = values[known]
        return Principal(mean, scale, values, y.mT @ left[:, known] / values.sqrt())
    second = summed(y.mT @ y for y in standardised) / rows
    values, vectors = torch.linalg.eigh(second.fill_diagonal_(1))
    return Principal(mean, scale, values.clamp_min(RELATIVE_FLOOR**2), vectors)


def summed(blocks: Iterable[Tensor]) -> Tensor:
    """The sum of tensors of one shape; of none 0."""
    return sum(blocks, torch.zeros(()))


class Mixture:
    """A mixture of k Gaussians, in columns divided by s.

        p(x) = Σ_c π_c N(y; μ_c, Σ_c) / Π_j s_j,    y = (x − m) / s

    mean, scale    m and s, (d,)
    log_weights    log π, (k,)
    means          μ, (k, d)
    covariances    Σ, (k, d, d)
    added          (d,) the variance of noise u that was added to y; with it the score is a lower bound

        log E_u p(y + u) ≥ log Σ_c π_c exp(E_u log N(y + u; μ_c, Σ_c)),    by Jensen's inequality for each component

    >>> zeros = torch.zeros(2)
    >>> one = Mixture(zeros, torch.ones(2), torch.zeros(1), zeros[None], torch.eye(2)[None], zeros)
    >>> round(one.log_prob(torch.zeros(1, 2)).item(), 6)   # −log 2π
    -1.837877
    """

    def __init__(
        self, mean: Tensor, scale: Tensor, log_weights: Tensor, means: Tensor, covariances: Tensor, added: Tensor
    ) -> None:
        self.mean = mean
        self.scale = scale
        self.log_weights = log_weights
        self.components = MultivariateNormal(means, covariances, validate_args=False)
        self.lost = 0.5 * self.components.precision_matrix.diagonal(dim1=-2, dim2=-1) @ added
        """(k,)"""

    def __len__(self) -> int:
        return len(self.log_weights)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density of x (n, d), or the bound, (n,) nats."""
        y = (x - self.mean) / self.scale
        each = self.components.log_prob(y[:, None]) - self.lost
        return (self.log_weights + each).logsumexp(1) - self.scale.log().sum()
