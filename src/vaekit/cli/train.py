"""What `fit` and `resume` share: train, draw, say what came of it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from vaekit.cli.progress import Interrupt, show
from vaekit.core import LatentModel
from vaekit.evaluation import beaten
from vaekit.inference import over_rows
from vaekit.maths import standard_error
from vaekit.report import write_all
from vaekit.runs import Run, fit_and_save
from vaekit.settings import Prepared, can_be_sampled, impossible, shortfall
from vaekit.settings.declared import chosen
from vaekit.training import Record, State


def train(run: Run, prepared: Prepared, *, as_json: bool) -> int:
    """Train to the end or to a Ctrl-C, the folder's lock held; returns the exit code."""
    state = prepared.state
    folder = run.folder
    with Interrupt().listening() as interrupt:
        records = _announced(fit_and_save(run, prepared, interrupt), state)
        show(records, state.recipe.steps, as_json=as_json)
        if interrupt() and not state.finished:
            print(f"Stopped after step {state.step:,}, all saved. Go on with: vaekit resume {folder}", file=sys.stderr)
            return interrupt.exit_code
    model = run.model(prepared.rows["train"].device)
    pictures = _pictures(run, model, prepared)
    if as_json:
        line = {"run": str(folder), "step": state.step, "best_step": state.best_step}
        print(json.dumps(line), flush=True)
        return 0
    seconds = state.stepper.seconds
    if seconds:
        print(f"Compiling the step took {seconds:.0f} s.")
    if state.best is not None:
        _say_best(state)
        if state.objective.bounded:
            _say_notes(_shortfall(state, prepared) or _beaten(model, prepared))
    if state.still_rising:
        _say_unfinished(folder, prepared)
    if can_be_sampled(run.settings, state.objective):
        _say_notes(impossible(model, prepared.rows["train"], run.settings.training.seed))
    print(f"Pictures: {', '.join(str(path) for path in pictures)}")
    _say_next(folder, prepared)
    return 0


def _say_unfinished(folder: Path, prepared: Prepared) -> None:
    """Say that more steps would have made it better."""
    rose, rising, what = "rose", "rising", "bound"
    if not prepared.state.objective.bounded:
        rose, rising, what = "fell", "falling", "loss"
    if not len(prepared.rows["validation"]):
        print(
            f"The {what} of the training rows still {rose} at the end. No row was held out to tell what that is worth."
        )
        return
    epochs = chosen(prepared.settings.training.epochs)
    command = f"vaekit resume {folder} --epochs {2 * epochs}"
    print(f"The {what} was still {rising} when the budget was spent. Go on with: {command}")


def _say_next(folder: Path, prepared: Prepared) -> None:
    """Say where the run is, and which command shows what it is worth."""
    data = "" if len(prepared.rows["test"]) else " DATA  (no rows of this data were held out for a test)"
    command = f"vaekit evaluate {folder}"
    if not prepared.state.objective.bounded:
        command = f"vaekit reconstruct {folder} -o again.npy"
        data = ""
    print(f"Run: {folder}.  Next: {command}{data}")


def _pictures(run: Run, model: LatentModel, prepared: Prepared) -> list[Path]:
    """The pictures of a run, of its test rows where it has some, else of its validation rows."""
    part = next((p for p in ("test", "validation") if len(prepared.rows[p])), "train")
    labels = None
    if prepared.labels is not None:
        labels = prepared.labels[prepared.split[part]]
    return write_all(run, model, prepared.rows[part], labels)


def _say_best(state: State) -> None:
    """Say how good the selected weights are, and when they were reached."""
    best = f"loss {-state.best_value:.4g}"
    stopped = "falling"
    if state.objective.bounded:
        best = f"{state.objective.name.upper()} {state.best_value:.2f} nats"
        stopped = "rising"
    early = f" (it had stopped {stopped})" if state.step < state.recipe.steps else ""
    print(f"Best validation {best} at step {state.best_step:,} of {state.step:,}{early}.")


def _say_notes(lines: list[str]) -> None:
    for line in lines:
        print(f"Note: {line}")


def _shortfall(state: State, prepared: Prepared) -> list[str]:
    """Whether the bound falls short of the simplest one by more than its error."""
    lines = shortfall(state.best_value, prepared.schema)
    if not lines:
        return []
    blocks = prepared.rows["validation"].blocks()
    value = over_rows(state.objective, state.trained(), blocks, state.recipe.seed).value
    assert value is not None  # of a bound
    error = standard_error(value.double()) or 0.0
    return shortfall(state.best_value, prepared.schema, error)


def _beaten(model: LatentModel, prepared: Prepared) -> list[str]:
    """Whether simple models of the same training rows are better on the validation rows."""
    rows = prepared.rows
    line = beaten(model, rows["train"], rows["validation"], prepared.settings.training.seed)
    if not line:
        return []
    return [f"On the validation rows, {line}"]


def _announced(records: Iterator[Record], state: State) -> Iterator[Record]:
    """The records; before the step that takes so much longer, a word of it."""
    if state.compiles_next:
        _say_compiling()
    for record in records:
        yield record
        if state.compiles_next and not state.finished:
            _say_compiling()


def _say_compiling() -> None:
    line = "vaekit: compiling the step: some seconds, up to half a minute the first time."
    print(line, file=sys.stderr, flush=True)
