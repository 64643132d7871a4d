"""A bound averaged over rows: the number that training selects on and evaluation reports."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vaekit.core import Batch, LatentModel, Objective
from vaekit.maths import RowNoise, joined

VALUE, MEANS = " value", " means"
"""no names of terms"""
ACTIVE = 0.01
"""Burda et al. 2016 (arXiv:1509.00519): a latent u is active where Cov_x(E_q[u|x]) > 0.01"""


class Averages(NamedTuple):
    """A bound and its parts, row by row, from one pass over the data."""

    value: Tensor
    """(n,) nats"""
    terms: dict[str, Tensor]
    """(n,) each"""
    means: Tensor
    """(n, D) posterior means"""


@torch.no_grad()
def over_rows(objective: Objective, model: LatentModel, blocks: Iterable[tuple[int, Batch]], seed: int) -> Averages:
    """The objective's value for every row, with scoring noise: the same rows and weights give the same numbers.

    blocks    (rows that count, Batch) pairs, as `data.Rows.blocks` gives them
    """

    def found() -> Iterator[dict[str, Tensor]]:
        for count, batch in blocks:
            noise = RowNoise(batch.key, seed, objective.samples, dtype=batch.x.dtype, device=batch.x.device)
            bound = objective(model, batch, model.noise(objective.samples, len(batch.x), noise))
            each = {VALUE: bound.value, MEANS: model.encode(batch.x, batch.mask).mean, **bound.terms}
            yield {name: rows[:count] for name, rows in each.items()}

    terms = joined(found())
    value, means = terms.pop(VALUE), terms.pop(MEANS)
    return Averages(value, terms, means)


@torch.no_grad()
def posterior_means(model: LatentModel, blocks: Iterable[tuple[int, Batch]]) -> Tensor:
    """(n, D), where nothing else of a pass is wanted."""
    return joined({MEANS: model.encode(batch.x, batch.mask).mean[:count]} for count, batch in blocks)[MEANS]


def active_units(means: Tensor) -> int:
    """How many latents carry something about x, from the posterior means (n, D)."""
    return int((means.double().var(0, correction=0) > ACTIVE).sum())
