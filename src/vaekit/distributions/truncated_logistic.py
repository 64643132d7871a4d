"""The logistic distribution kept within the ends of a grid and rounded to it: a probability of integers."""

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.distributions.discretized_logistic import DiscretizedLogistic
from vaekit.maths import log1mexp

NEGLIGIBLE = 40.0
"""so many scales from its middle a logistic variable is exponential, to e⁻⁴⁰; nothing of it is twice as far"""
SHORT = 1e-4
"""between ends so few scales apart it is uniform, to 1e-4 of what is between them"""


class TruncatedLogistic(DiscretizedLogistic):
    """A logistic variable that is between the ends of a grid, rounded to that.

        P(x) = (σ(b) − σ(a)) / (σ(B) − σ(A)),    a, b = (x ∓ step/2 − μ)/s,    A = a(low),    B = b(high)

    A `DiscretizedLogistic` has at its ends what would be beyond them, as a pixel that is as bright as can be. Here
    nothing is: a column's least and greatest values have the probability that their neighbours have. Parameters and
    grid are as there, and so is the way in which both differences are evaluated.

    >>> grid = torch.arange(17.0)[:, None]
    >>> p = TruncatedLogistic(torch.tensor([-2.0]), torch.tensor([1.0]), 0.0, 16.0, 1.0)
    >>> round(p.log_prob(grid).exp().sum().item(), 5), round(p.log_prob(grid[0]).exp().item(), 3)
    (1.0, 0.221)
    """

    @property
    def mean(self) -> Tensor:
        """The mean of the variable before it is rounded, (…, *X), between the ends and within half a step of that of x.

        With F = σ its distribution function and the softplus ζ the integral of that,
        E[t | A < t < B] = B − (ζ(B) − ζ(A) − (B − A) σ(A)) / (σ(B) − σ(A)).
        """
        lower, upper, turned, shift = self._ends_below_middle()
        length = (upper - lower).clamp_min(SHORT)
        below = lower.sigmoid()
        area = F.softplus(upper, threshold=NEGLIGIBLE) - F.softplus(lower, threshold=NEGLIGIBLE) - length * below
        from_upper = area / (upper.sigmoid() - below).clamp_min(torch.finfo(area.dtype).tiny)
        from_upper = torch.where(upper - lower < SHORT, (upper - lower) / 2, from_upper)
        mean = self._in_units(upper - from_upper, turned, shift)
        return torch.minimum(torch.maximum(mean, self.low), self.high)

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) on the grid from a given generator, by the inverse of the distribution function."""
        loc = self.loc
        u = torch.rand(*shape, *loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
        lower, upper, turned, shift = self._ends_below_middle()
        below = lower.sigmoid()
        between = torch.logit(below + u.double() * (upper.sigmoid() - below))
        t = torch.minimum(torch.maximum(between, lower), upper)
        return self._rounded(self._in_units(t, turned, shift))

    def _within(self, x: Tensor) -> Tensor:
        """The log-probability of each feature on the grid alone, (…, *X)."""
        half = self.step / 2
        inverse = (-self.log_scale).exp()
        centred = x - self.loc
        here = _log_between((centred - half) * inverse, (centred + half) * inverse, self.step * inverse)
        lower, upper = self._ends(inverse)
        return here - _log_between(lower, upper, upper - lower)

    def _ends(self, inverse: Tensor) -> tuple[Tensor, Tensor]:
        """A and B, (…, *X): of an open grid as far away as anything is."""
        half = self.step / 2
        far = 2 * NEGLIGIBLE
        open_below = self.low.isneginf()
        open_above = self.high.isposinf()
        low = torch.where(open_below, torch.zeros_like(self.low), self.low)
        high = torch.where(open_above, torch.zeros_like(self.high), self.high)
        upper = (high + half - self.loc) * inverse
        beneath = torch.where(open_above, torch.zeros_like(upper), upper).clamp_max(0) - far
        lower = torch.where(open_below, beneath, (low - half - self.loc) * inverse)
        return lower, torch.where(open_above, lower.clamp_min(0) + far, upper)

    def _ends_below_middle(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A and B in double precision, such that σ loses nothing of them: which were turned round to −B and −A, since
        more of them was above 0; and by how much they were shifted, since both were where σ is exponential.
        """
        lower, upper = self._ends((-self.log_scale).exp())
        lower = lower.double()
        upper = upper.double()
        turned = lower + upper > 0
        below = torch.where(turned, -upper, lower)
        above = torch.where(turned, -lower, upper)
        shift = (-NEGLIGIBLE - above).clamp_min(0)
        return below + shift, above + shift, turned, shift

    def _in_units(self, t: Tensor, turned: Tensor, shift: Tensor) -> Tensor:
        """The variable (…, *X) in the data's units, of t as `_ends_below_middle` has it."""
        t = t - shift
        t = torch.where(turned, -t, t)
        return self.loc + self.log_scale.exp() * t.to(self.loc)


def _log_between(lower: Tensor, upper: Tensor, length: Tensor) -> Tensor:
    """The logarithm of σ(upper) − σ(lower), for upper − lower = length > 0."""
    return F.logsigmoid(upper) + F.logsigmoid(-lower) + log1mexp(length)
