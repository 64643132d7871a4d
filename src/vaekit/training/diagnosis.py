"""Which row, which column and which term a number that is not finite came from."""

from collections.abc import Callable

import torch
from torch import Tensor

from vaekit.core import Batch, LatentModel, Likelihood
from vaekit.data import Schema


@torch.no_grad()
def diagnosis(model: LatentModel, batch: Batch, noise: tuple[Tensor, ...], numbers: Tensor, schema: Schema) -> str:
    """A sentence on the batch that could not be learned from.

    noise      all ε of the step that failed, that of z first
    numbers    (B,) of the batch's rows among the training rows
    """
    first = noise[0] if noise else batch.x.new_zeros(1, len(batch.x), model.noise)
    draw = model.draw(batch, first)
    distance = _distance(model.likelihood, batch.x)
    term, row = _first({"the rate": draw.rate, "log p(x|z)": draw.log_px.sum(0)})
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
