"""A mixture of logistic distributions per feature."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.distributions.factorised import Factorised


class LogisticMixture(Factorised):
    """A mixture of C logistic distributions for each feature, independent over the features.

        p(x) = Σ_c w_c · e^(−t_c) / (s_c (1 + e^(−t_c))²),    t_c = (x − μ_c)/s_c,    w = softmax(logits)

    logits, loc, log_scale    (…, C, *X), the components before the event: log w up to a constant, μ and log s

    (Salimans et al. 2017, arXiv:1701.05517, of which this is the form for real numbers.)

    >>> p = LogisticMixture(torch.zeros(2, 1), torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1))
    >>> round(p.log_prob(torch.zeros(1)).exp().item(), 4), p.mean.item()   # σ(1) (1 − σ(1))
    (0.1966, 0.0)
    """

    def __init__(self, logits: Tensor, loc: Tensor, log_scale: Tensor, event_dims: int = 1) -> None:
        self.logits = logits
        self.loc = loc
        self.log_scale = log_scale
        self.event_dims = event_dims
        self.axis = -1 - event_dims
        """that of the components"""

    @property
    def mean(self) -> Tensor:
        """The mean Σ_c w_c μ_c, (…, *X)."""
        return (self.logits.softmax(self.axis) * self.loc).sum(self.axis)

    @property
    def stddev(self) -> Tensor:
        """The standard deviation, (…, *X): what is within the components, (π s_c)²/3, and what is between them."""
        weights = self.logits.softmax(self.axis)
        within = (math.pi * self.log_scale.exp()).square() / 3
        between = (self.loc - self.mean.unsqueeze(self.axis)).square()
        return (weights * (within + between)).sum(self.axis).sqrt()

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) from a given generator: a component, and a value of that."""
        component = choose(self.logits, self.axis, generator, shape)
        loc = taken(self.loc, component, self.axis)
        u = torch.rand(loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
        scale = taken(self.log_scale, component, self.axis).exp()
        return loc + scale * torch.logit(u, eps=torch.finfo(u.dtype).eps)

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-density of each feature, (…, *X)."""
        log_weights = self.logits.log_softmax(self.axis)
        distance = ((x.unsqueeze(self.axis) - self.loc) * (-self.log_scale).exp()).abs()
        each = -distance - 2 * F.softplus(-distance) - self.log_scale
        return torch.logsumexp(log_weights + each, self.axis)


def choose(logits: Tensor, axis: int, generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    """Indices (*shape, …) of components, drawn with the probabilities softmax(logits) along `axis`."""
    ends = logits.softmax(axis).cumsum(axis)
    one = ends.select(axis, 0)
    u = torch.rand(*shape, *one.shape, generator=generator, dtype=logits.dtype, device=logits.device)
    index = (u.unsqueeze(axis) >= ends).sum(axis)
    return index.clamp_max(logits.shape[axis] - 1)  # the last end may be rounded to below 1


def taken(values: Tensor, index: Tensor, axis: int) -> Tensor:
    """Of values (…, C, *X) those of the components `index`, (*shape, …, *X)."""
    index = index.unsqueeze(axis)
    lead = index.shape[:axis]
    event = index.shape[index.dim() + axis + 1 :]
    wide = values.expand(*lead, values.shape[axis], *event)
    return wide.gather(axis, index).squeeze(axis)
