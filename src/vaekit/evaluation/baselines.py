"""Simple models beside the VAE, fitted to the rows it was trained on and scored on the rows it is scored on.

A log p(x) alone says little. Independent columns show what is to be had without shared structure, probabilistic PCA
what a linear model of the same latent size gets, a full covariance what correlations give, a mixture of those what
groups and curves give, a codec what a file takes. Where columns are of several kinds, or cells are missing, a mixture
of independent columns shows what groups of rows give.
"""

import bz2
import gzip
import lzma
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal

from vaekit.core import at_once, lazy
from vaekit.data import Dataset, Schema
from vaekit.distributions import Normal, log_atom
from vaekit.errors import VaekitError, counted
from vaekit.evaluation import tables
from vaekit.evaluation.gaussians import RELATIVE_FLOOR, Mixture, Principal, PrincipalGaussian, principal, summed
from vaekit.evaluation.histograms import Histograms
from vaekit.evaluation.independent import WIDEST_HISTOGRAM
from vaekit.evaluation.tables import TableModels, any_missing, seen_blocks
from vaekit.maths import standard_error
from vaekit.models.start import factor_analysis

MOST_COLUMNS = 4000
"""more have no covariance matrix, unless there are fewer rows: its eigenvectors take min(n, d)³ operations"""
MOST_CELLS = 2**25
"""of training rows held at once where they are fewer than the columns"""
MOST_FACTORED = 512
"""columns up to which factor analysis takes no time"""
RIDGES = (0.1, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""rows of uncorrelated columns that may be added to those of a full covariance, which few rows do not determine"""
MOST_MIXED = 50
"""columns up to which a mixture of Gaussians is fitted"""
MIXED_CELLS = 2**22
"""products of two columns, over the rows, that one is fitted to at most: it takes seconds"""
COMPONENTS = (2, 3, 4, 6, 8)
"""Gaussians in a mixture"""
ROWS_PER_NUMBER = 5
"""rows that there must be for each number of the components' means"""
CODEC_BYTES = 2**23
"""most that a codec is given"""
INTEGERS = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32)
"""what whole numbers may be written in for a codec: the first that holds them all, else as they are stored"""


@dataclass(frozen=True)
class Baseline:
    """A simple model's score on the evaluated rows."""

    name: str
    nats: float | None
    """mean log p(x) of a row, or a lower bound on it; None where there is no such model, and `note` says why"""
    nats_se: float | None
    """its standard error over rows; None for one row, and for a codec"""
    bits_per_dim: float | None
    """−log₂ p(x) / dim(x); None for a density"""
    note: str
    scores: Tensor | None = field(default=None, repr=False, compare=False)
    """(n,) log p(x) of each row; None for a codec"""

    def gain(self, log_p: Tensor) -> tuple[float, float | None]:
        """By how many nats per row another model is better that gives the same rows log_p (n,), and its standard error.

        The error is that of the rows' differences, which vary far less than either; None where it is not known.
        """
        if self.scores is not None:
            return _mean(log_p - self.scores.to(log_p))
        if self.nats is None:
            raise ValueError(f"there is no {self.name} to compare with: {self.note}")
        return log_p.mean().item() - self.nats, standard_error(log_p)

    def to_dict(self) -> dict[str, Any]:
        """The numbers for JSON, rows apart."""
        return {name: getattr(self, name) for name in ("name", "nats", "nats_se", "bits_per_dim", "note")}


@dataclass(frozen=True)
class Structure:
    """What a simple model with latents gains over independent columns on the same rows."""

    gain: float
    """nats per row"""
    gain_se: float | None
    """standard error of the mean of the rows' differences; None for one row"""
    latent_dim: int
    classes: int | None = None
    """of the mixture of independent columns that gains it; None where it is probabilistic PCA over Gaussian columns"""


