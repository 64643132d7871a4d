"""Mixtures of logistic variables for each cell: of real numbers, and of whole ones with repeated values."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Unpack

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vaekit import distributions
from vaekit.core import Range
from vaekit.data import Schema
from vaekit.errors import VaekitError
from vaekit.parts.likelihoods.base import expanded, no_numbers
from vaekit.parts.likelihoods.gaussian import LEAST_PART, finest
from vaekit.parts.likelihoods.location_scale import LocationScale
from vaekit.parts.likelihoods.logistic import SCALE_OF_DEVIATION, DiscretizedLogistic, Grid

COMPONENTS = 4
Components = Annotated[int, Range(1, below=65)]
APART = 0.5
"""standard deviations of the whole by which the outermost components stand off its middle at the start"""
LEAST_WEIGHT = 1e-3
"""of all components together at the start, whatever part of a column the atoms have"""


def offsets(components: int) -> tuple[Tensor, float]:
    """Where components start, (C,), in standard deviations of the whole, and the standard deviation of each.

    They stand evenly about 0, so that they can part, and the whole has the standard deviation 1.

    >>> places, each = offsets(2)
    >>> places.tolist(), round(each**2 + 0.5**2, 6)
    ([-0.5, 0.5], 1.0)
    """
    if components == 1:
        return torch.zeros(1), 1.0
    places = [APART * (2 * c / (components - 1) - 1) for c in range(components)]
    between = sum(place**2 for place in places) / components
    return torch.tensor(places), math.sqrt(1 - between)


def unstacked(y: Tensor, atoms: int, components: int, shape: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Of the decoder's y (K, B, features) the logits (K, B, A + C, *X), locations and log-scales (K, B, C, *X)."""
    parts = y.unflatten(-1, (atoms + 3 * components, *shape))
    logits, loc, log_scale = parts.split([atoms + components, components, components], dim=-1 - len(shape))
    return logits, loc, log_scale


