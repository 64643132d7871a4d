"""How fast vaekit trains, beside a careful loop, pythae 0.1.2 and hand-written JAX, into docs/performance.md.

The contenders take turns inside one process, a stretch of steps each, for some rounds; a figure is the median over the
rounds, a ratio that of the medians of one table, with the smallest and largest of the rounds. All train the same model
on the same data with Adam; that they have as many parameters is checked. Peers live in an environment of their own,
runs/peers, which is made at the first call (`--here`: use the present one).

    python benchmarks/speed.py [mlp-128 | mlp-512 | conv-28 | conv-64 | table | nll | use] … [--rounds N] [--here]
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
ENVIRONMENT = ROOT / "runs" / "peers"
HEADER = "| command | contender | ms a step |"
USE_HEADER = "| command | contender | µs a row |"
"""how the tables in docs/performance.md begin"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", nargs="*")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--here", action="store_true")
    given = parser.parse_args()
    if not given.here and importlib.util.find_spec("pythae") is None:
        environment()
    import timings

    for name in given.work or timings.TABLES:
        timings.TABLES[name](name, given.rounds)


def environment() -> None:
    """Go on in the environment that has the peers."""
    python = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        venv.create(ENVIRONMENT, with_pip=True)
        wanted = ["-r", str(HERE / "requirements-peers.txt"), "-e", str(ROOT), "-c", str(ROOT / "constraints.txt")]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    os.execv(python, [str(python), *sys.argv])


def in_turn(contenders: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call, the contenders one after another in each round, after one call each that is not counted."""
    for contender in contenders.values():
        contender()
    seconds = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            began = time.perf_counter()
            contender()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def ratios(seconds: dict[str, list[float]], name: str) -> str:
    """How many times as fast as the first contender: median, and the smallest and largest round."""
    first = next(iter(seconds.values()))
    each = [one / other for one, other in zip(first, seconds[name], strict=True)]
    return f"**{statistics.median(first) / statistics.median(seconds[name]):.2f}** ({min(each):.2f} … {max(each):.2f})"


if __name__ == "__main__":
    main()
