"""The negative binomial distribution, by the logarithms of its mean and its dispersion."""

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.distributions.factorised import Factorised
from vaekit.distributions.poisson import deviance, stirling_error
from vaekit.maths import LOG_2PI


class NegativeBinomial(Factorised):
    """The negative binomial distribution of counts x ∈ {0, 1, 2, …} with mean μ and variance μ + μ²/r: Poisson with a
    mean that is gamma-distributed with shape r.

        p(x) = Γ(x + r)/(Γ(r) x!) · (r/(r + μ))^r · (μ/(r + μ))^x

    With r → ∞ it is Poisson. The gammas are far larger than their quotient where x or r is large; so it is evaluated by
    what x and r deviate from their means, and by what Stirling's formula lacks (Loader 2000, Fast and accurate
    computation of binomial probabilities): with t = log((r + μ)/(r + x)), and δ and D as in `poisson.stirling_error`
    and `poisson.deviance`,

        log p(x) = δ(x + r) − δ(x) − δ(r) − D(r, t) − D(x, log(x/μ) + t) − ½ log(2πx (x + r)/r),   x ≥ 1
        log p(0) = −r log(1 + μ/r)

    log_mean          (…, *X) log μ
    log_dispersion    log r, broadcastable

    >>> p = NegativeBinomial(torch.tensor([2.0]).log(), torch.tensor([1.0]).log())   # geometric
    >>> [round(p.log_prob(torch.tensor([x])).exp().item(), 4) for x in (0.0, 1.0, 2.0)]
    [0.3333, 0.2222, 0.1481]
    """

    def __init__(self, log_mean: Tensor, log_dispersion: Tensor, event_dims: int = 1) -> None:
        self.log_mean = log_mean
        self.log_dispersion = log_dispersion
        self.event_dims = event_dims

    @property
    def mean(self) -> Tensor:
        """The mean μ, (…, *X)."""
        return self.log_mean.exp()

    @property
    def stddev(self) -> Tensor:
        """The standard deviation √(μ + μ²/r), (…, *X)."""
        return (0.5 * (self.log_mean + F.softplus(self.log_mean - self.log_dispersion))).exp()

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) of counts from a given generator: a gamma variable, and a count with that mean."""
        log_mean, log_dispersion = torch.broadcast_tensors(self.log_mean.detach(), self.log_dispersion.detach())
        dispersion = log_dispersion.exp().expand(*shape, *log_mean.shape)
        gamma = torch._standard_gamma(dispersion, generator=generator)
        return torch.poisson(gamma * (log_mean - log_dispersion).exp(), generator=generator)

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-probability of each feature, (…, *X)."""
        r = self.log_dispersion.exp()
        log_odds = self.log_mean - self.log_dispersion
        softplus = F.softplus(log_odds, threshold=40)  # log(1 + μ/r)
        some = x.clamp_min(1)
        more = torch.log1p(some / r)
        log_some = some.log()
        log_ratio = softplus - more
        deviances = deviance(r, log_ratio) + deviance(some, log_some - self.log_mean + log_ratio)
        errors = stirling_error(some + r) - stirling_error(some) - stirling_error(r)
        positive = errors - deviances - 0.5 * (LOG_2PI + log_some + more)
        return torch.where(x < 0.5, -r * softplus, positive)
