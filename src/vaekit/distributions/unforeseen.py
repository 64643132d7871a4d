"""A distribution of what was foreseen, and beside it a little of anything else."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vaekit.distributions.factorised import Factorised
from vaekit.maths import log_cauchy


class Unforeseen(Factorised):
    """The distribution `inner`, but for the values that it does not support there is a small probability ε.

        p(x) = (1 − ε) p_inner(x),    and of what that does not support    p(x) = (ε/2) / (π s (1 + ((x − m)/s)²))

    Columns are taken for counts, truths or positive numbers by the rows that a model was fitted to, and other rows may
    have a 2 among truths, half a count, or a 0 among positive numbers. Such a value is surprising, and none is drawn.
    It is a density with respect to lengths and to counts of whole numbers together, whose total is at most 1 where
    s ≥ 1 for whole numbers: half of ε is for whole ones, and half for others. No gradient goes through it.

    supports      x (…, *X) ↦ bool, which of its cells `inner` is for; 1 it has to take
    loc, scale    m and s, (*X)

    >>> from vaekit.distributions import Bernoulli
    >>> p = Unforeseen(Bernoulli(torch.zeros(1)), lambda x: (x == 0) | (x == 1), torch.tensor(0.5), torch.tensor(1.0))
    >>> [round(v, 4) for v in p.log_prob(torch.tensor([[1.0], [2.0], [0.5]])).tolist()]
    [-0.6932, -12.2269, -11.0482]
    """

    def __init__(
        self,
        inner: Factorised,
        supports: Callable[[Tensor], Tensor],
        loc: Tensor,
        scale: Tensor,
        probability: float = 1e-4,
    ) -> None:
        self.inner = inner
        self.supports = supports
        self.loc = loc
        self.scale = scale
        self.probability = probability
        self.event_dims = inner.event_dims

    @property
    def mean(self) -> Tensor:
        """The mean of `inner`, (…, *X)."""
        return self.inner.mean

    @property
    def averaged(self) -> Tensor:
        """What `inner` averages, (…, V)."""
        return self.inner.averaged

    def estimate(self, average: Tensor) -> Tensor:
        """The estimate of `inner`, (…, *X)."""
        return self.inner.estimate(average)

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) of `inner` from a given generator."""
        return self.inner.sample(generator, shape)

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-density of each feature, (…, *X)."""
        foreseen = self.supports(x)
        inside = torch.where(foreseen, x, torch.ones_like(x))
        outside = math.log(self.probability / 2) + log_cauchy(x, self.loc, self.scale)
        return torch.where(foreseen, self.inner.log_prob_each(inside) + math.log1p(-self.probability), outside)
