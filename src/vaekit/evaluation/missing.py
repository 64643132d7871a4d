"""Gaussians of which some cells are missing."""

from collections.abc import Iterable

import torch
from torch import Tensor

from vaekit.maths import LOG_2PI

STEPS = 60
"""of EM"""
RIDGE = 3.0
"""rows of uncorrelated columns, added to the covariance: that of few rows is not to be taken literally"""


class ObservedGaussian:
    """A Gaussian in columns divided by s, of each row that of its observed cells o.

        p(x_o) = N(y_o; μ_o, Σ_oo) / Π_o s_j,    y = (x − m) / s

    mean, scale    m and s, (d,)
    centre         μ, (d,)
    covariance     Σ, (d, d)

    >>> zeros = torch.zeros(2)
    >>> p = ObservedGaussian(zeros, torch.ones(2), zeros, torch.eye(2))
    >>> round(p.log_prob(torch.tensor([[0.0, float("nan")]])).item(), 6)   # −½ log 2π
    -0.918939
    """

    def __init__(self, mean: Tensor, scale: Tensor, centre: Tensor, covariance: Tensor) -> None:
        self.mean = mean
        self.scale = scale
        self.centre = centre
        self.covariance = covariance

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density of the observed cells of x (n, d), hidden ones NaN, (n,) nats; of none of them 0."""
        seen = ~x.isnan()
        y = torch.where(seen, (x - self.mean) / self.scale - self.centre, 0.0)
        root = torch.linalg.cholesky(_observed(self.covariance, seen))
        distance = torch.linalg.solve_triangular(root, y[:, :, None], upper=False)[:, :, 0].square().sum(1)
        log_determinant = 2 * root.diagonal(dim1=1, dim2=2).log().sum(1)
        log_scale = torch.where(seen, self.scale.log(), 0.0).sum(1)
        return -0.5 * (seen.sum(1) * LOG_2PI + log_determinant + distance) - log_scale


def _observed(covariance: Tensor, seen: Tensor) -> Tensor:
    """The covariances of what is observed, (n, d, d), with 1 on the diagonal for all that is not."""
    both = seen[:, :, None] & seen[:, None, :]
    return torch.where(both, covariance, 0.0) + torch.diag_embed((~seen).to(covariance))


def gaussian_observed(x: Tensor, mean: Tensor, scale: Tensor, least: Tensor) -> ObservedGaussian:
    """The Gaussian of rows x (n, d) whose hidden cells are NaN, by EM.

        E step    E[y_i | y_io] = μ + Σ h_i,    h_i = K_i (y_i − μ),    K_i = Σ_oo⁻¹ among what is observed, else 0
        M step    Σ ← (Σ_i E[(y_i − μ)(y_i − μ)ᵀ | y_io] + r I) / (n + r),    r = `RIDGE`

    (Little & Rubin 2019, §11.2) The inverses are those of the different patterns of hidden cells, not of the rows.

    mean, scale    (d,) of the columns, near where sums are taken
    least          (d,) the standard deviation of what the resolution leaves, whose square is added to the diagonal
    """
    seen = ~x.isnan()
    y = torch.where(seen, (x - mean) / scale, 0.0)
    patterns, pattern = torch.unique(seen, dim=0, return_inverse=True)
    counts = torch.bincount(pattern, minlength=len(patterns)).to(y)
    n, d = y.shape
    identity = torch.eye(d, dtype=y.dtype, device=y.device)
    centre = torch.zeros_like(mean)
    covariance = identity
    for _ in range(STEPS):
        precision = torch.cholesky_inverse(torch.linalg.cholesky(_observed(covariance, patterns)))
        precision = precision - torch.diag_embed((~patterns).to(y))
        apart = torch.where(seen, y - centre, 0.0)
        natural = _by_pattern(precision, pattern, apart)
        expected = natural @ covariance
        left = n * covariance - covariance @ torch.einsum("p,pij->ij", counts, precision) @ covariance
        shift = expected.mean(0)
        centre = centre + shift
        expected = expected - shift
        covariance = (expected.mT @ expected + left + RIDGE * identity) / (n + RIDGE)
        covariance = (covariance + covariance.mT) / 2
    floor = (least / scale).square().diag()
    return ObservedGaussian(mean, scale, centre, covariance + floor)


def _by_pattern(matrices: Tensor, pattern: Tensor, rows: Tensor) -> Tensor:
    """Each row (n, d) times the matrix (P, d, d) of its pattern, (n, d), some rows at a time."""
    size = max(1, 2**22 // rows.shape[1] ** 2)
    parts: Iterable[tuple[Tensor, Tensor]] = zip(pattern.split(size), rows.split(size), strict=True)
    return torch.cat([torch.einsum("nij,nj->ni", matrices[number], part) for number, part in parts])
