"""Latent classes: a mixture whose components have independent columns."""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vaekit.evaluation.independent import Independent

COMPONENTS = (2, 4, 8, 15, 30)
"""classes in a mixture"""
ROWS_PER_CLASS = 10
"""that there must be"""
MOST_ROWS = 5000
MOST_CELLS = 2**17
"""rows, and their cells, that a mixture is fitted to at most: it takes seconds"""
STEPS = 40
"""of EM at most"""
TOLERANCE = 5e-4
"""nats per row: EM ends once a step gains less"""
PRIOR = 10.0
"""rows' worth of the distribution of all rows, added to the histograms of a class at the least: of a column of many
values, of which a class sees few, as much as its own histogram needed"""
ASTRAY = 0.01
"""the part of a class in which a number is spread as in all rows, so that none is impossible for being far out"""
NARROWEST = 1e-3
"""the least standard deviation of a number in a class, as a part of that in all rows"""
CERTAIN = 0.8
"""of a row's responsibility that goes to its group by k-means at the start"""


class LatentClasses:
    """A mixture of K classes in which the columns are independent.

        p(x) = Σ_k π_k Π_j p_kj(x_j),    over the observed j

    Of a column of few values p_kj is a histogram, with pseudo-counts spread as in all rows; of numbers it is

        (1 − ε) N(y_j; m_kj, s_kj²) + ε p_j(y_j),    p_j being that of all rows, and N rounded for whole numbers

    everyone       the independent columns of all rows
    places         (U,) the values that classes were fitted to, ascending, as `Histograms.cells` has them
    log_weights    log π, (K,)
    tables         (U + C + 1, K) the histograms' log-probabilities of those; of any other value of each column in parts
                   of what all rows say; and of a hidden cell, 0
    mean, scale    m and s, (K, J)
    """

    def __init__(
        self,
        everyone: Independent,
        places: Tensor,
        log_weights: Tensor,
        tables: Tensor,
        mean: Tensor,
        scale: Tensor,
    ) -> None:
        self.everyone = everyone
        self.places = places
        self.columns = everyone.columns
        self.log_weights = log_weights
        self.tables = tables
        self.mean = mean
        self.scale = scale

    def __len__(self) -> int:
        return len(self.log_weights)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density of x (n, d), of its observed cells alone, (n,) nats."""
        rows = Rows(self.everyone, self.places, x)
        joint, _ = self.joint(rows)
        return joint.logsumexp(1) + self.columns.change(rows.y) + self.columns.constants(x)

    def joint(self, rows: "Rows") -> tuple[Tensor, Tensor]:
        """The log-densities log π_k + Σ_j log p_kj of rows in the units of Gaussians, (n, K), and of each number the
        probability that it is not astray, (n, K, J); 0 where it is hidden."""
        joint = self.log_weights + _looked_up(self.tables, rows.cells) + rows.elsewhere[:, None]
        own = self.columns.log_prob_each(rows.filled[:, None], self.mean, self.scale) + math.log1p(-ASTRAY)
        each = torch.logaddexp(own, rows.astray[:, None])
        seen = rows.seen[:, None]
        return joint + torch.where(seen, each, 0.0).sum(2), torch.where(seen, (own - each).exp(), 0.0)


class Rows:
    """Rows x (n, d) as classes look at them: where in the tables their cells are, and their numbers."""

    def __init__(self, everyone: Independent, places: Tensor, x: Tensor) -> None:
        columns = everyone.columns
        histograms = everyone.histograms
        cells = histograms.cells(x[:, columns.cells])
        found = torch.searchsorted(places, cells)
        hidden = cells == histograms.size
        other = ~hidden & (torch.cat([places, places.new_full((1,), -1)])[found] != cells)
        beside = torch.arange(len(places), len(places) + cells.shape[1], device=x.device)
        found = torch.where(other, beside, found)
        self.cells = torch.where(hidden, len(places) + cells.shape[1], found)
        """(n, C) where in the tables of `LatentClasses`"""
        self.elsewhere = torch.where(other, histograms.log_p[cells], 0.0).sum(1)
        """(n,) the log-probability in all rows of the values that classes were not fitted to"""
        self.y = columns.units(x)
        """(n, J)"""
        self.seen = ~self.y.isnan()
        self.filled = torch.where(self.seen, self.y, everyone.mean)
        self.astray = columns.log_prob_each(self.filled, everyone.mean, everyone.scale) + math.log(ASTRAY)
        """(n, J) the log-density of numbers spread as in all rows"""


def _values(everyone: Independent, x: Tensor) -> Tensor:
    """The values of rows x (n, d) that histograms are of, (U,), ascending, as `Histograms.cells` has them."""
    found = everyone.histograms.cells(x[:, everyone.columns.cells]).unique()
    return found[found < everyone.histograms.size]


def _looked_up(tables: Tensor, cells: Tensor) -> Tensor:
    """The sum over the columns of a row of what a table (U + C + 1, K) has of its cells (n, C), (n, K)."""
    if not cells.shape[1]:
        return tables.new_zeros(len(cells), tables.shape[1])
    return functional.embedding_bag(cells, tables, mode="sum")


def latent_classes(x: Tensor, everyone: Independent, seed: int, sizes: Sequence[int] | None = None) -> LatentClasses:
    """The classes that EM finds (Dempster et al. 1977) in the rows x (n, d), hidden cells NaN; k-means begins, from a
    seed.

    Their number is the one of `sizes` with which four fifths of the rows predict the others best. Once two, one after
    the other, have predicted no better, no more are tried.
    """
    held_out = torch.arange(len(x), device=x.device) % 5 == 4
    fitted = x[~held_out]
    others = x[held_out]
    found: list[tuple[float, int]] = []
    for k in sizes or possible_sizes(len(fitted)):
        if len(found) > 2 and max(found) not in found[-2:]:
            break
        part = fit(fitted, everyone, k, seed)
        found.append((part.log_prob(others).mean().item(), k))
    _, best = max(found)
    return fit(x, everyone, best, seed)


def most_rows(columns: int) -> int:
    """How many rows of so many columns a mixture is fitted to."""
    return max(1, min(MOST_ROWS, MOST_CELLS // columns))


def possible_sizes(rows: int) -> list[int]:
    """The numbers of classes that so many rows may have."""
    return [k for k in COMPONENTS if k * ROWS_PER_CLASS <= rows]


def fit(x: Tensor, everyone: Independent, k: int, seed: int) -> LatentClasses:
    """The k classes that EM finds in the rows x (n, d)."""
    places = _values(everyone, x)
    rows = Rows(everyone, places, x)
    labels = torch.from_numpy(_groups(rows, everyone, places, k, seed)).to(x.device)
    share = functional.one_hot(labels, k).to(x) * CERTAIN + (1 - CERTAIN) / k
    classes = _maximised(rows, everyone, places, share, rows.seen[:, None].to(x))
    before = -math.inf
    for _ in range(STEPS):
        joint, not_astray = classes.joint(rows)
        log_p = joint.logsumexp(1, keepdim=True)
        now = log_p.mean().item()
        if now - before < TOLERANCE:
            break
        before = now
        share = (joint - log_p).exp()
        classes = _maximised(rows, everyone, places, share, not_astray)
    return classes


def _maximised(rows: Rows, everyone: Independent, places: Tensor, share: Tensor, own: Tensor) -> LatentClasses:
    """The M step.

    share    (n, K) the part of each row that each class has
    own      (n, K, J) or (n, 1, J), the part of each number in it that is not astray; 0 where it is hidden
    """
    k = share.shape[1]
    histograms = everyone.histograms
    columns = rows.cells.shape[1]
    counts = share.new_zeros(len(places) + columns + 1, k)
    for cells in rows.cells.mT:
        counts.index_add_(0, cells, share)
    counts = counts[: len(places)]
    of_place = histograms.column[places]
    prior = histograms.added.clamp_min(PRIOR)[:, None]
    totals = prior + share.new_zeros(columns, k).index_add_(0, of_place, counts)
    counts = counts + prior[of_place] * histograms.log_p[places, None].exp()
    elsewhere = prior.log() - totals.log()
    tables = torch.cat([counts.log() - totals.log()[of_place], elsewhere, share.new_zeros(1, k)])
    distance = rows.filled - everyone.mean  # near the mean nothing cancels
    weight = share[:, :, None] * own
    count = weight.sum(0).clamp_min(1e-9)
    shift = torch.einsum("nkj,nj->kj", weight, distance) / count
    square = torch.einsum("nkj,nj->kj", weight, distance.square()) / count
    least = torch.maximum(everyone.columns.least(everyone.mean), NARROWEST * everyone.scale)
    least = torch.where(everyone.columns.rounded, everyone.columns.least(everyone.mean), least)
    scale = torch.maximum((square - shift.square()).clamp_min(0).sqrt(), least)
    weights = (share.sum(0) + 1) / (len(share) + k)
    return LatentClasses(everyone, places, weights.log(), tables, everyone.mean + shift, scale)


def _groups(rows: Rows, everyone: Independent, places: Tensor, k: int, seed: int) -> np.ndarray:
    """The group of each row by k-means, (n,): of numbers, standardised, and of codes as indicators of their levels,
    which together have a variance of 1."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    columns = everyone.columns
    histograms = everyone.histograms
    parts = [(rows.filled - everyone.mean) / everyone.scale]
    for j, cells in enumerate(rows.cells.mT):
        seen = cells < len(places)
        if columns.coded[j]:
            own = (histograms.column[places] == j).nonzero()[:, 0]
            levels = (cells[:, None] == own).double()
        else:
            levels = places[cells.clamp_max(len(places) - 1)].double()[:, None]
        mean = levels[seen].sum(0) / seen.sum().clamp_min(1)
        centred = torch.where(seen[:, None], levels - mean, 0.0)
        size = centred.square().sum(1).mean().sqrt()
        parts.append(centred / size.clamp_min(1e-12))
    features = torch.cat(parts, 1).cpu().numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than groups
        return KMeans(k, n_init=1, max_iter=20, random_state=seed % 2**32).fit(features).labels_.astype(np.int64)
