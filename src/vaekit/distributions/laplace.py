"""The Laplace distribution: two exponential tails."""

import math

import torch
from torch import Tensor

from vaekit.distributions.factorised import Factorised
from vaekit.maths import common_shape


class Laplace(Factorised):
    """The Laplace distribution of location μ and scale b, independent over the features.

        log p(x) = −|x − μ|/b − log 2b

    `loc` and `log_scale` broadcast against each other, (…, *X); the mean is μ, the standard deviation √2 b. (Laplace
    1774; its maximum likelihood is the least sum of absolute differences.)

    >>> p = Laplace(torch.zeros(2), torch.zeros(2))
    >>> round(p.log_prob(torch.tensor([0.0, 1.0])).item(), 4)   # −2 log 2 − 1
    -2.3863
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, event_dims: int = 1) -> None:
        self.loc = loc
        self.log_scale = log_scale
        self.event_dims = event_dims

    @property
    def shape(self) -> torch.Size:
        """Batch and event axes together."""
        return common_shape(self.loc, self.log_scale)

    @property
    def mean(self) -> Tensor:
        """The mean μ, (…, *X)."""
        return self.loc.expand(self.shape)

    @property
    def stddev(self) -> Tensor:
        """The standard deviation √2 b, (…, *X)."""
        return (math.sqrt(2) * self.log_scale.exp()).expand(self.shape)

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) from a given generator: a coin's sign, and an exponential distance by 1 − U in (0, 1]."""
        like = self.loc
        size = (2, *shape, *self.shape)
        coin, u = torch.rand(size, generator=generator, dtype=like.dtype, device=like.device)
        distance = -torch.log1p(-u)
        return self.loc + self.log_scale.exp() * torch.where(coin < 0.5, -distance, distance)

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-density of each feature, (…, *X)."""
        distance = (x - self.loc).abs() * (-self.log_scale).exp()
        return -distance - self.log_scale - math.log(2)
