"""A row of a table: columns of several families side by side."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vaekit.core import lazy
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
        return self._in_order(found)

    def _in_order(self, of_groups: Sequence[Tensor]) -> Tensor:
        """Values (…, n_g) of the groups, (…, *X) in the order of the row."""
        return torch.cat(list(of_groups), -1).index_select(-1, self.order).unflatten(-1, self.shape)

    @property
    def mean(self) -> Tensor:
        """The mean of each column, of codes the most probable one, (…, *X)."""
        return self._joined(lambda part, _: part.mean)

    @property
    def averaged(self) -> Tensor:
        """What the groups average, side by side, (…, V); see `Factorised.averaged`."""
        return torch.cat(self._averaged, -1)

    @lazy
    def _averaged(self) -> list[Tensor]:
        return [part.averaged for part in self.parts]

    def estimate(self, average: Tensor) -> Tensor:
        """The estimate of each column, (…, *X), by an average of `averaged`."""
        sizes = [each.shape[-1] for each in self._averaged]
        found = [part.estimate(each) for part, each in zip(self.parts, average.split(sizes, -1), strict=True)]
        return self._in_order(found)

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …, *X) from a given generator."""
        return self._joined(lambda part, _: part.sample(generator, shape))

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-density of each column, (…, *X)."""
        flat = x.flatten(-self.event_dims)
        return self._joined(lambda part, columns: part.log_prob_each(flat.index_select(-1, columns)))
