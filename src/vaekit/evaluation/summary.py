"""The numbers that a trained model is judged by, side by side with what makes them good or bad."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from vaekit.core import LatentModel, Likelihood, UnknownError, members
from vaekit.data import Dataset
from vaekit.data.fields import Column
from vaekit.evaluation.annealing import AnnealedImportance, TwoSided, two_sided
from vaekit.evaluation.baselines import Baseline, SimpleModels
from vaekit.evaluation.clusters import Clusters, cluster_use
from vaekit.evaluation.codes import CodeUse, code_use
from vaekit.evaluation.likelihood import LogLikelihood, log_likelihood
from vaekit.evaluation.rate import RateParts, rate_parts
from vaekit.evaluation.rungs import rung_rates
from vaekit.evaluation.scores import Method
from vaekit.evaluation.verdicts import (
    Decisive,
    Gap,
    NamedRow,
    below_baselines,
    comparison,
    few_decide,
    idle_rungs,
    verdicts,
)
from vaekit.inference import Averages, active_units, over_rows
from vaekit.objectives import ELBO, EachMember
from vaekit.parts.likelihoods import Columns

T = TypeVar("T")

MOST_DRAWS = 64
"""of z per row, for the ELBO: many where there are few rows"""
DRAWS_IN_ALL = 50_000
"""of all rows together, or one per row where there are more"""
SIMULATED = 16
"""rows that annealing is tried on from both sides"""
MOST_FITTED = 2048
"""rows that simple models are fitted to at the end of a training: enough to be no better than they"""
MOST_COMPARED = 1024
"""rows that they are compared on then"""

ALIKE = 0.02
"""of a row's cells: where training rows have so many more or fewer of them, their bound is not of the same cells"""


@dataclass(frozen=True)
class Evaluation:
    """Means over rows, in nats per example."""

    elbo: float
    """−distortion − rate: a lower bound on log p(x)"""
    rate: float
    """KL(q(z|x) ‖ p(z))"""
    distortion: float
    """−E_q log p(x|z)"""
    log_likelihood: LogLikelihood
    """log p(x) with its errors, and every row's own"""
    bits_per_dim: float | None
    """−log₂ p(x) / dim(x), missing cells not counted; None where the likelihood is a density or not normalised"""
    active_units: int
    """latents with Cov_x(E_q[u|x]) > 0.01"""
    latent_dim: int
    n: int
    """rows"""
    parts: RateParts | None
    """what the rate is made of, and the rate of each latent; None where the posterior does not know the density of any
    z, which a verdict says"""
    generalisation: Gap | None
    """None without training rows"""
    baselines: tuple[Baseline, ...]
    """simple models of the training rows, on the same rows and in the same units"""
    verdicts: tuple[str, ...]
    """what the numbers say that their owner should know"""
    two_sided: TwoSided | None = None
    """log p(x) of rows that the model made, from both sides: what annealing is worth here; None for other methods"""
    observed: float = 1.0
    """the part of the rows' cells that are there: log p(x) is of these"""
    features: int = 1
    """cells in a row"""
    decisive: Decisive | None = None
    """the few rows that decide the mean log p(x), and that of the others; None where it is everyone's"""
    codes: CodeUse | None = None
    """how codes are used; None where the latents are no codes"""
    clusters: Clusters | None = None
    """the rows by the components of a mixture prior; None where the prior is none"""
    rungs: tuple[float, ...] | None = None
    """the rate of each layer of latents given those above it, the top one first: their sum is `rate`. None where there
    is one layer, or a prior that does not fall apart by them"""

    @property
    def comparison(self) -> str | None:
        """One sentence on whether the model wins against the best simple one."""
        return comparison(self.log_likelihood.value, self.baselines)

    def _beside(self, baseline: Baseline) -> dict[str, Any]:
        """A simple model, and by how many nats per row this one is better on the same rows."""
        if baseline.nats is None:
            return {**baseline.to_dict(), "gain": None, "gain_se": None}
        gain, error = baseline.gain(self.log_likelihood.value)
        return {**baseline.to_dict(), "gain": gain, "gain_se": error}

    def to_dict(self) -> dict[str, Any]:
        """All of it ready for JSON, single rows apart."""
        plain = (
            "elbo",
            "rate",
            "distortion",
            "bits_per_dim",
            "active_units",
            "latent_dim",
            "n",
            "observed",
            "features",
        )
        return {
            **{name: getattr(self, name) for name in plain},
            "log_likelihood": self.log_likelihood.to_dict(),
            "rate_parts": self.parts and self.parts.to_dict(),
            "generalisation": self.generalisation and vars(self.generalisation),
            "baselines": [self._beside(baseline) for baseline in self.baselines],
            "comparison": self.comparison,
            "verdicts": list(self.verdicts),
            "two_sided": self.two_sided and self.two_sided.to_dict(),
            "decisive": self.decisive and self.decisive.to_dict(),
            "codes": self.codes and self.codes.to_dict(),
            "clusters": self.clusters and self.clusters.to_dict(),
            "rungs": self.rungs and list(self.rungs),
        }


