"""A bound averaged over rows: the number that training selects on and evaluation reports."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vaekit.core import Batch, Latent, LatentModel, Objective, UnknownError, at_once, in_pieces, members
from vaekit.distributions import OneOf
from vaekit.maths import joined
from vaekit.noise import RowNoise
from vaekit.threads import suited

VALUE = " value"
LOSS = " loss"
MEANS = " means"
"""beside the terms, of which none has such a name"""
ACTIVE = 0.01
"""Burda et al. 2016 (arXiv:1509.00519): a latent u is active where Cov_x(E_q[u|x]) > 0.01"""


class Averages(NamedTuple):
    """A bound and its parts, row by row, from one pass over the data."""

    value: Tensor | None
    """(n,) nats; None where the objective is no bound"""
    loss: Tensor
    """(n,) of the batch that each row was in"""
    terms: dict[str, Tensor]
    """(n,) each"""
    means: Tensor
    """(n, D) posterior means"""

    @property
    def selected(self) -> float:
        """What weights are selected on: the mean value, or where there is none the negative loss."""
        chosen = self.value
        if chosen is None:
            chosen = -self.loss
        return chosen.double().mean().item()


@torch.no_grad()
def over_rows(objective: Objective, model: LatentModel, blocks: Iterable[tuple[int, Batch]], seed: int) -> Averages:
    """The objective's value for every row, with scoring noise: the same rows and weights give the same numbers.

    blocks    (rows that count, Batch) pairs, as `data.Dataset.blocks` gives them

    Rows and draws that are too many for the memory budget (`core.BUDGET`) go through the networks one part after
    another; only the importance-weighted bound takes all draws of a row at once.
    """
    size = at_once(model.width, objective.samples)

    def found() -> Iterator[dict[str, Tensor]]:
        for count, batch in in_pieces(blocks, size):
            if not objective.bounded:  # its loss is of all rows, and what only fills up is none
                batch = batch.rows(0, count)
            each = _values(objective, model, batch, seed)
            each[MEANS] = code(model, batch, model.encode(batch))
            yield {name: rows[:count] for name, rows in each.items()}

    with suited(model, objective.samples * size):
        terms = joined(found())
    value = terms.pop(VALUE, None)
    loss = terms.pop(LOSS)
    means = terms.pop(MEANS)
    return Averages(value, loss, terms, means)


def _values(objective: Objective, model: LatentModel, batch: Batch, seed: int) -> dict[str, Tensor]:
    """The bound and its terms, (B,) each."""
    total = objective.samples
    most = max(1, at_once(model.width) // len(batch.x))
    found: dict[str, Tensor] = {}
    start = 0
    for part in objective.parts(most):
        bound = part(model, batch, *_noise(part, model, batch, seed, start, total))
        each = {LOSS: bound.loss.expand(len(batch.x)), **bound.terms}
        if bound.value is not None:
            each[VALUE] = bound.value
        for name, value in each.items():
            found[name] = found.get(name, 0) + value * (part.samples / total)
        start += part.samples
    return found


def _noise(part: Objective, model: LatentModel, batch: Batch, seed: int, start: int, total: int) -> Iterator[Tensor]:
    """The noise that a part of an objective of `total` draws wants, from the draw `start` on."""
    x = batch.x
    source = RowNoise(batch.key, seed, total, start=start, dtype=x.dtype, device=x.device)
    return (source(*shape) for shape in part.noise(model, len(x)))


@torch.no_grad()
def posterior_means(model: LatentModel, blocks: Iterable[tuple[int, Batch]]) -> Tensor:
    """The posterior means of rows, (n, D), where nothing else of a pass is wanted."""
    size = at_once(model.width)

    def found() -> Iterator[dict[str, Tensor]]:
        for count, batch in in_pieces(blocks, size):
            mean = code(model, batch, model.encode(batch))
            yield {MEANS: mean[:count]}

    with suited(model, size):
        return joined(found())[MEANS]


def code(model: LatentModel, batch: Batch, q: Latent) -> Tensor:
    """What q(z|x) is represented by, (B, D): its mean, or where that is not known its draw at ε = 0.

    Of an ensemble it is that of each member, side by side.
    """
    if isinstance(q, OneOf):
        return torch.cat([code(member, batch, one) for member, one in zip(members(model), q.each, strict=True)], -1)
    try:
        return q.mean
    except UnknownError:
        x = batch.x
        z, _ = q.draw(torch.zeros(1, len(x), model.noise, dtype=x.dtype, device=x.device))
        return z[0]


def active_units(means: Tensor) -> int:
    """How many latents carry something about x, from the posterior means (n, D)."""
    variance = means.double().var(0, correction=0)
    return int((variance > ACTIVE).sum())
