"""The numbers that a trained model is judged by."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from vaekit.core import LatentModel
from vaekit.data import Rows
from vaekit.evaluation.likelihood import log_likelihood
from vaekit.objectives import ELBO, over_rows

ELBO_DRAWS = 16


@dataclass(frozen=True)
class Evaluation:
    """Means over rows, in nats per example."""

    elbo: float
    """−distortion − rate: a lower bound on log p(x)"""
    rate: float
    """KL(q(z|x) ‖ p(z))"""
    distortion: float
    """−E_q log p(x|z)"""
    log_likelihood: float
    """importance-weighted estimate of log p(x), from below in expectation"""
    log_likelihood_se: float | None
    """its standard error over rows, sd/√n; None for one row"""
    samples: int
    """draws a row, K"""
    bits_per_dim: float | None
    """−log₂ p(x) / dim(x); None where the likelihood is a density or not normalised"""
    active_units: int
    """latents with Cov_x(E_q[u|x]) > 0.01"""
    latent_dim: int
    n: int
    """rows"""

    def to_dict(self) -> dict:
        return asdict(self)


def evaluate(
    model: LatentModel,
    rows: Rows,
    samples: int = 500,
    seed: int = 0,
    advance: Callable[[int], None] = lambda count: None,
) -> Evaluation:
    """ELBO, rate, distortion and importance-weighted log p(x) of the rows.

    samples    K, draws a row for log p(x)
    advance    called with the number of rows finished, for a progress bar
    """
    averages = over_rows(ELBO(ELBO_DRAWS), model, rows.blocks(), seed)
    scores = []
    for block in log_likelihood(model, rows, samples, seed):
        scores.append(block)
        advance(len(block))
    score = torch.cat(scores)
    n = len(score)
    mean = score.mean().item()
    likelihood = model.likelihood
    return Evaluation(
        elbo=averages.value.double().mean().item(),
        rate=averages.terms["rate"].double().mean().item(),
        distortion=averages.terms["distortion"].double().mean().item(),
        log_likelihood=mean,
        log_likelihood_se=score.std().item() / math.sqrt(n) if n > 1 else None,
        samples=samples,
        bits_per_dim=-mean / rows.schema.features / math.log(2)
        if likelihood.integers and likelihood.normalised
        else None,
        active_units=averages.active_units,
        latent_dim=model.latent_dim,
        n=n,
    )
