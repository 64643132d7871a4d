"""The bound of an ensemble that its members climb."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vaekit.core import Batch, Bound, LatentModel, Objective, members


class EachMember(Objective):
    """The mean over the M members of an ensemble (`models.Ensemble`) of what an objective makes of each.

        value = (1/M) Σ_m value_m ≤ (1/M) Σ_m log p_m(x) ≤ log (1/M) Σ_m p_m(x)                      (Jensen)

    So it is a bound where theirs is one. Each member has noise of its own, and an objective of its own, whose weights
    (a critic's) are copies at first: no member's gradient depends on another. What they share are the batches, the
    length at which a gradient is cut, and the step at which training ends.
    """

    objectives: nn.ModuleList

    def __init__(self, objective: Objective, count: int) -> None:
        super().__init__()
        self.objectives = nn.ModuleList(copy.deepcopy(objective) for _ in range(count))
        self._tell()

    def _tell(self) -> None:
        """What is known of one is known of all."""
        first = self._first
        self.name = first.name
        self.samples = first.samples
        self.settled = first.settled
        self.bounded = first.bounded
        self.generative = first.generative
        self.whole = first.whole
        self.surrogate = first.surrogate

    @property
    def _first(self) -> Objective:
        return next(self._each())

    def _each(self) -> Iterator[Objective]:
        return iter(self.objectives)  # type: ignore[arg-type]  # all of them are

    def begin(self, steps: int) -> None:
        """Told how many steps training will take, before the first."""
        for objective in self._each():
            objective.begin(steps)
        self._tell()

    def noise(self, model: LatentModel, rows: int) -> tuple[tuple[int, int, int], ...]:
        """The shapes (K, B, E) of the standard normals that the members want, one member after another."""
        shapes: list[tuple[int, int, int]] = []
        for member, objective in zip(members(model), self._each(), strict=True):
            shapes += objective.noise(member, rows)
        return tuple(shapes)

    def parts(self, most: int) -> list[Objective]:
        """Those of the objective, over the members each."""
        parts = self._first.parts(most)
        if len(parts) == 1 and parts[0] is self._first:
            return [self]  # each with weights of its own
        return [EachMember(part, len(self.objectives)) for part in parts]

    def forward(self, model: LatentModel, batch: Batch, *noise: Tensor, step: int = 0) -> Bound:
        """The mean of the members' bounds of a batch."""
        count = len(noise) // len(self.objectives)
        bounds = []
        for i, (member, objective) in enumerate(zip(members(model), self._each(), strict=True)):
            its_noise = noise[i * count : (i + 1) * count]
            bounds.append(objective(member, batch, *its_noise, step=step))
        values = [bound.value for bound in bounds if bound.value is not None]
        loss = torch.stack([bound.loss for bound in bounds]).mean(0)
        terms = {name: torch.stack([bound.terms[name] for bound in bounds]).mean(0) for name in bounds[0].terms}
        return Bound(torch.stack(values).mean(0) if values else None, loss, terms)
