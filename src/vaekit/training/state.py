"""All that a checkpoint holds, and the step that changes it."""

import copy
import math
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from vaekit.core import Batch, LatentModel, Objective
from vaekit.errors import VaekitError
from vaekit.noise import generator, normal_noise
from vaekit.threads import NARROW, products, single_threaded
from vaekit.training.compiled import Compiled
from vaekit.training.recipe import PLATEAU, PRECISIONS, Recipe
from vaekit.training.recorded import Recorded
from vaekit.training.step import Adam, Descended, Eager, Noise, Pace, Stepper, Trainable


class TrainingError(VaekitError):
    """Training cannot go on."""


class NotFiniteError(TrainingError):
    """A loss, or its gradient, is infinite or no number."""


TOGETHER = 16
"""steps whose noise an accelerator draws at once"""
TOGETHER_CELLS = 2**22
"""numbers in it at most"""
SKIPS = 3
"""batches left out in a row before training goes back"""
FALLEN = 2
"""records without a better bound after which one that is surely lower is enough"""
SETBACKS = 3
"""times that it does before it gives up"""


class State:
    """Model, averaged and best weights, optimiser and counters: fit(state, …) goes on from whatever it holds."""

    def __init__(self, model: LatentModel, objective: Objective, recipe: Recipe) -> None:
        objective.begin(recipe.steps)
        self.settled = objective.settled
        """the step from which on the loss is the one that is meant"""
        self.recipe = recipe
        model.precision = PRECISIONS[recipe.precision]
        last = Descended(model, objective).train()
        smooth = copy.deepcopy(last).eval().requires_grad_(False)
        smooth.model.precision = None  # what is reported is computed in float32
        self.trainable = Trainable(last, smooth, recipe.betas)
        self.products = products(last)
        self._ahead: tuple[int, Noise] | None = None
        self._drawn: tuple[tuple[int, int], list[Noise]] | None = None
        self.best: dict[str, Tensor] | None = None
        self.stepper = stepper(recipe.compiled, self.settled, self.parameters[0].device)
        self.step = 0
        self.gradient_norm = 0.0
        """running mean of the gradient's length"""
        self.sums: dict[str, float] = {}
        """of the records' terms since the last record"""
        self.best_value = float("-inf")
        """the best bound of the validation rows, that of the weights worth keeping"""
        self.best_training = float("-inf")
        """what the training rows had then, a mean over the steps before"""
        self.best_step = 0
        self.reference = float("-inf")
        """the bound that the next has to exceed to count as better"""
        self.stale = 0
        """records since it was reached"""
        self.cooling = 0
        """the step from which on the rate comes down from the plateau; 0 before it is known"""
        self.astray = 0
        """records in a row of which both bounds are below the best"""
        self.skipped = 0
        """batches left out since the last step"""
        self.setbacks = 0
        """times that training went back and halved its rate"""

    @property
    def uncompiled(self) -> int:
        """1 where compiling failed, 2 where recording did (on an accelerator): a training that is resumed does not try
        again, and repeats."""
        return self.stepper.failed

    @uncompiled.setter
    def uncompiled(self, failed: int) -> None:
        self.stepper.failed = failed

    @property
    def last(self) -> Descended:
        """Model and objective as the last step left them."""
        return self.trainable.last

    @property
    def smooth(self) -> Descended:
        """Model and objective with averaged weights."""
        return self.trainable.smooth

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Of model and objective."""
        return self.trainable.parameters

    @property
    def adam(self) -> Adam:
        """The optimiser's moments."""
        return self.trainable.adam

    @property
    def model(self) -> LatentModel:
        """The model as the last step left it."""
        return self.last.model

    @property
    def objective(self) -> Objective:
        """What is descended."""
        return self.last.objective

    @property
    def averaged(self) -> LatentModel:
        """The model with averaged weights: what is validated, saved and used."""
        return self.smooth.model

    def __getstate__(self) -> dict:
        """For pickle: every tensor by itself, where several are parts of one."""
        trainable = Trainable(copy.deepcopy(self.last), copy.deepcopy(self.smooth), self.recipe.betas)
        trainable.adam.take(*self.adam)
        return {**vars(self), "trainable": trainable, "_ahead": None, "_drawn": None}

    @property
    def finished(self) -> bool:
        """Whether the recipe's last step was gone, or the bound has stopped rising."""
        return self.step >= self.recipe.last(self.cooling) or self._stopped_rising

    @property
    def _stopped_rising(self) -> bool:
        return bool(self.recipe.patience) and self.stale >= self.recipe.patience

    @property
    def _may_cool(self) -> bool:
        return self.recipe.schedule == PLATEAU and not self.cooling

    @property
    def still_rising(self) -> bool:
        """Whether a training that was to go on until the bound stops rising has spent its steps before that."""
        spent = self.recipe.schedule == PLATEAU and self.cooling == self.recipe.latest_cooling
        return spent and (self.best is None or self.best_step == self.step)

    def judge(self, bound: float, fallen: bool = False, astray: bool = False) -> None:
        """Take note of a record's bound: of the validation rows, or where there are none of the training rows.

        Where the rate has not come down yet:

        fallen    whether it is surely below the best, and the training rows' is not: training ends, if the one before
                  was no better either
        astray    whether both are below the best, surely: training goes back, if the record before said so too
        """
        self.astray = self.astray + 1 if astray else 0
        if bound > self.reference + self.recipe.tolerance:
            self.reference = bound
            self.stale = 0
        elif self.step > self.settled:
            self.stale += 1
        falls = bound < self.reference - self.recipe.tolerance
        if fallen and self.stale >= FALLEN and self._may_cool:
            self.stale = max(self.stale, self.recipe.patience)
        if self.astray >= FALLEN and self._may_cool and self._go_back():
            self.stale = 0
            self.astray = 0
        if self._stopped_rising and self._may_cool and not falls:  # where it falls, a lower rate mends nothing
            self.cooling = self.step
            self.stale = 0

    def reopen(self) -> None:
        """Let a training that has ended go on, its recipe having become longer: at the peak of the plateau again."""
        self.stale = 0
        self.cooling = 0

    def keep(self, bound: float, training: float = float("-inf")) -> None:
        """The averaged weights, if the validation bound that they have is the best so far, and what the training rows
        had meanwhile."""
        if bound > self.best_value:
            self.best_value = bound
            self.best_training = training
            self.best_step = self.step
            self.best = {name: tensor.detach().clone() for name, tensor in self.smooth.state_dict().items()}

    def advance(self, batch: Batch, following: Callable[[], Batch] | None = None) -> dict[str, float]:
        """One step of stochastic gradient descent on one batch: the means of the bound and its terms over it.
        NotFiniteError, and nothing changed, if a number is not finite.

        following    makes the next batch: it is called while an accelerator is busy with this one
        """
        limit = self.recipe.clip * self.gradient_norm or math.inf
        pace = Pace(self.rate(self.step), limit, 1 - self.recipe.decay(self.step))
        threads = single_threaded(wait=False) if self._narrow(batch) else nullcontext()
        with threads:
            found = self.stepper(
                self.trainable, batch, self.noise(batch), pace, self.step, lambda: self._prepared(following)
            )
        if not found.finite:
            raise NotFiniteError(self._explained(found.means))
        if self._may_cool and self.step + 1 == self.recipe.latest_cooling:
            self.cooling = self.step + 1
            self.stale = 0
        share = 0.05 if self.gradient_norm else 1.0
        self.gradient_norm += (min(found.norm, limit) - self.gradient_norm) * share
        self.step += 1
        self.skipped = 0
        return found.means

    @property
    def compiles_next(self) -> bool:
        """Whether the next step takes some seconds more."""
        return self.stepper.begins(self.step)

    def _narrow(self, batch: Batch) -> bool:
        """Whether a step on it is too little for more than one thread."""
        on_cpu = batch.x.device.type == "cpu"
        draws = self.objective.samples * len(batch.x)
        return on_cpu and self.products * draws <= NARROW and torch.get_num_threads() > 1

    def noise(self, batch: Batch) -> Noise:
        """ε of the step at hand, all that the objective wants."""
        if self._ahead is not None:
            step, noise = self._ahead
            if step == self.step and all(each.shape[1] == len(batch.x) for each in noise):
                return noise
        return self._noise(batch, self.step)

    def _noise(self, batch: Batch, step: int) -> Noise:
        device = batch.x.device
        rows = len(batch.x)
        shapes = self.objective.noise(self.model, rows)
        if device.type == "cpu":
            normal = normal_noise(generator(self.recipe.seed, "noise", step))
            return tuple(normal(*shape) for shape in shapes)
        cells = sum(math.prod(shape) for shape in shapes)
        together = max(1, min(TOGETHER, TOGETHER_CELLS // max(1, cells)))
        block, place = divmod(step, together)
        if self._drawn is None or self._drawn[0] != (block, rows):
            source = generator(self.recipe.seed, "noise", block, device=device)
            drawn = [torch.randn(together, *shape, generator=source, device=device) for shape in shapes]
            self._drawn = (block, rows), list(zip(*drawn, strict=True))
        return self._drawn[1][place]

    def _prepared(self, following: Callable[[], Batch] | None) -> tuple[Batch, Noise] | None:
        """Batch and noise of the next step."""
        if following is None:
            return None
        batch = following()
        self._ahead = self.step + 1, self._noise(batch, self.step + 1)
        return batch, self._ahead[1]

    def rate(self, step: int) -> float:
        """The learning rate of a step: the recipe's, halved at each setback."""
        return self.recipe.rate(step, self.cooling) * 0.5**self.setbacks

    def recover(self) -> bool:
        """After a step that was not finite: leave its batch out, and after some in a row go back to the weights worth
        keeping, with half the learning rate. False where that was done often enough."""
        if self.skipped == SKIPS:
            if not self._go_back():
                return False
            self.skipped = 0
        else:
            self.skipped += 1
        self.step += 1
        return True

    def _go_back(self) -> bool:
        """Take up the weights worth keeping, with new moments and half the learning rate; False where that was done
        often enough."""
        if self.setbacks == SETBACKS:
            return False
        weights = self.weights()
        self.last.load_state_dict(weights)
        self.smooth.load_state_dict(weights)
        self.adam.forget()
        self.gradient_norm = 0.0  # to be measured afresh
        self.setbacks += 1
        return True

    def weights(self) -> dict[str, Tensor]:
        """The weights to keep: those of the best validation bound, else the averaged ones."""
        return self.smooth.state_dict() if self.best is None else self.best

    def trained(self) -> LatentModel:
        """A copy of the model with those weights, ready for use."""
        found = copy.deepcopy(self.smooth)
        found.load_state_dict(self.weights())
        return found.model

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state by name; `load` is the inverse."""
        groups = {"last": self.last.state_dict(), "averaged": self.smooth.state_dict(), "best": self.best or {}}
        for group, each in zip(ADAM, self.adam, strict=True):
            groups[group] = dict(zip(self.trainable.names, each, strict=True))
        return {f"{group}/{name}": t.detach() for group, values in groups.items() for name, t in values.items()}

    def counters(self) -> dict:
        """Every number of the state, ready for JSON."""
        return {name: getattr(self, name) for name in COUNTERS}

    def load(self, tensors: dict[str, Tensor], counters: dict) -> None:
        """Take over a saved state of the same model, objective and recipe."""
        groups: dict[str, dict[str, Tensor]] = {}
        for path, tensor in tensors.items():
            group, name = path.split("/", 1)
            groups.setdefault(group, {})[name] = tensor
        self.last.load_state_dict(groups["last"])
        self.smooth.load_state_dict(groups["averaged"])
        self.best = groups.get("best")
        self.adam.forget()
        with torch.no_grad():  # copied: a moment lies in memory as its parameter does, channels last, say
            for name, *moments in zip(self.trainable.names, *self.adam, strict=True):
                saved = [groups[group][name] for group in ADAM if name in groups.get(group, {})]
                if saved and [s.shape for s in saved] != [moment.shape for moment in moments]:
                    raise KeyError(f"the optimiser's state of {name} is not whole")
                for moment, tensor in zip(moments, saved, strict=False):
                    moment.copy_(tensor)
        for name in COUNTERS:
            setattr(self, name, counters[name])

    def _explained(self, means: dict[str, float]) -> str:
        terms = ", ".join(f"{name} {mean:.4g}" for name, mean in means.items())
        halved = f", halved {self.setbacks} times" if self.setbacks else ""
        return (
            f"the loss or its gradient is not finite at step {self.step} ({terms}). Try a smaller learning rate "
            f"(now {self.recipe.learning_rate:g}{halved}) or look for extreme values in the data."
        )


def stepper(compiled: bool, settled: int, device: torch.device) -> Stepper:
    """How the steps of a training are gone."""
    if device.type == "cuda":
        return Recorded(settled, compiled)
    return Compiled(settled) if compiled else Eager()


def trained_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of `State.trained`, by their names in the model, among the tensors of a state."""
    groups = ("best/model.", "averaged/model.")
    kept = next(group for group in groups if any(name.startswith(group) for name in tensors))
    return {name.removeprefix(kept): tensor for name, tensor in tensors.items() if name.startswith(kept)}


ADAM = ("adam-exp_avg", "adam-exp_avg_sq", "adam-step")
"""the names of its tensors in a checkpoint"""
COUNTERS = (
    "step", "gradient_norm", "sums", "best_value", "best_training", "best_step", "reference", "stale", "cooling",
    "astray", "skipped", "setbacks", "uncompiled",
)  # fmt: skip
