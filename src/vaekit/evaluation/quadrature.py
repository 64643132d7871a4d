"""log p(x) by quadrature, for models of one or two latents.

    log p(x) = log ∫ p(x, z) dz ≈ log |cell| + log Σ_i exp f_i,    f_i = log p(x, z_i), z_i the centres of equal cells

For a smooth integrand that vanishes at the border this, the midpoint rule, converges faster than any power of the
cells' width h: for a normal density it is off by a factor 1 ± 2 exp(−2π²σ²/h²), 5e-9 at h = σ (Trefethen & Weideman
2014, doi:10.1137/130932132). So the cells are halved until they resolve the posterior, and where it is only.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vaekit.core import Batch, Distribution, LatentModel
from vaekit.errors import VaekitError
from vaekit.evaluation.scores import Scores

FIRST = {1: 512, 2: 64}
"""cells an axis to begin with, by the number of latents"""
BOX = 8.0
"""prior standard deviations from its mean to the faces of the box that they fill"""
FACE = 25.0
"""nats below its maximum to which log p(x, z) must have fallen at the faces; the box is doubled until it has"""
NEGLIGIBLE = 5.0
"""a cell is not split further if its share of the integral is so many nats below the tolerance"""
ROUNDING = 64
"""a cell is at least so many times as wide as the step from one floating-point number to the next"""
MOST_POINTS, NUMBERS = 512, 2**19
"""points that go through the decoder at once on a CPU: at most so many, and so many numbers of its output"""

LogJoint = Callable[[Tensor], Tensor]
"""z (N, D) ↦ f = log p(x, z) of one row, (N,) float64 nats"""


@dataclass(frozen=True)
class Quadrature:
    """log p(x) = log ∫ p(x, z) dz, over cells that are halved until the sum no longer changes.

    tolerance     nats by which the last halving may change log p(x)
    most_cells    a row; where they do not suffice the refinement ends unconverged, and `error` is large

    The first cells fill a box of ± 8 prior standard deviations, or wider where p(x, z) is. All of them are split in
    2^D, then those again in which the integrand may come near its maximum, judged by its differences between
    neighbours, and so on; the others keep their share of the sum. The encoder is not asked: modes that q(z|x) misses
    count in full. The centres of the split cells are 2^D grids of the width before, each shifted another way: `error`
    is the most by which any of these, or the grid before, differs from the value, plus the rounding of log p(x, z). It
    is that of cells twice as wide as those used. What no grid can know is a mode of which log p(x, z) shows nothing at
    centres of cells 1/32 (one latent) or 1/4 (two) prior standard deviation wide.

    Terms: "cells", (B,), how many were evaluated.

    >>> from vaekit import nets, parts
    >>> from vaekit.models import FlatModel
    >>> posterior, likelihood = parts.posteriors.Diagonal(2), parts.likelihoods.Bernoulli((8,))
    >>> model = FlatModel(nets.MLP(8, (), posterior.features), posterior, parts.priors.StandardNormal(2),
    ...                   nets.MLP(2, (), likelihood.features), likelihood)
    >>> scores = Quadrature()(model, Batch(torch.ones(3, 8)), seed=0)
    >>> scores.value.shape, bool((scores.error < 1e-4).all())
    (torch.Size([3]), True)
    """

    tolerance: float = 1e-4
    most_cells: int = 2**17
    name: ClassVar[str] = "quadrature"

    def __post_init__(self):
        if not self.tolerance > 0:
            raise VaekitError(f"quadrature to within {self.tolerance:g} nats was asked for: give a tolerance above 0.")

    @torch.no_grad()
    def __call__(self, model: LatentModel, batch: Batch, seed: int) -> Scores:
        if model.latent_dim not in FIRST:
            raise VaekitError(f"quadrature is for 1 or 2 latents, this model has {model.latent_dim}: use iwae or ais.")
        rows = (Batch(*(part if part is None else part[i : i + 1] for part in batch)) for i in range(len(batch.x)))
        eps = torch.finfo(batch.x.dtype).eps
        found = [self._integrate(_log_joint(model, row), model.pz(), eps) for row in rows]
        value, error, cells = torch.tensor(found, dtype=torch.float64, device=batch.x.device).reshape(-1, 3).unbind(1)
        return Scores(value, error, {"cells": cells.long()})

    def _integrate(self, log_joint: LogJoint, prior: Distribution, eps: float) -> tuple[float, float, int]:
        """log p(x) of one row, its error, and how many cells were evaluated for it."""
        cells, evaluated = _covering(log_joint, prior)
        value, rest, last = cells.log_integral, cells.f.new_tensor(-math.inf), torch.full_like(cells.width, math.inf)
        first = cells.width
        while True:
            between = cells.between_alternate(rest)
            change = torch.maximum(between, last)
            error = (change.sum() + (rest - value).exp()).item()
            rounding = eps * value.abs().item()
            if error <= max(self.tolerance, rounding):
                break
            near = cells.near_maximum(between.sum().item() + NEGLIGIBLE - math.log(self.tolerance))
            cells, rest = cells[near], rest.logaddexp(cells[~near].log_integral)
            coarse = change >= change.max().clamp(max=self.tolerance / 2)
            axis = int(torch.where(coarse, cells.width / first, 0.0).argmax())
            if evaluated + 2 * len(cells.f) > self.most_cells or not cells.divisible(axis, eps):
                break
            cells = cells.halved(axis, log_joint)
            before, value = value, cells.log_integral.logaddexp(rest)
            last[axis], evaluated = (value - before).abs(), evaluated + len(cells.f)
        return value.item(), error + rounding, evaluated


def _log_joint(model: LatentModel, row: Batch) -> LogJoint:
    """log p(x, z) of one row, some points at a time."""
    at_once = max(1, min(MOST_POINTS, NUMBERS // model.likelihood.features))
    at_once *= 1 if row.x.device.type == "cpu" else 64

    def log_joint(z: Tensor) -> Tensor:
        chunks = z.to(row.x.dtype)[:, None].split(at_once)
        return torch.cat([model.log_joint(row, chunk)[:, 0] for chunk in chunks]).double()

    return log_joint


@dataclass(frozen=True)
class _Cells:
    """N of the equal cells into which a box is cut, with f = log p(x, z) at their centres."""

    low: Tensor
    """(D,) float64: the box's corner"""
    width: Tensor
    """(D,) float64: of a cell"""
    index: Tensor
    """(N, D) int64: which cell, counted from that corner"""
    f: Tensor
    """(N,) float64 nats"""

    @classmethod
    def evaluated(cls, log_joint: LogJoint, low: Tensor, width: Tensor, index: Tensor) -> "_Cells":
        return cls(low, width, index, log_joint(low + (index + 0.5) * width))

    def __getitem__(self, some: Tensor) -> "_Cells":
        return _Cells(self.low, self.width, self.index[some], self.f[some])

    @property
    def log_volume(self) -> Tensor:
        return self.width.log().sum()

    @property
    def log_integral(self) -> Tensor:
        """log ∫ p(x, z) dz over these cells, by the midpoint rule"""
        return self.f.logsumexp(0) + self.log_volume

    def between_alternate(self, rest: Tensor) -> Tensor:
        """By how much log ∫ of `rest` and every other cell along an axis differs from that of all, (D,): the worse half."""
        halves = [[self[self.index[:, axis] % 2 == odd] for odd in (0, 1)] for axis in range(len(self.width))]
        each = torch.stack([torch.stack([half.log_integral + math.log(2) for half in pair]) for pair in halves])
        return (each.logaddexp(rest) - self.log_integral.logaddexp(rest)).abs().amax(1)

    def divisible(self, axis: int, eps: float) -> bool:
        """Whether z in its own type, of relative precision eps, still tells the centres of halved cells apart."""
        furthest = (self.low + self.index * self.width)[:, axis].abs().max()
        return bool(self.width[axis] / 2 > ROUNDING * eps * furthest)

    def halved(self, axis: int, log_joint: LogJoint) -> "_Cells":
        """Each cut in two along an axis."""
        along = torch.zeros_like(self.index[0])
        along[axis] = 1
        index = torch.cat([self.index * (1 + along), self.index * (1 + along) + along])
        return self.evaluated(log_joint, self.low, self.width / (1 + along), index)

    def near_maximum(self, nats: float) -> Tensor:
        """In which cells f may come so near its maximum, (N,) bool."""
        return self.f + self._rise() >= self.f.max() - nats

    def _rise(self) -> Tensor:
        """How far above its value at the centre f may rise within each cell, (N,) nats.

        A concave f rises by no more than ½ Σ_d max(0, f(z) − f(z ± h e_d)), its steepest secant half a cell further.
        Here it is twice that, for f that are concave near their modes only.
        """
        sizes = [2 ** (31 * axis) for axis in range(len(self.low))]
        keys, order = (self.index * self.index.new_tensor(sizes)).sum(1).sort()
        f, rise = self.f[order], torch.zeros_like(self.f)
        for size in sizes:
            steps = (f - _looked_up(keys, f, keys + step) for step in (-size, size))
            rise += torch.fmax(*(step.abs() for step in steps)).nan_to_num(0, 0)
        return torch.empty_like(rise).index_copy(0, order, rise)


def _looked_up(keys: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """The values at the wanted ones among sorted keys, NaN where there is none."""
    at = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return torch.where(keys[at] == wanted, values[at], torch.nan)


def _corners(n: int, like: Tensor) -> Tensor:
    """{0, …, n − 1}^D, (n^D, D) int64, for `like` (D,)"""
    return torch.cartesian_prod(*[torch.arange(n, device=like.device)] * len(like)).reshape(-1, len(like))


def _covering(log_joint: LogJoint, prior: Distribution) -> tuple[_Cells, int]:
    """The first cells, of a box that holds the integrand, and how many were evaluated to find it."""
    mean, half = prior.mean.double(), BOX * prior.stddev.double()
    n, evaluated = FIRST[len(mean)], 0
    index = _corners(n, mean)
    face = ((index == 0) | (index == n - 1)).any(1)
    while True:
        cells = _Cells.evaluated(log_joint, mean - half, 2 * half / n, index)
        evaluated += len(index)
        if not cells.f[face].max() > cells.f.max() - FACE:
            return cells, evaluated
        half = 2 * half
