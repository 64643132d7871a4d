"""The numbers that a trained model is judged by, side by side with what makes them good or bad."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from vaekit.core import LatentModel, UnknownError
from vaekit.data import Dataset
from vaekit.evaluation.annealing import AnnealedImportance, TwoSided, two_sided
from vaekit.evaluation.baselines import Baseline, SimpleModels
from vaekit.evaluation.likelihood import LogLikelihood, log_likelihood
from vaekit.evaluation.rate import RateParts, rate_parts
from vaekit.evaluation.scores import Method
from vaekit.evaluation.verdicts import Gap, below_baselines, comparison, verdicts
from vaekit.inference import Averages, active_units, over_rows
from vaekit.objectives import ELBO

MOST_DRAWS, DRAWS_IN_ALL = 64, 50_000
"""of z, for the ELBO: many a row where there are few rows"""
SIMULATED = 16
"""rows that annealing is tried on from both sides"""
MOST_FITTED, MOST_COMPARED = 2048, 1024
"""rows that simple models are fitted to, and compared on, at the end of a training: enough to be no better than they"""


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
    """−log₂ p(x) / dim(x); None where the likelihood is a density or not normalised"""
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

    @property
    def comparison(self) -> str | None:
        """One sentence on whether the model wins against the best simple one."""
        return comparison(self.log_likelihood.value, self.baselines)

    def _beside(self, baseline: Baseline) -> dict:
        """A simple model, and by how many nats a row this one is better on the same rows."""
        known = baseline.nats is not None
        gain, error = baseline.gain(self.log_likelihood.value) if known else (None, None)
        return {**baseline.to_dict(), "gain": gain, "gain_se": error}

    def to_dict(self) -> dict:
        """All of it ready for JSON, single rows apart."""
        plain = ("elbo", "rate", "distortion", "bits_per_dim", "active_units", "latent_dim", "n")
        return {
            **{name: getattr(self, name) for name in plain},
            "log_likelihood": self.log_likelihood.to_dict(),
            "rate_parts": None if self.parts is None else self.parts.to_dict(),
            "generalisation": None if self.generalisation is None else vars(self.generalisation),
            "baselines": [self._beside(baseline) for baseline in self.baselines],
            "comparison": self.comparison,
            "verdicts": list(self.verdicts),
            "two_sided": None if self.two_sided is None else self.two_sided.to_dict(),
        }


def evaluate(
    model: LatentModel,
    rows: Dataset,
    method: Method | None = None,
    seed: int = 0,
    *,
    train: Dataset | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Evaluation:
    """ELBO, rate and its parts, distortion and log p(x) of the rows; with the training rows, baselines beside them, the
    gap between the two, and verdicts.

    method     of estimating log p(x): by default `ImportanceSampling()`, 100 draws a row
    train      the rows that the model was trained on
    advance    called with the number of rows whose log p(x) is finished, for a progress bar
    """
    found = log_likelihood(model, rows, method, seed, advance)
    averages, likelihood = elbo(model, rows, seed), model.likelihood
    means = {name: term.double().mean().item() for name, term in averages.terms.items()}
    parts, unknown = _rate_parts(model, rows, seed)
    codes = likelihood.integers and likelihood.normalised
    simple = None if train is None else SimpleModels(train, rows, model.latent_dim, likelihood.integers)
    gap = None if train is None else _gap(model, averages, train.some(len(rows)), seed)
    return Evaluation(
        **means,
        log_likelihood=found,
        bits_per_dim=-found.mean / rows.schema.features / math.log(2) if codes else None,
        active_units=active_units(averages.means),
        latent_dim=model.latent_dim,
        n=len(rows),
        parts=parts,
        generalisation=gap,
        baselines=() if simple is None else simple.baselines,
        verdicts=unknown if simple is None else (*verdicts(found, means["rate"], gap, simple), *unknown),
        two_sided=two_sided(model, SIMULATED, method, seed) if isinstance(method, AnnealedImportance) else None,
    )


def _rate_parts(model: LatentModel, rows: Dataset, seed: int) -> tuple[RateParts | None, tuple[str, ...]]:
    """The parts, or why there are none."""
    try:
        return rate_parts(model, rows, seed=seed), ()
    except UnknownError as error:
        return None, (f"What the rate is made of is not known: {error}",)


def beaten(model: LatentModel, train: Dataset, rows: Dataset, seed: int = 0) -> str | None:
    """Whether simple models of the rows `train` give `rows`, which neither was trained on, a greater log p(x), by more
    than twice the standard error of the differences: the end of a sentence that says so. None where not, or where a row
    alone cannot show it."""
    train, rows = train.some(MOST_FITTED), rows.some(MOST_COMPARED)
    if len(rows) < 2 or not len(train):
        return None
    simple = SimpleModels(train, rows, model.latent_dim, model.likelihood.integers)
    line = below_baselines(log_likelihood(model, rows, seed=seed).value, simple.models)
    return line and line[0].lower() + line[1:]


def elbo(model: LatentModel, rows: Dataset, seed: int = 0) -> Averages:
    """The ELBO of each row and its parts, from as many draws a row as the number of rows allows."""
    draws = max(1, min(MOST_DRAWS, DRAWS_IN_ALL // len(rows)))
    return over_rows(ELBO(draws), model, rows.blocks(), seed)


def _gap(model: LatentModel, held_out: Averages, train: Dataset, seed: int) -> Gap:
    one, other = (averages.value.double() for averages in (elbo(model, train, seed), held_out))
    known = len(one) > 1 and len(other) > 1
    error = math.sqrt(one.var().item() / len(one) + other.var().item() / len(other)) if known else None
    return Gap(one.mean().item(), (one.mean() - other.mean()).item(), error)
