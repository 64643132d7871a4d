"""A bound averaged over rows: the number that training selects on and evaluation reports."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from vaekit.core import Batch, LatentModel, Objective, at_once, in_pieces
from vaekit.maths import RowNoise, joined
from vaekit.objectives.bounds import ELBO
from vaekit.threads import suited

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

    Rows and draws that are too many for the memory budget (`core.BUDGET`) go through the networks one part after
    another; only the importance-weighted bound takes all draws of a row at once.
    """

    def found() -> Iterator[dict[str, Tensor]]:
        for count, batch in in_pieces(blocks, at_once(model.width, objective.samples)):
            each = _values(objective, model, batch, seed)
            each[MEANS] = model.encode(batch.x, batch.mask).mean
            yield {name: rows[:count] for name, rows in each.items()}

    with suited(model, objective.samples * at_once(model.width, objective.samples)):
        terms = joined(found())
    value, means = terms.pop(VALUE), terms.pop(MEANS)
    return Averages(value, terms, means)


def _values(objective: Objective, model: LatentModel, batch: Batch, seed: int) -> dict[str, Tensor]:
    """The bound and its terms, (B,) each."""
    total, found, start = objective.samples, {}, 0
    for part in _parts(objective, max(1, at_once(model.width) // len(batch.x))):
        noise = RowNoise(batch.key, seed, total, start=start, dtype=batch.x.dtype, device=batch.x.device)
        bound = part(model, batch, model.noise(part.samples, len(batch.x), noise))
        for name, value in {VALUE: bound.value, **bound.terms}.items():
            found[name] = found.get(name, 0) + value * (part.samples / total)
        start += part.samples
    return found


def _parts(objective: Objective, most: int) -> list[Objective]:
    """The ELBO of many draws is the mean of ELBOs of at most `most` draws; other bounds are of all their draws."""
    if not isinstance(objective, ELBO) or objective.samples <= most:
        return [objective]
    starts = range(0, objective.samples, most)
    return [replace(objective, samples=min(most, objective.samples - start)) for start in starts]


@torch.no_grad()
def posterior_means(model: LatentModel, blocks: Iterable[tuple[int, Batch]]) -> Tensor:
    """(n, D), where nothing else of a pass is wanted."""
    size = at_once(model.width)
    with suited(model, size):
        pieces = in_pieces(blocks, size)
        return joined({MEANS: model.encode(batch.x, batch.mask).mean[:count]} for count, batch in pieces)[MEANS]


def active_units(means: Tensor) -> int:
    """How many latents carry something about x, from the posterior means (n, D)."""
    return int((means.double().var(0, correction=0) > ACTIVE).sum())
