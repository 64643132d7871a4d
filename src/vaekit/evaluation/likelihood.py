"""log p(x) of rows by one method or another, with two errors that must not be confused.

spread    sd/√n over the rows: how far the mean over *other* rows from the same source may lie
error     of the mean over *these* rows, through the estimates themselves: √(Σ_i error_i²) / n, and for quadrature,
          whose errors are no noise, Σ_i error_i / n
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from torch import Tensor

from vaekit.core import LatentModel, at_once
from vaekit.data import Dataset
from vaekit.errors import VaekitError
from vaekit.evaluation.importance import ImportanceSampling, most_shape
from vaekit.evaluation.scores import Method, Scores
from vaekit.maths import standard_error
from vaekit.threads import single_threaded

TOGETHER = 64
"""rows handed to the threads at a time, and to an accelerator at once"""


@dataclass(frozen=True)
class LogLikelihood:
    """log p(x) in nats: the mean over rows, its two errors, and every row's own."""

    method: str
    scores: Scores
    sizes: tuple[int, ...] = ()
    """the numbers of draws that `curve` is for"""

    @property
    def value(self) -> Tensor:
        """log p(x) of each row, (n,) float64"""
        return self.scores.value

    @property
    def n(self) -> int:
        return len(self.value)

    @property
    def mean(self) -> float:
        return self.value.mean().item()

    @property
    def spread(self) -> float | None:
        """Standard error over rows, sd/√n; None for one row."""
        return standard_error(self.value)

    @property
    def error(self) -> float | None:
        """Of the mean, from the rows' own errors; None where they are not known (one draw a row). Those of sampling are
        independent; those of quadrature may all lie on one side."""
        each = self.scores.error
        error = each.mean().item() if self.method == "quadrature" else each.square().sum().sqrt().item() / self.n
        return error if math.isfinite(error) else None

    @property
    def bias(self) -> float | None:
        """How far the mean lies below log p(x) on average, to first order: ½ mean error². 0 for quadrature."""
        if self.method == "quadrature":
            return 0.0
        bias = 0.5 * self.scores.error.square().mean().item()
        return bias if math.isfinite(bias) else None

    @property
    def curve(self) -> dict[int, float]:
        """Mean estimate by the number of draws: the ELBO (by draws) at 1, climbing towards log p(x)."""
        if "curve" not in self.scores.terms:
            return {}
        return dict(zip(self.sizes, self.scores.terms["curve"].mean(0).tolist(), strict=True))

    @property
    def untrusted(self) -> float | None:
        """The part of the rows whose k̂ is above `importance.most_shape` of their draws; None where there is no k̂."""
        k = self.scores.terms.get("pareto_k")
        if k is None or k.isnan().any():
            return None
        return (k > most_shape(max(self.sizes))).double().mean().item()

    def to_dict(self) -> dict:
        """The numbers for JSON, rows apart."""
        names = ("method", "mean", "spread", "error", "bias", "n", "untrusted")
        medians = {
            name: term.double().median().item()
            for name, term in self.scores.terms.items()
            if term.ndim == 1 and not term.isnan().any()
        }
        return {**{name: getattr(self, name) for name in names}, "median": medians, "curve": self.curve}


def log_likelihood(
    model: LatentModel,
    rows: Dataset,
    method: Method | None = None,
    seed: int = 0,
    advance: Callable[[int], None] = lambda count: None,
) -> LogLikelihood:
    """log p(x) of every row, by default importance-weighted with 100 draws.

    method     `ImportanceSampling(K)`, `Quadrature()` for one or two latents, or `AnnealedImportance()`
    advance    called with the number of rows finished, for a progress bar

    On a CPU each row is scored by itself, on one thread, several rows side by side: the arithmetic of a row's number,
    to the last bit, depends on the model, the seed and the row's content alone, not on its neighbours, its position
    or the number of threads.
    """
    if not len(rows):
        raise VaekitError("there are no rows to score.")
    method = method or ImportanceSampling()
    rows.require(model.likelihood)
    parts = []
    for part in _scored(model, rows, method, seed):
        parts.append(part)
        advance(len(part.value))
    return LogLikelihood(method.name, Scores.joined(parts), tuple(getattr(method, "sizes", ())))


def _scored(model: LatentModel, rows: Dataset, method: Method, seed: int) -> Iterator[Scores]:
    on_cpu = rows.device.type == "cpu"
    blocks = rows.blocks(1 if on_cpu else TOGETHER)
    score = lambda block: method(model, block[1], seed)[: block[0]]  # noqa: E731
    if not on_cpu:
        yield from map(score, blocks)
        return
    with single_threaded() as threads, ThreadPoolExecutor(threads) as pool:
        together = min(TOGETHER, max(threads, at_once(rows.schema.features)))
        while some := list(islice(blocks, together)):
            yield from pool.map(score, some)
