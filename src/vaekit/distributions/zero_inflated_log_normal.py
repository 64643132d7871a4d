"""Amounts: nothing, or log-normal."""

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.distributions.factorised import Factorised
from vaekit.maths import LOG_2PI


class ZeroInflatedLogNormal(Factorised):
    """An amount x ≥ 0 that is 0 with probability 1 − π, and otherwise log-normal; π = σ(l).

        p(0) = 1 − π,    p(x) = π N(log x; μ, σ²)/x,   x > 0

    This is a density with respect to the length of x plus a unit mass at 0, where its logarithm is that of the mass.
    (The delta-lognormal distribution, Aitchison 1955; a hurdle model, Mullahy 1986.)

    logits            (…, *X) l, of an amount that is not 0
    loc, log_scale    (…, *X) μ and log σ

    >>> p = ZeroInflatedLogNormal(torch.zeros(1), torch.zeros(1), torch.zeros(1))
    >>> [round(p.log_prob(torch.tensor([x])).exp().item(), 4) for x in (0.0, 1.0)]   # ½, and ½ (2π)^(−½)
    [0.5, 0.1995]
    """

    def __init__(self, logits: Tensor, loc: Tensor, log_scale: Tensor, event_dims: int = 1) -> None:
        self.logits = logits
        self.loc = loc
        self.log_scale = log_scale
        self.event_dims = event_dims

    @property
    def mean(self) -> Tensor:
        """The mean π exp(μ + σ²/2), (…, *X)."""
        return (F.logsigmoid(self.logits) + self.loc + 0.5 * (2 * self.log_scale).exp()).exp()

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) from a given generator."""
        loc, log_scale, logits = torch.broadcast_tensors(self.loc, self.log_scale, self.logits)
        noise = torch.randn(*shape, *loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
        u = torch.rand(*shape, *loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
        amount = (loc + log_scale.exp() * noise).exp()
        return torch.where(u < logits.sigmoid(), amount, torch.zeros_like(amount))

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-density of each feature, (…, *X)."""
        is_zero = x <= 0
        log_x = torch.where(is_zero, torch.ones_like(x), x).log()
        standardised = (log_x - self.loc) * (-self.log_scale).exp()
        log_normal = -0.5 * (standardised.square() + LOG_2PI) - self.log_scale - log_x
        positive = F.logsigmoid(self.logits) + log_normal
        return torch.where(is_zero, F.logsigmoid(-self.logits), positive)