def evaluate(
    model: LatentModel,
    rows: Dataset,
    method: Method | None = None,
    seed: int = 0,
    *,
    train: Dataset | None = None,
    advance: Callable[[int], None] = lambda count: None,
    numbers: Sequence[int] | np.ndarray | None = None,
    files: Column | None = None,
    labels: Column | None = None,
) -> Evaluation:
    """The numbers of a model on rows: ELBO, rate and its parts, distortion and log p(x).

    With the training rows there are baselines beside them, the gap between the two, and verdicts.

    method     of estimating log p(x): by default `ImportanceSampling()`, 100 draws per row
    train      the rows that the model was trained on
    advance    called with the number of rows whose log p(x) is finished, for a progress bar
    numbers    (n,) of the rows in their file, by which a verdict names them; by default as they come, from 0
    files      (n,) names of their files, where there are several
    labels     (n,) the classes of the rows, with which clusters are compared
    """
    found = log_likelihood(model, rows, method, seed, advance)
    averages = elbo(model, rows, seed)
    means = {name: term.double().mean().item() for name, term in averages.terms.items()}
    parts, said = _rate_parts(model, rows, seed)
    rungs = _known(lambda: rung_rates(model, rows, _draws(model, rows), seed))
    idle = None if rungs is None else idle_rungs(rungs)
    if idle is not None:
        said = (*said, idle)
    likelihood = model.likelihood
    observed = _observed(rows)
    bits = None
    if likelihood.integers and likelihood.normalised:
        bits = -found.mean / observed / math.log(2)
    gap = None
    baselines: tuple[Baseline, ...] = ()
    if train is not None:
        simple = SimpleModels(train, rows, model.latent_dim, _integers(likelihood))
        others = train.some(len(rows))
        if abs(_observed(others) - observed) < ALIKE * rows.schema.features:
            gap = _gap(model, averages, others, seed)
        baselines = simple.baselines
        said = (*verdicts(found, means["rate"], gap, simple), *said)

    def named(i: int, log_p: float) -> NamedRow:
        number = i if numbers is None else int(numbers[i])
        file = None if files is None else str(files[i])
        return NamedRow(number, file, log_p, *_farthest_cell(rows, i))

    decisive = few_decide(found.value, named)
    if decisive is not None:
        said = (str(decisive), *said)
    both_sides = None
    if isinstance(method, AnnealedImportance) and len(members(model)) == 1:
        some = torch.arange(SIMULATED) % len(rows)
        both_sides = two_sided(model, SIMULATED, method, seed, rows.conditions(some))
    return Evaluation(
        **means,
        log_likelihood=found,
        bits_per_dim=bits,
        active_units=active_units(averages.means),
        latent_dim=averages.means.shape[1],
        n=len(rows),
        parts=parts,
        generalisation=gap,
        baselines=baselines,
        verdicts=said,
        two_sided=both_sides,
        observed=observed / rows.schema.features,
        features=rows.schema.features,
        decisive=decisive,
        codes=_known(lambda: code_use(model, rows)),
        clusters=_known(lambda: cluster_use(model, rows, seed, labels)),
        rungs=rungs,
    )


