"""Missing cells filled and rows held out scored, by default fits of real tables, beside models of well-kept libraries.

imputation    half of all cells hidden, as in the MIWAE paper (Mattei & Frellsen 2019, arXiv:1812.02633): the mean
              squared error of the hidden cells, in standard deviations of the complete columns, and the share of them
              that lies within the range of 20 draws of each (nominal: 19/21)
adult         numbers and categories, hidden by published masks: the root mean squared error of numbers as a part of
              their range, and the share of wrong levels, each a mean over columns
density       log p(x) of a fifth of the rows, nats per row, of standardised columns with uniform noise of one step of
              their resolution, so that repeated values give nobody a density without bound
synthetic     adult as it is, with words: log p(x) of a fifth of the rows, and as many sampled rows as real ones were
              learned. Boosted trees that predict whether a row has a university degree are trained on either and tested
              on the rows held out; others have to tell sampled rows from those

Every contender is given the same cells and the same rows; no hidden cell and no held-out row decides anything. One
thread; seconds are of processor time. Needs $VAEKIT_DATA. Writes docs/results.md.

    python benchmarks/tables.py [imputation] [adult] [density] [synthetic] [--tables TABLE …] [--masks 3]
        [--members 5] [--states 1] [--ours] [--others]

--ours: measure the VAEs alone; the rows of the others, which are the same whatever vaekit does, stay as they are.
--others: measure those alone.
"""

import argparse
import csv
import functools
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars
import torch
from results import write
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import FactorAnalysis
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, HistGradientBoostingClassifier
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, PredefinedSplit, StratifiedKFold, cross_val_predict

from vaekit import VAE

FIRST_MASK = 1234
DRAWS = 20
MEMBER_DRAWS = 1000
"""of z per row and member"""
CELLS = 2**23
"""numbers of the covariances that are worked on at once"""
ADULT_ROWS = 5_000
"""of adult, that the Gaussian and the chained trees are fitted to: on all of them they take six times as long"""
FACTORS = {"n_components": (1, 2, 3, 4, 6, 8, 12, 16, 20)}
MIXTURES = {"n_components": (1, 2, 3, 5, 8, 12, 20, 30), "covariance_type": ("full", "diag"), "reg_covar": (1e-4, 1e-2)}
"""what validation chooses from"""


# Tables


def data(name: str) -> Path:
    return Path(os.environ["VAEKIT_DATA"]) / "tables" / name


def columns_of(name: str) -> dict[str, list[str]]:
    """A table of text, by its columns."""
    with data(name).open(newline="") as file:
        head, *rows = csv.reader(file)
    return dict(zip(head, map(list, zip(*rows, strict=True)), strict=True))


def wine(*, colours: tuple[str, ...] = ("red", "white"), without: tuple[str, ...] = ()) -> np.ndarray:
    columns = columns_of("wine.csv")
    chosen = np.isin(columns["colour"], colours)
    names = [name for name in columns if name not in ("colour", *without)]
    return np.column_stack([np.asarray(columns[name], np.float64)[chosen] for name in names])


def breast_cancer() -> np.ndarray:
    return load_breast_cancer().data


IMPUTED: dict[str, Callable[[], np.ndarray]] = {
    "breast_cancer": breast_cancer,
    "red wine": lambda: wine(colours=("red",), without=("quality",)),
    "white wine": lambda: wine(colours=("white",), without=("quality",)),
}
SCORED: dict[str, Callable[[], np.ndarray]] = {"breast_cancer": breast_cancer, "wine": wine}


class Masked(NamedTuple):
    """A table of which cells are hidden."""

    complete: np.ndarray
    hidden: np.ndarray

    @property
    def given(self) -> np.ndarray:
        """What contenders see: NaN where a cell is hidden."""
        return np.where(self.hidden, np.nan, self.complete)

    def error(self, filled: np.ndarray) -> float:
        """The mean squared error of the hidden cells."""
        return np.square(filled - self.complete)[self.hidden].mean()

    def covered(self, draws: np.ndarray) -> float:
        """The percentage of hidden cells within the range of draws (M, n, d) of them."""
        inside = (draws.min(0) <= self.complete) & (self.complete <= draws.max(0))
        return 100 * inside[self.hidden].mean()


