"""A start at the best linear model: factor analysis, whose posterior is known exactly.

    x = m + S (W z + ψ^½ e),   z, e ~ N(0, I),   S the columns' standard deviations

    q(z|x) = N(M⁻¹ Wᵀ ψ⁻¹ S⁻¹ (x − m), M⁻¹),   M = I + Wᵀ ψ⁻¹ W

Given conditions c, the factor analysis is that of what a regression on them leaves, x − S A c. The latents are turned
so that M is diagonal. Then a diagonal posterior is the exact one, and before the first step the ELBO of every row
equals the log-density of the factor analysis. What training adds is what the data has beyond it.
"""

import warnings
from collections.abc import Iterable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from vaekit.errors import VaekitError
from vaekit.models.vae import VAE
from vaekit.nets import Experts

RIDGE = 3.0
"""rows' worth of uncorrelated columns, added to the covariance: that of few rows is not to be taken literally"""
LEAST_VARIANCE = 5e-3
"""of a column beside what the factors explain, as a part of its variance"""
TOLERANCE = 1e-3
"""of its likelihood"""
MOST_ITERATIONS = 200
"""of EM"""
ITERATIONS = 60
"""of EM where cells are missing: it is a start, and those after them say little more"""


class Factors(NamedTuple):
    """A factor analysis of d columns with D factors, in the units of the rows that it was fitted to."""

    mean: np.ndarray
    """m, (d,)"""
    loading: np.ndarray
    """S W, (d, D), turned so that M is diagonal"""
    deviation: np.ndarray
    """S ψ^½, (d,)"""
    precision: np.ndarray
    """the diagonal of M, (D,)"""
    effect: np.ndarray
    """S A, (d, C): what conditions add to the mean"""


