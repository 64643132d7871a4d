"""A row of a table: columns of several families side by side."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vaekit.distributions.factorised import Factorised


class Columns(Factorised):
    """The product p(x) = Π_g p_g(x_g) of distributions over groups of columns.

    parts      one distribution per group, each with its own columns (n_g,) as its event
    columns    (n_g,) per group, the places of its columns in a row
    order      (n,) where in the groups put side by side each column of a row is
    shape      X, of a row; (n,) where it is not given

    >>> from vaekit.distributions import Bernoulli, Normal
    >>> first, second = torch.tensor([1]), torch.tensor([0])
    >>> p = Columns((Normal(torch.zeros(1), torch.zeros(1)), Bernoulli(torch.zeros(1))), (first, second),
    ...             torch.tensor([1, 0]))
    >>> [round(nats, 4) for nats in p.log_prob_each(torch.tensor([1.0, 0.0])).tolist()]   # log ½, and −½ log 2π
    [-0.6931, -0.9189]
    """

    def __init__(
        self,
        parts: Sequence[Factorised],
        columns: Sequence[Tensor],
        order: Tensor,
        shape: Sequence[int] | None = None,
    ) -> None:
        self.parts = parts
        self.columns = columns
        self.order = order
        self.shape = tuple(shape or order.shape)
        self.event_dims = len(self.shape)

    def _joined(self, of_each: Callable[[Factorised, Tensor], Tensor]) -> Tensor:
        """What a function makes of each group, (…, *X) in the order of the row."""
        found = [of_each(part, columns) for part, columns in zip(self.parts, self.columns, strict=True)]
        return torch.cat(found, -1).index_select(-1, self.order).unflatten(-1, self.shape)

    @property
    def mean(self) -> Tensor:
        """The mean of each column, of codes the most probable one, (…, *X)."""
        return self._joined(lambda part, _: part.mean)

    def average(self, weights: Tensor) -> Tensor:
        """The estimate of each column by weights (K, B), (B, *X); see `Factorised.average`."""
        return self._joined(lambda part, _: part.average(weights))

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …, *X) from a given generator."""
        return self._joined(lambda part, _: part.sample(generator, shape))

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-density of each column, (…, *X)."""
        flat = x.flatten(-self.event_dims)
        return self._joined(lambda part, columns: part.log_prob_each(flat.index_select(-1, columns)))
