"""Parts beside the usual ones, on the same rows with the same schedule: one command a cell.

refit-…       a prior fitted to a trained model (`vaekit refit`): log p(x) of test rows before and after, and their
              difference row by row. digits, breast-cancer, adult: a fit by default; mnist: the model of Burda et al.
static-…      static MNIST, 784-300-300-40, by prior: standard; vamp with 500 pseudo-inputs (Tomczak & Welling 2018,
              arXiv:1705.07120: 88.56 and 85.57); mixture of 500; and the first of these with a refitted prior
dynamic-…     dynamic MNIST, 784-200-200-50, 64 draws a row, by objective (Rainforth et al. 2018, arXiv:1802.04277)
sphere-…      dynamic MNIST, ten dimensions: vmf or normal (Davidson et al. 2018, arXiv:1804.00891: 93.16 and 93.84)

log p(x) by importance sampling with K draws a row, ± standard error over rows. A command that was stopped goes on where
it was; its row in docs/results.md is replaced. Needs the data sets of `vaekit datasets`, and `adult` $VAEKIT_DATA.

    python benchmarks/parts.py CELL [--seed N] [--epochs N] [--samples K] [--out runs/parts]
"""

import argparse
import csv
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars
from results import machine, vaekit, write
from sklearn.datasets import load_breast_cancer

from vaekit.runs import Run

REFITTED = "| command | rows |"
TRAINED = "| command | part | epochs |"
"""how the tables in docs/results.md begin"""
BURDA = "--binarize dynamic --network mlp --hidden 200,200 --latent-dim 50 --activation tanh --epochs 60 --lr 5e-3"
TOMCZAK = "static-mnist --network mlp --hidden 300,300 --latent-dim 40 --batch-size 256 --lr 3e-3"
RAINFORTH = "mnist --binarize dynamic --network mlp --hidden 200,200 --latent-dim 50 --batch-size 64 --lr 1e-3"
DAVIDSON = "mnist --binarize dynamic --network mlp --hidden 256,128 --batch-size 64 --lr 1e-3"


class Cell(NamedTuple):
    """A fit and what is made of it."""

    fit: str
    """data and options"""
    epochs: int | None = None
    """by default; none where training stops by itself"""
    published: str = "–"
    refit: str = ""
    """a prior to fit afterwards"""


CELLS = {
    "refit-digits": Cell("digits", refit="auto"),
    "refit-breast-cancer": Cell("breast-cancer", refit="auto"),
    "refit-adult": Cell("adult", refit="auto"),
    "refit-mnist": Cell(f"mnist {BURDA}", refit="auto"),
    "static-standard": Cell(TOMCZAK, 60, "88.56"),
    "static-vamp": Cell(f"{TOMCZAK} --prior vamp:components=500", 60, "85.57"),
    "static-mixture": Cell(f"{TOMCZAK} --prior mixture:components=500", 60),
    "dynamic-miwae": Cell(f"{RAINFORTH} --objective iwae:samples=64,repeats=8", 20, "84.97"),
    "dynamic-iwae": Cell(f"{RAINFORTH} --objective iwae:samples=64", 20, "86.11"),
    "sphere-normal": Cell(f"{DAVIDSON} --latent-dim 10", 20, "93.84"),
    "sphere-vmf": Cell(f"{DAVIDSON} --latent-dim 11 --posterior vmf", 20, "93.16 ± 0.31"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cell", choices=CELLS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("runs/parts"))
    given = parser.parse_args()
    cell = CELLS[given.cell]
    epochs = given.epochs or cell.epochs
    run = given.out / "-".join(map(str, filter(None, (given.cell, str(given.seed), epochs))))
    seconds = train(cell, given.seed, epochs, run, given.out)
    command = f"| `benchmarks/parts.py {given.cell} --seed {given.seed}"
    if given.epochs:
        command += f" --epochs {given.epochs}"
    if cell.refit:
        write(REFITTED, refitted(f"{command}` ", cell, run, given.samples))
    else:
        write(TRAINED, trained(f"{command}` ", cell, run, epochs, seconds, given.samples))


def train(cell: Cell, seed: int, epochs: int | None, run: Path, out: Path) -> float | None:
    """Fit, go on with a fit that was stopped, or leave a finished one as it is; its processor seconds, if it was fitted
    in one go here."""
    if (run / "model.safetensors").exists():
        if not Run.open(run).finished:
            vaekit("resume", str(run), "--json")
        return None
    out.mkdir(parents=True, exist_ok=True)
    data, *options = cell.fit.split()
    if epochs:
        options += ["--epochs", str(epochs)]
    path = TABLES[data](out) if data in TABLES else data
    return vaekit("fit", str(path), *options, "--seed", str(seed), "--out", str(run), "--overwrite", "--json").seconds


def breast_cancer(out: Path) -> Path:
    """The table of breast_cancer as a file."""
    path = out / "breast-cancer.csv"
    polars.DataFrame(load_breast_cancer().data, schema=[f"c{j}" for j in range(30)]).write_csv(path)
    return path


def adult(_: Path) -> Path:
    """The table of adult."""
    return Path(os.environ["VAEKIT_DATA"]) / "tables" / "adult.csv"


TABLES = {"breast-cancer": breast_cancer, "adult": adult}


def scores(run: Path, samples: int) -> np.ndarray:
    """The log-likelihood log p(x) of each test row, nats."""
    path = run.parent / f"{run.name}.csv"
    vaekit("score", str(run), "-o", str(path), "--samples", str(samples), "--json")
    with path.open() as lines:
        return np.array([float(line["log_p"]) for line in csv.DictReader(lines)])


def refitted(command: str, cell: Cell, run: Path, samples: int) -> str:
    """A line of the first table."""
    again = run.parent / f"{run.name}-refitted"
    found = vaekit("refit", str(run), "--prior", cell.refit, "--out", str(again), "--overwrite", "--json")
    before, after = scores(run, samples), scores(again, samples)
    gain = after - before
    error = gain.std(ddof=1) / len(gain) ** 0.5
    return (
        f"{command}| {len(gain):,} | {found.last['prior']} | {before.mean():.3f} | {after.mean():.3f} "
        f"| **{gain.mean():+.3f}** ± {error:.3f} | {found.seconds:.0f} | {samples} | {machine()} |"
    )


def trained(command: str, cell: Cell, run: Path, epochs: int | None, seconds: float | None, samples: int) -> str:
    """A line of the second table."""
    result = vaekit("evaluate", str(run), "--samples", str(samples), "--json").last
    estimate = result["log_likelihood"]
    nll = f"**{-estimate['mean']:.2f}** ± {estimate['spread']:.2f}"
    took = f"{seconds:.0f}" if seconds is not None else ""
    settings = Run.open(run).settings
    part = ", ".join([settings.model.posterior, settings.model.prior, settings.training.objective])
    return (
        f"{command}| {part} | {epochs} | {Run.open(run).step:,} | {-result['elbo']:.2f} | {nll} | {samples} "
        f"| {cell.published} | {took} | {machine()} |"
    )


if __name__ == "__main__":
    main()
