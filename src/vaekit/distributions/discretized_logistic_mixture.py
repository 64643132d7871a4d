"""Point masses and a mixture of rounded logistic variables: a probability of integers."""

import torch
from torch import Tensor

from vaekit.distributions.logistic_mixture import choose, taken
from vaekit.distributions.truncated_logistic import TruncatedLogistic


class DiscretizedLogisticMixture(TruncatedLogistic):
    """A probability of integers: A repeated values, and C logistic variables rounded to a grid and kept within it.

        P(x) = Σ_a w_a [x = v_a] + Σ_c w_c P_c(x),    w = softmax(logits),    P_c a `TruncatedLogistic`

    logits            (…, A + C, *X), the atoms' first
    loc, log_scale    (…, C, *X), μ and log s of the components
    atoms             (A, *X), the values v, on the grid; NaN, of no weight, where a feature has fewer. None: A = 0

    `low`, `high`, `step` and `beyond` as there; values beyond have their probability whatever the weights are.
    (Salimans et al. 2017, arXiv:1701.05517; the atoms are zero-inflation at any value: Lambert 1992,
    doi:10.2307/1269547.)

    >>> grid = torch.arange(100.0)[:, None]
    >>> loc = torch.tensor([[20.0], [60.0]])
    >>> p = DiscretizedLogisticMixture(torch.zeros(3, 1), loc, 0 * loc, 0.0, 99.0, 1.0, atoms=torch.tensor([[40.0]]))
    >>> round(p.log_prob(grid).exp().sum().item(), 4), round(p.log_prob(grid[40]).exp().item(), 4)
    (1.0, 0.3333)
    """

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        log_scale: Tensor,
        low: Tensor | float,
        high: Tensor | float,
        step: Tensor | float,
        event_dims: int = 1,
        beyond: float = 0.0,
        atoms: Tensor | None = None,
    ) -> None:
        super().__init__(loc, log_scale, low, high, step, event_dims, beyond)
        self.axis = -1 - event_dims
        """that of the components"""
        if atoms is not None:
            none = atoms.isnan()
            many = len(atoms)
            weighed = logits.narrow(self.axis, 0, many).masked_fill(none, -torch.inf)
            rest = logits.narrow(self.axis, many, logits.shape[self.axis] - many)
            logits = torch.cat([weighed, rest], self.axis)
            atoms = torch.where(none, torch.zeros_like(atoms), atoms)
        self.logits = logits
        self.atoms = atoms

    @property
    def mean(self) -> Tensor:
        """The mean, (…, *X), within half a step."""
        means = super().mean
        if self.atoms is not None:
            means = torch.cat([self.atoms.expand(*means.shape[: self.axis], *self.atoms.shape), means], self.axis)
        return (self.logits.softmax(self.axis) * means).sum(self.axis)

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) from a given generator: an atom or a component, and a value of that."""
        index = choose(self.logits, self.axis, generator, shape)
        many = 0 if self.atoms is None else len(self.atoms)
        component = (index - many).clamp_min(0)
        loc = taken(self.loc, component, self.axis)
        log_scale = taken(self.log_scale, component, self.axis)
        drawn = TruncatedLogistic(loc, log_scale, self.low, self.high, self.step, self.event_dims).sample(generator)
        if self.atoms is None:
            return drawn
        repeated = taken(self.atoms, index.clamp_max(many - 1), self.axis)
        return torch.where(index < many, repeated, drawn)

    def _within(self, x: Tensor) -> Tensor:
        """The log-probability of each feature on the grid alone, (…, *X)."""
        cell = x.unsqueeze(self.axis)
        each = super()._within(cell)
        if self.atoms is not None:
            here = (cell - self.atoms).abs() < self.step / 2
            masses = torch.where(here, 0.0, -torch.inf).to(each)
            each = torch.cat([masses.expand(*each.shape[: self.axis], *masses.shape[self.axis :]), each], self.axis)
        return torch.logsumexp(self.logits.log_softmax(self.axis) + each, self.axis)
