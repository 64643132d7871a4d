"""Tables whose columns are of several kinds: each has the family that suits it."""

import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vaekit import distributions
from vaekit.data import Schema
from vaekit.errors import VaekitError, unknown
from vaekit.parts.likelihoods.base import Likelihood
from vaekit.parts.likelihoods.families import FAMILIES


class Columns(Likelihood):
    """The likelihood p(x|z) = Π_g p_g(x_g|z) of a table: each family g has some of its columns.

    families    one per group, each of shape (n_g,)
    columns     the places of its columns in a row, per group
    shape       X, of a row; (n,) where it is not given

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
            "real": real,
"category": category, "ordinal": ordinal,
        }  # fmt: skip
        families = []
        groups = schema.groups()
        for kind, columns in groups.items():
            name = names[kind]
            if name not in FAMILIES:
                raise unknown(f"likelihood of {kind} columns", name, FAMILIES)
            own = schema.select(columns)
            misfit = FAMILIES[name].misfit(own)
            if misfit is not None:
                raise VaekitError(f"columns of kind {kind}: {misfit}")
            families.append(FAMILIES[name].of(own))
        return cls(families, list(groups.values()), schema.shape)

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        """That the columns are of several kinds."""
        groups = schema.groups()
        of_one_kind = len(groups) == 1 and "amount" not in groups
        if of_one_kind or schema.binarized != "none":
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

    def _cells(self, x: Tensor, of_each: Callable[[Likelihood, Tensor], Tensor]) -> Tensor:
        """What a function of a family makes of its columns of x, put side by side."""
        flat = x.flatten(-len(self.shape))
        return torch.cat([of_each(family, flat.index_select(-1, columns)) for family, columns in self.groups], -1)

    def standardise(self, x: Tensor) -> Tensor:
        """The codes of all columns, a group after another, (…, U)."""
        return self._cells(x, lambda family, cells: family.standardise(cells))

    def spread_out(self, mask: Tensor) -> Tensor:
        """What holds of each cell, (…, *X), for each of its codes, (…, U)."""
        return self._cells(mask, lambda family, cells: family.spread_out(cells))

    def supports(self, x: Tensor) -> Tensor:
        """Which cells of x have a density under their family, (…, *X) bool."""
        fits = self._cells(x, lambda family, cells: family.supports(cells))
        return fits.index_select(-1, self.order).unflatten(-1, self.shape)

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
        parts = [family(own) for family, own in zip(families, numbers, strict=True)]
        return distributions.Columns(parts, [columns for _, columns in self.groups], self.order, self.shape)
