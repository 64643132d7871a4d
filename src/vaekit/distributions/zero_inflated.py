"""Counts with more zeros than their law has."""

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.distributions.factorised import Factorised


class ZeroInflated(Factorised):
    """The distribution `inner` of counts, or with probability π = σ(l) a zero, independently for each feature.

        p(0) = π + (1 − π) p_inner(0),    p(x) = (1 − π) p_inner(x),   x ≥ 1

    (Lambert 1992, Zero-inflated Poisson regression; with a negative binomial in scVI, Lopez et al. 2018.)

    logits    (…, *X) l, of the zeros that are added

    >>> from vaekit.distributions import Poisson
    >>> p = ZeroInflated(Poisson(torch.zeros(1)), torch.zeros(1))
    >>> round(p.log_prob(torch.zeros(1)).exp().item(), 4), p.mean.item()   # ½ + ½ e⁻¹
    (0.6839, 0.5)
    """

    def __init__(self, inner: Factorised, logits: Tensor) -> None:
        self.inner = inner
        self.logits = logits
        self.event_dims = inner.event_dims

    @property
    def mean(self) -> Tensor:
        """The mean (1 − π) μ, (…, *X)."""
        return (-self.logits).sigmoid() * self.inner.mean

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) of counts from a given generator."""
        drawn = self.inner.sample(generator, shape)
        u = torch.rand(drawn.shape, generator=generator, dtype=drawn.dtype, device=drawn.device)
        return torch.where(u < self.logits.sigmoid(), torch.zeros_like(drawn), drawn)

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-probability of each feature, (…, *X)."""
        kept = F.logsigmoid(-self.logits) + self.inner.log_prob_each(x)
        zero = torch.logaddexp(F.logsigmoid(self.logits), kept)
        return torch.where(x < 0.5, zero, kept)
