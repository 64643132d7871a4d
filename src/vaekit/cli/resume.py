"""vaekit resume: go on where a run stopped."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def resume(run: Path, *, epochs: int | None = None, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Go on training a run that was stopped, to the same result as if it had not been.

    Parameters
    ----------
    run
        the run folder
    epochs
        train to this many epochs in all, a finished run too
    json
        one JSON record a line instead of a progress bar
    """
    from vaekit.cli.common import training_source
    from vaekit.cli.train import train
    from vaekit.errors import VaekitError
    from vaekit.runs import Lock, Run
    from vaekit.spec import prepare

    opened = Run.open(run, repair=True)
    settings = opened.spec.training
    if epochs is None and opened.finished:
        raise VaekitError(f"{run} is finished; to train it longer, give --epochs above {settings.epochs}.")
    if epochs is not None and epochs <= settings.epochs:
        raise VaekitError(f"{run} is set to {settings.epochs} epochs already: --epochs can only lengthen it.")
    spec = opened.spec.changed(epochs=epochs)
    with Lock(opened.folder):
        prepared = prepare(spec, training_source(spec), opened.schema)
        opened.restore(prepared.state)
        opened.forget_after(prepared.state.step)
        if epochs is not None:
            prepared.state.stale = 0
            opened.respecify(spec, prepared.state)
        return train(opened, prepared, as_json=json)
