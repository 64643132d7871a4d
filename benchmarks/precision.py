"""What bfloat16 products cost in quality: NLL of all 10,000 MNIST test images after trainings in either precision that
are otherwise alike, a row in docs/results.md.

784-200-200-50 tanh and back as in `iwae_table.py`, but short; seeds 0, 1 and 2; K = 500 draws a row, evaluated in
float32.

    python benchmarks/precision.py [--epochs 40] [--out runs/precision]
"""

import argparse
import statistics
from pathlib import Path

from iwae_table import NETWORK, STICKING
from results import machine, vaekit, write

HEADER = "| command | precision |"
SEEDS = (0, 1, 2)
DATA = "mnist --validation 0 --patience 0"
SETTING = f"{DATA} {NETWORK} --objective {STICKING} --batch-size 256 --learning-rate 5e-3 --compile on"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("runs/precision"))
    given = parser.parse_args()
    found = {precision: [] for precision in ("float32", "bfloat16")}
    for seed in SEEDS:  # in turn
        for precision, values in found.items():
            values.append(nll(precision, seed, given.epochs, given.out / f"{precision}-{seed}"))
    differences = [low - high for high, low in zip(found["float32"], found["bfloat16"], strict=True)]
    for precision, values in found.items():
        mean, each = statistics.mean(values), ", ".join(f"{value:.2f}" for value in values)
        more = f"{statistics.mean(differences):+.3f}" if precision == "bfloat16" else ""
        command = f"`benchmarks/precision.py --epochs {given.epochs}`"
        write(HEADER, f"| {command} | {precision} | {each} | **{mean:.2f}** | {more} | {machine()} |", key=2)


def nll(precision: str, seed: int, epochs: int, run: Path) -> float:
    options = f"{SETTING} --epochs {epochs} --precision {precision} --seed {seed}"
    vaekit("fit", *options.split(), "--out", str(run), "--overwrite", "--json")
    return -vaekit("evaluate", str(run), "--samples", "500", "--json").last["log_likelihood"]["mean"]


if __name__ == "__main__":
    main()
