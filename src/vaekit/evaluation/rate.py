"""What the rate is made of: how much each z says about its own x, and how far all z together are from the prior.

    (1/N) Σ_i KL(q(z|x_i) ‖ p(z)) = I_q(x; z) + KL(q(z) ‖ p(z)),    q(z) = (1/N) Σ_j q(z|x_j)

(ELBO surgery, Hoffman & Johnson 2016, NIPS workshop on advances in approximate Bayesian inference.)
"""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from vaekit.core import LatentModel, at_once
from vaekit.data import Rows
from vaekit.errors import VaekitError
from vaekit.maths import RowNoise, standard_error
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
    kl_each: tuple[float, ...] | None
    """(D,) KL(q(z_d|x) ‖ p(z_d)) per latent in closed form, the mean over all N rows; None where q does not factorise,
    or has no closed form. Their sum is the rate without the noise of the draws"""
    points: int
    """draws z at which the densities were compared"""
    n: int
    """N, the rows that make up q(z)"""

    def to_dict(self) -> dict:
        return asdict(self)


@torch.no_grad()
def rate_parts(model: LatentModel, rows: Rows, points: int = 1000, seed: int = 0) -> RateParts:
    """I_q(x; z) and KL(q(z) ‖ p(z)) on finite data, from about `points` draws against all N rows.

    The draws come from rows evenly spaced, one each, or several each where there are fewer rows; their noise is keyed
    by row, so the numbers repeat. Takes points × N × D operations, in chunks.

    >>> import numpy as np
    >>> from vaekit import nets, parts
    >>> from vaekit.data import describe
    >>> from vaekit.models import FlatModel
    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> posterior, likelihood = parts.posteriors.Diagonal(2), parts.likelihoods.Gaussian((3,))
    >>> model = FlatModel(nets.MLP(3, (), 4), posterior, parts.priors.StandardNormal(2), nets.MLP(2, (), 3), likelihood)
    >>> found = rate_parts(model, Rows(x, describe(x), seed=0))
    >>> abs(found.rate - found.information - found.marginal_kl) < 1e-9, found.information <= found.ceiling
    (True, True)
    """
    if points < 1 or not len(rows):
        raise VaekitError(f"{points} points in {len(rows)} rows were asked for: give 1 or more of both.")
    with suited(model, at_once(model.width)):
        z, log_q, log_p = _draws(model, rows, points, seed)
        log_marginal, kl_each = _against_all(model, rows, z.flatten(0, 1))
    log_marginal = log_marginal.view_as(log_q)
    parts = {"rate": log_q - log_p, "information": log_q - log_marginal, "marginal_kl": log_marginal - log_p}
    moments = {}
    for name, values in parts.items():
        each = values.mean(0)  # a row's draws are not independent of each other
        moments[name] = each.mean().item()
        moments[f"{name}_se"] = standard_error(each)
    return RateParts(**moments, ceiling=math.log(len(rows)), kl_each=kl_each, points=log_q.numel(), n=len(rows))


def _draws(model: LatentModel, rows: Rows, points: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """z (K, M, D) ~ q(z|x) for M rows evenly spaced, log q(z|x) and log p(z), (K, M) float64."""
    n = len(rows)
    count, draws = min(points, n), -(-points // n)
    index = torch.arange(count, device=rows.device) * n // count
    prior, found = model.pz(), []
    for part in index.split(at_once(model.width)):
        batch = rows.scoring_batch(part)
        q = model.encode(batch.x, batch.mask)
        source = RowNoise(batch.key, seed, draws, dtype=batch.x.dtype, device=batch.x.device)
        z = q.g(model.noise(draws, len(part), source))
        found.append((z, q.log_prob(z).double(), prior.log_prob(z).double()))
    z, log_q, log_p = (torch.cat(part, 1) for part in zip(*found, strict=True))
    return z, log_q, log_p


def _against_all(model: LatentModel, rows: Rows, z: Tensor) -> tuple[Tensor, tuple[float, ...] | None]:
    """log q(z) = log (1/N) Σ_j q(z|x_j), (M,) float64 of z (M, D), and the mean KL of each latent over all rows."""
    total = torch.full((len(z),), -math.inf, dtype=torch.float64, device=z.device)
    prior, kl_each = model.pz(), 0.0
    for count, batch in rows.blocks(at_once(model.width)):
        q = model.encode(batch.x, batch.mask)
        parts = z.split(max(1, CELLS // (len(batch.x) * z.shape[-1])))
        log_q = torch.cat([q.log_prob(part[:, None])[:, :count].double().logsumexp(1) for part in parts])
        total = torch.logaddexp(total, log_q)
        each = q.kl_each(prior)
        kl_each = None if each is None else kl_each + each[:count].double().sum(0)
    if kl_each is not None:
        kl_each = tuple((kl_each / len(rows)).tolist())
    return total - math.log(len(rows)), kl_each
