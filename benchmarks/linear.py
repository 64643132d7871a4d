"""Linear VAEs against probabilistic PCA, where the best log p(x) is known in closed form (Tipping & Bishop 1999).

With a linear encoder and decoder and one learned σ the ELBO's maximum is the pPCA log-likelihood, and the bound is
tight there. From random weights, on every row, 12,000 steps of 128 rows or what comes nearest; columns that never
change are left out. The trained model itself is a normal distribution too, so every estimate of its log p(x) is then
held against the exact value: ELBO and importance-weighted on all rows, annealed importance sampling on 100 of them, and
from both sides on 100 rows that the model made. Writes docs/results.md.

    python benchmarks/linear.py
"""

import math
import time

import numpy as np
import torch
from results import write
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from vaekit import VAE, evaluation
from vaekit.data import Dataset


def standardised(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(0)) / x.std(0)


def varying(x: np.ndarray) -> np.ndarray:
    return x[:, x.std(0) > 0]


STEPS, BATCH = 12_000, 128
PROBLEMS = {
    "digits / 16": (varying(load_digits().data) / 16, 10),
    "breast_cancer, z-scored": (standardised(load_breast_cancer().data), 5),
    "wine, z-scored": (standardised(load_wine().data), 2),
}


def exact(x: np.ndarray, k: int) -> float:
    """−½ [ d log 2π + Σ_{i≤k} log λ_i + (d − k) log σ² + d ], σ² the mean of the d − k smallest eigenvalues."""
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T, ddof=0))[::-1]
    d, rest = x.shape[1], eigenvalues[k:].mean()
    return -0.5 * (d * math.log(2 * math.pi) + np.log(eigenvalues[:k]).sum() + (d - k) * math.log(rest) + d)


def marginal(model) -> torch.distributions.LowRankMultivariateNormal:
    """p(x) of a linear model: N(b, W Wᵀ + σ²), float64."""
    linear, family = model.decoder.layers[0], model.likelihood
    weight, bias, scale = (t.detach().double() for t in (linear.weight, linear.bias, family.scale))
    variance = family.log_sigma().detach().double().exp().square().expand(len(bias))
    return torch.distributions.LowRankMultivariateNormal(
        family.centre.double() + scale * bias, scale[:, None] * weight, variance
    )


def held_against_the_truth(vae: VAE, x: np.ndarray) -> str:
    """Each estimate minus the trained model's exact log p(x), mean over rows."""
    model, truth = vae.model_, marginal(vae.model_)
    rows = Dataset(x, vae.schema_, seed=0)
    exact = lambda rows: truth.log_prob(rows.stored.double())  # noqa: E731
    few, annealed = rows.some(100), evaluation.AnnealedImportance()
    bound = evaluation.elbo(model, rows).value.double() - exact(rows)
    weighted = evaluation.log_likelihood(model, rows).value - exact(rows)
    forward = evaluation.log_likelihood(model, few, annealed).value - exact(few)
    sides = evaluation.two_sided(model, 100, annealed, seed=0)
    simulated = truth.log_prob(sides.x.double())
    differences = (bound, weighted, forward, sides.lower - simulated, sides.upper - simulated)
    return " | ".join(f"{d.mean():+.5f} ± {d.std() / len(d) ** 0.5:.5f}" for d in differences)


def main() -> None:
    for name, (x, k) in PROBLEMS.items():
        began = time.monotonic()
        vae = VAE(
            latent_dim=k, hidden=(), likelihood="gaussian:sigma=shared", start="random", validation_fraction=0.0,
            batch_size=BATCH, max_epochs=STEPS // max(1, len(x) // BATCH), patience=0,
        ).fit(x)  # fmt: skip
        seconds, best = time.monotonic() - began, exact(x, k)
        tight = vae.set_params(importance_samples=100).score(x)
        write(
            "| command | data | k | exact",
            f"| `benchmarks/linear.py` | {name} | {k} | {best:.6f} | {vae.lower_bound_:.4f} "
            f"| {best - vae.lower_bound_:.4f} | {tight:.4f} | {vae.history_[-1]['step']:,} | {seconds:.0f} |",
            key=2,
        )
        write(
            "| command | data | k | ELBO",
            f"| `benchmarks/linear.py` | {name} | {k} | {held_against_the_truth(vae, x)} |",
            key=2,
        )


if __name__ == "__main__":
    main()
