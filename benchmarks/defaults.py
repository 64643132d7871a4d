"""Default fits on twenty small tables, beside the simple models of the same rows: through Python, or the command line.

At most 1,000 rows to fit, at most 500 of the others to score, in each of five splits. log p(x) in nats per row, in the
data's own units, beside independent columns, factor analysis and the ridged Gaussian of full covariance
(`evaluation.SimpleModels`); differences are paired, their errors over the rows of all splits. One thread; seconds are
of processor time. Needs the data sets of $VAEKIT_DATA for twelve of the tables. Writes docs/results.md.

    python benchmarks/defaults.py [--face python|command-line] [--splits 5] [TABLE ...]
"""

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from results import vaekit, write
from sklearn import datasets

import vaekit as package
from vaekit import VAE
from vaekit.data import Dataset
from vaekit.evaluation import SimpleModels

MOST_FITTED, MOST_SCORED = 1000, 500
SIMPLE = ("independent columns", "factor analysis", "full-covariance Gaussian")


def made() -> np.ndarray:
    """Seven columns of four factors that a linear model does not see whole."""
    random = np.random.default_rng(0)
    mixing = random.normal(size=(4, 7))
    return np.tanh(random.normal(size=(400, 4))) @ mixing + 0.5 * random.normal(size=(400, 7))


def anomaly(name: str) -> Callable[[], np.ndarray]:
    """A set of $VAEKIT_DATA/anomaly."""

    def read() -> np.ndarray:
        with np.load(Path(os.environ["VAEKIT_DATA"]) / "anomaly" / f"{name}.npz") as archive:
            return archive["X"]

    return read


SETS = (
    "Ionosphere", "Pima", "breastw", "cardio", "glass", "letter", "optdigits", "pendigits", "satellite", "thyroid",
    "vowels", "wine",
)  # fmt: skip
TABLES: dict[str, Callable[[], np.ndarray]] = {
    "iris": lambda: datasets.load_iris().data,
    "wine": lambda: datasets.load_wine().data,
    "breast_cancer": lambda: datasets.load_breast_cancer().data,
    "diabetes": lambda: datasets.load_diabetes().data,
    "digits": lambda: datasets.load_digits().data,
    "friedman": lambda: np.column_stack(datasets.make_friedman1(500, random_state=0)),
    "swiss roll": lambda: datasets.make_swiss_roll(500, noise=0.1, random_state=0)[0],
    "tanh of factors": made,
    **{f"{name} (anomaly)": anomaly(name) for name in SETS},
}


def fitted(face: str, x: np.ndarray, split: int) -> tuple[VAE, float]:
    """A default fit, and the seconds of processor time that it took."""
    if face == "python":
        began = time.process_time()
        vae = VAE(random_state=split).fit(x)
        return vae, time.process_time() - began
    with tempfile.TemporaryDirectory() as home:
        np.save(Path(home) / "x.npy", x)
        done = vaekit("fit", f"{home}/x.npy", "--out", f"{home}/run", "--test", "0", "--seed", str(split), "--json")
        return package.load(f"{home}/run"), done.seconds


def one_split(face: str, x: np.ndarray, split: int) -> tuple[torch.Tensor, dict[str, torch.Tensor], float]:
    """log p(x) of each row that was held out, by the VAE and by each simple model; seconds."""
    order = np.random.default_rng(split).permutation(len(x))
    count = min(MOST_FITTED, len(x) * 4 // 5)
    train, test = x[order[:count]], x[order[count : count + MOST_SCORED]]
    vae, seconds = fitted(face, train, split)
    scores = torch.from_numpy(vae.score_samples(test))
    rows = [Dataset(part, vae.schema_, seed=0) for part in (train, test)]
    simple = SimpleModels(*rows, vae.model_.latent_dim, vae.model_.likelihood.integers)
    found = {one.name: one.scores for one in simple.models if one.name in SIMPLE and one.scores is not None}
    return scores, found, seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", nargs="*", default=list(TABLES))
    parser.add_argument("--face", choices=("python", "command-line"), default="python")
    parser.add_argument("--splits", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    above_columns, above_linear, all_seconds = [], [], []
    for name in options.tables:
        x = np.asarray(TABLES[name](), np.float64)
        count = min(MOST_FITTED, len(x) * 4 // 5)
        splits = [one_split(options.face, x, split) for split in range(options.splits)]
        scores = torch.cat([split[0] for split in splits])
        simple = {model: torch.cat([split[1][model] for split in splits]) for model in splits[0][1]}
        seconds = statistics.median(split[2] for split in splits)
        linear = [model for model in SIMPLE[1:] if model in simple] or [SIMPLE[0]]
        best = max(linear, key=lambda model: simple[model].mean())
        gain = scores - simple[best]
        error = gain.std().item() / len(gain) ** 0.5
        above_columns.append(bool(scores.mean() > simple[SIMPLE[0]].mean()))
        above_linear.append(gain.mean().item() > -error)
        all_seconds.append(seconds)
        shown = " | ".join(f"{simple[model].mean():.2f}" if model in simple else "" for model in SIMPLE)
        write(
            "| command | face | table",
            f"| `benchmarks/defaults.py` | {options.face} | {name} | {count} × {x.shape[1]} "
            f"| {scores.mean():.2f} | {shown} | {gain.mean():+.2f} ± {error:.2f} | {seconds:.1f} |",
            key=3,
        )
    print(
        f"above independent columns: {sum(above_columns)} of {len(above_columns)}; at least the better linear model "
        f"within an error: {sum(above_linear)}; median {statistics.median(all_seconds):.1f} s"
    )


if __name__ == "__main__":
    main()