@runtime_checkable
class LinearPosterior(Protocol):
    """A posterior family whose encoder may be linear."""

    def affine(self, weight: Tensor, bias: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        """The linear encoder, weight (features, U) and bias (features,), for N(weight u + bias, diag σ²)."""
        ...


@runtime_checkable
class LinearLikelihood(Protocol):
    """A likelihood family whose decoder may be linear."""

    def affine(self, centre: Tensor, loading: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The linear decoder, weight (features, D) and bias (features,), for codes centre + loading z ± deviation."""
        ...


def factor_analysis(
    blocks: Iterable[np.ndarray],
    mean: np.ndarray,
    scale: np.ndarray,
    latents: int,
    least: np.ndarray | float = LEAST_VARIANCE,
) -> Factors:
    """The factor analysis of rows (B, d), given a block at a time.

    mean, scale    (d,), of the columns: where and in what units sums are taken. Cells more than 30 scales away count as
                   30.
    least          the part of each column's variance, (d,) or one for all, that factors do not explain at the least
    """
    rows = 0
    first = np.zeros(len(mean))
    second = np.zeros((len(mean), len(mean)))
    for block in blocks:
        y = np.clip((block - mean) / scale, -30, 30)
        rows += len(y)
        first += y.sum(0)
        second += y.T @ y
    shift = first / rows
    covariance = second / rows - np.outer(shift, shift)
    variance = np.diag(covariance)
    deviation = np.sqrt(np.maximum(variance, 1e-12))  # a constant goes with nothing
    correlation = covariance / np.outer(deviation, deviation)
    np.fill_diagonal(correlation, 1.0)
    correlation = (rows * correlation + RIDGE * np.eye(len(mean))) / (rows + RIDGE)
    weights, unique = _fitted(
        correlation, min(latents, max(1, len(mean) - 1))
    )  # with as many as columns, EM stands still
    weights, unique = _held_back(weights, unique, least)
    return _factors(mean + scale * shift, scale * deviation, weights, unique, latents)


def factor_analysis_observed(
    rows: np.ndarray, observed: np.ndarray, latents: int, least: np.ndarray | float = LEAST_VARIANCE
) -> Factors:
    """The factor analysis of rows (n, d) of which the cells that are not `observed` are missing, by EM.

    E step    q(z_i) = N(P_i⁻¹ h_i, P_i⁻¹),  P_i = I + Σ_j W_j W_jᵀ / ψ_j,  h_i = Σ_j W_j (x_ij − m_j) / ψ_j,  over the
              observed j
    M step    the regression of each column on (z, 1), over the rows that have it

    (Rubin & Thayer 1982; with missing cells Little & Rubin 2019.) `RIDGE` rows of uncorrelated columns are added, in
    both steps: in the M step alone they would shrink W a little more each time, without end. `least` is as in
    `factor_analysis`.
    """
    counts = np.maximum(observed.sum(0), 1)
    mean = rows.sum(0, where=observed) / counts
    centred = np.where(observed, rows - mean, 0.0)
    deviation = np.sqrt(np.maximum(np.square(centred).sum(0) / counts, 1e-12))
    y = centred / deviation
    seen = observed.astype(np.float64)
    patterns, pattern = np.unique(seen, axis=0, return_inverse=True)
    d = rows.shape[1]
    correlation = (y.T @ y + RIDGE * np.eye(d)) / (np.maximum(seen.T @ seen, 1) + RIDGE)
    weights, unique = _fitted(_positive(correlation), min(latents, max(1, d - 1)))
    factors = weights.shape[1]
    centre = np.zeros(d)
    for _ in range(ITERATIONS):
        products = weights[:, :, None] * weights[:, None, :] / unique[:, None, None]
        precision = np.eye(factors) + np.tensordot(patterns, products, 1)
        covariance = np.linalg.inv(precision)[pattern]  # rows of one pattern have the same
        natural = (seen * (y - centre) / unique) @ weights
        z = np.einsum("nij,nj->ni", covariance, natural)
        moments = np.zeros((len(y), factors + 1, factors + 1))
        moments[:, :-1, :-1] = covariance
        with_one = np.column_stack([z, np.ones(len(z))])
        moments += with_one[:, :, None] * with_one[:, None, :]
        gram = np.tensordot(seen.T, moments, 1)
        right = (seen * y).T @ with_one
        of_all = np.linalg.inv(np.eye(factors) + products.sum(0))
        regression = of_all @ (weights / unique[:, None]).T  # E[z|x] of a row of which no cell is missing
        gram[:, :-1, :-1] += RIDGE * (of_all + regression @ regression.T)
        right[:, :-1] += RIDGE * regression.T
        solution = np.linalg.solve(gram, right[:, :, None])[:, :, 0]
        left = np.square(y).sum(0) - (solution * right).sum(1)
        weights = solution[:, :-1]
        centre = solution[:, -1]
        unique = np.maximum((left + RIDGE) / (counts + RIDGE), LEAST_VARIANCE)
    weights, unique = _held_back(weights, unique, least)
    return _factors(mean + deviation * centre, deviation, weights, unique, latents)


def effects(rows: np.ndarray, observed: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The regression of columns (n, d) on conditions c (n, C), of each over the rows that have it: A (d, C).

    `RIDGE` rows of conditions that change nothing are added.
    """

    def solved(y: np.ndarray, given: np.ndarray) -> np.ndarray:
        given = given - given.mean(0)
        return np.linalg.solve(given.T @ given + RIDGE * np.eye(given.shape[1]), given.T @ y).T

    if observed.all():
        return solved(rows, c)
    found = np.zeros((rows.shape[1], c.shape[1]))
    for j, there in enumerate(observed.T):
        if there.any():
            found[j] = solved(rows[there, j], c[there])
    return found


def _factors(mean: np.ndarray, units: np.ndarray, weights: np.ndarray, unique: np.ndarray, latents: int) -> Factors:
    """The factors W (d, D) and ψ (d,) of columns in these units, turned so that M is diagonal."""
    weights = np.pad(weights, ((0, 0), (0, latents - weights.shape[1])))  # what is left over says nothing
    precision, turn = np.linalg.eigh(np.eye(latents) + (weights / unique[:, None]).T @ weights)
    return Factors(
        mean=mean,
        loading=units[:, None] * (weights @ turn[:, ::-1]),
        deviation=units * np.sqrt(unique),
        precision=precision[::-1].copy(),
        effect=np.zeros((len(mean), 0)),
    )


def _held_back(weights: np.ndarray, unique: np.ndarray, least: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """The factors of a correlation matrix, shrunk where they leave less than a part `least` of a column's variance."""
    allowed = np.maximum(unique, least)
    explained = np.maximum(1 - unique, 1e-12)
    shrunk = np.sqrt(np.clip((1 - allowed) / explained, 0, 1))
    return weights * np.where(allowed > unique, shrunk, 1.0)[:, None], allowed


def _positive(correlation: np.ndarray) -> np.ndarray:
    """The nearest correlation matrix without negative eigenvalues: pairs of columns may come from different rows."""
    values, vectors = np.linalg.eigh(correlation)
    positive = (vectors * np.maximum(values, LEAST_VARIANCE)) @ vectors.T
    scale = np.sqrt(np.diag(positive))
    return positive / np.outer(scale, scale)


def _fitted(correlation: np.ndarray, latents: int) -> tuple[np.ndarray, np.ndarray]:
    """The W (d, D) and ψ (d,) of greatest likelihood for a correlation matrix, by scikit-learn.

    It wants rows: 2d of them have this matrix as their covariance.
    """
    from sklearn.decomposition import FactorAnalysis
    from sklearn.exceptions import ConvergenceWarning

    d = len(correlation)
    values, vectors = np.linalg.eigh(correlation)
    root = (vectors * np.sqrt(np.maximum(values, 0))).T * np.sqrt(d)
    analysis = FactorAnalysis(latents, tol=TOLERANCE, max_iter=MOST_ITERATIONS, svd_method="lapack", random_state=0)
    rows = np.concatenate([root, -root])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is a start: training goes on from there
        try:
            analysis.fit(rows)
        except np.linalg.LinAlgError:  # LAPACK's way does not converge for each matrix
            analysis.set_params(svd_method="randomized").fit(rows)
    return analysis.components_.T, np.maximum(analysis.noise_variance_, LEAST_VARIANCE)


@torch.no_grad()
def start(model: VAE, factors: Factors) -> None:
    """Write a factor analysis of codes, as the likelihood makes them of rows, into a model whose networks have a map
    `linear`.

    Such networks are `nets.SkipMLP`, and `nets.MLP` without hidden layers; `nets.Experts` has one for each pattern of
    missing cells.
    """
    likelihood = model.likelihood
    posterior = model.posterior
    if not isinstance(likelihood, LinearLikelihood) or not isinstance(posterior, LinearPosterior):
        raise VaekitError("a start at factor analysis takes a likelihood and a posterior that have `affine`.")
    dtype = next(model.parameters()).dtype
    device = next(model.parameters()).device
    mean, loading, deviation, precision, effect = (
        torch.as_tensor(v, dtype=torch.float64, device=device) for v in factors
    )
    forwards = torch.cat([loading, effect], 1)  # to the mean z and c are alike
    weight, bias = likelihood.affine(mean.to(dtype), forwards.to(dtype), deviation.to(dtype))
    _write(model.decoder, weight, bias, model.latent_dim)
    if isinstance(model.encoder, Experts):
        model.encoder.start(mean, loading, deviation, effect)
        return
    backwards = (loading / deviation.square()[:, None]).mT / precision[:, None]
    both = torch.cat([backwards, -backwards @ effect], 1)
    weight, bias = posterior.affine(both, -(backwards @ mean), -0.5 * precision.log())
    _write(model.encoder, weight, bias, len(mean))


def _write(network: nn.Module, weight: Tensor, bias: Tensor, inputs: int) -> None:
    """The linear map of a network: weights of its inputs, and after these of its conditions, if it has any. It has no
    use for what else it sees, which cells are observed, say."""
    linear = network.get_parameter("linear.weight")
    linear.zero_()
    linear[:, :inputs].copy_(weight[:, :inputs])
    network.get_parameter("linear.bias").copy_(bias)
    if weight.shape[1] > inputs:
        network.get_parameter("shift.weight").copy_(weight[:, inputs:])
