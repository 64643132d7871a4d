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

from vaekit.core import Batch, Latent, LatentModel
from vaekit.errors import VaekitError
from vaekit.evaluation.scores import Scores, require_real
from vaekit.inference.joint import joint_in_pieces

FIRST = {1: 512, 2: 64}
"""cells an axis to begin with, by the number of latents"""
BOX = 8.0
"""prior standard deviations from its mean to the faces of the box that they fill"""
FACE = 25.0
"""nats below its maximum to which log p(x, z) must have fallen at the faces; the box is doubled until it has"""
NEGLIGIBLE = 5.0
"""a cell is not halved further where the integrand is so many nats below what the tolerance is of its maximum"""
ROUNDING = 64
"""a cell is at least so many times as wide as the step from one floating-point number to the next"""

LogJoint = Callable[[Tensor], Tensor]
"""z (N, D) ↦ f = log p(x, z) of one row, (N,) float64 nats"""


@dataclass(frozen=True)
class Quadrature:
    """log p(x) = log ∫ p(x, z) dz over cells that are halved until the sum no longer changes.

    tolerance     nats: how small `error` is to be, unless log p(x, z) is itself rounded to no better
    most_cells    per row; where they do not suffice the sum has not settled, and `error` is large

    The first cells fill a box of ± 8 prior standard deviations, or wider where p(x, z) is. Then, an axis at a time,
    those are halved in which the integrand may come near its maximum, judged by its differences between neighbours;
    the others keep their share of the sum. The encoder is not asked: modes that q(z|x) misses count in full.

    `error` is the sum, over the axes, of what cells twice as wide are off by: the larger of the value's change at the
    axis' last halving and its difference from the odd or the even cells' alone, which between them see an error
    wherever the mode lies among the cells; plus the share of the cells left out of the halving, and the rounding of
    log p(x). What no grid can know is a mode of which log p(x, z) shows nothing at centres 1/32 (one latent) or 1/4
    (two) of a prior standard deviation apart.

    Terms: "cells", (B,), how many were evaluated. Decoders with kinks, of rectified linear units, need the most.

    >>> from vaekit import nets, parts
    >>> from vaekit.models import VAE
    >>> posterior, likelihood = parts.posteriors.Diagonal(2), parts.likelihoods.Bernoulli((8,))
    >>> model = VAE(nets.MLP(8, (), posterior.features), posterior, parts.priors.StandardNormal(2),
    ...                   nets.MLP(2, (), likelihood.features), likelihood)
    >>> scores = Quadrature()(model, Batch(torch.ones(3, 8)), seed=0)
    >>> scores.value.shape, bool((scores.error < 2e-4).all())
    (torch.Size([3]), True)
    """

    tolerance: float = 1e-4
    most_cells: int = 2**17
    name: ClassVar[str] = "quadrature"
    size: ClassVar[str] = ""
    noisy: ClassVar[bool] = False

    def __str__(self) -> str:
        return "by quadrature"

    def __post_init__(self) -> None:
        if not self.tolerance > 0:
            raise VaekitError(f"quadrature to within {self.tolerance:g} nats was asked for: give a tolerance above 0.")

    @torch.no_grad()
    def __call__(self, model: LatentModel, batch: Batch, seed: int) -> Scores:
        """The scores of a batch, one row at a time; the seed changes nothing, for there is no chance in it."""
        require_real(model.pz(batch.c), "quadrature")
        if model.latent_dim not in FIRST:
            raise VaekitError(f"quadrature is for 1 or 2 latents, this model has {model.latent_dim}: use iwae or ais.")
        eps = torch.finfo(batch.x.dtype).eps
        found = []
        for i in range(len(batch.x)):
            row = batch.rows(i, i + 1)
            found.append(self._integrate(_of_row(model, row), model.pz(row.c), eps))
        numbers = torch.tensor(found, dtype=torch.float64, device=batch.x.device).reshape(-1, 3)
        value, error, cells = numbers.unbind(1)
        return Scores(value, error, {"cells": cells.long()})

    def _integrate(self, log_joint: LogJoint, prior: Latent, eps: float) -> tuple[float, float, int]:
        """The log-likelihood of one row, its error, and how many cells were evaluated for it."""
        cells, evaluated = _covering(log_joint, prior)
        value = cells.log_integral
        last = torch.full_like(cells.width, math.inf)
        while True:
            between = cells.between_alternate()
            change = torch.maximum(between, last)
            rounding = eps * value.abs().item()
            error = (change.sum() + (cells.rest - value).exp()).item()
            if not error > max(self.tolerance, rounding):
                break
            cells = cells.near_maximum(between.sum().item() + NEGLIGIBLE - math.log(self.tolerance))
            unsettled = change >= change.max().clamp(max=self.tolerance / 2)
            axis = int(torch.where(unsettled, cells.width / prior.stddev, 0).argmax())
            too_many = evaluated + 2 * len(cells.f) > self.most_cells
            if too_many or not cells.divisible(axis, eps):
                break
            cells = cells.halved(axis, log_joint)
            evaluated += len(cells.f)
            halved = cells.log_integral
            last[axis] = (halved - value).abs()
            value = halved
        return value.item(), error + rounding, evaluated


