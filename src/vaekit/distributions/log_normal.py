"""The log-normal distribution: positive numbers whose logarithm is normal."""

import torch
from torch import Tensor

from vaekit.distributions.factorised import Factorised
from vaekit.distributions.normal import Normal


class LogNormal(Factorised):
    """Positive numbers x whose logarithm is N(μ, σ²), independent over the features.

        log p(x) = log N(log x; μ, σ²) − log x,    and −∞ where x ≤ 0

    `loc` μ and `log_scale` log σ are of log x, and broadcast against each other, (…, *X); the mean is exp(μ + σ²/2).
    (Galton 1879; Aitchison & Brown 1957.) Draws and means beyond the numbers of their type are its least and its
    greatest.

    >>> p = LogNormal(torch.zeros(1), torch.zeros(1))
    >>> round(p.log_prob(torch.ones(1)).item(), 4), round(p.mean.item(), 4)   # −½ log 2π, √e
    (-0.9189, 1.6487)
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, event_dims: int = 1) -> None:
        self.logarithm = Normal(loc, log_scale, event_dims)
        self.event_dims = event_dims

    @property
    def mean(self) -> Tensor:
        """The mean exp(μ + σ²/2), (…, *X)."""
        return _exp(self.logarithm.mean + self.logarithm.stddev.square() / 2)

    @property
    def stddev(self) -> Tensor:
        """The standard deviation, (…, *X): the mean times √(exp(σ²) − 1)."""
        return self.mean * torch.expm1(self.logarithm.stddev.square()).sqrt()

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) from a given generator."""
        return _exp(self.logarithm.sample(generator, shape))

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-density of each feature, (…, *X)."""
        positive = x > 0
        log_x = torch.where(positive, x, torch.ones_like(x)).log()  # where() must not hide a log of 0
        return torch.where(positive, self.logarithm.log_prob_each(log_x) - log_x, -torch.inf)


def _exp(x: Tensor) -> Tensor:
    """The exponential as a positive number of x's type."""
    limits = torch.finfo(x.dtype)
    return x.exp().clamp(limits.tiny, limits.max)
