"""Tables whose columns are of several kinds: each has the family that suits it."""

import inspect
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from vaekit import distributions
from vaekit.data import Schema
from vaekit.errors import VaekitError, unknown
from vaekit.parts.likelihoods.base import Likelihood, expanded
from vaekit.parts.likelihoods.families import FAMILIES


class Columns(Likelihood):
    """The likelihood p(x|z) = Π_g p_g(x_g|z) of a table: each family g has some of its columns.

    families    one per group, each of shape (n_g,)
    columns     the places of its columns in a row, per group
    shape       X, of a row; (n,) where it is not given
    around      (m, s) of the columns of each group, (n_g,) both, where a cell may hold what its family does not
                support, around m within about s: that is surprising, and not refused (`distributions.Unforeseen`);
                None for a group where it is

    The encoder sees the codes of all groups, one group after another, and the decoder's numbers lie likewise.

    >>> from vaekit.parts.likelihoods import Bernoulli, Gaussian
    >>> likelihood = Columns([Bernoulli((1,)), Gaussian((2,))], [[1], [0, 2]])
    >>> likelihood(torch.zeros(1, 1, 3)).mean.tolist()
    [[[0.0, 0.5, 0.0]]]
    """

    order: Tensor

    def __init__(
        self,
        families: Sequence[Likelihood],
        columns: Sequence[Sequence[int]],
        shape: Sequence[int] | None = None,
        around: Sequence[tuple[ArrayLike, ArrayLike] | None] | None = None,
    ) -> None:
        places = [place for group in columns for place in group]
        super().__init__(shape or (len(places),))
        self.families = nn.ModuleList(families)
        self.codes = sum(family.codes for family in families)
        self.features = sum(family.features for family in families)
        self.normalised = all(family.normalised for family in families)
        self.integers = all(family.integers for family in families)
        self.support = "; ".join(dict.fromkeys(family.support for family in families))
        for number, group in enumerate(columns):
            self.register_buffer(f"columns_{number}", torch.tensor(group), persistent=False)
            place = None if around is None else around[number]
            middle, spread = place or (None, None)
            self.register_buffer(f"middle_{number}", None if middle is None else expanded(middle, (len(group),)))
            self.register_buffer(f"spread_{number}", None if spread is None else expanded(spread, (len(group),)))
        self.register_buffer("order", torch.tensor(places).argsort(), persistent=False)

    @classmethod
    def of(
        cls,
        schema: Schema,
        binary: str = "bernoulli",
        count: str = "negative-binomial",
        integer: str = "discretized-mixture",
        amount: str = "zero-inflated-log-normal",
        positive: str = "log-normal",
        real: str = "student-t",
        category: str = "categorical",
        ordinal: str = "ordinal",
    ) -> "Columns":
        """The families for a table of a schema: of the columns of each kind the one of this name (`FAMILIES`)."""
        names = {
            "binary": binary, "count": count, "integer": integer, "amount": amount, "positive": positive,
            "real": real, "category": category, "ordinal": ordinal,
        }  # fmt: skip
        families = []
        around: list[tuple[ArrayLike, ArrayLike] | None] = []
        groups = schema.groups()
        for kind, columns in groups.items():
            name = names[kind]
            if name not in FAMILIES:
                raise unknown(f"likelihood of {kind} columns", name, FAMILIES)
            own = schema.select(columns)
            misfit = FAMILIES[name].misfit(own)
            if misfit is not None:
                raise VaekitError(
                    f"columns of kind {kind}: {misfit} Here that is likelihood columns:{kind}=…, for all columns of "
                    f"the kind, or another kind for this column (columns NAME=real, say)."
                )
            families.append(FAMILIES[name].of(own))
            spread = np.maximum(own.array("scale"), 1.0)
            around.append(None if kind in ("real", "category", "ordinal") else (own.shifted("mean"), spread))
        return cls(families, list(groups.values()), schema.shape, around)

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        """That the columns are of several kinds, or of one that other rows may turn out not to be of."""
        groups = schema.groups()
        certain = len(groups) == 1 and not {"amount", "count", "positive"} & set(groups)
        if "integer" in groups and (schema.array("resolution").flatten()[list(groups["integer"])] > 1).any():
            certain = False  # a cell off its grid
        if certain or schema.binarized != "none":
            return None
        usual = inspect.signature(cls.of).parameters
        said = [f"{len(columns)} {kind} by {usual[kind].default}" for kind, columns in groups.items()]
        return ", ".join(said)

    @classmethod
    def misfit(cls, schema: Schema) -> str | None:
        """That the rows are images."""
        if not schema.is_image and schema.binarized == "none":
            return None
        return "columns is for rows whose columns have a family each: choose another likelihood for images."

    @property
    def groups(self) -> list[tuple[Likelihood, Tensor]]:
        """The families, each with the places of its columns."""
        found: list[tuple[Likelihood, Tensor]] = []
        for number, family in enumerate(self.families):
            assert isinstance(family, Likelihood)
            found.append((family, self.get_buffer(f"columns_{number}")))
        return found

    @property
    def around(self) -> list[tuple[Tensor, Tensor] | None]:
        """Where each group's cells may be that its family does not support: m and s, (n_g,) each."""
        found: list[tuple[Tensor, Tensor] | None] = []
        for number in range(len(self.families)):
            middle: Tensor | None = getattr(self, f"middle_{number}")
            spread: Tensor | None = getattr(self, f"spread_{number}")
            found.append(None if middle is None or spread is None else (middle, spread))
        return found

    def _cells(self, x: Tensor, of_each: Callable[[Likelihood, Tensor, bool], Tensor]) -> Tensor:
        """What a function makes of the columns of x that a family has, put side by side. It is given the family, its
        cells, and whether these may hold what the family does not support."""
        flat = x.flatten(-len(self.shape))
        each = []
        for (family, columns), around in zip(self.groups, self.around, strict=True):
            each.append(of_each(family, flat.index_select(-1, columns), around is not None))
        return torch.cat(each, -1)

    def standardise(self, x: Tensor) -> Tensor:
        """The codes of all columns, a group after another, (…, U); 0 of a cell that its family does not support."""

        def codes(family: Likelihood, cells: Tensor, is_open: bool) -> Tensor:
            found = family.standardise(cells)
            if not is_open:
                return found
            return torch.where(family.supports(cells), found, torch.zeros_like(found))

        return self._cells(x, codes)

    def spread_out(self, mask: Tensor) -> Tensor:
        """What holds of each cell, (…, *X), for each of its codes, (…, U)."""
        return self._cells(mask, lambda family, cells, _: family.spread_out(cells))

    def supports(self, x: Tensor) -> Tensor:
        """Which cells of x have a density, (…, *X) bool."""

        def fits(family: Likelihood, cells: Tensor, is_open: bool) -> Tensor:
            return cells.isfinite() if is_open else family.supports(cells)

        return self._cells(x, fits).index_select(-1, self.order).unflatten(-1, self.shape)

    def unexplained(self) -> Tensor:
        """The part of each code's variance that a linear start leaves unexplained at the least, (U,)."""
        return torch.cat([family.unexplained() for family, _ in self.groups])

    def initial(self) -> Tensor:
        """The decoder's initial output bias, (features,)."""
        return torch.cat([family.initial() for family, _ in self.groups])

    def affine(self, centre: Tensor, loading: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The linear decoder, weight (features, D) and bias (features,), for codes centre + loading z ± deviation.

        A family that does not know how to be linear starts as it does elsewhere.
        """
        weights = []
        biases = []
        start = 0
        for family, _ in self.groups:
            codes = slice(start, start + family.codes)
            start += family.codes
            linear = getattr(family, "affine", None)
            if callable(linear):
                weight, bias = linear(centre[codes], loading[codes], deviation[codes])
            else:
                weight = loading.new_zeros(family.features, loading.shape[1])
                bias = family.initial().to(loading)
            weights.append(weight)
            biases.append(bias)
        return torch.cat(weights), torch.cat(biases)

    def forward(self, y: Tensor) -> distributions.Columns:
        """The likelihood of the decoder's y (K, B, features)."""
        families = [family for family, _ in self.groups]
        numbers = y.split([family.features for family in families], -1)
        laws: list[distributions.Factorised] = []
        for family, own, around in zip(families, numbers, self.around, strict=True):
            law = family(own)
            if around is not None:
                law = distributions.Unforeseen(law, family.supports, *around)
            laws.append(law)
        return distributions.Columns(laws, [columns for _, columns in self.groups], self.order, self.shape)
