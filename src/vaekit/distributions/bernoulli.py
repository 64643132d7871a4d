"""The Bernoulli distribution, by its logit."""

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.distributions.factorised import Factorised


class Bernoulli(Factorised):
    """The Bernoulli distribution p(x = 1) = x̂ = 1/(1 + e^(−l)), independent over the features.

        log p(x) = x log x̂ + (1 − x) log(1 − x̂) = x l − log(1 + e^l)

    The same expression at a grey x in [0, 1] is E_b[log p(b)] for b ~ Bernoulli(x): the *expected* log-likelihood of
    the binarised value, no density of x.

    >>> Bernoulli(torch.tensor([1e4])).log_prob(torch.tensor([1.0])).item()
    0.0
    """

    def __init__(self, logits: Tensor, event_dims: int = 1) -> None:
        self.logits = logits
        self.event_dims = event_dims

    @property
    def mean(self) -> Tensor:
        """The probability x̂ of a 1, (…, *X)."""
        return self.logits.sigmoid()

    @property
    def stddev(self) -> Tensor:
        """The standard deviation √(x̂ (1 − x̂)), (…, *X)."""
        return (self.logits.sigmoid() * (-self.logits).sigmoid()).sqrt()

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) of 0 and 1 from a given generator."""
        like = self.logits
        u = torch.rand(*shape, *like.shape, generator=generator, dtype=like.dtype, device=like.device)
        return (u < self.mean).to(like.dtype)

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-probability of each feature, x l − log(1 + e^l), (…, *X)."""
        nats = F.softplus(self.logits, threshold=40)  # the default, 20, is e⁻²⁰ off
        return (x * self.logits).sub_(nats)  # K · B · X numbers: one copy less of them is noticed
