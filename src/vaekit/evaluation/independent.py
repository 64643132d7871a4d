"""Independent columns of a table of several kinds, some of whose cells are missing.

A column of few possible values has a histogram; whole numbers of a wide range have a Gaussian, rounded; real numbers a
Gaussian, and positive ones a Gaussian of their logarithms. A constant among those that have a density has an atom. An
amount has a histogram of whether it is above 0, and a Gaussian of the logarithms of those that are.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from vaekit.data import Schema
from vaekit.data.survey import SMALLEST
from vaekit.distributions import log_atom
from vaekit.evaluation.gaussians import RELATIVE_FLOOR, summed
from vaekit.evaluation.histograms import Histograms
from vaekit.maths import LOG_2PI, log1mexp

WIDEST_HISTOGRAM = 4096
"""a column with more possible values has a Gaussian instead, unless there is room"""
MOST_VALUES = 2**18
"""of all columns together up to which there is room"""
LEAST_STEPS = 0.15
"""the least standard deviation of a rounded Gaussian, in steps: all but 1e-3 of it is then one value"""

Blocks = Callable[[], Iterable[Tensor]]
"""Rows (B, d) at a time, hidden cells NaN: as often as they are asked for"""


class Columns:
    """Which distribution each column has.

    whole        (d,) bool, which columns have probabilities, and no densities
    low, high    (d,) the range of those, in the units of the rows

    amounts    (M,) the columns of amounts; each is followed, behind all columns, by whether it is above 0: see `split`
    cells      (C,) the columns that have histograms
    numbers    (J,) those that have Gaussians
    atoms      (A,) those that have atoms
    """

    def __init__(self, schema: Schema, whole: Tensor, low: Tensor, high: Tensor) -> None:
        kinds = [schema.kind_of(j) for j in range(schema.features)]
        amount = torch.tensor([kind == "amount" for kind in kinds]).to(whole.device) & ~whole
        self.amounts = amount.nonzero()[:, 0]
        more = torch.ones_like(self.amounts)

        def known(name: str, of_more: float = 0.0) -> Tensor:
            own = torch.from_numpy(schema.array(name).copy()).to(whole.device)
            return torch.cat([own.flatten(), (of_more * more).to(own)])

        positive = torch.tensor([kind == "positive" for kind in kinds]).to(whole.device) & (low > 0)
        positive = torch.cat([positive | amount, more < 0])
        whole = torch.cat([whole, more > 0])
        low = torch.cat([low, 0 * more.to(low)])
        high = torch.cat([high, more.to(high)])
        widths = torch.where(whole, high - low + 1, torch.inf)
        narrow = widths <= max(WIDEST_HISTOGRAM, _widest(widths))
        constant = known("constant") & ~whole
        self.cells = narrow.nonzero()[:, 0]
        self.atoms = constant.nonzero()[:, 0]
        self.numbers = (~narrow & ~constant).nonzero()[:, 0]
        self.shaped = widths[self.cells] > WIDEST_HISTOGRAM
        """(C,) those of so many values that most are never seen"""
        self.low = low[self.cells]
        self.high = high[self.cells]
        coded = torch.from_numpy(schema.coded).flatten().to(whole.device)
        self.coded = torch.cat([coded, more < 0])[self.cells]
        """(C,) which of `cells` are codes of levels"""
        self.value = (known("mean") - known("offset"))[self.atoms].float().double()
        """(A,) of the atoms, as the rows hold it"""
        self.rounded = whole[self.numbers]
        """(J,) which Gaussians are of whole numbers"""
        self.logs = (positive & ~whole)[self.numbers]
        """(J,) which are of logarithms"""
        self.zero = -known("offset")[self.amounts]
        """(M,) what 0 is in the units of the rows"""
        self.offset = known("offset")[self.numbers]
        self.resolution = known("resolution", 1.0)[self.numbers]
        self.mean = (known("mean") - known("offset"))[self.numbers]
        self.scale = known("scale", 1.0)[self.numbers]

    def split(self, x: Tensor) -> Tensor:
        """Rows (B, d) as (B, d + M): amounts that are 0 hidden, and behind whether each is above it."""
        if not len(self.amounts):
            return x
        amounts = x[:, self.amounts]
        above = torch.where(amounts.isnan(), torch.nan, (amounts > self.zero).to(x))
        x = x.index_copy(1, self.amounts, torch.where(above == 1, amounts, torch.nan))
        return torch.cat([x, above], 1)

    def units(self, x: Tensor) -> Tensor:
        """The numbers that Gaussians are of, (B, J) of rows (B, d)."""
        return self.logarithms(x[:, self.numbers])

    def logarithms(self, y: Tensor) -> Tensor:
        """Numbers (…, J) in the units of the rows, of which some are to be logarithms."""
        return torch.where(self.logs, (y + self.offset).clamp_min(SMALLEST).log(), y)

    def constants(self, x: Tensor) -> Tensor:
        """The log-density of the columns that have atoms, (B,) of x (B, d)."""
        values = x[:, self.atoms]
        return torch.where(values.isnan(), 0.0, log_atom(values, self.value)).sum(1)

    def change(self, y: Tensor) -> Tensor:
        """The logarithm of what turns a density of `units` y (B, J) into one of x, (B,): −log x_j for logarithms."""
        return -torch.where(self.logs & ~y.isnan(), y, 0.0).sum(1)

    def least(self, mean: Tensor) -> Tensor:
        """The least standard deviation of the `units`, (J,): r/√12 by the resolution r, of log x near a mean."""
        rounding = self.resolution / math.sqrt(12)
        rounding = torch.where(self.logs, rounding * torch.where(self.logs, -mean, 0.0).exp(), rounding)
        return torch.where(self.rounded, LEAST_STEPS, rounding)

    def log_prob_each(self, y: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """The log-density of each of the `units`, or the log-probability of a whole number's cell, (…, J); NaN of NaN.

        log N(y; m, s²) or log [Φ((y + ½ − m)/s) − Φ((y − ½ − m)/s)].
        """
        distance = (y - mean).abs() / scale
        each = -0.5 * (distance.square() + LOG_2PI) - scale.log()
        if self.rounded.any():
            scale = scale.expand_as(distance)[..., self.rounded]
            distance = distance[..., self.rounded]
            upper = torch.special.log_ndtr(0.5 / scale - distance)
            lower = torch.special.log_ndtr(-0.5 / scale - distance)
            each[..., self.rounded] = upper + log1mexp(upper - lower)
        return each


def _widest(widths: Tensor) -> float:
    """The greatest width up to which all columns together have no more than `MOST_VALUES`."""
    widths = widths.sort().values
    totals = widths.cumsum(0)
    different = torch.cat([widths[1:] > widths[:-1], torch.ones_like(widths[:1], dtype=torch.bool)])
    room = widths[(totals <= MOST_VALUES) & different]  # of columns of one width all or none
    return room.max().item() if len(room) else 0.0


class Independent:
    """A distribution per column, fitted to rows given a block at a time.

    >>> import numpy as np
    >>> from vaekit.data import describe
    >>> x = np.array([[0.0, 0.1], [1.0, np.nan], [1.0, 0.3]])
    >>> columns = Columns(describe(x), torch.tensor([True, False]), torch.zeros(2), torch.ones(2))
    >>> p = Independent(lambda: [torch.from_numpy(x)], columns)
    >>> round(p.log_prob(torch.tensor([[0.0, np.nan], [1.0, np.nan]], dtype=torch.float64)).exp().sum().item(), 6)
    1.0
    """

    def __init__(self, blocks: Blocks, columns: Columns) -> None:
        self.columns = columns
        train = (x[:, columns.cells] for x in blocks())
        self.histograms = Histograms(train, columns.low, columns.high, columns.shaped)
        count = summed((~x[:, columns.numbers].isnan()).sum(0) for x in blocks())
        seen = count.clamp_min(1)
        unseen = count == 0
        centre = columns.logarithms(columns.mean)
        first = summed((columns.units(x) - centre).nansum(0) for x in blocks()) / seen
        self.mean = centre + first
        variance = summed((columns.units(x) - self.mean).square().nansum(0) for x in blocks()) / seen
        variance = torch.where(unseen, torch.where(columns.logs, 1.0, columns.scale).square(), variance)
        least = columns.least(self.mean).square()
        least = torch.maximum(least, RELATIVE_FLOOR**2 * variance)
        self.scale = torch.where(columns.rounded, torch.maximum(variance, least), variance + least).sqrt()

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density of x (n, d), of its observed cells alone, (n,) nats."""
        return self.log_prob_numbers(x).nansum(1) + self.log_prob_others(x)

    def log_prob_numbers(self, x: Tensor) -> Tensor:
        """That of each of the `units` of x, (n, J); NaN of a hidden cell."""
        return self.columns.log_prob_each(self.columns.units(x), self.mean, self.scale)

    def log_prob_others(self, x: Tensor) -> Tensor:
        """What is to be added for the density of x, (n,): that of all other columns, and what logarithms change."""
        change = self.columns.change(self.columns.units(x))
        return self.histograms.log_prob(x[:, self.columns.cells]) + change + self.columns.constants(x)
