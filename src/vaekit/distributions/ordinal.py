"""Ordered levels: a logistic variable, cut."""

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.distributions.categorical import is_code
from vaekit.distributions.factorised import Factorised
from vaekit.maths import log1mexp


class Ordinal(Factorised):
    """The cumulative logit model of codes x in {0, …, n − 1} that have an order: a logistic variable of location η and
    scale 1, cut at c_0 < c_1 < … < c_(n−2).

        P(x ≤ k) = σ(c_k − η),    P(x = k) = σ(c_k − η) − σ(c_(k−1) − η)

    With b = c_k − η and a = c_(k−1) − η it is evaluated as log σ(b) + log σ(−a) + log(1 − e^(a − b)), where b − a is
    the gap itself, so that it is stable for every η. A cell that is no code has log p = −∞. (McCullagh 1980, Regression
    models for ordinal data.)

    loc      (…, *X) η
    first    (*X) the first cutpoint c_0
    gaps     (*X, N − 2) positive: c_(k+1) = c_k + gap_k, N the most levels of a feature; where one has fewer, what is
             left over is not used
    sizes    (*X) the numbers of levels n

    >>> p = Ordinal(torch.zeros(1), torch.tensor([-1.0]), torch.tensor([[2.0]]), torch.tensor([3]))
    >>> [round(p.log_prob(torch.tensor([k])).exp().item(), 4) for k in (0.0, 1.0, 2.0)]
    [0.2689, 0.4621, 0.2689]
    """

    def __init__(self, loc: Tensor, first: Tensor, gaps: Tensor, sizes: Tensor) -> None:
        self.loc = loc
        self.sizes = sizes
        self.event_dims = sizes.dim()
        self.cuts = torch.cat([first.unsqueeze(-1), first.unsqueeze(-1) + gaps.cumsum(-1)], -1)
        """(*X, N − 1)"""
        self._upper = F.pad(self.cuts, (0, 1))  # of each level, (*X, N); nothing is above the last, nor below the first
        self._lower = F.pad(self.cuts, (1, 0))
        self._width = F.pad(gaps, (1, 1), value=1.0)
        self._codes = torch.arange(self.cuts.shape[-1] + 1, device=loc.device, dtype=loc.dtype)

    @property
    def probabilities(self) -> Tensor:
        """The probability of each level, (…, *X, N): 0 of those that a feature does not have."""
        log_p = self._log_p(
            self._codes, self.loc.unsqueeze(-1), self._upper, self._lower, self._width, self.sizes.unsqueeze(-1)
        )
        return log_p.exp()

    @property
    def mean(self) -> Tensor:
        """The most probable code, (…, *X)."""
        return self.estimate(self.averaged)

    @property
    def averaged(self) -> Tensor:
        """The probability of each level of each feature, (…, X · N)."""
        return self.probabilities.flatten(-self.event_dims - 1)

    def estimate(self, average: Tensor) -> Tensor:
        """The code of the greatest average probability, (…, *X)."""
        each = average.unflatten(-1, (*self.sizes.shape, -1))
        return each.argmax(-1).to(self.loc.dtype)

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) of codes from a given generator: how many cutpoints a logistic variable is above."""
        loc = self.loc
        u = torch.rand(*shape, *loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
        logistic = loc + torch.logit(u, eps=torch.finfo(u.dtype).eps)
        passed = (logistic.unsqueeze(-1) > self.cuts) & (self._codes[1:] < self.sizes.unsqueeze(-1))
        return passed.sum(-1).to(loc.dtype)

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-probability of each feature, (…, *X)."""
        chosen = x.unsqueeze(-1) == self._codes  # sums, whose gradient is the same number every time; no gathering

        def of_cell(of_level: Tensor) -> Tensor:
            return torch.where(chosen, of_level, torch.zeros_like(of_level)).sum(-1)

        width = torch.where(chosen.any(-1), of_cell(self._width), torch.ones_like(x))
        return self._log_p(x, self.loc, of_cell(self._upper), of_cell(self._lower), width, self.sizes)

    @staticmethod
    def _log_p(x: Tensor, loc: Tensor, upper: Tensor, lower: Tensor, width: Tensor, sizes: Tensor) -> Tensor:
        """The log-probability of codes x between cutpoints `lower` and `upper`, `width` apart."""
        has_lower = x > 0
        has_upper = x < sizes - 1
        nothing = torch.zeros((), dtype=loc.dtype, device=loc.device)
        below_upper = torch.where(has_upper, F.logsigmoid(upper - loc), nothing)
        above_lower = torch.where(has_lower, F.logsigmoid(loc - lower), nothing)
        between = torch.where(has_lower & has_upper, log1mexp(width), nothing)
        return (below_upper + above_lower + between).masked_fill(~is_code(x, sizes), -torch.inf)
