"""The Poisson distribution, by the logarithm of its mean."""

import torch
from torch import Tensor

from vaekit.distributions.factorised import Factorised
from vaekit.maths import LOG_2PI

LARGE = 8.0
"""from here on Stirling's series is exact to rounding"""
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
"""its coefficients, of 1/y, 1/y³, …"""


class Poisson(Factorised):
    """The Poisson distribution of counts x ∈ {0, 1, 2, …} with mean μ, independent over the features.

        log p(x) = x log μ − μ − log x!

    For large counts its terms are far larger than their sum. There it is evaluated as

        log p(x) = −δ(x) − x (t + e^(−t) − 1) − ½ log(2πx),    t = log x − log μ,    δ as in `stirling_error`

    which in 32 bits is as exact as μ is (Loader 2000, Fast and accurate computation of binomial probabilities).

    log_mean    (…, *X) log μ

    >>> round(Poisson(torch.tensor([3.0]).log()).log_prob(torch.tensor([2.0])).exp().item(), 4)   # 9/2 e⁻³
    0.224
    """

    def __init__(self, log_mean: Tensor, event_dims: int = 1) -> None:
        self.log_mean = log_mean
        self.event_dims = event_dims

    @property
    def mean(self) -> Tensor:
        """The mean μ, (…, *X)."""
        return self.log_mean.exp()

    @property
    def stddev(self) -> Tensor:
        """The standard deviation √μ, (…, *X)."""
        return (0.5 * self.log_mean).exp()

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) of counts from a given generator."""
        mean = self.mean.detach()
        return torch.poisson(mean.expand(*shape, *mean.shape), generator=generator)

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-probability of each feature, (…, *X)."""
        is_large = x >= LARGE
        few = torch.where(is_large, torch.zeros_like(x), x)
        many = torch.where(is_large, x, torch.full_like(x, LARGE))
        direct = few * self.log_mean - self.mean - torch.lgamma(few + 1)
        loader = -stirling_error(many) - deviance(many, many.log() - self.log_mean) - 0.5 * (LOG_2PI + many.log())
        return torch.where(is_large, loader, direct)


def deviance(x: Tensor, log_ratio: Tensor) -> Tensor:
    """Half the deviance of a count x from the mean μ, x log(x/μ) + μ − x = x (t + e^(−t) − 1), by t = log(x/μ).

    >>> round(deviance(torch.tensor(10.0), torch.tensor(2.0).log()).item(), 4)   # μ = 5
    1.9315
    """
    return x * (log_ratio + torch.expm1(-log_ratio))


def stirling_error(y: Tensor) -> Tensor:
    """What Stirling's formula lacks of a factorial, δ(y) = log Γ(y + 1) − (y + ½) log y + y − ½ log 2π for y > 0.

    >>> round(stirling_error(torch.tensor(9.0)).item(), 6)   # about 1/(12 y)
    0.009255
    """
    is_large = y >= LARGE
    little = torch.where(is_large, torch.full_like(y, LARGE), y)
    large = torch.where(is_large, y, torch.full_like(y, LARGE))
    exact = torch.lgamma(little + 1) - (little + 0.5) * little.log() + little - 0.5 * LOG_2PI
    inverse = 1 / large
    square = inverse * inverse
    series = torch.full_like(y, STIRLING[-1])
    for coefficient in STIRLING[-2::-1]:
        series = coefficient + square * series
    return torch.where(is_large, series * inverse, exact)