class LogisticMixture(LocationScale):
    """The likelihood of a mixture of C logistic laws for each cell: weights, locations and scales from the decoder.

        p(x|z) = Π_j Σ_c w_jc(z) · logistic(x_j; μ_jc(z), s_jc(z))

    The decoder gives 3C numbers per feature: C logits of the weights, then C locations, then C log-scales. They start
    of equal weight and a little apart, with the data's standard deviation together. `mean`, `scale`, `floor` (of each
    s) and `constant` as in `LocationScale`. (Salimans et al. 2017, arXiv:1701.05517)

    >>> p = LogisticMixture((2,), mean=[0.0, 5.0], scale=2.0)
    >>> start = p(p.initial()[None, None])
    >>> [[round(v, 4) for v in numbers[0, 0].tolist()] for numbers in (start.mean, start.stddev)]
    [[0.0, 5.0], [2.0, 2.0]]
    """

    @classmethod
    def of(cls, schema: Schema, components: Components = COMPONENTS) -> "LogisticMixture":
        """The family for data of a schema, its floor that of the resolution: see `Gaussian.of`.

        components    C, how many
        """
        return cls(
            schema.shape,
            components=components,
            mean=schema.shifted("mean"),
            scale=schema.array("scale"),
            floor=finest(schema),
            constant=schema.array("constant"),
        )

    @classmethod
    def name(cls) -> str:
        """The family as messages call it."""
        return "logistic-mixture"

    def __init__(
        self,
        shape: Sequence[int],
        *,
        components: int = COMPONENTS,
        mean: ArrayLike = 0.0,
        scale: ArrayLike = 1.0,
        floor: ArrayLike = LEAST_PART,
        constant: ArrayLike = False,
    ) -> None:
        self.per_feature = 3 * components
        super().__init__(shape, mean=mean, scale=scale, floor=floor, constant=constant)
        self.components = components

    def deviation(self) -> Tensor:
        """The standard deviation π/√3 of a logistic law whose scale is 1, ()."""
        return torch.tensor(1 / SCALE_OF_DEVIATION)

    def affine(self, centre: Tensor, loading: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The linear decoder, weight (features, D) and bias (features,), whose standardised mean is centre + loading z,
        and whose mixture has the standard deviation `deviation`, as far as the floor allows.

        centre (U,), loading (U, D), deviation (U,): of the codes
        """
        places, each = offsets(self.components)
        equal = torch.zeros_like(loading).repeat(self.components, 1)
        weight = torch.cat([equal, loading.repeat(self.components, 1), equal])
        logits = torch.zeros_like(deviation).repeat(self.components)
        locations = centre + places.to(deviation)[:, None] * deviation
        scales = self.raw_of(each * deviation).repeat(self.components)
        return weight, torch.cat([logits, locations.flatten(), scales])

    def law(self, y: Tensor) -> distributions.LogisticMixture:
        """The mixture of the decoder's y (K, B, features)."""
        logits, loc, raw = unstacked(y, 0, self.components, self.shape)
        loc, log_scale = self.in_units(loc, raw)
        return distributions.LogisticMixture(logits, loc, log_scale, len(self.shape))


def _atoms(schema: Schema) -> tuple[np.ndarray, np.ndarray]:
    """The repeated values of each feature less its offset, and their frequencies, (A, *X) each; NaN, 0 where fewer."""
    repeated = schema.repeated or ((),) * schema.features
    shares = schema.shares or ((),) * schema.features
    most = max(map(len, repeated))
    atoms = np.full((most, schema.features), np.nan)
    frequencies = np.zeros((most, schema.features))
    for j, (values, parts) in enumerate(zip(repeated, shares, strict=True)):
        atoms[: len(values), j] = values
        frequencies[: len(parts), j] = parts
    shape = (most, *schema.shape)
    return atoms.reshape(shape) - schema.array("offset"), frequencies.reshape(shape)


class DiscretizedLogisticMixture(DiscretizedLogistic):
    """Whole numbers: repeated values, and a mixture of C logistic variables rounded to the grid, for each cell.

        P(x|z) = Π_j ( Σ_a w_ja(z) [x_j = v_ja] + Σ_c w_jc(z) P(x_j; μ_jc(z), s_jc(z)) )

    The decoder gives A + 3C numbers per feature: the logits of the A atoms, of the C components, then C locations, and
    C log-scales. The grid, its range, what is beyond, and what networks see are those of `DiscretizedLogistic`, the
    arguments too.

    atoms          (A, *X), up to A repeated values v of each feature, in the units of the grid; NaN where it has fewer
    frequencies    (A, *X), what part of the feature's cells each of them is: the weights at the start

    The components start at what the feature's mean and standard deviation leave when the atoms are taken out.
    (Salimans et al. 2017, arXiv:1701.05517; Lambert 1992, doi:10.2307/1269547)

    >>> p = DiscretizedLogisticMixture((1,), low=0, high=99, mean=41.0, scale=12.0, atoms=[[40]], frequencies=[[0.5]])
    >>> start = p(p.initial()[None, None])
    >>> start.log_prob(torch.arange(100.0)[:, None, None]).exp().sum().item() > 0.9999
    True
    >>> start.log_prob(torch.tensor([40.0])).exp().item() > 0.5
    True
    """

    atoms: Tensor | None
    frequencies: Tensor | None

    @classmethod
    def of(
        cls, schema: Schema, range: Literal["seen", "open"] = "seen", components: Components = COMPONENTS
    ) -> "DiscretizedLogisticMixture":
        """The family for data of a schema, with the repeated values that it has counted.

        range         as in `DiscretizedLogistic.of`
        components    C, how many
        """
        atoms, frequencies = _atoms(schema)
        return cls(
            schema.shape,
            components=components,
            atoms=atoms,
            frequencies=frequencies,
            **cls.grid(schema, range),
        )

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        """Never by itself."""
        return None

    @classmethod
    def misfit(cls, schema: Schema) -> str | None:
        """That the data are no whole numbers, or binarised."""
        if schema.kind == "real":
            return "discretized-mixture is for whole numbers, and this data has others: choose logistic-mixture."
        return no_numbers(schema, "discretized-mixture")

    def __init__(
        self,
        shape: Sequence[int],
        *,
        components: int = COMPONENTS,
        atoms: ArrayLike | None = None,
        frequencies: ArrayLike | None = None,
        **grid: Unpack[Grid],
    ) -> None:
        values = np.empty((0, *shape)) if atoms is None else np.asarray(atoms, np.float64)
        parts = values if frequencies is None else np.asarray(frequencies, np.float64)
        if values.shape[1:] != tuple(shape) or parts.shape != values.shape:
            raise VaekitError(
                f"atoms {values.shape} and frequencies {parts.shape} are to be (A, {', '.join(map(str, shape))}): "
                "up to A values of each feature, NaN where it has fewer."
            )
        if len(values) and frequencies is None:
            raise VaekitError("atoms were given without their frequencies: give what part of the cells each is.")
        self.per_feature = len(values) + 3 * components
        super().__init__(shape, **grid)
        self.components = components
        self.register_buffer("atoms", expanded(values, values.shape) if len(values) else None)
        parts = np.where(np.isnan(values), 0.0, parts)
        self.register_buffer("frequencies", expanded(parts, parts.shape) if len(values) else None)

    def initial(self) -> Tensor:
        """The decoder's initial output bias, (features,): the mean, the standard deviation, and the atoms' parts."""
        location = self.standardise(self.centre).flatten()
        return self.affine(location, location[:, None], (self.spread / self.unit).flatten())[1]

    def affine(self, centre: Tensor, loading: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The linear decoder, weight (features, D) and bias (features,): components whose location moves by loading z,
        around what the atoms leave of the mean `centre`; together with these they have the standard deviation
        `deviation`, as far as the data's own allows it.

        centre (U,), loading (U, D), deviation (U,): of the codes
        """
        places, each = offsets(self.components)
        atom_logits, rest, middle, part = self._beside_atoms(centre)
        within = torch.maximum(part * deviation, (0.1 * self.step / self.unit).flatten())
        locations = middle + places.to(within)[:, None] * within
        scales = (each * within * SCALE_OF_DEVIATION).log().repeat(self.components)
        logits = (rest / self.components).log().repeat(self.components)
        still = loading.new_zeros(len(atom_logits) + len(logits), loading.shape[1])
        weight = torch.cat(
            [still, loading.repeat(self.components, 1), torch.zeros_like(loading).repeat(self.components, 1)]
        )
        return weight, torch.cat([atom_logits, logits, locations.flatten(), scales])

    def _beside_atoms(self, centre: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The atoms' logits (A U,), and of each feature (U,): the weight of the components; their mean, as a code, if
        that of all is `centre`; their standard deviation as a part of that of all. By moments: E[x] = Σ w v + w₀ m₀.
        """
        if self.atoms is None or self.frequencies is None:
            return centre[:0], torch.ones_like(centre), centre, torch.ones_like(centre)
        weights = self.frequencies.flatten(1).to(centre)
        values = self.standardise(torch.where(self.atoms.isnan(), self.centre, self.atoms)).flatten(1).to(centre)
        rest = (1 - weights.sum(0)).clamp_min(LEAST_WEIGHT)
        middle = (centre - (weights * values).sum(0)) / rest
        ends = [self.standardise(end).flatten().to(centre) for end in (self.low, self.high)]
        middle = torch.minimum(torch.maximum(middle, ends[0]), ends[1])
        variance = (self.spread / self.unit).flatten().to(centre).square().clamp_min(torch.finfo(centre.dtype).tiny)
        around = variance - (weights * (values - centre).square()).sum(0) - rest * (middle - centre).square()
        part = (around / (rest * variance)).clamp(1e-2, 1e2).sqrt()
        return weights.clamp_min(1e-6).log().flatten(), rest, middle, part

    def forward(self, y: Tensor) -> distributions.DiscretizedLogisticMixture:
        """The likelihood of the decoder's y (K, B, features)."""
        many = 0 if self.atoms is None else len(self.atoms)
        logits, loc, raw = unstacked(y, many, self.components, self.shape)
        loc, log_scale = self.in_units(loc, raw)
        return distributions.DiscretizedLogisticMixture(
            logits, loc, log_scale, self.first, self.last, self.step, len(self.shape), self.beyond, self.atoms
        )
