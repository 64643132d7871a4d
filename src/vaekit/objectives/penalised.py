"""Whatever is descended, with penalties."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from vaekit.core import Batch, Bound, Draw, LatentModel, Objective, Penalty


class Penalised(Objective):
    """An objective with penalties, which are paid in its loss alone.

        loss  = loss of the objective + Σ weight · penalty
        value = that of the objective, to the bit

    objective    any: a bound, or none
    penalties    what is paid, with a weight each (`core.Penalty`)

    >>> from vaekit.objectives import ELBO, MMD
    >>> Penalised(ELBO(), [MMD(weight=10.0)]).surrogate
    '−elbo + 10 · mmd'
    """

    penalties: nn.ModuleList

    def __init__(self, objective: Objective, penalties: Sequence[Penalty]) -> None:
        super().__init__()
        self.objective = objective
        self.penalties = nn.ModuleList(penalties)
        self._tell()

    def _tell(self) -> None:
        """What is known of the objective is known of it."""
        self.name = self.objective.name
        self.samples = self.objective.samples
        self.settled = self.objective.settled
        self.bounded = self.objective.bounded
        self.whole = self.objective.whole or any(penalty.whole for penalty in self._each())
        self.generative = self.objective.generative or any(penalty.generative for penalty in self._each())
        paid = [f"{penalty.weight:g} · {penalty.name or type(penalty).__name__}" for penalty in self._each()]
        self.surrogate = " + ".join([self.objective.surrogate or f"−{self.name}", *paid])

    def _each(self) -> Iterator[Penalty]:
        return iter(self.penalties)  # type: ignore[arg-type]  # all of them are

    def begin(self, steps: int) -> None:
        """Told how many steps training will take, before the first."""
        self.objective.begin(steps)
        self._tell()

    def noise(self, model: LatentModel, rows: int) -> tuple[tuple[int, int, int], ...]:
        """The shapes (K, B, E) that the objective wants, and then those that each penalty wants."""
        shapes = self.objective.noise(model, rows)
        for penalty in self._each():
            shapes += penalty.noise(model, rows)
        return shapes

    def parts(self, most: int) -> list[Objective]:
        """Those of a bound, whose value knows no penalty; else itself, for it is the loss that is selected on."""
        if self.bounded:
            return self.objective.parts(most)
        return [self]

    def forward(self, model: LatentModel, batch: Batch, *noise: Tensor, step: int = 0) -> Bound:
        """The objective's bound of a batch, its loss with the penalties."""
        rows = len(batch.x)
        count = len(self.objective.noise(model, rows))
        bound = self.objective(model, batch, *noise[:count], step=step)
        draw = bound.draw
        if draw is None:
            draw = _drawn(model, batch, noise[:count])
        loss = bound.loss
        for penalty in self._each():
            wanted = len(penalty.noise(model, rows))
            loss = loss + penalty.weight * penalty(model, draw, *noise[count : count + wanted])
            count += wanted
        return bound._replace(loss=loss, draw=draw)


def _drawn(model: LatentModel, batch: Batch, noise: tuple[Tensor, ...]) -> Draw:
    """The draw of an objective that does not tell its own: by its first ε, or where that is not one of z, by 0."""
    if noise and noise[0].shape[-1] == model.noise:
        return model.draw(batch, noise[0])
    return model.draw(batch, torch.zeros(1, len(batch.x), model.noise, dtype=batch.x.dtype, device=batch.x.device))