def _integers(likelihood: Likelihood) -> bool | list[bool]:
    """Whether a likelihood gives probabilities of values on a grid, of a table whose columns differ for each column."""
    if not isinstance(likelihood, Columns):
        return likelihood.integers
    found = [False] * math.prod(likelihood.shape)
    for family, columns in likelihood.groups:
        for j in columns.tolist():
            found[j] = family.integers
    return found


def _observed(rows: Dataset) -> float:
    """How many cells a row has on average that are not missing; 1 where all are."""
    if not rows.has_missing:
        return rows.schema.features
    counts = (batch.mask[:count].sum().item() if batch.mask is not None else 0 for count, batch in rows.blocks())
    return max(1.0, sum(counts) / len(rows))


def _farthest_cell(rows: Dataset, i: int) -> tuple[str, float] | tuple[None, None]:
    """The column of a row's cell that is farthest from its mean, in standard deviations, and that cell.

    None of either where no cell is a number: they are binarised, missing, or codes.
    """
    schema = rows.schema
    if schema.binarized != "none":
        return None, None
    stored = rows.take(torch.tensor([i])).cpu().numpy()
    x = schema.uncentred(stored)[0].astype(np.float64)
    distance = np.abs(x - schema.array("mean")) / schema.array("scale")
    distance = np.where(np.isnan(distance) | schema.coded, -1.0, distance)
    j = int(distance.argmax())
    if distance.flat[j] < 0:
        return None, None
    column = schema.names[j] if schema.names else schema.column(j)
    return column, x.item(j)


def _rate_parts(model: LatentModel, rows: Dataset, seed: int) -> tuple[RateParts | None, tuple[str, ...]]:
    """The parts, or why there are none."""
    try:
        return rate_parts(model, rows, seed=seed), ()
    except UnknownError as error:
        if not members(model)[0].noise:
            return None, ("The rate is not told apart: q(z|x) is one z, and not a density.",)
        return None, (f"What the rate is made of is not known: {error}",)


def _known(numbers: Callable[[], T]) -> T | None:
    """What is said of models of one kind (of codes, a mixture, several layers); None of a model of another."""
    try:
        return numbers()
    except UnknownError:
        return None


def beaten(model: LatentModel, train: Dataset, rows: Dataset, seed: int = 0) -> str | None:
    """Whether simple models of the rows `train` give `rows`, which neither was trained on, a greater log p(x).

    It is greater by more than twice the standard error of the differences: the end of a sentence says so. None where it
    is not, or where a row alone cannot show it.
    """
    train = train.some(MOST_FITTED)
    rows = rows.some(MOST_COMPARED)
    if len(rows) < 2 or not len(train):
        return None
    simple = SimpleModels(train, rows, model.latent_dim, _integers(model.likelihood))
    found = log_likelihood(model, rows, seed=seed)
    line = below_baselines(found.value, simple.models)
    return line and line[0].lower() + line[1:]


def elbo(model: LatentModel, rows: Dataset, seed: int = 0) -> Averages:
    """The ELBO of each row and its parts, from as many draws per row as the number of rows allows."""
    count = len(members(model))
    draws = _draws(model, rows)
    objective = ELBO(draws) if count == 1 else EachMember(ELBO(draws), count)
    return over_rows(objective, model, rows.blocks(), seed)


def _draws(model: LatentModel, rows: Dataset) -> int:
    """How many draws of z per row, and member of an ensemble, the number of rows allows."""
    each = members(model)
    if not each[0].noise:  # all are the same
        return 1
    return max(1, min(MOST_DRAWS, DRAWS_IN_ALL // len(rows)) // len(each))


def _gap(model: LatentModel, held_out: Averages, train: Dataset, seed: int) -> Gap:
    """The gap between training rows and rows held out, in the mean ELBO."""
    one = _bounds(elbo(model, train, seed))
    other = _bounds(held_out)
    gap = (one.mean() - other.mean()).item()
    if len(one) < 2 or len(other) < 2:
        return Gap(one.mean().item(), gap, None)
    variance = one.var().item() / len(one) + other.var().item() / len(other)
    return Gap(one.mean().item(), gap, math.sqrt(variance))


def _bounds(averages: Averages) -> Tensor:
    """The value of each row, (n,) float64 nats, of an objective that is a bound."""
    assert averages.value is not None
    return averages.value.double()
