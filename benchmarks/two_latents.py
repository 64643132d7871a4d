"""Three ways to log p(x), one of them exact: MNIST with two latents (784-200-200-2 tanh, dynamic binarisation).

Quadrature knows log p(x) to its stated error, so importance sampling (K = 5000) and annealed importance sampling have
to agree with it within theirs, and the ELBO has to lie below. Writes its rows into docs/results.md and draws the plane
into docs/pictures/plane.png. Needs `mnist` (see `vaekit datasets`).

    python benchmarks/two_latents.py [--rows N] [--epochs N] [--out runs/two-latents]
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch
from results import DOCS, write

from vaekit import evaluation, report
from vaekit.cli.common import open_model, rows_of

HEADER = "| command | method | rows |"
"""how the table in docs/results.md begins"""
SETTING = (
    "mnist --binarize dynamic --network mlp --hidden 200,200 --latent-dim 2 --activation tanh --validation 0 --seed 0"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("runs/two-latents"))
    given = parser.parse_args()

    if not (given.out / "model.safetensors").exists():
        arguments = [*SETTING.split(), "--epochs", str(given.epochs), "--out", str(given.out)]
        subprocess.run([sys.executable, "-m", "vaekit", "fit", *arguments], check=True)
    run, model, device = open_model(given.out, None)
    rows, _, labels = rows_of(run, model, None, device)
    report.latent_plane(run.schema, model, rows, DOCS / "pictures" / "plane.png", labels)

    few = rows.some(given.rows)
    for line in table(model, few):
        write(HEADER, f"| `{' '.join(sys.argv)}` | {line} |", key=2)


def table(model: torch.nn.Module, rows) -> list[str]:
    """A row for each method: mean, its own error, and how its rows differ from quadrature's in units of the errors."""
    elbo = evaluation.elbo(model, rows).value.double()
    methods = [evaluation.Quadrature(), evaluation.ImportanceSampling(5000), evaluation.AnnealedImportance()]
    exact, lines = None, []
    for method in methods:
        began = time.monotonic()
        found = evaluation.log_likelihood(model, rows, method)
        seconds = time.monotonic() - began
        exact = exact or found
        difference = found.value - exact.value
        error = (found.scores.error.square() + exact.scores.error.square()).sqrt()
        lines.append(
            f"{method.name} | {found.n} | {found.mean:.4f} ± {found.spread:.2f} | {found.error:.5f} | {found.bias:.5f} "
            f"| {difference.mean():+.5f} | {difference.abs().max():.4f} | {within(difference, error, found)} "
            f"| {seconds:.0f}"
        )
    below = elbo - exact.value
    return [
        f"ELBO | {len(elbo)} | {elbo.mean():.4f} | – | – | {below.mean():+.5f} | {below.abs().max():.4f} "
        f"| {int((below < 0).sum())} below | –",
        *lines,
    ]


def within(difference: torch.Tensor, error: torch.Tensor, found: evaluation.LogLikelihood) -> str:
    """How many rows agree within three of their errors, and how many of those that k̂ does not warn of."""
    agree = difference.abs() <= 3 * error + 1e-4
    k = found.scores.terms.get("pareto_k")
    trusted = "" if k is None else f"; k̂ ≤ 0.7: {int(agree[k <= 0.7].sum())} of {int((k <= 0.7).sum())}"
    return f"{int(agree.sum())} of {len(agree)}{trusted}"


if __name__ == "__main__":
    main()
