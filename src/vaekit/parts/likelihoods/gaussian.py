"""Real numbers, normal around x̂."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from vaekit import distributions
from vaekit.data import Schema
from vaekit.maths import log1mexp, soft_clamp
from vaekit.parts.likelihoods.base import FARTHEST_SEEN, Likelihood, expanded, no_numbers

RELATIVE_FLOOR = (1e-6, 100.0)
"""a floor as a multiple of the data's standard deviation stays inside"""
LOG_SIGMA_MOST = 8.0
"""log(σ/s) stays below"""
LEAST_PART = 0.005
"""of the data's standard deviation, a floor where the decoder gives the scale of each cell: it could follow single rows
"""

Sigma = Literal["unit", "shared", "column", "cell"]


def finest(schema: Schema) -> np.ndarray:
    """The floor of a scale of cells, (*X): that of a column, r/√12, and at least .005 of the standard deviation."""
    return np.maximum(schema.array("resolution") / 12**0.5, LEAST_PART * schema.array("scale"))


def unclamped(y: Tensor, low: Tensor, high: float) -> Tensor:
    """The x that `soft_clamp(x, low, high)` makes y, where y is not nearer than .1 to an end: else that of .1.

    >>> x = unclamped(torch.tensor([-1.0, 0.5, 3.0]), torch.tensor(0.0), 2.0)
    >>> [round(v, 3) for v in soft_clamp(x, 0.0, 2.0).tolist()]
    [0.1, 0.5, 1.9]
    """
    inside = torch.minimum(torch.maximum(y, low + 0.1), torch.full_like(y, high - 0.1))
    return inside + log1mexp(inside - low) - log1mexp(high - inside)


