"""The logistic distribution rounded to a grid: a probability of integers."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.distributions.factorised import Factorised
from vaekit.maths import log1mexp


class DiscretizedLogistic(Factorised):
    """A logistic variable of location μ and scale s, rounded to the grid low, low + step, …, high.

        P(x) = σ((x + step/2 − μ)/s) − σ((x − step/2 − μ)/s),    the two ends of the grid taking the tails

    so that Σ_x P(x) = 1 exactly. With b, a the two arguments it is evaluated as
    log σ(b) + log σ(−a) + log(1 − e^(a − b)), which is stable for every μ and s. `low`, `high` and `step` broadcast
    against the features; the grid may have no end above (high = ∞), or none at all (low = −∞ too). (Kingma et al. 2016,
    arXiv:1606.04934; Salimans et al. 2017, arXiv:1701.05517.)

    With `beyond` = ε the values outside the grid are not impossible: k steps from its end P = ε/(2 k (k + 1)), and
    within it P is 1 − ε of the above. Such values are surprising, whatever the parameters are, and none is drawn.

    >>> grid = torch.arange(17.0)[:, None]
    >>> p = DiscretizedLogistic(torch.tensor([3.2]), torch.tensor([0.1]), 0.0, 16.0, 1.0)
    >>> round(p.log_prob(grid).exp().sum().item(), 5)
    1.0
    """

    def __init__(
        self,
        loc: Tensor,
        log_scale: Tensor,
        low: Tensor | float,
        high: Tensor | float,
        step: Tensor | float,
        event_dims: int = 1,
        beyond: float = 0.0,
    ) -> None:
        self.loc = loc
        self.log_scale = log_scale
        self.event_dims = event_dims
        self.beyond = beyond
        self.low = self._like_loc(low)
        self.high = self._like_loc(high)
        self.step = self._like_loc(step)

    def _like_loc(self, number: Tensor | float) -> Tensor:
        return torch.as_tensor(number, dtype=self.loc.dtype, device=self.loc.device)

    @property
    def mean(self) -> Tensor:
        """The mean E[x] of the logistic clipped to [low, high], (…, *X).

        It is within half a step of the rounded variable's mean, and within step²/(90 s) of it where s is a step or
        more.
        """
        scale = self.log_scale.exp()
        open_below = self.low.isneginf()
        low = torch.where(open_below, torch.zeros_like(self.low), self.low)
        from_low = F.softplus((self.loc - low) / scale)
        from_high = F.softplus((self.loc - self.high) / scale)
        return torch.where(open_below, self.loc, low + scale * (from_low - from_high))

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) on the grid from a given generator."""
        loc = self.loc
        u = torch.rand(*shape, *loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
        return self._rounded(self.loc + self.log_scale.exp() * torch.logit(u, eps=torch.finfo(u.dtype).eps))

    def _rounded(self, x: Tensor) -> Tensor:
        """The values x (…, *X) on the grid, those beyond its ends at these."""
        origin = torch.where(self.low.isneginf(), torch.zeros_like(self.low), self.low)
        index = ((x - origin) / self.step).round()
        rounded = origin + index * self.step
        return torch.minimum(torch.maximum(rounded, self.low), self.high)

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-probability of each feature, (…, *X)."""
        within = self._within(x)
        if not self.beyond:
            return within
        steps = torch.maximum(self.low - x, x - self.high) / self.step
        outside = steps > 0.5
        far = torch.where(outside, steps, torch.ones_like(steps))
        surprising = math.log(self.beyond / 2) - far.log() - far.log1p()
        return torch.where(outside, surprising, within + math.log1p(-self.beyond))

    def _within(self, x: Tensor) -> Tensor:
        """The log-probability of each feature on the grid alone, (…, *X)."""
        half = self.step / 2
        inverse = (-self.log_scale).exp()
        centred = x - self.loc
        below_upper = F.logsigmoid((centred + half) * inverse)
        above_lower = F.logsigmoid((half - centred) * inverse)
        width = log1mexp(self.step * inverse)
        inside = (x > self.low) & (x < self.high)
        single = self.low == self.high  # one value only: it has probability 1
        ends = torch.where(x > self.low, above_lower, below_upper)
        at_ends = torch.where(single, 0.0 * ends, ends)
        return torch.where(inside, below_upper + above_lower + width, at_ends)