def _of_row(model: LatentModel, row: Batch) -> LogJoint:
    """The function z (N, D) ↦ log p(x, z), (N,) float64, of one row."""
    log_joint = joint_in_pieces(model, row)

    def log_joint_of_row(z: Tensor) -> Tensor:
        draws = z.to(row.x.dtype)[:, None]
        return log_joint(draws)[:, 0].double()

    return log_joint_of_row


@dataclass(frozen=True)
class _Cells:
    """N of the equal cells that a box is cut into, f = log p(x, z) at their centres, and the integral over the rest."""

    low: Tensor
    """(D,) float64: the box's corner"""
    width: Tensor
    """(D,) float64: of a cell"""
    index: Tensor
    """(N, D) int64: which cell, counted from that corner"""
    f: Tensor
    """(N,) float64 nats"""
    rest: Tensor
    """scalar float64: log of the integral over the rest of the box, nats"""

    @classmethod
    def evaluated(cls, log_joint: LogJoint, low: Tensor, width: Tensor, index: Tensor, rest: Tensor) -> "_Cells":
        """The cells of an index, with f at their centres."""
        centres = low + (index + 0.5) * width
        return cls(low, width, index, log_joint(centres), rest)

    @property
    def log_integral(self) -> Tensor:
        """The logarithm of ∫ p(x, z) dz over the box, by the midpoint rule."""
        return self._log_integral(self.f)

    def _log_integral(self, f: Tensor, every: int = 1) -> Tensor:
        """The same, of every so many of the cells."""
        log_sum = f.logsumexp(0) + self.width.log().sum() + math.log(every)
        return log_sum.logaddexp(self.rest)

    def between_alternate(self) -> Tensor:
        """By how much the log integral of the odd or of the even cells along an axis differs, (D,) nats: the larger."""
        halves = []
        for odd in (self.index % 2).bool().T:
            halves.append(self._log_integral(self.f[odd], 2))
            halves.append(self._log_integral(self.f[~odd], 2))
        off = (torch.stack(halves) - self.log_integral).abs()
        return off.unflatten(0, (-1, 2)).amax(1)

    def near_maximum(self, nats: float) -> "_Cells":
        """The cells in which f may come so near its maximum."""
        near = self.f + self._rise() >= self.f.max() - nats
        rest = self._log_integral(self.f[~near])
        return _Cells(self.low, self.width, self.index[near], self.f[near], rest)

    def _rise(self) -> Tensor:
        """How far above its value at the centre f may rise within each cell, (N,) nats: Σ_d |f(z) − f(z ± h e_d)|.

        The larger difference of the two; where f is concave, half of that were enough. Cells left out are not asked.
        """
        sizes = [2 ** (31 * axis) for axis in range(len(self.low))]
        keys, order = (self.index * self.index.new_tensor(sizes)).sum(1).sort()
        f = self.f[order]
        rise = torch.zeros_like(f)
        for size in sizes:
            below = (f - _looked_up(keys, f, keys - size)).abs()
            above = (f - _looked_up(keys, f, keys + size)).abs()
            rise += torch.fmax(below, above).nan_to_num(0, 0)
        return torch.empty_like(rise).index_copy(0, order, rise)

    def divisible(self, axis: int, eps: float) -> bool:
        """Whether z in its own type, of relative precision eps, still tells the centres of halved cells apart."""
        furthest = (self.low + self.index * self.width)[:, axis].abs().max()
        return bool(self.width[axis] / 2 > ROUNDING * eps * furthest)

    def halved(self, axis: int, log_joint: LogJoint) -> "_Cells":
        """The cells each cut in two along an axis."""
        along = torch.zeros_like(self.index[0])
        along[axis] = 1
        lower = self.index * (1 + along)
        index = torch.cat([lower, lower + along])
        width = self.width / (1 + along)
        return self.evaluated(log_joint, self.low, width, index, self.rest)


def _looked_up(keys: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """The values at the wanted ones among sorted keys, NaN where there is none."""
    at = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return torch.where(keys[at] == wanted, values[at], torch.nan)


def _covering(log_joint: LogJoint, prior: Latent) -> tuple[_Cells, int]:
    """The first cells, of a box that holds the integrand, and how many were evaluated to find it."""
    mean = prior.mean.double()
    half = BOX * prior.stddev.double()
    dims = len(mean)
    n = FIRST[dims]
    axis = torch.arange(n, device=mean.device)
    index = torch.cartesian_prod(*[axis] * dims).reshape(-1, dims)
    face = ((index == 0) | (index == n - 1)).any(1)
    nothing = mean.new_tensor(-math.inf)
    evaluated = 0
    while True:
        cells = _Cells.evaluated(log_joint, mean - half, 2 * half / n, index, nothing)
        evaluated += len(index)
        if not cells.f[face].max() > cells.f.max() - FACE:
            return cells, evaluated
        half = 2 * half
