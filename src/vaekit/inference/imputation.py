"""Missing cells, from the model's p(x_missing | x_observed).

    p(x_mis | x_obs) = ∫ p(x_mis | z) p(z | x_obs) dz ≈ Σ_k w̃_k p(x_mis | z_k),    w̃_k ∝ p(x_obs, z_k) / q(z_k | x_obs)

by self-normalised importance sampling from the encoder (Mattei & Frellsen 2019, arXiv:1812.02633): for K → ∞ it is
exact whatever the encoder, whose fit says how many draws count (`ess`).
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vaekit.core import Averaged, Batch, LatentModel, UnknownError, at_once
from vaekit.data import Dataset
from vaekit.errors import VaekitError
from vaekit.inference.encoding import keyed_draw
from vaekit.maths import joined
from vaekit.threads import suited


class Imputed(NamedTuple):
    """Rows with their missing cells filled; what was observed is as it was."""

    values: Tensor
    """(n, *X): E[x_mis | x_obs] of numbers, the most probable level of categories"""
    spread: Tensor
    """(n, *X): the standard deviation of x_mis given x_obs, of categories the probability of another level; 0 where a
    cell was observed"""
    draws: Tensor
    """(M, n, *X): M draws of the missing cells, resampled by their weights"""
    ess: Tensor
    """(n,) the effective number of draws, 1 / Σ_k w̃_k²"""


@torch.no_grad()
def impute(
    model: LatentModel, rows: Dataset, generator: torch.Generator, *, samples: int = 1000, draws: int = 0, seed: int = 0
) -> Imputed:
    """The missing cells of rows, from K = `samples` draws of z per row.

    draws        M, draws of the cells to give beside their estimates (multiple imputations)
    generator    of the values drawn; z is drawn by `seed` and the row's key
    """
    if samples < 1 or draws < 0:
        raise VaekitError(f"{samples} samples and {draws} draws: give 1 or more samples, and 0 or more draws.")
    size = at_once(model.width, samples)
    coded = torch.from_numpy(rows.schema.coded).to(rows.device)

    def blocks() -> Iterator[dict[str, Tensor]]:
        for count, batch in rows.blocks(size):
            found = _imputed(model, batch, coded, generator, samples, draws, seed)
            yield {
                "values": found.values[:count],
                "spread": found.spread[:count],
                "draws": found.draws[:, :count].transpose(0, 1),
                "ess": found.ess[:count],
            }

    with suited(model, size * samples):
        found = joined(blocks(), len(rows))
    return Imputed(found["values"], found["spread"], found["draws"].transpose(0, 1), found["ess"])


def _imputed(
    model: LatentModel,
    batch: Batch,
    coded: Tensor,
    generator: torch.Generator,
    samples: int,
    draws: int,
    seed: int,
) -> Imputed:
    """The missing cells of one batch; `coded` (*X) marks those that are codes of levels."""
    x = batch.x
    z, log_q = keyed_draw(model, batch, samples, seed)
    px = model.decode(z, batch.c)
    log_w = px.log_prob(x, batch.mask) + model.pz(batch.c).log_prob(z) - log_q
    weights = log_w.double().softmax(0).to(x.dtype)
    drawn = px.sample(generator)
    if not isinstance(px, Averaged):
        raise UnknownError(f"{type(px).__name__} has no `average` of draws, and cannot tell what a missing cell is.")
    estimate = px.average(weights)
    estimate = torch.where(coded, estimate.round(), estimate)
    each = weights.reshape(*weights.shape, *(1,) * (x.dim() - 1))
    variance = (each * (drawn - estimate).square()).sum(0)
    elsewhere = (each * (drawn != estimate)).sum(0)
    spread = torch.where(coded, elsewhere, variance.sqrt())
    resampled = drawn[:0]
    if draws:
        chosen = torch.multinomial(weights.T, draws, replacement=True, generator=generator)
        resampled = drawn[chosen.T, torch.arange(len(x), device=x.device)]
    observed = batch.mask
    if observed is None:
        observed = torch.ones_like(x, dtype=torch.bool)
    return Imputed(
        values=torch.where(observed, x, estimate),
        spread=torch.where(observed, torch.zeros_like(spread), spread),
        draws=torch.where(observed, x, resampled),
        ess=1 / weights.square().sum(0),
    )
