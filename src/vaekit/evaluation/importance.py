"""log p(x) by importance sampling from the encoder.

    log p̂_K(x) = log (1/K) Σ_k w_k,    w_k = p(x, z_k) / q(z_k|x),  z_k ~ q(z|x)

E p̂_K = p(x), so by Jensen's inequality E log p̂_K ≤ log p(x), with equality as K → ∞ (Burda et al. 2016,
arXiv:1509.00519). By how much: Var(log p̂_K) / 2, to first order.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vaekit.core import Batch, LatentModel, members
from vaekit.errors import VaekitError
from vaekit.evaluation.scores import CURVE, Method, Scores, weighed
from vaekit.inference.joint import joint_in_pieces
from vaekit.maths import log_mean_exp
from vaekit.noise import RowNoise

LATENTS = 2**19
"""numbers of latents drawn at once"""
RESOLUTION = 1e-3
"""nats: log-weights nearer to each other than this are equal up to rounding, and the shape of rounding means nothing"""


@dataclass(frozen=True)
class ImportanceSampling:
    """The importance-weighted estimate of log p(x) from K = `samples` draws per row, a lower bound in expectation.

    The draws are one low-discrepancy point set, shifted by the row's key. Terms, one per row each:

        ess         effective number of draws (`weighed`, which gives the error too)
        pareto_k    k̂ of the weights' tail (`pareto_shape`): above `most_shape` neither value nor error can be trusted
        curve       log p̂_k for every k of `sizes`, averaged over the K/k blocks of draws, (B, len(sizes)): where it
                    still climbs at its end, K is too small
    """

    samples: int = 100
    name: ClassVar[str] = "iwae"
    size: ClassVar[str] = "samples"
    noisy: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"importance-weighted, {self.samples:,} draws a row"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise VaekitError(f"samples is {self.samples}: give 1 draw a row or more.")

    @property
    def sizes(self) -> list[int]:
        """The numbers 1, 10, 100, … and K of draws that `curve` is made for.

        >>> ImportanceSampling(500).sizes
        [1, 10, 100, 500]
        """
        powers = [10**i for i in range(len(str(self.samples)))]
        below = [power for power in powers if power < self.samples]
        return [*below, self.samples]

    @torch.no_grad()
    def __call__(self, model: LatentModel, batch: Batch, seed: int) -> Scores:
        """The scores of a batch of B rows, of K draws each."""
        log_w = self.log_weights(model, batch, seed)
        ess, error = weighed(log_w)
        curve = torch.stack([_blocks(log_w, size) for size in self.sizes], -1)
        terms = {"ess": ess, "pareto_k": pareto_shape(log_w), CURVE: curve}
        return Scores(curve[:, -1], error, terms)

    def log_weights(self, model: LatentModel, batch: Batch, seed: int) -> Tensor:
        """The log importance weights log w, (K, B) float64, the draws in chunks where they do not fit at once."""
        x = batch.x
        q = model.encode(batch)
        log_joint = joint_in_pieces(model, batch)
        most = max(1, LATENTS // model.latent_dim // len(x))
        log_w = []
        for start in range(0, self.samples, most):
            draws = min(most, self.samples - start)
            source = RowNoise(batch.key, seed, self.samples, start=start, dtype=x.dtype, device=x.device)
            z, log_q = q.draw(source(draws, len(x), model.noise))
            log_w.append(log_joint(z) - log_q)
        return torch.cat(log_w).double()


@dataclass(frozen=True)
class OneDraw:
    """The bound log p(x|z) + log p(z) − log q(z|x) of an encoder that takes no chance: every draw is the same z.

    So importance sampling has nothing to average over: this is a lower bound on log p(x), and how far below is not
    known; `error` is NaN.
    """

    name: ClassVar[str] = "bound"
    size: ClassVar[str] = ""
    noisy: ClassVar[bool] = False

    def __str__(self) -> str:
        return "the bound itself, as q(z|x) is one z"

    @torch.no_grad()
    def __call__(self, model: LatentModel, batch: Batch, seed: int) -> Scores:
        """The scores of a batch of B rows; the seed changes nothing, for there is no chance in it."""
        value = ImportanceSampling(1).log_weights(model, batch, seed)[0]
        return Scores(value, torch.full_like(value, torch.nan))


def as_for(method: Method, model: LatentModel) -> Method:
    """The method as it is for a model: importance sampling by an encoder that takes no chance is `OneDraw`."""
    first, *_ = members(model)
    if isinstance(method, ImportanceSampling) and not first.noise:
        return OneDraw()
    return method


def _blocks(log_w: Tensor, size: int) -> Tensor:
    """The estimate log p̂ of `size` draws, averaged over as many blocks of them as there are, (B,)."""
    whole = len(log_w) // size * size
    blocks = log_w[:whole].unflatten(0, (-1, size))
    return log_mean_exp(blocks, 1).mean(0)


def most_shape(draws: int) -> float:
    """The k̂ up to which an average of so many weights can be trusted: min(1 − 1/log₁₀ K, 0.7) (Vehtari et al. 2024,
    arXiv:1507.02646, section 3).

    >>> most_shape(100), most_shape(5000)
    (0.5, 0.7)
    """
    return min(1 - 1 / math.log10(max(draws, 11)), 0.7)


def pareto_shape(log_w: Tensor) -> Tensor:
    """The shape k̂, (B,), of the generalised Pareto distribution of the largest min(K/5, 3√K) weights of (K, B).

    The weights have moments below 1/k̂: beyond `most_shape` their average misleads (Vehtari et al. 2024,
    arXiv:1507.02646; the fit is that of Zhang & Stephens 2009, with a weak prior towards 0.5). It is NaN for fewer than
    25 draws.

    >>> log_w = -torch.log(torch.linspace(0.001, 1, 1000, dtype=torch.float64))[:, None]    # shape 1
    >>> round(pareto_shape(log_w).item(), 1)
    0.9
    """
    k = len(log_w)
    tail = min(k // 5, math.ceil(3 * math.sqrt(k)))
    if tail < 5:
        return torch.full_like(log_w[0], torch.nan)
    top = log_w.sort(0).values[-tail - 1 :]
    weights = (top - top[-1]).exp()
    least = (math.expm1(RESOLUTION) * weights[0]).clamp(min=torch.finfo(log_w.dtype).tiny)
    excess = torch.maximum(weights[1:] - weights[0], least)
    return (tail * _profile_shape(excess) + 10 * 0.5) / (tail + 10)


def _profile_shape(x: Tensor) -> Tensor:
    """Zhang & Stephens' estimate of k from sorted excesses (n, B): θ = −k/σ averaged over its profile likelihood."""
    n = len(x)
    grid = 30 + int(math.sqrt(n))
    places = torch.arange(1, grid + 1, dtype=x.dtype, device=x.device) - 0.5
    steps = 1 - (grid / places).sqrt()
    quartile = x[(n + 2) // 4 - 1]
    theta = 1 / x[-1] + steps[:, None] / (3 * quartile)
    shape = torch.log1p(-theta[:, None] * x).mean(1)
    profile = n * (torch.log(-theta / shape) - shape - 1)
    theta = (theta * profile.softmax(0)).sum(0)
    return torch.log1p(-theta * x).mean(0)
