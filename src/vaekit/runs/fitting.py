"""Training that keeps a run folder: records logged, checkpoints saved by time, at the end, and when asked to stop."""

import time
from collections.abc import Callable, Iterator

from vaekit.runs.folder import Run
from vaekit.settings import Prepared
from vaekit.training import Record, TrainingError, fit

SAVE_SECONDS = 30.0
SAVE_SHARE = 0.02
"""of the time that saving may take: where one save is slow, the next comes later"""


def fit_and_save(
    run: Run,
    prepared: Prepared,
    stop: Callable[[], bool] = lambda: False,
    *,
    clock: Callable[[], float] = time.monotonic,
    save_seconds: float = SAVE_SECONDS,
) -> Iterator[Record]:
    """Train to the end, yielding each step's Record; `stop()` true ends after the step in hand, state saved.

    clock           seconds since any moment: when to save follows from it, and nothing else does
    save_seconds    from one checkpoint to the next, at least
    """
    state = prepared.state
    began = clock()
    due = began + save_seconds
    if state.step == 0:
        run.save(state)
    records = fit(state, prepared.rows["train"], prepared.rows["validation"])
    try:
        for record in records:
            if record.metrics:
                run.log(record.metrics, clock() - began)
            if (now := clock()) > due:
                run.save(state)
                saved = clock()
                due = saved + max(save_seconds, (saved - now) / SAVE_SHARE)
            try:
                yield record
            except BaseException:  # whoever drives stops here, between two steps: the state is whole
                run.save(state)
                raise
            if stop():
                break
    except TrainingError:  # refused before it changed anything
        run.save(state)
        raise
    run.save(state)


def selected(metrics: dict) -> str:
    """The name of what a record's weights are selected on: the bound that is climbed, or "loss" where there is none.

    >>> selected({"step": 3, "learning_rate": 0.1, "iwae": -2.0, "elbo": -2.5})
    'iwae'
    """
    return next(name for name in metrics if name not in ("step", "learning_rate"))
