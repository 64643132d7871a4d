"""Real numbers whose location and scale are the decoder's, in laws with other tails than the Gaussian's."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from vaekit import distributions
from vaekit.data import Schema
from vaekit.maths import soft_clamp
from vaekit.parts.likelihoods.base import FARTHEST_SEEN, Likelihood, expanded, no_numbers
from vaekit.parts.likelihoods.gaussian import LEAST_PART, LOG_SIGMA_MOST, RELATIVE_FLOOR, finest, unclamped

LEAST_DF = 2.1
"""degrees of freedom stay above, so that there is a standard deviation"""
MOST_DF = 100.0
"""and below: Student's t is then as good as normal"""
FIRST_DF = 30.0


class LocationScale(Likelihood):
    """What such families share: μ = m + s ⊙ y and log of the scale σ/s from the decoder, per feature.

    `mean` m and `scale` s, broadcast to X, are the data's. σ starts where the law has the standard deviation s, and
    never falls below `floor`, smoothly: without one the likelihood is unbounded (Mattei & Frellsen 2018,
    arXiv:1802.04826). Where `constant` is True, a feature has the value m and no σ: see `distributions.log_atom`.
    """

    per_feature = 2
    most: float = LOG_SIGMA_MOST
    """log(σ/s) stays below"""
    centre: Tensor
    """the data's mean"""
    scale: Tensor
    """the unit of the codes"""
    constant: Tensor | None
    log_floor: Tensor
    """of σ/s"""

    @classmethod
    def of(cls, schema: Schema) -> "LocationScale":
        """The family for data of a schema, its floor that of the resolution: see `Gaussian.of`."""
        return cls(
            schema.shape,
            mean=schema.shifted("mean"),
            scale=schema.array("scale"),
            floor=finest(schema),
            constant=schema.array("constant"),
        )

    @classmethod
    def misfit(cls, schema: Schema) -> str | None:
        """That the data is binarised."""
        return no_numbers(schema, cls.name())

    @classmethod
    def name(cls) -> str:
        """The family as messages call it."""
        raise NotImplementedError  # abstract: each family has one

    def __init__(
        self,
        shape: Sequence[int],
        *,
        mean: ArrayLike = 0.0,
        scale: ArrayLike = 1.0,
        floor: ArrayLike = LEAST_PART,
        constant: ArrayLike = False,
    ) -> None:
        super().__init__(shape)
        constants = np.broadcast_to(np.asarray(constant), self.shape)
        self.register_buffer("centre", expanded(mean, shape))
        self.register_buffer("scale", expanded(scale, shape))
        self.register_buffer("constant", torch.tensor(constants) if constants.any() else None)
        log_floor = np.log(np.clip(np.asarray(floor) / np.asarray(scale), *RELATIVE_FLOOR))
        self.register_buffer("log_floor", expanded(log_floor, shape))

    def standardise(self, x: Tensor) -> Tensor:
        """The cells (x − m)/s, within ±30, (…, *X)."""
        return ((x - self.centre) / self.scale).clamp(-FARTHEST_SEEN, FARTHEST_SEEN)

    @torch.no_grad()
    def initial(self) -> Tensor:
        """The decoder's initial output bias, (features,): the mean and the standard deviation of the data."""
        means = torch.zeros(self.codes)
        return self.affine(means, means[:, None], torch.ones(self.codes))[1]

    def affine(self, centre: Tensor, loading: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The linear decoder, weight (features, D) and bias (features,), for a standardised location centre + loading z
        and a standard deviation that is `deviation`, as far as the floor allows.

        centre (U,), loading (U, D), deviation (U,): of the codes
        """
        weight = torch.cat([loading, torch.zeros_like(loading)])
        return weight, torch.cat([centre, self.raw_of(deviation)])

    def deviation(self) -> Tensor:
        """The standard deviation of the law whose scale is 1, broadcastable to X."""
        return torch.ones(())

    @torch.no_grad()
    def raw_of(self, deviation: Tensor) -> Tensor:
        """The decoder's output for a standard deviation of each feature, (U,) both, in units of s."""
        unit = self.deviation().expand(self.shape).flatten().to(deviation)
        return unclamped((deviation / unit).log(), self.log_floor.flatten().to(deviation), self.most)

    def in_units(self, loc: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The location μ and log σ in the data's units, from the decoder's, (…, *X) each."""
        return self.centre + self.scale * loc, self.scale.log() + soft_clamp(raw, self.log_floor, self.most)

    def law(self, y: Tensor) -> distributions.Factorised:
        """The law of the decoder's y (K, B, features) where nothing is constant."""
        raise NotImplementedError  # abstract: each family is one

    def forward(self, y: Tensor) -> distributions.Factorised:
        """The likelihood of the decoder's y (K, B, features)."""
        law = self.law(y)
        if self.constant is None:
            return law
        return distributions.WithAtoms(law, self.constant, self.centre)


class StudentT(LocationScale):
    """The likelihood of Student's t: (μ, log σ) from the decoder for each cell, ν degrees of freedom of each column.

        log p(x|z) = Σ_j log t_ν_j((x_j − μ_j(z))/σ_j(z)) − log σ_j(z),    2.1 < ν < 100, learned, 30 at the start

    A cell far from where the decoder puts it costs a logarithm of its distance: the rest is not spread out for it, nor
    does a σ that is too small cost squares. `mean`, `scale`, `floor` (of σ) and `constant` as in
    `LocationScale`. (Takahashi et al., Student-t variational autoencoder for robust density estimation, IJCAI 2018)

    >>> p = StudentT((2,), mean=[0.0, 5.0])(torch.zeros(1, 1, 4))
    >>> p.mean.tolist(), round(p.log_prob(torch.tensor([0.0, 5.0])).item(), 2)
    ([[[0.0, 5.0]]], -1.86)
    """

    raw: nn.Parameter
    """log ν before it is bounded"""

    @classmethod
    def name(cls) -> str:
        """The family as messages call it."""
        return "student-t"

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        """That the data are real numbers, and no pixels."""
        if not schema.is_image and schema.kind == "real":
            return "real numbers, of which some may lie far from the others"
        return None

    def __init__(
        self,
        shape: Sequence[int],
        *,
        mean: ArrayLike = 0.0,
        scale: ArrayLike = 1.0,
        floor: ArrayLike = LEAST_PART,
        constant: ArrayLike = False,
    ) -> None:
        super().__init__(shape, mean=mean, scale=scale, floor=floor, constant=constant)
        first = torch.tensor(math.log(FIRST_DF))
        raw = unclamped(first, torch.tensor(math.log(LEAST_DF)), math.log(MOST_DF))
        self.raw = nn.Parameter(raw.expand(self.shape).clone())

    def df(self) -> Tensor:
        """The degrees of freedom ν of each column, (*X)."""
        return soft_clamp(self.raw, math.log(LEAST_DF), math.log(MOST_DF)).exp()

    def deviation(self) -> Tensor:
        """The standard deviation √(ν/(ν − 2)) of the law whose scale is 1, (*X)."""
        df = self.df()
        return (df / (df - 2)).sqrt()

    def law(self, y: Tensor) -> distributions.StudentT:
        """Student's t of the decoder's y (K, B, features)."""
        loc, log_scale = self.in_units(*self.split(y))
        return distributions.StudentT(loc, log_scale, self.df(), len(self.shape))


class Laplace(LocationScale):
    """The likelihood of Laplace's law: (μ, log b) from the decoder for each cell.

        log p(x|z) = Σ_j −|x_j − μ_j(z)|/b_j(z) − log 2 b_j(z)

    `mean`, `scale`, `floor` (of b) and `constant` as in `LocationScale`. (Laplace 1774)

    >>> p = Laplace((1,))
    >>> round(p(p.initial()[None, None]).stddev.item(), 4)
    1.0
    """

    @classmethod
    def name(cls) -> str:
        """The family as messages call it."""
        return "laplace"

    def deviation(self) -> Tensor:
        """The standard deviation √2 of the law whose scale is 1, ()."""
        return torch.tensor(math.sqrt(2))

    def law(self, y: Tensor) -> distributions.Laplace:
        """Laplace's law of the decoder's y (K, B, features)."""
        loc, log_scale = self.in_units(*self.split(y))
        return distributions.Laplace(loc, log_scale, len(self.shape))
