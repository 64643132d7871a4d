"""What a person, a pipe or a machine sees while a model trains."""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from vaekit.runs import selected
from vaekit.training import Record

STOPS: dict[int, int] = {signal.SIGINT: 130, signal.SIGTERM: 143}
if hasattr(signal, "SIGHUP"):
    STOPS[signal.SIGHUP] = 129


class Interrupt:
    """The first Ctrl-C (or SIGTERM, SIGHUP) asks for a stop after the step in hand; a second one stops at once."""

    def __init__(self) -> None:
        self.exit_code = 0

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return self.exit_code != 0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.exit_code:
            sys.exit(STOPS[number])
        self.exit_code = STOPS[number]
        print("vaekit: stopping after the step in hand. Once more stops at once.", file=sys.stderr, flush=True)

    @contextmanager
    def listening(self) -> Iterator["Interrupt"]:
        """Itself, hearing the signals until the end of the block; then whoever heard them before does so again."""
        heard = [n for n in STOPS if signal.getsignal(n) is not signal.SIG_IGN]  # nohup asked for SIGHUP to be ignored
        before = {number: signal.signal(number, self._handle) for number in heard}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def show(
    records: Iterator[Record], steps: int, *, as_json: bool, clock: Callable[[], float] = time.monotonic
) -> dict[str, float] | None:
    """Run the records to their end: a live bar on a terminal, a line a record in a pipe, JSON lines with `as_json`.

    clock    seconds gone by, from whatever moment: a line says how many it took to get there

    Returns the last metrics.
    """
    if as_json:
        return _lines(records, json.dumps)
    if sys.stdout.isatty():
        return _bar(records, steps)
    began = clock()

    def line(metrics: dict[str, float]) -> str:
        seconds = clock() - began
        return f"step {metrics['step']:>6}/{steps}  {_numbers(metrics)}  {seconds:.0f} s"

    return _lines(records, line)


def _lines(records: Iterator[Record], line: Callable[[dict[str, float]], str]) -> dict[str, float] | None:
    """Print a line per record that has metrics; the last metrics."""
    last = None
    for record in records:
        if record.metrics:
            last = record.metrics
            print(line(last), flush=True)
    return last


def _bar(records: Iterator[Record], steps: int) -> dict[str, float] | None:
    """Move a live bar with the records; the last metrics."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    last = None
    columns = (BarColumn(30), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, refresh_per_second=4) as progress:
        task = progress.add_task("", total=steps)
        for record in records:
            last = record.metrics or last
            numbers = _numbers(last) if last else ""
            progress.update(task, completed=record.step, description=numbers)
    return last


def _numbers(metrics: dict[str, float]) -> str:
    """The bound of training and validation rows side by side, rate, distortion and active units."""
    name = selected(metrics)
    parts = [f"{name.upper()} {metrics[name]:.2f}"]
    if f"validation_{name}" in metrics:
        parts.append(f"validation {metrics[f'validation_{name}']:.2f}")
    parts += [f"{term} {metrics[term]:.2f}" for term in ("rate", "distortion") if term in metrics]
    if "active_units" in metrics:
        parts.append(f"active {metrics['active_units']}")
    return "  ".join(parts)
