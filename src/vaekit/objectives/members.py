"""The bound of an ensemble that its members climb."""

from collections.abc import Iterable

import torch
from torch import Tensor

from vaekit.core import Batch, Bound, LatentModel, Objective


class EachMember(Objective):
    """The mean over the members of an ensemble (`models.Ensemble`) of what an objective makes of each.

        value = (1/M) Σ_m value_m ≤ (1/M) Σ_m log p_m(x) ≤ log (1/M) Σ_m p_m(x)                      (Jensen)

    So it is a bound where theirs is one, and no member's gradient depends on another's weights: they become as
    different as their first weights were. All take the same noise.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective
        self.name = objective.name
        self.samples = objective.samples
        self.settled = objective.settled
        self.surrogate = objective.surrogate

    def begin(self, steps: int) -> None:
        """Told how many steps training will take, before the first."""
        self.objective.begin(steps)
        self.settled = self.objective.settled
        self.surrogate = self.objective.surrogate

    def noise(self, model: LatentModel, rows: int) -> tuple[tuple[int, int, int], ...]:
        """The shapes (K, B, E) of the standard normals that a member wants."""
        return self.objective.noise(_members(model)[0], rows)

    def parts(self, most: int) -> list[Objective]:
        """Those of the objective, over the members each."""
        return [EachMember(part) for part in self.objective.parts(most)]

    def forward(self, model: LatentModel, batch: Batch, *noise: Tensor, step: int = 0) -> Bound:
        """The mean of the members' bounds of a batch."""
        bounds = [self.objective(member, batch, *noise, step=step) for member in _members(model)]
        values = [bound.value for bound in bounds if bound.value is not None]
        loss = torch.stack([bound.loss for bound in bounds]).mean(0)
        terms = {name: torch.stack([bound.terms[name] for bound in bounds]).mean(0) for name in bounds[0].terms}
        return Bound(torch.stack(values).mean(0) if values else None, loss, terms)


def _members(model: LatentModel) -> list[LatentModel]:
    assert isinstance(model, Iterable)  # whoever made the objective made an ensemble
    return list(model)
