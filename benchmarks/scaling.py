"""Cost as work grows, one axis at a time: a figure and a table into docs/performance.md.

A table of 30 columns, hidden 64, 8 latents, batches of 128, in float32; each axis changes one of these. Rows lie in a
memory-mapped .npy; a time is the median over compiled steps. log p(x) is importance-weighted, with K draws a row. The
slope is that of log time against log size over the whole axis: 1 is linear.

    python benchmarks/scaling.py
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from results import DOCS, machine, write

from vaekit import evaluation
from vaekit.data import Source
from vaekit.settings import Settings, prepare
from vaekit.training.compiled import EAGERLY

matplotlib.use("Agg")
PAGE, PICTURE, HEADER = DOCS / "performance.md", DOCS / "pictures" / "scaling.png", "| command | axis |"
DEFAULT = {"rows": 10_000, "columns": 30, "latents": 8, "batch": 128}
AXES = {
    "rows": (1_000, 10_000, 100_000, 1_000_000, 10_000_000),
    "columns": (10, 100, 1_000, 10_000),
    "latents": (2, 8, 32, 128, 512),
    "batch": (16, 64, 256, 1024, 4096),
}
DRAWS = (10, 100, 1_000, 10_000)
STEPS = 60


def prepared(folder: Path, rows: int, columns: int, latents: int, batch: int):
    """A training that is ready to begin, on rows in a file."""
    path = folder / f"{rows}-{columns}.npy"
    if not path.exists():
        file, rng = np.lib.format.open_memmap(path, "w+", np.float32, (rows, columns)), np.random.default_rng(0)
        for start in range(0, rows, 100_000):
            file[start : start + 100_000] = rng.normal(size=(min(100_000, rows - start), columns))
    settings = Settings().changed(
        hidden=(64,),
        latent_dim=latents,
        batch_size=batch,
        validation=0.0,
        test=0.0,
        epochs=1000,
        device="cpu",
        compile="on",
    )
    return prepare(settings, Source(np.load(path, mmap_mode="r")))


def median_seconds(call: Callable[[], object]) -> float:
    for _ in range(EAGERLY + 1):
        call()
    seconds = []
    for _ in range(STEPS):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def step_seconds(folder: Path, **changes: int) -> float:
    """Of one training step."""
    setting = {**DEFAULT, **changes}
    ready = prepared(folder, **setting)
    state, rows = ready.state, ready.rows["train"]
    return median_seconds(lambda: state.advance(rows.train_batch(state.step, setting["batch"])))


def draws_seconds(folder: Path, draws: int) -> float:
    """Of log p(x) of one row."""
    ready, method = prepared(folder, **DEFAULT), evaluation.ImportanceSampling(draws)
    model, row = ready.state.trained(), ready.rows["train"].first(1)
    return median_seconds(lambda: evaluation.log_likelihood(model, row, method))


def main() -> None:
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        for axis, sizes in AXES.items():
            measured[axis] = {size: step_seconds(Path(folder), **{axis: size}) for size in sizes}
        measured["draws K"] = {k: draws_seconds(Path(folder), k) for k in DRAWS}
    for axis, seconds in measured.items():
        sizes, values = np.log(list(seconds)), np.log(list(seconds.values()))
        steepest = (np.diff(values) / np.diff(sizes)).max()
        slope = (values[-1] - values[0]) / (sizes[-1] - sizes[0])
        cells = ", ".join(f"{size:,}: {value * 1e3:.3g}" for size, value in seconds.items())
        write(HEADER, f"| `benchmarks/scaling.py` | {axis} | {cells} | {slope:.2f} | {steepest:.2f} | {machine()} |",
              key=2, page=PAGE)  # fmt: skip
    draw(measured)


def draw(measured: dict[str, dict[int, float]]) -> None:
    from matplotlib import pyplot

    figure, places = pyplot.subplots(1, len(measured), figsize=(14, 3), sharey=True, layout="constrained")
    for place, (axis, seconds) in zip(places, measured.items(), strict=True):
        place.loglog(list(seconds), [1e3 * value for value in seconds.values()], "o-")
        place.set_xlabel(axis)
        place.grid(alpha=0.3)
    places[0].set_ylabel("ms a step (K: a row)")
    figure.savefig(PICTURE, dpi=90)


if __name__ == "__main__":
    main()
