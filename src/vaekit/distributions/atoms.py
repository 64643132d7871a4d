"""Point masses: features that have one value, beside features that have a density."""

import math

import torch
from torch import Tensor

from vaekit.distributions.factorised import Factorised

ELSEWHERE = 1e-9
"""the probability that a feature with an atom has another value than the atom's"""


def log_atom(x: Tensor, value: Tensor) -> Tensor:
    """log p(x) of a variable that is `value` c with probability 1 − ε, and with probability ε = 1e-9 is spread around
    it, Cauchy of scale s = max(|c|, 1):

        p(x) = (1 − ε) δ_c(x) + ε / (π s (1 + ((x − c)/s)²))

    a density with respect to the length of x plus a unit mass at c, where its logarithm is that of the mass. Elsewhere
    it is finite and below −20.

    >>> [round(v, 2) + 0.0 for v in log_atom(torch.tensor([250.0, 251.0]), torch.tensor(250.0)).tolist()]
    [0.0, -27.39]
    """
    scale = value.abs().clamp_min(1)
    distance = torch.hypot(torch.ones_like(x), (x - value) / scale)  # squares would overflow
    elsewhere = math.log(ELSEWHERE / math.pi) - scale.log() - 2 * distance.log()
    return torch.where(x == value, math.log1p(-ELSEWHERE), elsewhere)


class WithAtoms(Factorised):
    """`inner`, but features where `where` is True have an atom at `value`: see `log_atom`. `mean` and `sample` give the
    atom itself; no gradient goes through those features.

    where, value    broadcastable to the event, (*X)

    >>> from vaekit.distributions import Normal
    >>> p = WithAtoms(Normal(torch.zeros(2), torch.zeros(2)), torch.tensor([False, True]), torch.tensor([0.0, 7.0]))
    >>> p.mean.tolist(), round(p.log_prob(torch.tensor([0.0, 7.0])).item(), 4)   # that of the normal alone, −½ log 2π
    ([0.0, 7.0], -0.9189)
    """

    def __init__(self, inner: Factorised, where: Tensor, value: Tensor):
        self.inner, self.where, self.value = inner, where, value
        self.event_dims = inner.event_dims

    @property
    def mean(self) -> Tensor:
        return torch.where(self.where, self.value, self.inner.mean)

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) from a given generator."""
        return torch.where(self.where, self.value, self.inner.sample(generator, shape))

    def log_prob_each(self, x: Tensor) -> Tensor:
        inside = torch.where(self.where, self.value, x)  # what is far from an atom must not overflow in the inner one
        return torch.where(self.where, log_atom(x, self.value), self.inner.log_prob_each(inside))
