"""How soon a training starts, and how much memory it takes: a table into docs/performance.md.

Each training has a process of its own. Counted from when everything is imported: the seconds until the first step is
done (reading, describing and splitting the rows, building the model), and the most memory that was held above what
was held then, in an epoch with its checkpoints. Beside it: the rows as stored and four times the parameters (weights,
Adam's two moments, averaged weights), which any training needs.

    python benchmarks/start.py [table | images | compiled | mapped]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from results import DOCS, machine, write

PAGE = DOCS / "performance.md"
HEADER = "| command | rows | stored, MiB |"
TRAININGS = {  # rows, shape, settings
    "table": (20_000, (30,), {}),
    "images": (60_000, (28, 28), {"hidden": (400,), "binarize": "dynamic", "compile": "off"}),
    "compiled": (60_000, (28, 28), {"hidden": (400,), "binarize": "dynamic", "compile": "on"}),
    "mapped": (1_500_000, (28, 28), {"hidden": (400,), "binarize": "dynamic", "compile": "off"}),
}
MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("training", nargs="*", default=list(TRAININGS))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(given.child[0], Path(given.child[1]))))
        return
    for name in given.training:
        with tempfile.TemporaryDirectory() as home:
            rows_on_disk(name, Path(home) / "x.npy")
            command = [sys.executable, __file__, "--child", name, home]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        numbers = f"{TRAININGS[name][0]:,} | {found['stored']:,.0f} | {found['parameters']:.1f} | {found['first']:.2f}"
        cells = f"`benchmarks/start.py {name}` | {numbers} | {found['compiling']} | **{found['peak']:,.0f}**"
        write(HEADER, f"| {cells} | {machine()} |", page=PAGE)


def rows_on_disk(name: str, path: Path) -> None:
    import numpy as np

    (count, shape, _), rng = TRAININGS[name], np.random.default_rng(0)
    kind = np.uint8 if len(shape) == 2 else np.float32
    x = np.lib.format.open_memmap(path, "w+", kind, (count, *shape))
    for start in range(0, count, 10_000):
        size = (len(x[start : start + 10_000]), *shape)
        x[start : start + 10_000] = rng.integers(0, 256, size, np.uint8) if len(shape) == 2 else rng.normal(size=size)


def measure(name: str, home: Path) -> dict:
    """One epoch, or 500 steps of it where it has more."""
    import vaekit.cli.train  # noqa: F401  (all that a run imports)
    from vaekit import runs
    from vaekit.data import load
    from vaekit.settings import Settings, prepare

    peak, began, first = Peak(), time.perf_counter(), None
    settings = Settings().changed(latent_dim=20, network="mlp", epochs=1, batch_size=128, **TRAININGS[name][2])
    prepared = prepare(settings, load(home / "x.npy"))
    state = prepared.state
    run = runs.Run.create(home / "run", prepared.settings, prepared.schema, {"train": len(prepared.rows["train"])})
    for _ in runs.fit_and_save(run, prepared, lambda: state.step >= 500):
        first = first or time.perf_counter() - began
    seconds = state.stepper.seconds
    return {
        "stored": (home / "x.npy").stat().st_size / MIB,
        "parameters": 4 * sum(4 * p.numel() for p in state.parameters) / MIB,
        "first": first,
        "compiling": f"{seconds:.0f}" if seconds else "",
        "peak": peak.stop(),
    }


class Peak:
    """The most memory of its own that this process holds above what it held at first: of a mapped file, whose pages the
    system takes back when it likes, none."""

    def __init__(self):
        self.start, self.most, self.over = self._now(), 0.0, threading.Event()
        self.watch = threading.Thread(target=self._watch)
        self.watch.start()

    def stop(self) -> float:
        """MiB"""
        self.over.set()
        self.watch.join()
        return self.most

    def _watch(self) -> None:
        while not self.over.wait(0.005):
            self.most = max(self.most, self._now() - self.start)

    @staticmethod
    def _now() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


if __name__ == "__main__":
    main()
