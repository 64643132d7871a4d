"""Categories: a logit for each level of each column."""

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vaekit import distributions
from vaekit.data import Schema
from vaekit.distributions.categorical import Levels, is_code
from vaekit.errors import VaekitError
from vaekit.parts.likelihoods.base import Likelihood, expanded

LEAST_SHARE = 1e-3
"""a level starts at so much of an even share or more"""


class Categorical(Likelihood):
    """The likelihood p(x_j = k|z) = exp(l_jk(z)) / Σ_i exp(l_ji(z)) of codes x_j in {0, …, n_j − 1}; the decoder gives
    the logits l, (K, B, U) with U = Σ_j n_j.

    The encoder sees each level as a number of its own, 1 for that of the cell and 0 for the others of its column.

    sizes          the numbers n_j, one a cell of the shape in C order
    frequencies    of all levels, (U,), where the decoder starts; even where they are not given

    >>> p = Categorical((2,), sizes=[2, 4])(torch.zeros(1, 1, 6))
    >>> round(p.log_prob(torch.tensor([[1.0, 3.0]])).exp().item(), 4)
    0.125
    """

    integers = True
    left = 0.9
    support = "the levels seen in fitting"

    frequencies: Tensor
    size: Tensor
    start: Tensor
    column: Tensor
    order: Tensor
    place: Tensor
    column_place: Tensor

    @classmethod
    def of(cls, schema: Schema, frequencies: ArrayLike | None = None) -> "Categorical":
        """The family for data of a schema."""
        return cls(schema.shape, sizes=schema.sizes(), frequencies=frequencies)

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        """That all columns are categories."""
        return columns_of("category", "categories", schema)

    @classmethod
    def misfit(cls, schema: Schema) -> str | None:
        """That some columns are numbers."""
        return numbers_among(schema, "categorical")

    def __init__(self, shape: Sequence[int], *, sizes: Sequence[int], frequencies: ArrayLike | None = None) -> None:
        super().__init__(shape)
        check_sizes(sizes, self.codes)
        levels = Levels.of(sizes)
        self.sizes = levels.sizes
        self.groups = levels.groups
        self.moved = levels.moved
        self.codes = sum(levels.sizes)
        self.features = self.codes
        for name in ("size", "start", "column", "order", "place", "column_place"):
            self.register_buffer(name, getattr(levels, name), persistent=False)
        self.register_buffer("frequencies", shares(levels.sizes, frequencies))

    def levels(self) -> Levels:
        """Where the levels of each column stand among all."""
        return Levels(
            sizes=self.sizes,
            groups=self.groups,
            moved=self.moved,
            size=self.size,
            start=self.start,
            column=self.column,
            order=self.order,
            place=self.place,
            column_place=self.column_place,
        )

    def standardise(self, x: Tensor) -> Tensor:
        """1 for the level of each cell and 0 for the others of its column, (…, U); all 0 where a cell is no level."""
        level = torch.arange(self.codes, device=x.device) - self.start[self.column]
        return (self.spread_out(x) == level).to(self.frequencies.dtype)

    def spread_out(self, mask: Tensor) -> Tensor:
        """What holds of each cell, (…, *X), for each of its levels, (…, U)."""
        return mask.flatten(-len(self.shape)).index_select(-1, self.column)

    def initial(self) -> Tensor:
        """The logarithms of the frequencies, (U,)."""
        return self.frequencies.log()

    def affine(self, centre: Tensor, loading: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The linear decoder, weight (U, D) and bias (U,), whose probabilities are centre + loading z to first order,
        as far as these sum to 1 over the levels of a column.

        centre (U,), loading (U, D): of the codes
        """
        p = torch.maximum(centre, LEAST_SHARE / self.size[self.column])
        return loading / p[:, None], p.log()

    def supports(self, x: Tensor) -> Tensor:
        """Which cells are codes of their column, (…, *X) bool."""
        return is_code(x, self.size.reshape(self.shape))

    def forward(self, y: Tensor) -> distributions.Categorical:
        """The likelihood of the decoder's logits y (K, B, U)."""
        return distributions.Categorical(y, self.levels(), self.shape)


def shares(sizes: Sequence[int], frequencies: ArrayLike | None) -> Tensor:
    """The frequencies of all levels, (U,), as parts of 1 in each column and none of them 0; even where there are none
    given.

    >>> shares([2, 3], [3.0, 1.0, 2.0, 2.0, 4.0]).tolist()
    [0.75, 0.25, 0.25, 0.25, 0.5]
    """
    numbers = expanded(1.0 if frequencies is None else frequencies, (sum(sizes),))
    parts = []
    for column in numbers.split(list(sizes)):
        given = column / column.sum()
        parts.append(torch.maximum(given, torch.full_like(given, LEAST_SHARE / len(given))))
    return torch.cat([part / part.sum() for part in parts])


def check_sizes(sizes: Sequence[int], columns: int) -> None:
    """Refuse numbers of levels that are not one a column, each 1 or more."""
    if len(sizes) != columns or min(sizes) < 1:
        raise VaekitError(f"categories take the number of levels of each of {columns} columns, and got {list(sizes)}.")


def columns_of(kind: str, named: str, schema: Schema) -> str | None:
    """What the columns are, where all are of one kind that has levels: '3 columns of categories, 2 to 14 levels'."""
    if schema.kinds is None or set(schema.kinds) != {kind}:
        return None
    sizes = schema.sizes()
    columns = f"{len(sizes)} columns" if len(sizes) > 1 else "a column"
    levels = f"{min(sizes)} to {max(sizes)}" if min(sizes) < max(sizes) else f"{sizes[0]}"
    return f"{columns} of {named}, {levels} levels"


def numbers_among(schema: Schema, name: str) -> str | None:
    """Why a family for levels does not fit, where a column holds numbers."""
    sizes = schema.sizes()
    if min(sizes) > 0:
        return None
    return (
        f"the {name} likelihood is for columns whose cells are levels, and {schema.column(sizes.index(0))} holds "
        f"numbers: choose gaussian."
    )