class Gaussian(Likelihood):
    """The likelihood p(x|z) = N(x; x̂(z), σ²), x̂ = m + s ⊙ y: the decoder works in standardised units, the density in
    the data's.

    sigma="unit"     N(x; x̂, I), the textbook's: σ = 1 in the data's own units
    sigma="shared"   one learned σ for all features
    sigma="column"   a learned σ per feature
    sigma="cell"     σ of each cell from the decoder, which gives (x̂, log σ/s) per feature

    `mean` m and `scale` s, broadcast to X, are the data's; a learned σ starts near s (its root mean square where
    shared) and never falls below `floor` (its smallest where shared), smoothly: without one the likelihood is unbounded
    (Mattei & Frellsen 2018, arXiv:1802.04826). That of a cell is the decoder's (Kingma & Welling 2014, arXiv:1312.6114,
    appendix C.2), within the same bounds; on few rows it learns them by heart, and others cost squares of their
    distance in small σ: `StudentT`, `Laplace` and `LogisticMixture` do not (Takahashi et al., IJCAI 2018).

    Where `constant` is True, a feature has the value m and no σ of its own: all but 1e-9 of its probability is at m
    (`distributions.log_atom`), and a shared σ takes its start and its floor from the others. With sigma="unit" only its
    mean is m.

    >>> p = Gaussian((2,), sigma="unit")(torch.zeros(1, 1, 2))
    >>> round(p.log_prob(torch.zeros(1, 2)).item(), 4)
    -1.8379
    """

    centre: Tensor
    scale: Tensor
    constant: Tensor | None
    log_floor: Tensor
    """of σ/s; there is one where a σ is learned, as there is `raw`"""
    raw: nn.Parameter
    """log(σ/s) before it is bounded"""

    @classmethod
    def of(cls, schema: Schema, sigma: Sigma = "column") -> "Gaussian":
        """The family for data of a schema.

        A difference of one resolution r is the finest there is: rounding alone has the standard deviation r/√12. The σ
        of a cell is .005 of the column's standard deviation or more, too.
        """
        floor = schema.array("resolution") / 12**0.5
        if sigma == "cell":
            floor = finest(schema)
        return cls(
            schema.shape,
            sigma=sigma,
            mean=schema.shifted("mean"),
            scale=schema.array("scale"),
            floor=floor,
            constant=schema.array("constant"),
        )

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        """That the data are real numbers."""
        if schema.kind == "real":
            return "real numbers"
        return None

    @classmethod
    def misfit(cls, schema: Schema) -> str | None:
        """That the data is binarised, or holds codes."""
        return no_numbers(schema, "gaussian")

    def __init__(
        self,
        shape: Sequence[int],
        *,
        sigma: Sigma = "column",
        mean: ArrayLike = 0.0,
        scale: ArrayLike = 1.0,
        floor: ArrayLike = 1e-6,
        constant: ArrayLike = False,
    ) -> None:
        if sigma == "cell":
            self.per_feature = 2
        super().__init__(shape)
        scales = np.broadcast_to(np.asarray(scale), self.shape)
        floors = np.broadcast_to(np.asarray(floor), self.shape)
        constants = np.broadcast_to(np.asarray(constant), self.shape)
        varies = ~constants
        if constants.all():
            varies = np.ones_like(constants)
        if sigma in ("unit", "shared"):
            squares = np.square(scales[varies], dtype=np.float64)
            scales = np.broadcast_to(np.sqrt(squares.mean()), self.shape)
        self.sigma = sigma
        self.register_buffer("centre", expanded(mean, shape))
        self.register_buffer("scale", expanded(scales, shape))
        self.register_buffer("constant", torch.tensor(constants) if constants.any() else None)
        if sigma == "unit":
            return
        relative = floors / scales
        sizes = self.shape
        if sigma == "shared":
            relative = relative[varies].min()
            sizes = (1,) * len(self.shape)
        log_floor = np.log(np.clip(relative, *RELATIVE_FLOOR))
        self.register_buffer("log_floor", expanded(log_floor, sizes))
        if sigma == "cell":
            return
        self.raw = nn.Parameter(torch.zeros(sizes))

    def standardise(self, x: Tensor) -> Tensor:
        """The cells (x − m)/s, within ±30, (…, *X)."""
        return ((x - self.centre) / self.scale).clamp(-FARTHEST_SEEN, FARTHEST_SEEN)

    def initial(self) -> Tensor:
        """The decoder's initial output bias, (features,): x̂ at the mean, and the σ of a cell at the scale."""
        means = torch.zeros(self.codes)
        if self.sigma != "cell":
            return means
        return torch.cat([means, self._raw_of(torch.ones(self.codes))])

    def log_sigma(self) -> Tensor:
        """The logarithm of σ in the data's own units, broadcastable to X; not that of cells."""
        if self.sigma == "unit":
            return torch.zeros_like(self.scale)
        return self._log_sigma_of(self.raw)

    def _log_sigma_of(self, raw: Tensor) -> Tensor:
        """The logarithm of σ in the data's own units, of log(σ/s) before it is bounded."""
        return self.scale.log() + soft_clamp(raw, self.log_floor, LOG_SIGMA_MOST)

    def affine(self, centre: Tensor, loading: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The linear decoder, weight (features, D) and bias (features,), whose standardised x̂ is centre + loading z.

        A learned σ is set to `deviation`, as far as the floor allows, and that of a cell is everywhere as large.

        centre (U,), loading (U, D), deviation (U,): of the codes
        """
        if self.sigma == "cell":
            return torch.cat([loading, torch.zeros_like(loading)]), torch.cat([centre, self._raw_of(deviation)])
        if self.sigma != "unit":
            self._set_sigma(deviation)
        return loading, centre

    def _raw_of(self, relative: Tensor) -> Tensor:
        """The decoder's output for σ/s of each feature, (U,)."""
        return unclamped(relative.log(), self.log_floor.flatten().to(relative), LOG_SIGMA_MOST)

    @torch.no_grad()
    def _set_sigma(self, relative: Tensor) -> None:
        """Set a learned σ by σ/s of each feature, (U,)."""
        if self.sigma == "shared":
            if self.constant is not None:
                relative = relative[~self.constant.flatten()]
            relative = relative.square().mean().sqrt().expand(1)
        self.raw.copy_(relative.log().reshape(self.raw.shape))

    @property
    def sigmas(self) -> int:
        """How many σ are learned: those of constants mean nothing."""
        if self.sigma in ("unit", "cell"):
            return 0
        if self.sigma == "shared" or self.constant is None:
            return self.raw.numel()
        return int((~self.constant).sum())

    def at_floor(self) -> int:
        """How many of the learned σ stand within 5 % of their floor: their density is as sharp as the data allows."""
        if self.sigma in ("unit", "cell"):
            return 0
        above = soft_clamp(self.raw, self.log_floor, LOG_SIGMA_MOST) - self.log_floor
        low = above < math.log(1.05)
        if self.sigma == "column" and self.constant is not None:
            low = low & ~self.constant
        return int(low.sum())

    def forward(self, y: Tensor) -> distributions.Normal | distributions.WithAtoms:
        """The likelihood of the decoder's y (K, B, features): standardised means, and for cells log σ/s."""
        standardised, *raw = self.split(y)
        if self.constant is not None:
            standardised = torch.where(self.constant, 0.0, standardised)
        loc = self.centre + self.scale * standardised
        log_sigma = self._log_sigma_of(raw[0]) if raw else self.log_sigma()
        normal = distributions.Normal(loc, log_sigma, len(self.shape))
        if self.constant is None or self.sigma == "unit":
            return normal
        return distributions.WithAtoms(normal, self.constant, self.centre)
