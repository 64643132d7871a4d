"""Linear VAEs against probabilistic PCA, where the best log p(x) is known in closed form (Tipping & Bishop 1999).

With a linear encoder and decoder and one learned σ the ELBO's maximum is the pPCA log-likelihood, and the bound is
tight there. Everything by default but the model; writes its rows into docs/results.md.

    python benchmarks/linear.py
"""

import math
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from vaekit import VAE

RESULTS = Path(__file__).parent.parent / "docs" / "results.md"


def standardised(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(0)) / x.std(0)


PROBLEMS = {
    "digits / 16": (load_digits().data / 16, 10),
    "breast_cancer, z-scored": (standardised(load_breast_cancer().data), 5),
    "wine, z-scored": (standardised(load_wine().data), 2),
}


def exact(x: np.ndarray, k: int) -> float:
    """−½ [ d log 2π + Σ_{i≤k} log λ_i + (d − k) log σ² + d ], σ² the mean of the d − k smallest eigenvalues."""
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T, ddof=0))[::-1]
    d, rest = x.shape[1], eigenvalues[k:].mean()
    return -0.5 * (d * math.log(2 * math.pi) + np.log(eigenvalues[:k]).sum() + (d - k) * math.log(rest) + d)


def main() -> None:
    for name, (x, k) in PROBLEMS.items():
        began = time.monotonic()
        vae = VAE(latent_dim=k, hidden=(), likelihood="gaussian").fit(x)
        seconds, best = time.monotonic() - began, exact(x, k)
        tight = vae.set_params(importance_samples=100).score(x)
        row = (
            f"| `benchmarks/linear.py` | {name} | {k} | {best:.6f} | {vae.lower_bound_:.4f} "
            f"| {best - vae.lower_bound_:.4f} | {tight:.4f} | {vae.history_[-1]['step']:,} | {seconds:.0f} |"
        )
        print(row, flush=True)
        lines = RESULTS.read_text().splitlines()
        place = max(i for i, line in enumerate(lines) if line.startswith("| `benchmarks/linear") or "pPCA" in line) + 1
        while lines[place].startswith("|---"):
            place += 1
        RESULTS.write_text("\n".join([*lines[:place], row, *lines[place:]]) + "\n")


if __name__ == "__main__":
    main()
