"""Which row, which column and which term a number that is not finite came from."""

from collections.abc import Callable

import torch
from torch import Tensor

from vaekit.core import Batch, Draw, LatentModel, Likelihood, members
from vaekit.data import Schema


@torch.no_grad()
def diagnosis(model: LatentModel, batch: Batch, noise: tuple[Tensor, ...], numbers: Tensor, schema: Schema) -> str:
    """A sentence on the batch that could not be learned from.

    noise      all ε of the step that failed, that of z first, where there is one
    numbers    (B,) of the batch's rows among the training rows
    """
    draw = _wrong_draw(model, batch, noise)
    distance = _distance(model.likelihood, batch.x)
    term, row = _first(_terms(draw))
    if row is None and distance is not None:
        row = int(distance.amax(1).argmax())
    if row is None:
        return f"It is {term}."
    place = f"It is {term}; look at training row {int(numbers[row])} (counted from 0)"
    if distance is None:
        return f"{place}."
    column = int(distance[row].argmax())
    value = batch.x[row].flatten()[column].item()
    return f"{place}, whose most extreme value is {value:g} in {schema.column(column)}."


def _wrong_draw(model: LatentModel, batch: Batch, noise: tuple[Tensor, ...]) -> Draw:
    """The draw of the step that failed; of an ensemble that of the first member in which something is not finite."""
    each = members(model)
    count = len(noise) // len(each)
    draws = []
    for i, member in enumerate(each):
        epsilon = noise[i * count] if count else batch.x.new_zeros(1, 0, 0)
        if epsilon.shape[-1] != member.noise:  # of an objective that draws no z
            epsilon = batch.x.new_zeros(1, len(batch.x), member.noise)
        draws.append(member.draw(batch, epsilon))
    wrong = [draw for draw in draws if not all(values.isfinite().all() for values in _terms(draw).values())]
    return (wrong or draws)[0]


def _terms(draw: Draw) -> dict[str, Tensor]:
    """What a loss is made of, (B,) each; a point has no rate."""
    terms = {"the rate": draw.rate} if draw.q.dense else {}
    return {**terms, "log p(x|z)": draw.log_px.sum(0)}


def _first(terms: dict[str, Tensor]) -> tuple[str, int | None]:
    """The first term (B,) that is not finite, and its first such row; where all are finite, the gradient is not."""
    for name, values in terms.items():
        wrong = (~values.isfinite()).nonzero()
        if len(wrong):
            return name, int(wrong[0])
    return "the gradient", None


def _distance(likelihood: Likelihood, x: Tensor) -> Tensor | None:
    """How far each cell of x is from the others of its column, (B, U); None where the likelihood has no `standardise`,
    which vaekit's have and the contract does not ask for."""
    standardise: Callable[[Tensor], Tensor] | None = getattr(likelihood, "standardise", None)
    if standardise is None:
        return None
    return standardise(x).flatten(1).abs()
