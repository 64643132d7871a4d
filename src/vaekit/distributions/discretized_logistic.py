"""The logistic distribution rounded to a grid: a probability of integers."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.distributions.factorised import Factorised
from vaekit.maths import log1mexp


class DiscretizedLogistic(Factorised):
    """A logistic variable of location μ and scale s, rounded to the grid low, low + step, …, high (Kingma et al. 2016,
    arXiv:1606.04934; Salimans et al. 2017, arXiv:1701.05517).

        P(x) = σ((x + step/2 − μ)/s) − σ((x − step/2 − μ)/s),    the two ends of the grid taking the tails

    so that Σ_x P(x) = 1 exactly. With b, a the two arguments it is evaluated as
    log σ(b) + log σ(−a) + log(1 − e^(a − b)), which is stable for every μ and s. `low`, `high` and `step` broadcast
    against the features; the grid may have no end above (high = ∞), or none at all (low = −∞ too).

    With `beyond` = ε the values outside the grid are not impossible: k steps from its end P = ε/(2 k (k + 1)), and
    within it P is 1 − ε of the above. Such values are surprising, whatever the parameters are, and none is drawn.

    >>> grid = torch.arange(17.0)[:, None]
    >>> p = DiscretizedLogistic(torch.tensor([3.2]), torch.tensor([0.1]), 0.0, 16.0, 1.0)
    >>> round(p.log_prob(grid).exp().sum().item(), 5)
    1.0
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, low, high, step, event_dims: int = 1, beyond: float = 0.0):
        self.loc, self.log_scale, self.event_dims, self.beyond = loc, log_scale, event_dims, beyond
        self.low, self.high, self.step = (
            torch.as_tensor(v, dtype=loc.dtype, device=loc.device) for v in (low, high, step)
        )

    @property
    def mean(self) -> Tensor:
        """E[x] of the logistic clipped to [low, high]: within half a step of the rounded variable's mean, and within
        step²/(90 s) of it where s is a step or more."""
        scale, open_below = self.log_scale.exp(), self.low.isneginf()
        low = torch.where(open_below, torch.zeros_like(self.low), self.low)
        above = F.softplus((self.loc - low) / scale) - F.softplus((self.loc - self.high) / scale)
        return torch.where(open_below, self.loc, low + scale * above)

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) on the grid from a given generator."""
        loc = self.loc
        u = torch.rand(*shape, *loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
        logistic = self.loc + self.log_scale.exp() * torch.logit(u, eps=torch.finfo(u.dtype).eps)
        origin = torch.where(self.low.isneginf(), torch.zeros_like(self.low), self.low)
        index = ((logistic - origin) / self.step).round()
        return torch.minimum(torch.maximum(origin + index * self.step, self.low), self.high)

    def log_prob_each(self, x: Tensor) -> Tensor:
        within = self._within(x)
        if not self.beyond:
            return within
        steps = torch.maximum(self.low - x, x - self.high) / self.step
        outside = steps > 0.5
        far = torch.where(outside, steps, torch.ones_like(steps))
        surprising = math.log(self.beyond / 2) - far.log() - far.log1p()
        return torch.where(outside, surprising, within + math.log1p(-self.beyond))

    def _within(self, x: Tensor) -> Tensor:
        """log P(x) of the bounded grid, each feature"""
        half, inverse = self.step / 2, (-self.log_scale).exp()
        centred = x - self.loc
        below_upper = F.logsigmoid((centred + half) * inverse)
        above_lower = F.logsigmoid((half - centred) * inverse)
        width = log1mexp(self.step * inverse)
        inside = (x > self.low) & (x < self.high)
        single = self.low == self.high  # one value only: it has probability 1
        ends = torch.where(x > self.low, above_lower, below_upper)
        return torch.where(inside, below_upper + above_lower + width, torch.where(single, 0.0 * ends, ends))
