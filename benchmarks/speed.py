"""How fast vaekit trains, beside a careful loop, pythae 0.1.2 and hand-written JAX, into docs/performance.md.

The contenders take turns inside one process, a stretch of steps each, for some rounds; a figure is the median over the
rounds, a ratio that of the medians of one table, with the smallest and largest of the rounds. All train the same model
on the same data with Adam; that they have as many parameters is checked. Peers live in an environment of their own,
runs/peers, which is made at the first call (`--here`: use the present one).

    python benchmarks/speed.py [mlp-128 | mlp-512 | mlp-4096 | conv-28 | conv-64 | table | nll | use] … [--rounds N]
                                  [--device cuda] [--here]
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
ENVIRONMENT = ROOT / "runs" / "peers"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", nargs="*")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--here", action="store_true")
    given = parser.parse_args()
    if not given.here and importlib.util.find_spec("pythae") is None:
        environment()
    import contenders
    import timings
    import torch

    contenders.DEVICE = torch.device(given.device)
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


if __name__ == "__main__":
    main()
