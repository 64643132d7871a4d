"""Simple models of a table whose columns are of several kinds, or some of whose cells are missing.

They are fitted to the cells that are there, and score a row by those that it has.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from vaekit.core import at_once, lazy
from vaekit.data import Dataset
from vaekit.evaluation.classes import LatentClasses, latent_classes, most_rows, possible_sizes
from vaekit.evaluation.independent import Columns, Independent
from vaekit.evaluation.missing import ObservedGaussian, gaussian_observed
from vaekit.models.start import factor_analysis_observed

MOST_COLUMNS = 50
"""up to which a Gaussian is fitted of which cells are missing"""
MOST_PRODUCTS = 2**21
"""of two columns, over the rows, that one is fitted to at most: it takes seconds"""


class TableModels:
    """Simple models of the rows `train`, scored on `rows`.

    whole      (d,) bool, which columns have probabilities and no densities
    grid       (d,) each, the least and the greatest value of each column
    latents    of factor analysis
    """

    def __init__(self, train: Dataset, rows: Dataset, whole: Tensor, grid: tuple[Tensor, Tensor], latents: int) -> None:
        self.train = train
        self.rows = rows
        self.whole = whole
        self.grid = grid
        self.latents = latents

    @lazy
    def columns(self) -> Columns:
        """Which distribution each column of a table of several kinds has; a code's range are all of its levels."""
        low, high = self.grid
        sizes = torch.tensor(self.train.schema.sizes(), dtype=low.dtype, device=low.device)
        low = torch.where(sizes > 0, 0.0, low)
        high = torch.maximum(high, torch.where(sizes > 0, sizes - 1, high))
        return Columns(self.train.schema, self.whole.to(low.device), low, high)

    def _blocks(self, rows: Dataset) -> Iterator[Tensor]:
        """Rows a block at a time, as `columns` has them, hidden cells NaN."""
        return (self.columns.split(x) for x in seen_blocks(rows))

    @lazy
    def independent(self) -> Independent:
        """A distribution per column, of the cells that it has."""
        return Independent(partial(self._blocks, self.train), self.columns)

    @lazy
    def classes(self) -> LatentClasses | None:
        """A mixture of independent columns; None where there are too few rows for it."""
        rows = self.train.some(most_rows(self.train.schema.features))
        if not possible_sizes(len(rows) - len(rows) // 5):
            return None
        x = torch.cat(list(self._blocks(rows)))
        return latent_classes(x, self.independent, rows.seed)

    @lazy
    def dense(self) -> Tensor:
        """(J,) which of the numbers have densities: those that a Gaussian is of, the others being independent."""
        return ~self.columns.rounded

    def _densities(self) -> Tensor | None:
        """Rows (n, rank) of the numbers that have densities; None where those are too many, or have nothing to do with
        one another."""
        rank = int(self.dense.sum())
        lone = rank == 1 and self.train.schema.features > 1
        if lone or not 1 <= rank <= MOST_COLUMNS:
            return None
        rows = self.train.some(MOST_PRODUCTS // rank**2)
        return torch.cat([self.columns.units(x)[:, self.dense] for x in self._blocks(rows)])

    @lazy
    def full(self) -> ObservedGaussian | None:
        """The Gaussian of full covariance of the cells that are there; None where there is none."""
        y = self._densities()
        if y is None:
            return None
        return gaussian_observed(y, *self._scaling())

    @lazy
    def factors(self) -> ObservedGaussian | None:
        """The Gaussian of factor analysis of the cells that are there; None where there is none."""
        y = self._densities()
        if y is None or not self.latents:
            return None
        mean, scale, least = self._scaling()
        standardised = ((y - mean) / scale).cpu().numpy()
        seen = ~np.isnan(standardised)
        latents = min(self.latents, y.shape[1] - 1)
        found = factor_analysis_observed(np.where(seen, standardised, 0.0), seen, latents)
        loading = torch.from_numpy(found.loading).to(mean)
        deviation = torch.from_numpy(found.deviation).to(mean)
        variance = deviation.square() + (least / scale).square()
        covariance = loading @ loading.mT + variance.diag()
        return ObservedGaussian(mean, scale, torch.from_numpy(found.mean).to(mean), covariance)

    def _scaling(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of the numbers that have densities the mean, the scale, and the least standard deviation, (rank,) each."""
        least = self.columns.least(self.independent.mean)
        return self.independent.mean[self.dense], self.independent.scale[self.dense], least[self.dense]

    def score_gaussian(self, gaussian: ObservedGaussian) -> Tensor:
        """The scores (n,) of a Gaussian of the numbers that have densities, beside which all columns are independent;
        of the observed cells of each row."""

        def log_prob(x: Tensor) -> Tensor:
            together = gaussian.log_prob(self.columns.units(x)[:, self.dense])
            whole = self.independent.log_prob_numbers(x)[:, self.columns.rounded].nansum(1)
            return together + whole + self.independent.log_prob_others(x)

        return self.score(log_prob)

    def score(self, log_prob: Callable[[Tensor], Tensor]) -> Tensor:
        """A function (B, d) ↦ (B,) of all rows, hidden cells NaN, (n,)."""
        return torch.cat([log_prob(x) for x in self._blocks(self.rows)])

    @lazy
    def observed(self) -> float:
        """How many cells a row has on average that are scored."""
        counts = [int((~x.isnan()).sum()) for x in seen_blocks(self.rows)]
        return sum(counts) / len(self.rows)


def any_missing(rows: Dataset) -> bool:
    """Whether any cell is missing, extreme ones aside."""
    if not rows.has_missing:
        return False
    index = torch.arange(len(rows), device=rows.device)
    return any(bool(rows.take(part).isnan().any()) for part in index.split(at_once(rows.schema.features)))


def seen_blocks(rows: Dataset) -> Iterator[Tensor]:
    """The rows as they are scored, (B, d) float64 at a time, hidden cells NaN."""
    for count, batch in rows.blocks():
        x = batch.x[:count].double()
        if batch.mask is not None:
            x = torch.where(batch.mask[:count], x, torch.nan)
        yield x.flatten(1)
