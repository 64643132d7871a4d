"""vaekit resume: go on where a run stopped."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from vaekit.cli.trust import Trust

if TYPE_CHECKING:
    from vaekit.runs import Run

Places = dict[str, str | tuple[str, ...]]
"""where the rows of a part are now, by the name of its setting"""


def resume(
    run: Path,
    *,
    epochs: int | None = None,
    data: Annotated[list[str] | None, Parameter(negative=())] = None,
    validation: Path | None = None,
    test: Path | None = None,
    allow_changes: Annotated[bool, Parameter(negative=())] = False,
    trust: Trust = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Go on training a run that was stopped, to the same result as if it had not been. A finished run is left as it is.

    Where the newest checkpoint is damaged it goes on from the one before, and says so.

    Parameters
    ----------
    run
        the run folder
    epochs
        train to this many epochs in all, a finished run too; by default as many as the run has
    data
        where the run's data is now, if it was moved: the run remembers it. It must be the same data. Given several
        times for several files
    validation
        the same of its validation rows, where they are a file of their own
    test
        the same of its test rows
    allow_changes
        go on under another version of vaekit or torch, and record that in the run
    json
        one JSON record a line instead of a progress bar
    trust
        see `cli.trust`

    """
    from vaekit.cli.common import training_source
    from vaekit.cli.train import train
    from vaekit.errors import VaekitError, counted
    from vaekit.runs import Lock, Run, check_run
    from vaekit.settings import choose_device, prepare

    with Lock(check_run(run)):
        opened = Run.reopen(run, repair=True, trust=trust or ())
        _say(opened.notes)
        before = opened.settings.training.epochs
        assert isinstance(before, int)  # in a run nothing is "auto" any more
        moved = _moved(data, validation, test)
        if epochs is None and opened.finished and not moved:
            opened.state(choose_device("cpu"))  # refused where it is not what it says
            line = f"{run} is finished, and nothing is left to do. To train it longer, give --epochs above {before}."
            place = sys.stderr if json else sys.stdout
            print(line, file=place)
            return 0
        if epochs is not None and epochs <= before:
            raise VaekitError(f"{run} is set to {counted(before, 'epoch')} already: --epochs can only lengthen it.")
        _check_parts(opened, moved)
        settings = opened.settings.changed(epochs=epochs, **moved)
        source = training_source(settings, run)
        _check_changes(opened, allow_changes)
        prepared = prepare(settings, source, opened.schema)
        opened.restore(prepared.state)
        opened.forget_after(prepared.state.step)
        if prepared.state.uncompiled:
            _say([f"{run}: its steps could not be compiled before, so they are not now: the result stays the same."])
        if epochs is not None:
            prepared.state.reopen()
        if epochs is not None or moved:
            opened.respecify(settings, prepared.state)
        if moved:
            _say([f"{run}: its data is {source.name}, the same as before."])
        if prepared.state.finished:
            _say([f"{run} is finished, and nothing is left to do."])
            return 0
        _say([f"{run}: from step {prepared.state.step:,} of {prepared.state.recipe.steps:,}."])
        return train(opened, prepared, as_json=json)


def _moved(data: list[str] | None, validation: Path | None, test: Path | None) -> Places:
    """Where the rows are now, as far as that was said."""
    from vaekit.cli.fit import source_name

    moved: Places = {}
    if data:
        moved["source"] = tuple(map(source_name, data))
    if validation is not None:
        moved["validation"] = str(validation.resolve())
    if test is not None:
        moved["test"] = str(test.resolve())
    return moved


def _check_parts(run: "Run", moved: Places) -> None:
    """Refuse a new place for rows that were never in a file of their own."""
    from vaekit.errors import VaekitError

    for part in ("validation", "test"):
        if part in moved and not isinstance(getattr(run.settings.data, part), str):
            raise VaekitError(f"{run.folder} took its {part} rows from its data: --{part} is for a file of their own.")


def _check_changes(run: "Run", allowed: bool) -> None:
    """Refuse to mix versions in one run unawares; other changes are said and recorded."""
    from vaekit.errors import VaekitError
    from vaekit.settings import choose_device

    changes = run.differences(choose_device(run.settings.training.device))
    lines = [f"{name} {before} then, {now} now" for name, (before, now) in changes.items()]
    if not allowed and {"vaekit", "torch"} & set(changes):
        raise VaekitError(
            f"{run.folder} was trained with other versions ({'; '.join(lines)}): the result would be neither's. Use "
            f"the old ones, or give --allow-changes, and it is recorded."
        )
    _say([f"{run.folder}: {line}. Results can differ in the last bits." for line in lines])
    run.note_changes(changes)


def _say(notes: list[str]) -> None:
    for note in notes:
        print(f"vaekit: {note}", file=sys.stderr)