@functools.cache
def masked(name: str, seed: int) -> Masked:
    """Standardised columns, exactly half of all cells hidden."""
    x = IMPUTED[name]()
    x = (x - x.mean(0)) / x.std(0)
    hidden = np.zeros(x.size, bool)
    hidden[np.random.RandomState(seed).permutation(x.size)[: x.size // 2]] = True
    return Masked(x, hidden.reshape(x.shape))


# Contenders for missing cells


def by_means(x: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(x), np.nanmean(x, 0), x)


class Gaussian:
    """A Gaussian of full covariance, fitted by EM to rows with missing cells, with `ridge` rows of uncorrelated columns
    of unit variance beside them."""

    def __init__(self, x: np.ndarray, *, steps: int = 60, ridge: float = 3.0) -> None:
        n, d = x.shape
        self.mean = np.nanmean(x, 0)
        self.covariance = np.diag(np.nanvar(x, 0))
        for _ in range(steps):
            first = np.zeros(d)
            second = np.zeros((d, d))
            for filled, spread in self.conditional(x):
                y = filled - self.mean
                first += y.sum(0)
                second += y.T @ y + spread.sum(0)
            shift = first / n
            self.mean = self.mean + shift
            scatter = second - n * np.outer(shift, shift)
            self.covariance = (scatter + ridge * np.eye(d)) / (n + ridge)

    def conditional(self, x: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """A block of rows at a time, E[x | x_obs] (n, d) and Cov[x | x_obs] (n, d, d), which is 0 where observed."""
        d = x.shape[1]
        for block in np.array_split(x, -(-x.size * d // CELLS)):
            seen = ~np.isnan(block)
            both = seen[:, :, None] & seen[:, None, :]
            # Where a cell is missing its row and column are those of the identity: what is left is Σ_oo, inverted.
            inverse = np.linalg.inv(np.where(both, self.covariance, np.eye(d))) * both
            y = np.where(seen, block - self.mean, 0)
            expected = self.mean + np.einsum("nij,nj->ni", inverse, y) @ self.covariance
            rest = self.covariance - self.covariance @ inverse @ self.covariance
            hidden = ~seen
            yield np.where(seen, block, expected), rest * (hidden[:, :, None] & hidden[:, None, :])

    def filled(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([filled for filled, _ in self.conditional(x)])

    def draws(self, x: np.ndarray, count: int) -> np.ndarray:
        """(count, n, d)"""
        random = np.random.default_rng(0)
        found = []
        for filled, spread in self.conditional(x):
            values, vectors = np.linalg.eigh(spread)
            root = vectors * np.sqrt(np.maximum(values, 0))[:, None, :]
            found.append(filled + np.einsum("nij,mnj->mni", root, random.normal(size=(count, *filled.shape))))
        return np.concatenate(found, 1)


def by_trees(x: np.ndarray) -> np.ndarray:
    trees = ExtraTreesRegressor(100, random_state=0)
    return IterativeImputer(trees, max_iter=10, random_state=0).fit_transform(x)


class Filled(NamedTuple):
    """What a contender makes of a table's missing cells."""

    values: np.ndarray
    """(n, d)"""
    draws: np.ndarray | None
    """(M, n, d), of contenders that have any"""
    seconds: float
    """of processor time, of the fit and the values"""


@functools.cache
def filled(contender: str, name: str, seed: int, random_state: int = 0, members: int = 1) -> Filled:
    x = masked(name, seed).given
    began = time.process_time()
    if contender == "VAE":
        vae = VAE(members=members, random_state=random_state).fit(x)
        samples = MEMBER_DRAWS * members
        values = vae.impute(x, samples=samples)
        seconds = time.process_time() - began
        return Filled(values, np.stack(vae.impute(x, samples=samples, draws=DRAWS)), seconds)
    if contender == "Gaussian by EM":
        gaussian = Gaussian(x)
        values = gaussian.filled(x)
        seconds = time.process_time() - began
        return Filled(values, gaussian.draws(x, DRAWS), seconds)
    values = {"column means": by_means, "chained ExtraTrees": by_trees}[contender](x)
    return Filled(values, None, time.process_time() - began)


def imputation(names: list[str], masks: int, members: int, states: int, ours: bool, others: bool) -> None:
    for name in names:
        seeds = range(FIRST_MASK, FIRST_MASK + masks)
        for contender in ("column means", "Gaussian by EM", "chained ExtraTrees") if others else ():
            write_filled(name, contender, {seed: filled(contender, name, seed) for seed in seeds})
        if not ours:
            continue
        for random_state in range(states):
            found = {seed: filled("VAE", name, seed, random_state) for seed in seeds}
            write_filled(name, f"VAE, random_state={random_state}", found)
        found = {seed: filled("VAE", name, seed, members=members) for seed in seeds}
        write_filled(name, f"VAE, members={members}", found)


def write_filled(name: str, contender: str, found: dict[int, Filled]) -> None:
    """A row of one contender's errors, and what its draws cover, on all masks."""
    errors = [masked(name, seed).error(one.values) for seed, one in found.items()]
    covered = [masked(name, seed).covered(one.draws) for seed, one in found.items() if one.draws is not None]
    write(
        "| command | table | contender",
        f"| `benchmarks/tables.py imputation` | {name} | {contender} | {', '.join(f'{one:.4f}' for one in errors)} "
        f"| {np.mean(errors):.4f} | {', '.join(f'{one:.1f}' for one in covered)} "
        f"| {np.mean([one.seconds for one in found.values()]):.1f} |",
        key=3,
    )


# Numbers and categories


class Adult:
    """The table, with its categories as numbers of their levels, and what a mask hides."""

    def __init__(self, percent: int) -> None:
        columns = columns_of("adult.csv")
        self.names = list(columns)
        self.levels: list[list[str]] = []
        """of each column of text, sorted; none for numbers"""
        coded = []
        for cells in columns.values():
            if all(cell.lstrip("-").isdigit() for cell in cells):
                self.levels.append([])
                coded.append(np.asarray(cells, np.float64))
            else:
                levels = sorted(set(cells) - {""})
                self.levels.append(levels)
                coded.append(np.array([levels.index(cell) if cell else np.nan for cell in cells]))
        self.complete = np.column_stack(coded)
        self.hidden = np.zeros(self.complete.shape, bool)
        self.hidden[tuple(np.load(data(f"adult-missing{percent}.npy")).T)] = True
        self.hidden &= ~np.isnan(self.complete)
        """which of the cells that are known: what is missing in the file itself cannot be scored"""
        self.given = np.where(self.hidden, np.nan, self.complete)
        self.is_text = np.array([bool(levels) for levels in self.levels])

    def errors(self, filled: np.ndarray) -> tuple[float, float]:
        """Of numbers, the root mean squared error as a part of the range; of categories, the share of wrong levels."""
        squared = np.square(filled - self.complete).mean(0, where=self.hidden)
        wrong = (filled != self.complete).mean(0, where=self.hidden)
        numbers = np.sqrt(squared) / (np.nanmax(self.complete, 0) - np.nanmin(self.complete, 0))
        return numbers[~self.is_text].mean(), wrong[self.is_text].mean()

    def encoded(self) -> np.ndarray:
        """Numbers and indicators of levels, all standardised by what is observed; NaN where missing."""
        parts = []
        for x, levels in zip(self.given.T, self.levels, strict=True):
            if levels:
                indicators = (x[:, None] == np.arange(len(levels))).astype(np.float64)
                parts.append(np.where(np.isnan(x)[:, None], np.nan, indicators))
            else:
                parts.append(x[:, None])
        encoded = np.concatenate(parts, 1)
        self.centre = np.nanmean(encoded, 0)
        self.unit = np.maximum(np.nanstd(encoded, 0), 1e-6)
        return (encoded - self.centre) / self.unit

    def decoded(self, encoded: np.ndarray) -> np.ndarray:
        """The inverse: the numbers, and of indicators the largest."""
        encoded = encoded * self.unit + self.centre
        widths = [max(1, len(levels)) for levels in self.levels]
        blocks = np.split(encoded, np.cumsum(widths)[:-1], 1)
        cells = [block.argmax(1) if levels else block[:, 0] for block, levels in zip(blocks, self.levels, strict=True)]
        return np.column_stack(cells)

    def fitted_to(self, rows: np.ndarray) -> np.ndarray:
        """A part of the rows, the same for every contender that is fitted to a part."""
        return rows[np.random.RandomState(0).permutation(len(rows))[:ADULT_ROWS]]

    def by_columns(self) -> np.ndarray:
        """Means and most frequent levels."""
        usual = np.nanmean(self.given, 0)
        for j in np.flatnonzero(self.is_text):
            seen = self.given[~np.isnan(self.given[:, j]), j]
            usual[j] = np.bincount(seen.astype(int)).argmax()
        return np.where(np.isnan(self.given), usual, self.given)

    def by_gaussian(self) -> np.ndarray:
        x = self.encoded()
        return self.decoded(Gaussian(self.fitted_to(x)).filled(x))

    def by_trees(self) -> np.ndarray:
        x = np.where(self.is_text, self.given, self.given + 0.5)
        imputer = IterativeImputer(Trees(), max_iter=10, initial_strategy="most_frequent", random_state=0)
        filled = imputer.fit(self.fitted_to(x)).transform(x)
        return np.where(self.is_text, filled, filled - 0.5)

    def by_vae(self) -> np.ndarray:
        """As people have it: a frame, with words for levels."""
        frame = polars.DataFrame(
            {
                name: [None if np.isnan(x) else levels[int(x)] if levels else x for x in column]
                for name, column, levels in zip(self.names, self.given.T, self.levels, strict=True)
            }
        )
        filled = VAE(random_state=0).fit(frame).impute(frame, samples=200)
        columns = []
        for name, levels in zip(self.names, self.levels, strict=True):
            cells = filled[name].to_list()
            columns.append([levels.index(cell) for cell in cells] if levels else cells)
        return np.column_stack(columns).astype(np.float64)


class Trees(RegressorMixin, BaseEstimator):
    """Extremely randomised trees for a column of levels, which are whole numbers, or of numbers, which are not."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> "Trees":
        family = ExtraTreesRegressor
        if (y == y.round()).all():
            family = ExtraTreesClassifier
        self.trees_ = family(100, random_state=0).fit(X, y)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.trees_.predict(X)


def adult(ours: bool, others: bool) -> None:
    for percent in (20, 50):
        table = Adult(percent)
        part = f", fitted to {ADULT_ROWS:,} rows"
        contenders = {
            "means, most frequent levels": table.by_columns,
            "VAE": table.by_vae,
            f"Gaussian by EM of indicators{part}": table.by_gaussian,
            f"chained ExtraTrees{part}": table.by_trees,
        }
        for name, contender in contenders.items():
            if not (ours if name == "VAE" else others):
                continue
            began = time.process_time()
            numbers, categories = table.errors(contender())
            seconds = time.process_time() - began
            write(
                "| command | hidden",
                f"| `benchmarks/tables.py adult` | {percent} % | {name} | {numbers:.4f} | {categories:.4f} "
                f"| {seconds:.0f} |",
                key=3,
            )


# Densities


def dequantised(x: np.ndarray) -> np.ndarray:
    """With uniform noise as wide as the least difference between two values of the column."""
    steps = np.array([np.diff(np.unique(column.round(9))).min() for column in x.T])
    return x + steps * np.random.default_rng(0).uniform(-0.5, 0.5, x.shape)


def by_validation(model: BaseEstimator, grid: dict[str, object], train: np.ndarray) -> BaseEstimator:
    """The best of a grid by the first tenth of the rows, fitted to all of them again."""
    fold = np.where(np.arange(len(train)) < len(train) // 10, 0, -1)
    return GridSearchCV(model, grid, cv=PredefinedSplit(fold), error_score=-np.inf).fit(train).best_estimator_


MODELS: dict[str, Callable[[np.ndarray], BaseEstimator]] = {
    "independent Gaussians": lambda train: GaussianMixture(1, covariance_type="diag").fit(train),
    "factor analysis": lambda train: by_validation(FactorAnalysis(), FACTORS, train),
    "full Gaussian": lambda train: GaussianMixture(1).fit(train),
    "Gaussian mixture": lambda train: by_validation(GaussianMixture(random_state=0), MIXTURES, train),
}
LIKELIHOODS = ("auto", "gaussian", "logistic-mixture")


@functools.cache
def split_of(name: str, split: int) -> tuple[np.ndarray, np.ndarray]:
    """Four fifths of the rows and the others, standardised by the former."""
    x = dequantised(SCORED[name]())
    order = np.random.RandomState(split).permutation(len(x))
    cut = len(x) * 4 // 5
    train = x[order[:cut]]
    test = x[order[cut:]]
    mean = train.mean(0)
    unit = train.std(0)
    return (train - mean) / unit, (test - mean) / unit


class Scored(NamedTuple):
    scores: np.ndarray
    """log p(x) of each row"""
    seconds: float


@functools.cache
def scored(model: str, name: str, split: int, members: int = 1) -> Scored:
    train, test = split_of(name, split)
    began = time.process_time()
    if model in MODELS:
        fitted = MODELS[model](train)
    else:
        fitted = VAE(likelihood=model, members=members, importance_samples=1000, random_state=split).fit(train)
    return Scored(fitted.score_samples(test), time.process_time() - began)


def density(names: list[str], splits: int, members: int, others: bool) -> None:
    for name in names:
        mixture = np.concatenate([scored("Gaussian mixture", name, split).scores for split in range(splits)])
        for model in MODELS if others else ():
            write_scored(name, model, [scored(model, name, split) for split in range(splits)], mixture)
        for model in LIKELIHOODS:
            found = [scored(model, name, split) for split in range(splits)]
            write_scored(name, f"VAE, likelihood {model}", found, mixture)
        found = [scored("auto", name, split, members) for split in range(splits)]
        write_scored(name, f"VAE, members={members}", found, mixture)


def write_scored(name: str, title: str, found: list[Scored], mixture: np.ndarray) -> None:
    """A row of one model's log p(x) on all splits, and what that of the mixture lacks to it, row by row."""
    means = [one.scores.mean() for one in found]
    gain = np.concatenate([one.scores for one in found]) - mixture
    write(
        "| command | table | model",
        f"| `benchmarks/tables.py density` | {name} | {title} | {', '.join(f'{one:.2f}' for one in means)} "
        f"| {np.mean(means):.2f} | {gain.mean():+.2f} ± {gain.std() / len(gain) ** 0.5:.2f} "
        f"| {np.mean([one.seconds for one in found]):.1f} |",
        key=3,
    )


# Synthetic rows


DEGREES = ("Bachelors", "Masters", "Prof-school", "Doctorate")
"""of which a row has one or has none: what is predicted by its other columns"""


def indicators(rows: polars.DataFrame, levels: dict[str, list[str]]) -> np.ndarray:
    """Columns as trees take them: numbers, and of words the number of the level."""
    columns = []
    for name in rows.columns:
        cells = rows[name].to_list()
        numbers = [levels[name].index(cell) if cell else None for cell in cells] if name in levels else cells
        columns.append(np.array([np.nan if x is None else x for x in numbers], np.float64))
    return np.column_stack(columns)


def synthetic(splits: int) -> None:
    """Each split's own model, its sample, and what trees make of both."""
    rows = polars.read_csv(data("adult.csv"), null_values=["?", " ?"])
    words = [name for name in rows.columns if rows[name].dtype == polars.String]
    levels = {name: rows[name].drop_nulls().unique().sort().to_list() for name in words}
    for split in range(splits):
        order = np.random.RandomState(split).permutation(len(rows))
        cut = len(rows) * 4 // 5
        train = rows[order[:cut]]
        test = rows[order[cut:]]
        began = time.process_time()
        vae = VAE(random_state=split).fit(train)
        seconds = time.process_time() - began
        log_p = vae.score(test)
        made = vae.sample(len(train), random_state=split)
        real_f1, real_auc = predicted(train, test, levels)
        f1, auc = predicted(made, test, levels)
        told = told_apart(made[: len(test)], test, levels)
        write(
            "| command | split | steps",
            f"| `benchmarks/tables.py synthetic` | {split} | {vae.state_.step:,} | {seconds:.0f} | {log_p:.2f} "
            f"| {f1:.3f} of {real_f1:.3f} | {auc:.3f} of {real_auc:.3f} | {told:.3f} |",
            key=2,
        )


def predicted(train: polars.DataFrame, test: polars.DataFrame, levels: dict[str, list[str]]) -> tuple[float, float]:
    """F1 of having a degree and the area under the ROC curve, of rows held out."""
    x, y = (indicators(rows.drop("education"), levels) for rows in (train, test))
    known, truth = (rows["education"].is_in(DEGREES).to_numpy() for rows in (train, test))
    trees = HistGradientBoostingClassifier(random_state=0).fit(x, known)
    return f1_score(truth, trees.predict(y)), roc_auc_score(truth, trees.predict_proba(y)[:, 1])


def told_apart(made: polars.DataFrame, real: polars.DataFrame, levels: dict[str, list[str]]) -> float:
    """The area under the ROC curve of trees that tell sampled rows from real ones, by five folds."""
    x = np.concatenate([indicators(made, levels), indicators(real, levels)])
    y = np.arange(len(x)) < len(made)
    trees = HistGradientBoostingClassifier(random_state=0)
    scores = cross_val_predict(trees, x, y, cv=StratifiedKFold(5, shuffle=True, random_state=0), method="predict_proba")
    return roc_auc_score(y, scores[:, 1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="*", default=["imputation", "adult", "density"])
    parser.add_argument("--tables", nargs="+", default=[*IMPUTED, "wine"])
    parser.add_argument("--masks", type=int, default=3, help="of each table; or splits, of densities")
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--states", type=int, default=1, help="fits of one VAE to each mask, random_state=0, 1, …")
    parser.add_argument("--ours", action="store_true", help="the VAEs alone")
    parser.add_argument("--others", action="store_true", help="the others alone")
    options = parser.parse_args()
    ours, others = not options.others, not options.ours
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    imputed = [name for name in options.tables if name in IMPUTED]
    for what in options.what:
        if what == "imputation":
            imputation(imputed, options.masks, options.members, options.states, ours, others)
        elif what == "adult":
            adult(ours, others)
        elif what == "density":
            density([name for name in options.tables if name in SCORED], options.masks, options.members, others)
        elif what == "synthetic":
            synthetic(options.masks)
        else:
            parser.error(f"there is no {what}: choose imputation, adult, density or synthetic")


if __name__ == "__main__":
    main()
