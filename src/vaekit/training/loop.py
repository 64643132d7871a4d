"""The training loop: a generator, so that whoever drives it logs, saves and stops."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from vaekit.core import Batch, LatentModel
from vaekit.data import Dataset
from vaekit.inference import Averages, active_units, over_rows, posterior_means
from vaekit.maths import standard_error
from vaekit.training.diagnosis import diagnosis
from vaekit.training.state import NotFiniteError, State
from vaekit.training.step import LOSS, told

FEW_HELD_OUT = 10
SURE = 2.0
"""rows, among fewer of which weights are taken for better only by so many standard errors of the difference"""
FALL = 0.002
"""nats per feature, by less than which a bound has not fallen"""
ACTIVE_ROWS = 1024
"""training rows that active units are counted on where nothing was held out"""


class Record(NamedTuple):
    """What happened up to and with one step."""

    step: int
    epoch: int
    """whole passes over the rows"""
    metrics: dict | None
    """at the end of a reporting period: the bound by its objective's name and its terms (elbo, rate, distortion) over
    the training rows since the last record, and validation_… of each"""


def fit(state: State, rows: Dataset, validation: Dataset | None = None) -> Iterator[Record]:
    """Train from where `state` stands to the end of its recipe, or until the validation bound stops improving.

    Yields after every step, when `state` is whole: the caller may save it, stop there, and go on another day with the
    same result. The batch, the noise and the binarisation of a step are functions of (seed, step).

        for record in fit(state, rows):
            ...
    """
    rows.require(state.model.likelihood)
    size = min(state.recipe.batch_size, len(rows))
    per_epoch = rows.batches_per_epoch(size)
    period = per_epoch * -(-state.recipe.record_steps // per_epoch)
    held_out = None
    if validation is not None and len(validation):
        held_out = HeldOut(validation)
        if state.step == 0:  # what training starts from may be the best there is
            held_out.keep(state, held_out.bound(state, state.averaged))
    some = rows.first(ACTIVE_ROWS)
    batches = Batches(rows, size)
    while not state.finished:
        _step(state, batches)
        due = state.sums and (state.step % period == 0 or state.step == state.recipe.last(state.cooling))
        metrics = _metrics(state, some, held_out) if due else None
        yield Record(state.step, state.step // per_epoch, metrics)


class Batches:
    """The batches of training, the next of which is made while an accelerator is busy with the one before."""

    def __init__(self, rows: Dataset, size: int) -> None:
        self.rows = rows
        self.size = size
        self.made: dict[int, Batch] = {}

    def take(self, step: int) -> Batch:
        """The batch of a step: the same object when it is asked for again."""
        if step not in self.made:
            self.made = {step: self.rows.train_batch(step, self.size)}
        return self.made[step]


def _step(state: State, batches: Batches) -> None:
    batch = batches.take(state.step)
    try:
        _add(state, state.advance(batch, lambda: batches.take(state.step + 1)))
    except NotFiniteError as error:
        if state.recover():
            return
        numbers = batches.rows.numbers(state.step, batches.size)
        culprit = diagnosis(state.model, batch, state.noise(batch), numbers, batches.rows.schema)
        raise NotFiniteError(f"{error} {culprit}") from error


def _add(state: State, means: dict[str, float]) -> None:
    for name, mean in means.items():
        state.sums[name] = state.sums.get(name, 0.0) + mean
    state.sums["steps"] = state.sums.get("steps", 0.0) + 1


def _metrics(state: State, some: Dataset, held_out: "HeldOut | None") -> dict:
    """What is recorded: of rows held out the bound too, and of them or `some` others how many units are active."""
    steps = state.sums.pop("steps")
    metrics = {"step": state.step, "learning_rate": state.rate(state.step - 1)}
    metrics |= {name: total / steps for name, total in state.sums.items()}
    state.sums = {}
    bounded = state.objective.name in metrics
    training = metrics[state.objective.name] if bounded else -metrics[LOSS]
    if state.setbacks:
        metrics["setbacks"] = state.setbacks
    if held_out is not None:
        found = held_out.bound(state, state.averaged)
        for name, value in told(state.objective, found).items():
            metrics[f"validation_{name}"] = value.double().mean().item()
        held_out.judge(state, found, training)
        means = found.means
    else:
        state.judge(training)
        means = posterior_means(state.averaged, some.blocks())
    metrics["active_units"] = active_units(means)
    return metrics


class HeldOut:
    """Rows held out, by which weights are kept and training ends."""

    def __init__(self, rows: Dataset) -> None:
        self.rows = rows
        self._kept: Tensor | None = None
        """the bound (n,) that the weights kept so far give the rows, once it is known"""

    def bound(self, state: State, model: LatentModel) -> Averages:
        """The objective on the rows, by a model of the state: the same weights give the same numbers."""
        return over_rows(state.smooth.objective, model, self.rows.blocks(), state.recipe.seed)

    def keep(self, state: State, found: Averages, training: float = -math.inf) -> None:
        """The averaged weights, if what they gave the rows is the best so far."""
        state.keep(found.selected, training)
        if state.best_step == state.step:
            self._kept = found.value

    def judge(self, state: State, found: Averages, training: float) -> None:
        """Keep the averaged weights if they are better than those kept so far, and take note of what they gave.

        Where it has surely fallen and the bound of the training rows has not, the model learns these by heart. Where
        that fell too, a step went astray.
        """
        gain, error = self._gain(state, found)
        few = len(self.rows) < FEW_HELD_OUT
        if not few or gain > SURE * error:  # of many records the best on four rows is seldom the best
            self.keep(state, found, training)
        least = FALL * self.rows.schema.features
        fallen = not few and gain < -max(error, least)
        astray = training < state.best_training - least
        state.judge(found.selected, fallen=fallen and not astray, astray=fallen and astray)

    def _gain(self, state: State, found: Averages) -> tuple[float, float]:
        """By how much the averaged weights are better than those kept so far, a mean over the rows and its standard
        error; nothing where there is no bound, or one row."""
        if state.best is None or found.value is None or len(self.rows) < 2:
            return math.inf, 0.0
        if self._kept is None:
            self._kept = self.bound(state, state.trained()).value
        assert self._kept is not None  # where the one has a bound, so has the other
        each = found.value.double() - self._kept.double()
        return each.mean().item(), standard_error(each) or 0.0
