"""vaekit resume: go on where a run stopped."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def resume(
    run: Path,
    *,
    epochs: int | None = None,
    allow_changes: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Go on training a run that was stopped, to the same result as if it had not been.

    Where the newest checkpoint is damaged it goes on from the one before, and says so.

    Parameters
    ----------
    run
        the run folder
    epochs
        train to this many epochs in all, a finished run too
    allow_changes
        go on under another version of vaekit or torch, and record that in the run
    json
        one JSON record a line instead of a progress bar
    """
    from vaekit.cli.common import training_source
    from vaekit.cli.train import train
    from vaekit.errors import VaekitError
    from vaekit.runs import Lock, Run, check_run
    from vaekit.spec import choose_device, prepare

    with Lock(check_run(run)):
        opened = Run.open(run, repair=True)
        _say(opened.notes)
        settings = opened.spec.training
        if epochs is None and opened.finished:
            opened.state(choose_device("cpu"))  # refused where it is not what it says
            print(
                f"{run} is finished: nothing is left to do. To train it longer, give --epochs above {settings.epochs}."
            )
            return 0
        if epochs is not None and epochs <= settings.epochs:
            raise VaekitError(f"{run} is set to {settings.epochs} epochs already: --epochs can only lengthen it.")
        spec = opened.spec.changed(epochs=epochs)
        _check_changes(opened, allow_changes)
        prepared = prepare(spec, training_source(spec), opened.schema)
        opened.restore(prepared.state)
        opened.forget_after(prepared.state.step)
        if prepared.state.uncompiled:
            _say([f"{run}: its steps could not be compiled before, so they are not now: the result stays the same."])
        if epochs is not None:
            prepared.state.reopen()
            opened.respecify(spec, prepared.state)
        _say([f"{run}: from step {prepared.state.step:,} of {prepared.state.recipe.steps:,}."])
        return train(opened, prepared, as_json=json)


def _check_changes(run, allowed: bool) -> None:
    """Refuse to mix versions in one run unawares; other changes are said and recorded."""
    from vaekit.errors import VaekitError
    from vaekit.spec import choose_device

    changes = run.differences(choose_device(run.spec.training.device))
    lines = [f"{name} {before} then, {now} now" for name, (before, now) in changes.items()]
    if not allowed and {"vaekit", "torch"} & set(changes):
        raise VaekitError(
            f"{run.folder} was trained with other versions ({'; '.join(lines)}): the result would be neither's. Use "
            f"the old ones, or give --allow-changes, and it is recorded."
        )
    _say([f"{run.folder}: {line}. Results can differ in the last bits." for line in lines])
    run.note_changes(changes)


def _say(notes: list[str]) -> None:
    import sys

    for note in notes:
        print(f"vaekit: {note}", file=sys.stderr)