class SimpleModels:
    """Simple models of the rows `train`, scored on `rows`: better others, or a model of many numbers is flattered.

    train         rows that hide extreme cells, as a training does: one of them would ruin these models too
    latent_dim    that of probabilistic PCA
    integers      whether the VAE beside them gives probabilities of values on a grid (`likelihood.integers`), so that
                  they must as well; None: where the data allows it. Else all are densities. Of a table it may be said
                  for each column

    A table whose columns are `several` has models of its own (`OF_SEVERAL`), whose score of a row is that of its
    observed cells.

    A Gaussian claims no more than the data's resolution r: its covariance has (r/√12)² added to the diagonal. For whole
    numbers that is uniform dequantisation, and the score a lower bound on the log-probability of the unit cell
    (Theis et al. 2016, arXiv:1511.01844):

        log ∫ N(x + u; m, Σ) du ≥ E_u log N(x + u; m, Σ) = log N(x; m, Σ) − ½ tr(Σ⁻¹)/12,    u ~ U(−½, ½)

    >>> from vaekit.data import describe
    >>> x = np.random.default_rng(0).binomial(1, 0.5, (400, 3))
    >>> train, rows = (Dataset(part, describe(x), seed=0) for part in (x[:200], x[200:]))
    >>> marginals = SimpleModels(train, rows, latent_dim=1).baselines[0]
    >>> marginals.name, round(marginals.bits_per_dim, 1)
    ('independent columns', 1.0)
    """

    def __init__(
        self, train: Dataset, rows: Dataset, latent_dim: int, integers: bool | Sequence[bool] | None = None
    ) -> None:
        if not len(train) or not len(rows):
            raise VaekitError(f"{len(train)} rows to fit and {len(rows)} to score: give 1 or more of both.")
        self.train = train
        self.rows = rows
        self.latent_dim = latent_dim
        self.schema = train.schema
        self.d = self.schema.features
        too_large = len(train) < self.d and self.d * len(train) > MOST_CELLS
        self.wide = too_large or min(self.d, len(train)) > MOST_COLUMNS
        self.whole = _whole(self.schema, integers)
        """(d,) bool, which columns have probabilities and no densities"""
        self.integers = bool(self.whole.all())
        self.of_densities = integers is False
        """whether the VAE beside them has a density for every cell"""
        self.several = self._several()
        """whether the columns of a table have measures of different kinds, or missing cells"""
        self.bernoulli = self.schema.binarized == "expected" or (self.integers and self.schema.kind == "binary")
        self.varies = self._varying()
        """(d,) the columns that Gaussians are fitted to: a constant has an atom, as in the VAE"""
        self.rank = int(self.varies.sum())

    def _several(self) -> bool:
        if any_missing(self.train) or any_missing(self.rows):
            return True
        if self.schema.binarized != "none":
            return False
        of_several = bool(self.whole.any()) and not self.integers
        skewed = not {"amount", "positive"}.isdisjoint(self.schema.groups()) and not self.of_densities
        return of_several or bool(self.schema.coded.any()) or skewed

    def _varying(self) -> Tensor:
        """Which columns have more than one value, (d,) bool; all of them where none has."""
        one_value = self.column("constant")
        if self.integers:
            one_value = self.column("low") == self.column("high")
        if one_value.all():
            return torch.ones_like(one_value)
        return ~one_value

    @lazy
    def baselines(self) -> tuple[Baseline, ...]:
        """The scores of those of `MODELS` and `CODECS`, or of `OF_SEVERAL`, that go with this kind of data."""
        if self.several:
            return self.models
        return self.models + self._fitted(CODECS)

    @lazy
    def models(self) -> tuple[Baseline, ...]:
        """The scores of those that score each row."""
        return self._fitted(OF_SEVERAL if self.several else MODELS)

    def _fitted(self, families: "Families") -> tuple[Baseline, ...]:
        found = (family(self, name) for name, family in families.items())
        return tuple(baseline for baseline in found if baseline is not None)

    @lazy
    def structure(self) -> Structure | None:
        """The evidence that latents have something to carry; binary data counts as the numbers 0 and 1.

        None where there are too many columns to know, or too few rows for classes.
        """
        if self.several:
            return self._structure_of_classes()
        if self.wide:
            return None
        gained = self.score_principal(self.latents) - self.score_principal(0)
        gain, error = _mean(gained)
        return Structure(gain, error, self.latents)

    def _structure_of_classes(self) -> Structure | None:
        """The same where columns are of several kinds, or cells are missing: what classes gain."""
        table = self.table
        if self.schema.binarized != "none" or table.classes is None:
            return None
        gained = table.score(table.classes.log_prob) - table.score(table.independent.log_prob)
        gain, error = _mean(gained)
        return Structure(gain, error, self.latents, len(table.classes))

    @lazy
    def table(self) -> TableModels:
        """The models of a table of several kinds."""
        return TableModels(self.train, self.rows, self.whole, self.grid, self.latents)

    @property
    def latents(self) -> int:
        """The number of latents of the linear models.

        It is the VAE's, but less than the columns that vary, and at most half of the directions that the rows
        determine: were all of those kept, nothing would tell how large the noise is.
        """
        directions = len(self.train) - 1
        return max(0, min(self.latent_dim, self.rank - 1, directions // 2))

    @lazy
    def principal(self) -> Principal:
        """The covariance of the training rows' columns that vary."""
        return self._principal(self.train)

    def _principal(self, rows: Dataset) -> Principal:
        centre = self.varying("mean")  # near it nothing cancels
        resolution = self.varying("resolution")
        return principal(partial(self._blocks, rows), centre, resolution, len(rows), self.wide)

    def score_principal(self, k: int) -> Tensor:
        """The scores (n,) of probabilistic PCA with k latents, at most d − 1: log p(x), or of whole numbers a bound."""
        found = self.principal
        gaussian = PrincipalGaussian.fit(found.mean, found.scale, found.values, found.vectors, k)
        return self._dequantised(gaussian.log_prob, gaussian.precision())

    @lazy
    def full(self) -> tuple[PrincipalGaussian, float]:
        """The Gaussian of full covariance, and the rows' worth of uncorrelated columns added to it."""
        ridge = self._best_ridge()
        return self.principal.ridged(len(self.train), ridge), ridge

    def _best_ridge(self) -> float:
        """The ridge with which four fifths of the training rows predict the others best; of few rows one in between."""
        if len(self.train) < 5:
            return RIDGES[2]
        numbers = np.arange(len(self.train))
        held_out = numbers % 5 == 4
        fitted = self.train.subset(numbers[~held_out])
        others = self.train.subset(numbers[held_out])
        part = self._principal(fitted)
        predicted = []
        for ridge in RIDGES:
            gaussian = part.ridged(len(fitted), ridge)
            log_p = torch.cat([gaussian.log_prob(x) for x in self._blocks(others)])
            predicted.append(log_p.mean())
        return RIDGES[int(torch.stack(predicted).argmax())]

    def score_full(self) -> Tensor:
        """The scores (n,) of the Gaussian of full covariance: log p(x), or of whole numbers a bound on it."""
        gaussian, _ = self.full
        return self._dequantised(gaussian.log_prob, gaussian.precision())

    def score_factors(self) -> Tensor:
        """The scores (n,) of factor analysis with the VAE's number of latents, x = m + W z + ψ^½ e.

        They are log p(x), or of whole numbers a bound on it.
        """
        mean = self.varying("mean")
        scale = self.varying("scale")
        blocks = (x.cpu().numpy() for x in self._blocks(self.train))
        found = factor_analysis(blocks, mean.cpu().numpy(), scale.cpu().numpy(), self.latents)
        location = torch.from_numpy(found.mean).to(mean)
        loading = torch.from_numpy(found.loading).to(mean)
        deviation = torch.from_numpy(found.deviation).to(mean)
        variance = deviation.square() + self.varying("resolution").square() / 12
        gaussian = LowRankMultivariateNormal(location, loading, variance, validate_args=False)
        return self._dequantised(gaussian.log_prob, gaussian.precision_matrix.diagonal())

    @lazy
    def mixture(self) -> Mixture | None:
        """A mixture of Gaussians of full covariance; None where there are too many columns for it, or too few rows.

        It has the one of `COMPONENTS` with which four fifths of the training rows predict the others best. Once two
        numbers, one after the other, have predicted no better, no more are tried.
        """
        if self.rank > MOST_MIXED:
            return None
        rows = self.train.some(MIXED_CELLS // self.rank**2)
        numbers = np.arange(len(rows))
        held_out = numbers % 5 == 4
        most = int((~held_out).sum()) // (ROWS_PER_NUMBER * (self.rank + 1))
        if most < COMPONENTS[0]:
            return None
        fitted = rows.subset(numbers[~held_out])
        others = rows.subset(numbers[held_out])
        found: list[tuple[float, int]] = []
        for k in COMPONENTS:
            gave_up = len(found) > 2 and max(found) not in found[-2:]
            if k > most or gave_up:
                break
            mixture = self._mixture(fitted, k)
            log_p = torch.cat([mixture.log_prob(x) for x in self._blocks(others)])
            found.append((log_p.mean().item(), k))
        _, best = max(found)
        return self._mixture(rows, best)

    def _mixture(self, rows: Dataset, k: int) -> Mixture:
        """The mixture of k Gaussians that EM finds (Dempster et al. 1977), by scikit-learn.

        It begins at k-means, from the rows' seed. Columns are divided by their scale; the least ridge is added to the
        covariances, and at the end the variance that the data's resolution leaves.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        mean = self.principal.mean
        scale = self.principal.scale
        y = torch.cat([(x - mean) / scale for x in self._blocks(rows)]).cpu().numpy()
        ridge = max(RIDGES[0] / len(rows), RELATIVE_FLOOR)
        estimator = GaussianMixture(k, reg_covar=ridge, random_state=rows.seed % 2**32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a little short of the best is a simple model too
            estimator.fit(y)
        weights, means, covariances = (
            torch.from_numpy(values).to(mean)
            for values in (estimator.weights_, estimator.means_, estimator.covariances_)
        )
        resolution = self.varying("resolution") / scale
        least = (resolution.square() / 12).clamp_min(RELATIVE_FLOOR**2)
        added = self._dequantisation() / scale.square()
        return Mixture(mean, scale, weights.log(), means, covariances + least.diag(), added)

    def score_mixture(self, mixture: Mixture) -> Tensor:
        """The scores (n,) of a mixture: log p(x), or of whole numbers a bound on it."""
        return self.score(lambda x: mixture.log_prob(x[:, self.varies]) + self._constants(x))

    def _dequantisation(self) -> Tensor:
        """The variance of what is added to the columns that vary, (rank,): 0 for densities."""
        if not self.integers:
            return torch.zeros_like(self.varying("resolution"))
        return self.varying("resolution").square() / 12

    def _dequantised(self, log_prob: Callable[[Tensor], Tensor], precision: Tensor) -> Tensor:
        """The log-density of the columns that vary and that of the others, (n,); of whole numbers it is less by
        ½ tr(Σ⁻¹)/12 in steps of the grid."""
        log_p = self.score(lambda x: log_prob(x[:, self.varies]) + self._constants(x))
        return log_p - 0.5 * precision @ self._dequantisation()

    def _constants(self, x: Tensor) -> Tensor:
        """The log-density of the columns that do not vary, (B,) of x (B, d): whole numbers have no other value."""
        if self.integers or self.varies.all():
            return x.new_zeros(len(x))
        value = self.column("mean")[~self.varies].float().double()  # as the rows hold it
        return log_atom(x[:, ~self.varies], value).sum(1)

    def _blocks(self, rows: Dataset) -> Iterator[Tensor]:
        """The columns that vary, (B, rank) at a time."""
        return (x[:, self.varies] for x in _blocks(rows))

    def score(self, log_prob: Callable[[Tensor], Tensor]) -> Tensor:
        """A function (B, d) ↦ (B,) of all rows, (n,)."""
        return torch.cat([log_prob(x) for x in _blocks(self.rows)])

    @lazy
    def grid(self) -> tuple[Tensor, Tensor]:
        """The least and the greatest value of each column, (d,), in the schema or in the rows to be scored."""
        low = self.column("low")
        high = self.column("high")
        for x in _blocks(self.rows):
            low = torch.minimum(low, x.amin(0))
            high = torch.maximum(high, x.amax(0))
        return low, high

    def column(self, name: str) -> Tensor:
        """What the schema knows of each column by a name, "low" or "scale", say: (d,), in the units of the rows."""
        read = self.schema.array
        if name in ("low", "high", "mean"):
            read = self.schema.shifted
        values = read(name)
        return torch.from_numpy(values.flatten()).to(self.train.device)

    def varying(self, name: str) -> Tensor:
        """The same of the columns that vary, (rank,)."""
        return self.column(name)[self.varies]

    def _cells(self) -> float:
        """How many cells of a row are scored, on average."""
        if not self.several:
            return self.d
        return max(1.0, self.table.observed)

    def baseline(self, name: str, log_p: Tensor, note: str) -> Baseline:
        """The baseline of a model that gives the rows log_p (n,), nats."""
        nats, error = _mean(log_p)
        bits = None
        if self.integers:
            bits = -nats / math.log(2) / self._cells()
        return Baseline(name, nats, error, bits, note, log_p)


def _whole(schema: Schema, integers: bool | Sequence[bool] | None) -> Tensor:
    """Which columns have probabilities and no densities, (d,) bool: codes and whole numbers, unless `integers` says
    otherwise of these."""
    if schema.kinds is None or schema.binarized != "none":
        whole = torch.full((schema.features,), schema.kind not in DENSE)
    else:
        whole = torch.tensor([kind not in DENSE for kind in schema.kinds])
    if integers is None:
        return whole
    coded = torch.from_numpy(schema.coded).flatten()
    return whole & (torch.as_tensor(integers) | coded)


def _blocks(rows: Dataset) -> Iterator[Tensor]:
    """The rows as they are scored, (B, d) float64 at a time; where cells are hidden, their column's mean."""
    mean = torch.from_numpy(rows.schema.shifted("mean")).to(rows.device)
    for count, batch in rows.blocks():
        x = batch.x[:count].double()
        if batch.mask is not None:
            x = torch.where(batch.mask[:count], x, mean)
        yield x.flatten(1)


def _mean(values: Tensor) -> tuple[float, float | None]:
    """The mean and its standard error."""
    return values.mean().item(), standard_error(values)


def _independent(models: SimpleModels, name: str) -> Baseline:
    """A distribution per column."""
    if models.bernoulli:
        return _bernoulli_columns(models, name)
    if models.integers:
        return _histograms(models, name)
    return models.baseline(name, models.score_principal(0), "a Gaussian a column")


def _bernoulli_columns(models: SimpleModels, name: str) -> Baseline:
    log_prob = _bernoulli(models.train)
    log_p = torch.cat([log_prob(x) for x in seen_blocks(models.rows)])
    return models.baseline(name, log_p, "a Bernoulli variable a column")


def _bernoulli(train: Dataset) -> Callable[[Tensor], Tensor]:
    """The log-probability x (B, d) ↦ Σ_j x_j log p_j + (1 − x_j) log(1 − p_j), (B,), of independent variables.

    p_j = (Σ_i x_ij + ½)/(n_j + 1), by Jeffreys' prior; hidden cells, NaN, count for nothing. Where rows are binarised
    afresh each time, x_ij is the grey value: the probability of a 1.
    """
    blocks = seen_blocks(train)
    if train.schema.binarized == "dynamic":
        index = torch.arange(len(train), device=train.device).split(at_once(train.schema.features))
        blocks = (train.take(part).flatten(1).double() / train.schema.grey for part in index)
    counted_cells = [(x.nansum(0), (~x.isnan()).sum(0)) for x in blocks]
    ones = summed(count for count, _ in counted_cells)
    p = (ones + 0.5) / (summed(count for _, count in counted_cells) + 1)

    def log_prob(x: Tensor) -> Tensor:
        seen = ~x.isnan()
        x = torch.where(seen, x, 0.0)
        return x @ p.log() + (seen.double() - x) @ (-p).log1p()

    return log_prob


def _histograms(models: SimpleModels, name: str) -> Baseline:
    """A histogram per column, or a dequantised Gaussian where it has too many values."""
    low, high = models.grid
    narrow = high - low < WIDEST_HISTOGRAM
    wide = ~narrow[models.varies]
    mean = models.principal.mean[wide]
    scale = models.principal.scale[wide]
    histograms = Histograms((x[:, narrow] for x in _blocks(models.train)), low[narrow], high[narrow])
    gaussians = Normal(mean, scale.log())
    lost = scale.pow(-2).sum() / 24
    log_p = models.score(lambda x: histograms.log_prob(x[:, narrow]) + gaussians.log_prob(x[:, ~narrow]) - lost)
    note = "a histogram a column"
    if len(mean):
        note += f", of {len(mean):,} with more than {WIDEST_HISTOGRAM:,} values a Gaussian"
    return models.baseline(name, log_p, note)


def _correlated(full: bool, models: SimpleModels, name: str) -> Baseline | None:
    """Probabilistic PCA with the VAE's number of latents, or a full covariance."""
    if models.bernoulli:
        return None
    if models.wide:
        return Baseline(name, None, None, None, f"not fitted: more than {MOST_COLUMNS:,} rows and columns")
    if full:
        _, ridge = models.full
        note = f"{counted(len(models.train))}, and {ridge:g} of uncorrelated columns"
        return models.baseline(name, models.score_full(), note + _bound(models))
    return models.baseline(name, models.score_principal(models.latents), _latents(models) + _bound(models))


def _factored(models: SimpleModels, name: str) -> Baseline | None:
    """Factor analysis with the VAE's number of latents: what a linear model with a σ per column is."""
    if models.bernoulli or models.d > MOST_FACTORED or not models.latents:
        return None
    return models.baseline(name, models.score_factors(), _latents(models) + _bound(models))


def _mixed(models: SimpleModels, name: str) -> Baseline | None:
    """A mixture of Gaussians of full covariance: what groups and curves give."""
    if models.bernoulli or models.mixture is None:
        return None
    note = f"{counted(len(models.mixture), 'component')}"
    return models.baseline(name, models.score_mixture(models.mixture), note + _bound(models))


def _independent_columns(models: SimpleModels, name: str) -> Baseline:
    """A distribution per column that suits its kind."""
    if models.schema.binarized != "none":
        return _bernoulli_columns(models, name)
    columns = models.table.columns
    counts = {
        "histogram": len(columns.cells),
        "Gaussian": int((~columns.logs).sum()),
        "log-normal": int(columns.logs.sum()),
        "constant": len(columns.atoms),
    }
    note = ", ".join(counted(count, kind) for kind, count in counts.items() if count)
    return models.baseline(name, models.table.score(models.table.independent.log_prob), note)


def _classes(models: SimpleModels, name: str) -> Baseline | None:
    """A mixture of independent columns: what groups of rows give."""
    if models.schema.binarized != "none" or models.table.classes is None:
        return None
    log_p = models.table.score(models.table.classes.log_prob)
    return models.baseline(name, log_p, counted(len(models.table.classes), "component"))


def _factored_observed(models: SimpleModels, name: str) -> Baseline | None:
    """Factor analysis of the numbers that have densities, some of whose cells may be missing."""
    if models.schema.binarized != "none" or models.table.factors is None:
        return None
    note = _latents(models) + _beside(models)
    return models.baseline(name, models.table.score_gaussian(models.table.factors), note)


def _full_observed(models: SimpleModels, name: str) -> Baseline | None:
    """A full covariance of the numbers that have densities, some of whose cells may be missing."""
    if models.schema.binarized != "none":
        return None
    if models.table.full is not None:
        note = "by EM, the observed cells of each row" if any_missing(models.train) else counted(len(models.train))
        return models.baseline(name, models.table.score_gaussian(models.table.full), note + _beside(models))
    if int(models.table.dense.sum()) <= tables.MOST_COLUMNS:
        return None
    return Baseline(name, None, None, None, f"not fitted: more than {tables.MOST_COLUMNS} columns of numbers")


def _beside(models: SimpleModels) -> str:
    """The end of a note, where a Gaussian is not of the numbers as they are, or not of all columns."""
    dense = models.table.dense
    logs = models.table.columns.logs[dense]
    parts = []
    if logs.any():
        parts.append("of logarithms" if logs.all() else f"of {int(logs.sum())} logarithms")
    if int(dense.sum()) < models.rank:
        parts.append(f"of {int(dense.sum())} columns, the others independent")
    return "".join(f"; {part}" for part in parts)


def _latents(models: SimpleModels) -> str:
    return f"{models.latents} latent{'s' * (models.latents != 1)}"


def _bound(models: SimpleModels) -> str:
    """The end of a note, where the score is a bound."""
    if not models.integers:
        return ""
    return "; a lower bound, by uniform dequantisation"


def _codec(compress: Callable[[bytes], bytes], models: SimpleModels, name: str) -> Baseline | None:
    """The evaluated rows as a file: bytes of the smallest type that holds them, or 8 cells per byte for 0 and 1."""
    if not models.integers:
        return None
    dtype = _smallest_type(models)
    if models.bernoulli:
        size = -(-models.d // 8)
        written_in = "packed bits"
    else:
        size = models.d * dtype.itemsize
        written_in = str(dtype)
    count = max(1, min(len(models.rows), CODEC_BYTES // size))
    index = torch.arange(count, device=models.rows.device) * len(models.rows) // count
    written = []
    for part in index.split(at_once(models.d)):
        cells = models.rows.scoring_batch(part).x.flatten(1).cpu().numpy().astype(dtype)
        if models.bernoulli:
            cells = np.packbits(cells, axis=1)
        written.append(cells.tobytes())
    bits = 8 * len(compress(b"".join(written))) / count
    note = f"{counted(count)}, {written_in}"
    return Baseline(name, -bits * math.log(2), None, bits / models.d, note)


def _smallest_type(models: SimpleModels) -> np.dtype:
    """The first of `INTEGERS` that holds every value."""
    low, high = models.grid
    least = low.min().item()
    greatest = high.max().item()
    for integers in INTEGERS:
        limits = np.iinfo(integers)
        if limits.min <= least and greatest <= limits.max:
            return np.dtype(integers)
    return np.dtype(np.float32)


DENSE = ("real", "positive", "amount")
"""kinds that have densities"""
Families = dict[str, Callable[[SimpleModels, str], Baseline | None]]
"""Each gives its score, or None where it does not go with the kind of data."""

MODELS: Families = {
    "independent columns": _independent,
    "probabilistic PCA": partial(_correlated, False),
    "factor analysis": _factored,
    "full-covariance Gaussian": partial(_correlated, True),
    "mixture of Gaussians": _mixed,
}
OF_SEVERAL: Families = {
    "independent columns": _independent_columns,
    "factor analysis": _factored_observed,
    "full-covariance Gaussian": _full_observed,
    "mixture of independent columns": _classes,
}
"""those of tables whose columns are of several kinds, or have missing cells"""
CODECS: Families = {
    "gzip": partial(_codec, partial(gzip.compress, compresslevel=6)),
    "bz2": partial(_codec, bz2.compress),
    "lzma": partial(_codec, lzma.compress),
}
