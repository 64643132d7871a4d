"""Point masses: features that have one value, beside features that have a density."""

import math

import torch
from torch import Tensor

from vaekit.distributions.factorised import Factorised
from vaekit.maths import log_cauchy

ELSEWHERE = 1e-9
"""the probability that a feature with an atom has another value than the atom's"""


def log_atom(x: Tensor, value: Tensor) -> Tensor:
    """The log-density of a variable that is nearly always `value` c.

    With probability 1 − ε it is c, and with probability ε = 1e-9 it is spread around it, Cauchy of scale
    s = max(|c|, 1):

        p(x) = (1 − ε) δ_c(x) + ε / (π s (1 + ((x − c)/s)²))

    This is a density with respect to the length of x plus a unit mass at c, where its logarithm is that of the mass.
    Elsewhere it is finite and below −20.

    >>> [round(v, 2) + 0.0 for v in log_atom(torch.tensor([250.0, 251.0]), torch.tensor(250.0)).tolist()]
    [0.0, -27.39]
    """
    elsewhere = math.log(ELSEWHERE) + log_cauchy(x, value, value.abs().clamp_min(1))
    return torch.where(x == value, math.log1p(-ELSEWHERE), elsewhere)


class WithAtoms(Factorised):
    """The distribution `inner`, but features where `where` is True have an atom at `value`: see `log_atom`. `mean` and
    `sample` give the atom itself; no gradient goes through those features.

    where, value    broadcastable to the event, (*X)

    >>> from vaekit.distributions import Normal
    >>> p = WithAtoms(Normal(torch.zeros(2), torch.zeros(2)), torch.tensor([False, True]), torch.tensor([0.0, 7.0]))
    >>> p.mean.tolist(), round(p.log_prob(torch.tensor([0.0, 7.0])).item(), 4)   # that of the normal alone, −½ log 2π
    ([0.0, 7.0], -0.9189)
    """

    def __init__(self, inner: Factorised, where: Tensor, value: Tensor) -> None:
        self.inner = inner
        self.where = where
        self.value = value
        self.event_dims = inner.event_dims

    @property
    def mean(self) -> Tensor:
        """The atom where there is one, and else the mean of `inner`, (…, *X)."""
        return torch.where(self.where, self.value, self.inner.mean)

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) from a given generator."""
        drawn = self.inner.sample(generator, shape)
        return torch.where(self.where, self.value, drawn)

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-density of each feature, (…, *X): that of the atom, or that of `inner`."""
        at_atom = log_atom(x, self.value)
        inside = torch.where(self.where, self.value, x)  # what is far from an atom must not overflow in the inner one
        return torch.where(self.where, at_atom, self.inner.log_prob_each(inside))
