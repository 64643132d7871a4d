"""A row of a table: columns of several families side by side."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vaekit.distributions.factorised import Factorised


class Columns(Factorised):
    """The product p(x) = Π_g p_g(x_g) of distributions over groups of columns.

    parts      one distribution per group, each with its own columns as its event
    columns    (n_g,) per group, the places of its columns in a row
    order      (n,) where in the groups put side by side each column of a row is

    >>> from vaekit.distributions import Bernoulli, Normal
    >>> first, second = torch.tensor([1]), torch.tensor([0])
    >>> p = Columns((Normal(torch.zeros(1), torch.zeros(1)), Bernoulli(torch.zeros(1))), (first, second),
    ...             torch.tensor([1, 0]))
    >>> [round(nats, 4) for nats in p.log_prob_each(torch.tensor([1.0, 0.0])).tolist()]   # log ½, and −½ log 2π
    [-0.6931, -0.9189]
    """

    event_dims = 1

    def __init__(self, parts: Sequence[Factorised], columns: Sequence[Tensor], order: Tensor) -> None:
        self.parts = parts
        self.columns = columns
        self.order = order

    def _joined(self, of_each: Callable[[Factorised, Tensor], Tensor]) -> Tensor:
        """What a function makes of each group, (…, n) in the order of the row."""
        found = [of_each(part, columns) for part, columns in zip(self.parts, self.columns, strict=True)]
        return torch.cat(found, -1).index_select(-1, self.order)

    @property
    def mean(self) -> Tensor:
        """The mean of each column, of codes the most probable one, (…, n)."""
        return self._joined(lambda part, _: part.mean)

    def average(self, weights: Tensor) -> Tensor:
        """The estimate of each column by weights (K, B), (B, n); see `Factorised.average`."""
        return self._joined(lambda part, _: part.average(weights))

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …, n) from a given generator."""
        return self._joined(lambda part, _: part.sample(generator, shape))

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-density of each column, (…, n)."""
        return self._joined(lambda part, columns: part.log_prob_each(x.index_select(-1, columns)))
