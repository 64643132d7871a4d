"""The one-layer MNIST columns of Burda et al. 2016 (arXiv:1509.00519), Table 1: one command a cell.

784-200-200-50 tanh and back, dynamic binarisation, every training row trained on, nothing selected on test rows; NLL
with K = 5000 draws a row on all 10,000 test images. The schedule is the library's own: warm-up, cosine decay, averaged
weights, far fewer steps than the 9.8 million of batch 20 behind the published figures. `static` is the split of the
literature (50,000 / 10,000 / 10,000), with the weights of the best validation bound. Needs `mnist` and `static-mnist`
(see `vaekit datasets`). A command that was stopped goes on where it was; its row in docs/results.md is replaced.

    python benchmarks/iwae_table.py CELL [--seed N] [--epochs N] [--precision P] [--samples K] [--train]
                                         [--out runs/table]

CELL is one of vae-1, vae-5, vae-50, iwae-5, iwae-50, dreg-50, static, or conditional: each image is given its label,
as in Kingma et al. 2014 (arXiv:1406.5298), and the NLL is that of p(x|label). --train stops before the evaluation.
"""

import argparse
import json
import time
from pathlib import Path
from typing import NamedTuple

from results import machine, vaekit, write

from vaekit.runs import Run

HEADER = "| command | batch | steps |"
"""how the table in docs/results.md begins"""
NETWORK = "--binarize dynamic --network mlp --hidden 200,200 --latent-dim 50 --activation tanh"


class Cell(NamedTuple):
    """One objective and its schedule; `published` is the paper's test NLL, in nats."""

    objective: str
    epochs: int
    batch_size: int
    learning_rate: float
    published: str
    data: str = "mnist --validation 0 --patience 0"


STICKING = "elbo:gradient=sticking-the-landing"
CELLS = {
    "vae-1": Cell(STICKING, 160, 256, 5e-3, "86.76"),
    "vae-5": Cell(f"{STICKING},samples=5", 40, 128, 3e-3, "86.47"),
    "vae-50": Cell(f"{STICKING},samples=50", 8, 64, 2e-3, "86.35"),
    "iwae-5": Cell("iwae:samples=5", 40, 128, 3e-3, "85.54"),
    "iwae-50": Cell("iwae:samples=50", 14, 64, 2e-3, "84.78"),
    "dreg-50": Cell("iwae:samples=50,gradient=doubly-reparameterised", 14, 64, 2e-3, "84.32 (re-run)"),
    "conditional": Cell(STICKING, 400, 256, 5e-3, "82.32", "mnist --validation 0 --patience 0 --condition label"),
    "static": Cell(STICKING, 100, 256, 5e-3, "88.71", "static-mnist"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cell", choices=CELLS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16", help="of the training")
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/table"))
    given = parser.parse_args()

    options = {"epochs": given.epochs, "precision": None if given.precision == "bfloat16" else given.precision}
    changed = {name: value for name, value in options.items() if value}
    run = given.out / "-".join(map(str, (given.cell, given.seed, *changed.values())))
    train(CELLS[given.cell], given.seed, given.epochs, given.precision, run)
    if not given.train:
        began = time.monotonic()
        result = vaekit("evaluate", str(run), "--samples", str(given.samples), "--json").last
        command = " ".join([given.cell, f"--seed {given.seed}", *(f"--{name} {changed[name]}" for name in changed)])
        write(HEADER, row(command, run, result, time.monotonic() - began))


def train(cell: Cell, seed: int, epochs: int | None, precision: str, run: Path) -> None:
    """Fit, go on with a fit that was stopped, or leave a finished one as it is."""
    if (run / "model.safetensors").exists():
        if not Run.open(run).finished:
            vaekit("resume", str(run), "--json")
        return
    network = NETWORK if "static" not in cell.data else NETWORK.replace("--binarize dynamic ", "")
    schedule = f"--epochs {epochs or cell.epochs} --batch-size {cell.batch_size} --learning-rate {cell.learning_rate}"
    setting = f"{cell.data} {network} --precision {precision} --objective {cell.objective} {schedule} --seed {seed}"
    vaekit("fit", *setting.split(), "--out", str(run), "--overwrite", "--json")


def row(options: str, run: Path, result: dict, seconds: float) -> str:
    """A line of the table."""
    cell = CELLS[options.split()[0]]
    estimate = result["log_likelihood"]
    gap = f"{result['generalisation']['gap']:.2f}" if result.get("generalisation") else ""
    nll = f"**{-estimate['mean']:.2f}** ± {estimate['spread']:.2f}"
    return (
        f"| `benchmarks/iwae_table.py {options}` | {cell.batch_size} | {Run.open(run).step:,} "
        f"| {training_seconds(run):,.0f} | {-result['elbo']:.2f} | {nll} | {estimate['error']:.3f} | {cell.published} "
        f"| {result['active_units']} | {gap} | {seconds:,.0f} | {machine()} |"
    )


def training_seconds(run: Path) -> float:
    """Wall-clock over all the stretches that a run was trained in; each counts from 0."""
    seconds = [json.loads(line)["seconds"] for line in (run / "times.jsonl").read_text().splitlines()]
    return sum(now for now, after in zip(seconds, [*seconds[1:], 0.0], strict=True) if after < now)


if __name__ == "__main__":
    main()
