"""What the rate is made of: how much each z says about its own x, and how far all z together are from the prior.

    (1/N) Σ_i KL(q(z|x_i) ‖ p(z)) = I_q(x; z) + KL(q(z) ‖ p(z)),    q(z) = (1/N) Σ_j q(z|x_j)

(ELBO surgery, Hoffman & Johnson 2016, NIPS workshop on advances in approximate Bayesian inference.)
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vaekit.core import LatentModel, at_once
from vaekit.data import Dataset
from vaekit.errors import VaekitError
from vaekit.inference import keyed_draw
from vaekit.maths import standard_error
from vaekit.threads import suited

CELLS = 2**17
"""draws × rows × latents worked on at once: what stays in a processor's cache"""


@dataclass(frozen=True)
class RateParts:
    """Means over draws z ~ q(z|x), in nats per example; each with its standard error over rows (None for one row)."""

    rate: float
    """E[log q(z|x) − log p(z)] = information + marginal_kl, exactly: both are of the same draws"""
    rate_se: float | None
    information: float
    """I_q(x; z) = E[log q(z|x) − log q(z)]: what z says about which of the N rows it came from; at most `ceiling`"""
    information_se: float | None
    marginal_kl: float
    """KL(q(z) ‖ p(z)) = E[log q(z) − log p(z)]: what a better prior could save"""
    marginal_kl_se: float | None
    ceiling: float
    """log N. I_q ≤ log N: near it, every row has a code of its own, and the number of rows is measured, not the model;
    what exceeds it is counted in `marginal_kl`"""
    rate_each: tuple[float, ...] | None
    """(D,) KL(q(z_d|x) ‖ p(z_d)) per latent, the mean over all N rows; None where the rate does not fall apart. Their
    sum is the rate without the noise of the draws where it has a closed form"""
    points: int
    """draws z at which the densities were compared"""
    n: int
    """N, the rows that make up q(z)"""

    def to_dict(self) -> dict[str, Any]:
        """All of it ready for JSON."""
        return asdict(self)


@torch.no_grad()
def rate_parts(model: LatentModel, rows: Dataset, points: int = 1000, seed: int = 0) -> RateParts:
    """The parts I_q(x; z) and KL(q(z) ‖ p(z)) on finite data, from about `points` draws against all N rows.

    The draws come from rows evenly spaced, one each, or several each where there are fewer rows; their noise is keyed
    by row, so the numbers repeat. Takes points × N × D operations, in chunks.

    >>> import numpy as np
    >>> from vaekit import nets, parts
    >>> from vaekit.data import describe
    >>> from vaekit.models import VAE
    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> posterior, likelihood = parts.posteriors.Diagonal(2), parts.likelihoods.Gaussian((3,))
    >>> model = VAE(nets.MLP(3, (), 4), posterior, parts.priors.StandardNormal(2), nets.MLP(2, (), 3), likelihood)
    >>> found = rate_parts(model, Dataset(x, describe(x), seed=0))
    >>> abs(found.rate - found.information - found.marginal_kl) < 1e-9, found.information <= found.ceiling
    (True, True)
    """
    if points < 1 or not len(rows):
        raise VaekitError(f"{points} points in {len(rows)} rows were asked for: give 1 or more of both.")
    with suited(model, at_once(model.width)):
        z, log_q, log_p = _draws(model, rows, points, seed)
        log_marginal, rate_each = _against_all(model, rows, z.flatten(0, 1), seed)
    log_marginal = log_marginal.view_as(log_q)
    rate, rate_se = _moments(log_q - log_p)
    information, information_se = _moments(log_q - log_marginal)
    marginal_kl, marginal_kl_se = _moments(log_marginal - log_p)
    return RateParts(
        rate=rate,
        rate_se=rate_se,
        information=information,
        information_se=information_se,
        marginal_kl=marginal_kl,
        marginal_kl_se=marginal_kl_se,
        ceiling=math.log(len(rows)),
        rate_each=rate_each,
        points=log_q.numel(),
        n=len(rows),
    )


def _moments(values: Tensor) -> tuple[float, float | None]:
    """The mean of values (K, M) of K draws from each of M rows, and its standard error over the rows."""
    each = values.mean(0)  # a row's draws are not independent of each other
    return each.mean().item(), standard_error(each)


def _draws(model: LatentModel, rows: Dataset, points: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draws z (K, M, D) ~ q(z|x) for M rows evenly spaced, with log q(z|x) and log p(z), (K, M) float64 each."""
    n = len(rows)
    count = min(points, n)
    draws = -(-points // n)
    index = torch.arange(count, device=rows.device) * n // count
    drawn = []
    log_q = []
    log_p = []
    for part in index.split(at_once(model.width)):
        batch = rows.scoring_batch(part)
        z, log_density = keyed_draw(model, batch, draws, seed)
        drawn.append(z)
        log_q.append(log_density.double())
        log_p.append(model.pz(batch.c).log_prob(z).double())
    return torch.cat(drawn, 1), torch.cat(log_q, 1), torch.cat(log_p, 1)


def _against_all(model: LatentModel, rows: Dataset, z: Tensor, seed: int) -> tuple[Tensor, tuple[float, ...] | None]:
    """The log-density log q(z) = log (1/N) Σ_j q(z|x_j), (M,) float64, of z (M, D), and the mean rate of each latent
    over all rows; None where the rate does not fall apart."""
    total = torch.full((len(z),), -math.inf, dtype=torch.float64, device=z.device)
    rate_each = torch.zeros((), dtype=torch.float64, device=z.device)
    for count, batch in rows.blocks(at_once(model.width)):
        q = model.encode(batch)
        prior = model.pz(batch.c)
        most = max(1, CELLS // (len(batch.x) * z.shape[-1]))
        log_q = []
        for part in z.split(most):
            every = part[:, None].expand(-1, len(batch.x), -1)
            log_q.append(q.log_prob(every)[:, :count].double().logsumexp(1))
        total = torch.logaddexp(total, torch.cat(log_q))
        each = q.rate(prior, *keyed_draw(model, batch, 1, seed))
        rate_each = rate_each + each[:, :count].double().mean(0).sum(0)
    log_marginal = total - math.log(len(rows))
    if len(rate_each) != z.shape[-1]:
        return log_marginal, None
    return log_marginal, tuple((rate_each / len(rows)).tolist())
