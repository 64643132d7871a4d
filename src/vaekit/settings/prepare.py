"""Rows + settings → all that training needs."""

from dataclasses import dataclass

import numpy as np
import torch

from vaekit.core import Likelihood
from vaekit.data import Dataset, Schema, Source
from vaekit.data.conditions import known_rows
from vaekit.data.survey import row_blocks
from vaekit.errors import VaekitError, listed
from vaekit.models.trial import check_parts
from vaekit.parts import Conditions
from vaekit.settings.automatic import WORTH_COMPILING, check_fits, resolve
from vaekit.settings.build import build_state, choose_device, try_networks
from vaekit.settings.declared import Settings
from vaekit.settings.hints import coarse, extremes
from vaekit.training import State

TRIED = 8
"""training rows on which parts are tried"""
MOST_KNOWN = 1000
"""training rows whose conditions a run remembers"""


@dataclass(frozen=True)
class Prepared:
    """A run ready to be trained, or to be taken up again."""

    settings: Settings
    """with nothing left to "auto" but the device"""
    reasons: dict[str, str]
    """why each automatic choice was made"""
    schema: Schema
    split: dict[str, np.ndarray]
    rows: dict[str, Dataset]
    state: State
    notes: list[str]
    """what is left out of training, or held less exactly than it is given"""
    labels: np.ndarray | None = None
    """(n,) of all the rows, where the source has some"""


def prepare(settings: Settings, source: Source, schema: Schema | None = None) -> Prepared:
    """Split, describe, choose, build.

    schema    that of an earlier run on the same data, whose state is about to be restored; without it the data is
              described, and the state is that before the first step
    """
    again = schema is not None
    if settings.model.refitted and not again:
        raise VaekitError(
            f"these are the settings of a run whose prior was fitted afterwards: to repeat it, fit with prior "
            f"'{settings.model.refitted}' and without `refitted`, and then `vaekit refit RUN --prior "
            f"{settings.model.prior}`."
        )
    split = source.split(settings.training.seed, settings.data.validation, settings.data.test)
    if schema is None:
        stored = source.describe(split["train"])
        schema = stored if settings.data.binarize == "none" else stored.as_binary(settings.data.binarize)
        check_fits(settings, schema)
    count = len(split["train"])
    settings, reasons = resolve(settings, schema, count, len(split["validation"]) > 0)
    device = choose_device(settings.training.device)
    seed = settings.training.seed
    rows = {
        part: dataset(source, schema, seed, device, index, hide_extremes=part != "test")
        for part, index in split.items()
    }
    state = build_state(settings, schema, count, device, None if again else rows["train"])
    if not again:
        try_networks(settings, state.model, schema, device)
        few = torch.arange(min(TRIED, state.recipe.batch_size), device=device)
        check_parts(state.model, state.objective, rows["train"].scoring_batch(few))
    told = not again and schema.binarized == "none" and hasattr(state.model.likelihood, "misfit")
    if not told:  # by their schema, that the likelihood gives them a density
        check_rows_fit(state.model.likelihood, schema, source)
    trained_on = np.sort(np.concatenate([split["train"], split["validation"]]))
    notes = coarse(source.x, schema)
    if schema.typical_low is not None:
        notes += extremes(source.x[trained_on], schema)
    return Prepared(settings, reasons, schema, split, rows, state, notes, source.labels)


def dataset(
    source: Source,
    schema: Schema,
    seed: int,
    device: torch.device,
    index: np.ndarray | None = None,
    *,
    hide_extremes: bool = False,
) -> Dataset:
    """The rows of a source, or those of the numbers `index`, with their conditions as networks see them."""
    c = None
    if source.conditions is not None:
        cells = np.asarray(source.conditions.x)
        chosen = cells if index is None else cells[index]
        c = Conditions(schema.conditions).codes(chosen, hide_extremes=hide_extremes)
    return Dataset(source.x, schema, seed=seed, device=device, index=index, hide_extremes=hide_extremes, c=c)


def conditions_known(source: Source, train: np.ndarray) -> dict[str, list[float | None]]:
    """Rows of conditions among the training rows, which a run remembers: what samples are given where nobody says."""
    conditions = source.conditions
    if conditions is None or conditions.names is None:
        return {}
    return known_rows(np.asarray(conditions.x)[train], conditions.names, MOST_KNOWN)


def worth_compiling(prepared: Prepared) -> bool:
    """Whether a training is long enough to repay the seconds that compiling a step takes."""
    draws = prepared.state.recipe.steps * prepared.state.recipe.batch_size * prepared.state.objective.samples
    return draws >= WORTH_COMPILING


def check_rows_fit(likelihood: Likelihood, schema: Schema, source: Source) -> None:
    """Refuse rows of another shape, other columns, or values to which the likelihood gives no density."""
    x = source.x
    if x.shape[1:] != schema.shape:
        remedy = ""
        if source.names and x.ndim == 2 and len(schema.shape) == 1 and x.shape[1] > schema.features:
            remedy = f" Its columns are {listed(source.names, 12)}: leave out what is too many (--exclude)."
        raise VaekitError(
            f"{source.name} has rows of shape {x.shape[1:]}; this model was fitted to {schema.shape}.{remedy}"
        )
    if schema.names and source.names and schema.names != source.names:
        raise VaekitError(
            f"{source.name} has the columns {listed(source.names)}; this model was fitted to {listed(schema.names)}, "
            f"in that order."
        )
    device = _place(likelihood)
    for rows in row_blocks(x.shape):
        block = torch.from_numpy(schema.centred(np.array(x[rows]))).to(device) / schema.grey
        fits = _binarisable(block) if schema.binarized != "none" else likelihood.supports(block)
        fits = fits | block.isnan()  # missing
        if not fits.all():
            row, column = (int(i[0]) for i in torch.nonzero(~fits.flatten(1), as_tuple=True))
            value = x[rows.start + row].reshape(-1)[column]
            raise VaekitError(
                f"{source.name}, row {rows.start + row} (counted from 0), {schema.column(column)} is {value:g}: "
                f"the likelihood takes {likelihood.support}."
            )


def _place(likelihood: Likelihood) -> torch.device:
    """Where a likelihood computes: one of somebody's own may hold no tensors."""
    if isinstance(likelihood, torch.nn.Module):
        for tensor in (*likelihood.buffers(), *likelihood.parameters()):
            return tensor.device
    return torch.device("cpu")


def _binarisable(grey: torch.Tensor) -> torch.Tensor:
    return (grey >= 0) & (grey <= 1)
