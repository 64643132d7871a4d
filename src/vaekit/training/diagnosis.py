"""Which row, which column and which term a number that is not finite came from."""

import torch
from torch import Tensor

from vaekit.core import Batch, LatentModel
from vaekit.data import Schema


@torch.no_grad()
def diagnosis(model: LatentModel, batch: Batch, noise: tuple[Tensor, ...], numbers: Tensor, schema: Schema) -> str:
    """A sentence on the batch that could not be learned from.

    noise      all ε of the step that failed, that of z first
    numbers    (B,) of the batch's rows among the training rows
    """
    first = noise[0] if noise else batch.x.new_zeros(1, len(batch.x), model.noise)
    draw = model.draw(batch, first)
    distance = model.likelihood.standardise(batch.x).flatten(1).abs()
    term, row = _first({"the rate": draw.rate, "log p(x|z)": draw.log_px.sum(0)})
    if row is None:
        term, row = "the gradient", int(distance.amax(1).argmax())
    column = int(distance[row].argmax())
    value = batch.x[row].flatten()[column].item()
    return (
        f"It is {term}; look at training row {int(numbers[row])} (counted from 0), whose most extreme value is "
        f"{value:g} in {schema.column(column)}."
    )


def _first(terms: dict[str, Tensor]) -> tuple[str, int | None]:
    """The first term (B,) that is not finite, and its first such row."""
    for name, values in terms.items():
        wrong = (~values.isfinite()).nonzero()
        if len(wrong):
            return name, int(wrong[0])
    return "", None
