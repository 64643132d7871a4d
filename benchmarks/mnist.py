"""MNIST, dynamically binarised, 784-200-200-50 tanh: test NLL with K = 5000 on all 10,000 images.

The setting of Burda et al. 2016 (arXiv:1509.00519), one layer, VAE objective; every training row is trained on, nothing
is selected on the test rows. Training is the library's own schedule, through the command line. Needs `mnist` (see
`vaekit datasets`). Appends a row to docs/results.md.

    python benchmarks/mnist.py [--epochs N] [--seed N] [--samples K] [--out runs/benchmark-mnist]
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch

RESULTS = Path(__file__).parent.parent / "docs" / "results.md"


def vaekit(*arguments: str) -> str:
    """The last line that a command prints; the rest goes to stderr."""
    command = [sys.executable, "-m", "vaekit", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = ""
    for line in process.stdout:
        sys.stderr.write(line)
    if process.wait():
        sys.exit(process.returncode)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=185)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--out", default="runs/benchmark-mnist")
    given = parser.parse_args()

    began = time.monotonic()
    setting = (
        "--binarize dynamic --network mlp --hidden 200,200 --latent-dim 50 --activation tanh --validation 0 "
        f"--epochs {given.epochs} --seed {given.seed}"
    )
    end = json.loads(vaekit("fit", "mnist", *setting.split(), "--out", given.out, "--overwrite", "--json"))
    trained = time.monotonic() - began
    result = json.loads(vaekit("evaluate", given.out, "--samples", str(given.samples), "--json"))
    evaluated = time.monotonic() - began - trained

    row = (
        f"| `{' '.join(sys.argv)}` | {given.seed} | {end['step']:,} | {trained:.0f} | {-result['elbo']:.2f} "
        f"| **{-result['log_likelihood']:.2f}** ± {result['log_likelihood_se']:.2f} | {result['samples']} "
        f"| {result['active_units']} | {evaluated:.0f} | {machine()} |"
    )
    print(row)
    with RESULTS.open("a") as file:
        file.write(row + "\n")


def machine() -> str:
    return f"{torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
