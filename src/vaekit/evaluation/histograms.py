"""Independent columns of few values: how often each was seen."""

from collections.abc import Iterable

import torch
from torch import Tensor

PSEUDO_COUNTS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""what may be added to the counts of a histogram"""


class Histograms:
    """Independent histograms on the grids low_j, low_j + 1, …, high_j of w_j values, seen or not.

        P(x) = Π_j (c_j(x_j) + α_j) / (n_j + α_j w_j)

    α_j is the one of `PSEUDO_COUNTS` that predicts a training row best from the others; `train` gives (B, d) at a time.
    Hidden cells are NaN: they are not counted, and have the log-probability 0.

    shaped    (d,) bool, columns of so many values that most were never seen: half of their α_j w_j is spread as a
              rounded Gaussian, by the column's mean and standard deviation

    >>> p = Histograms([torch.tensor([[0.0], [0.0], [2.0]])], torch.zeros(1), 2 * torch.ones(1))
    >>> round(p.log_prob(torch.arange(3.0)[:, None]).exp().sum().item(), 6)
    1.0
    """

    def __init__(self, train: Iterable[Tensor], low: Tensor, high: Tensor, shaped: Tensor | None = None) -> None:
        widths = (high - low).long() + 1
        self.low = low
        self.start = widths.cumsum(0) - widths
        self.size = int(widths.sum())
        """of all columns' values together"""
        self.column = torch.repeat_interleave(widths)
        """(size,) the column of each"""
        counts = torch.zeros(self.size + 1, dtype=torch.float64, device=widths.device)
        for x in train:
            counts += torch.bincount(self.cells(x).flatten(), minlength=len(counts))
        counts = counts[:-1]
        n = self.of_columns(counts)
        spread = torch.ones_like(counts)
        if shaped is not None and shaped.any():
            spread = torch.where(shaped[self.column], 0.5 + 0.5 * self._gaussian(counts, n, widths), spread)
        left_out = []  # Σ_i log P(x_i | all rows but i) of each column
        for alpha in PSEUDO_COUNTS:
            each = counts * ((counts - 1).clamp_min(0) + alpha * spread).log()
            others = (n - 1).clamp_min(0)
            left_out.append(self.of_columns(each) - n * (others + alpha * widths).log())
        best = torch.stack(left_out).argmax(0)
        alphas = counts.new_tensor(PSEUDO_COUNTS)[best]
        self.added = alphas * widths
        """(d,) α_j w_j, the rows' worth of what was added to each column"""
        totals = n + self.added
        log_p = (counts + alphas[self.column] * spread).log() - totals.log()[self.column]
        self.log_p = torch.cat([log_p, log_p.new_zeros(1)])
        """(size + 1,) the log-probability of each value, and that of a hidden cell, 0"""

    def _gaussian(self, counts: Tensor, n: Tensor, widths: Tensor) -> Tensor:
        """The probability of each value by a rounded Gaussian, as a multiple of its mean over the grid, (size,)."""
        step = torch.arange(self.size, device=counts.device) - self.start[self.column]
        seen = n.clamp_min(1)
        mean = self.of_columns(counts * step) / seen
        distance = step - mean[self.column]
        variance = self.of_columns(counts * distance.square()) / seen
        density = (-0.5 * distance.square() / variance.clamp_min(1)[self.column]).exp()
        total = self.of_columns(density)
        return density * (widths / total)[self.column]

    def of_columns(self, each: Tensor) -> Tensor:
        """The sum over the values of each column, (d, …) of (size, …)."""
        return each.new_zeros(len(self.low), *each.shape[1:]).index_add_(0, self.column, each)

    def cells(self, x: Tensor) -> Tensor:
        """Where in `log_p` x (n, d) lies, (n, d)."""
        hidden = x.isnan()
        place = torch.where(hidden, self.low, x) - self.low
        return torch.where(hidden, self.size, place.long() + self.start)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-probability of x (n, d), (n,) nats."""
        return self.log_p[self.cells(x)].sum(1)
