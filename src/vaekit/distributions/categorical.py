"""Categories: a probability for each level of each column, side by side."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from vaekit.distributions.factorised import Factorised
from vaekit.maths import common_shape


class Levels(NamedTuple):
    """Where the levels of each column stand among the U levels of all columns.

    Columns with as many levels as each other are worked on together: nothing is padded, and there are as many
    operations as there are different sizes. Nothing is moved where such columns stand together.

    >>> Levels.of([3, 2]).over_columns(torch.tensor([0.0, 5.0, 1.0, 4.0, 3.0]), lambda each: each.argmax(-1)).tolist()
    [1, 0]
    """

    sizes: tuple[int, ...]
    """how many levels each column has"""
    groups: tuple[tuple[int, int], ...]
    """(columns, levels each), sizes as they come first"""
    moved: bool
    """whether `order` differs from that of the columns"""
    size: Tensor
    """`sizes` again, (columns,)"""
    start: Tensor
    """where the levels of each column start, (columns,)"""
    column: Tensor
    """which column each level is of, (U,)"""
    order: Tensor
    """all levels by group, (U,)"""
    place: Tensor
    """where each level stands in `order`, (U,)"""
    column_place: Tensor
    """where each column stands among the columns by group, (columns,)"""

    @classmethod
    def of(cls, sizes: Sequence[int]) -> "Levels":
        """Those of columns with so many levels each."""
        sizes = tuple(int(size) for size in sizes)
        if not sizes or min(sizes) < 1:
            raise ValueError(f"every column has one level or more, and these have {sizes}")
        starts = list(accumulate(sizes, initial=0))[:-1]
        columns = sorted(range(len(sizes)), key=lambda j: sizes.index(sizes[j]))
        order = torch.tensor([starts[j] + k for j in columns for k in range(sizes[j])])
        size = torch.tensor(sizes)
        return cls(
            sizes=sizes,
            groups=tuple((count, size) for size, count in Counter(sizes).items()),
            moved=columns != sorted(columns),
            size=size,
            start=torch.tensor(starts),
            column=torch.tensor([j for j in range(len(sizes)) for _ in range(sizes[j])]),
            order=order,
            place=order.argsort(),
            column_place=torch.tensor(columns).argsort(),
        )

    def over_columns(self, values: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """A function of the levels of each column, (…, size) ↦ (…, size) or (…), for values (…, U) of all: (…, U) or
        (…, columns)."""
        if self.moved:
            values = values.index_select(-1, self.order)
        by_group = values.split([count * size for count, size in self.groups], -1)
        columns = [part.unflatten(-1, group) for part, group in zip(by_group, self.groups, strict=True)]
        results = [function(column) for column in columns]
        place = self.column_place
        if results[0].dim() == columns[0].dim():
            results = [result.flatten(-2) for result in results]
            place = self.place
        together = torch.cat(results, -1)
        if not self.moved:
            return together
        return together.index_select(-1, place)


def is_code(x: Tensor, sizes: Tensor) -> Tensor:
    """Which cells are one of the codes 0, 1, … size − 1 of their column, bool."""
    return (x >= 0) & (x < sizes) & (x == x.floor())


class Categorical(Factorised):
    """The categorical distribution of codes x_j in {0, …, n_j − 1}, independent over the columns j, by logits.

        p(x_j = k) = exp(l_jk) / Σ_i exp(l_ji)

    A cell that is no code of its column has log p = −∞.

    logits    (…, U), U = Σ_j n_j: those of the first column, of the second, …
    levels    where they stand, or the numbers n_j
    shape     X, of the event; (columns,) where it is not given

    >>> p = Categorical(torch.tensor([0.0, 0.0, 0.0, 9.0, 0.0]), [2, 3])
    >>> [round(v, 4) for v in p.log_prob_each(torch.tensor([1.0, 1.0])).tolist()], p.mean.tolist()
    ([-0.6931, -0.0002], [0.0, 1.0])
    """

    def __init__(self, logits: Tensor, levels: Levels | Sequence[int], shape: Sequence[int] | None = None) -> None:
        if not isinstance(levels, Levels):
            levels = Levels.of(levels)
        self.levels = levels
        self.shape = (len(levels.sizes),) if shape is None else tuple(shape)
        self.event_dims = len(self.shape)
        self.log_probabilities = levels.over_columns(logits, lambda each: each.log_softmax(-1))
        """log p of each level, (…, U)"""

    @property
    def probabilities(self) -> Tensor:
        """The probability of each level, (…, U)."""
        return self.log_probabilities.exp()

    def by_column(self, values: Tensor) -> tuple[Tensor, ...]:
        """Values of all levels, (…, U), as (…, n_j) of each column j."""
        return values.split(self.levels.sizes, -1)

    @property
    def mean(self) -> Tensor:
        """The most probable code, (…, *X)."""
        return self.estimate(self.log_probabilities)

    @property
    def averaged(self) -> Tensor:
        """The probability of each level, (…, U)."""
        return self.probabilities

    def estimate(self, average: Tensor) -> Tensor:
        """The code of the greatest average probability, (…, *X)."""
        codes = self.levels.over_columns(average, lambda each: each.argmax(-1))
        return codes.to(average.dtype).unflatten(-1, self.shape)

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) of codes from a given generator: how many levels end at or below a uniform number."""
        like = self.log_probabilities
        batch = (*shape, *like.shape[:-1], len(self.levels.sizes))
        u = torch.rand(batch, generator=generator, dtype=like.dtype, device=like.device)
        ends = self.levels.over_columns(self.probabilities, _ends)
        passed = u.index_select(-1, self.levels.column) >= ends
        codes = self.levels.over_columns(passed, lambda each: each.sum(-1))
        return codes.to(like.dtype).unflatten(-1, self.shape)

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-probability of each cell, (…, *X)."""
        x = x.flatten(-self.event_dims)
        possible = is_code(x, self.levels.size)
        code = torch.where(possible, x, torch.zeros_like(x)).long()
        batch = common_shape(x[..., 0], self.log_probabilities[..., 0])
        index = (code + self.levels.start).expand(*batch, -1)
        found = self.log_probabilities.expand(*batch, -1).gather(-1, index)
        return found.masked_fill(~possible, -torch.inf).unflatten(-1, self.shape)


def _ends(p: Tensor) -> Tensor:
    """P(x ≤ k) of each level k, exactly 1 of the last."""
    sums = p.cumsum(-1)
    return sums / sums[..., -1:]
