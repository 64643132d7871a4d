"""log p(x) of rows by one method or another, with two errors that must not be confused.

spread    sd/√n over the rows: how far the mean over *other* rows from the same source may lie
error     of the mean over *these* rows, through the estimates themselves: √(Σ_i error_i²) / n, and where the errors are
          no noise, as those of quadrature, Σ_i error_i / n
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch import Tensor

from vaekit.core import Batch, LatentModel, at_once, members
from vaekit.data import Dataset
from vaekit.errors import VaekitError
from vaekit.evaluation.importance import ImportanceSampling, as_for, most_shape
from vaekit.evaluation.scores import Method, Scores
from vaekit.maths import standard_error
from vaekit.threads import side_by_side, single_threaded

TOGETHER = 64
"""rows handed to the threads at a time, and to an accelerator at once"""
EVEN = 0.9
"""of its draws from which on a row's effective number leaves no room for a tail: the average of weights that differ so
little lies at most 6e-4 nats low at 100 draws, whatever the shape of the largest"""


@dataclass(frozen=True)
class LogLikelihood:
    """log p(x) in nats: the mean over rows, its two errors, and every row's own."""

    method: str
    scores: Scores
    sizes: tuple[int, ...] = ()
    """the numbers of draws that `curve` is for"""
    noisy: bool = True
    """whether the rows' errors are noise"""

    @property
    def value(self) -> Tensor:
        """The log-likelihood log p(x) of each row, (n,) float64."""
        return self.scores.value

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.value)

    @property
    def mean(self) -> float:
        """The mean over the rows, nats."""
        return self.value.mean().item()

    @property
    def spread(self) -> float | None:
        """The standard error over rows, sd/√n; None for one row."""
        return standard_error(self.value)

    @property
    def error(self) -> float | None:
        """The error of the mean, from the rows' own; None where they are not known (one draw per row).

        The errors of sampling are independent; others, as those of quadrature, may all lie on one side.
        """
        each = self.scores.error
        error = each.square().sum().sqrt().item() / self.n
        if not self.noisy:
            error = each.mean().item()
        return error if math.isfinite(error) else None

    @property
    def bias(self) -> float | None:
        """How far the mean lies below log p(x) on average, to first order: ½ mean error².

        It is 0 where errors are no noise.
        """
        if not self.noisy:
            return 0.0
        bias = 0.5 * self.scores.error.square().mean().item()
        return bias if math.isfinite(bias) else None

    @property
    def curve(self) -> dict[int, float]:
        """The mean estimate by the number of draws: the ELBO (by draws) at 1, climbing towards log p(x)."""
        if "curve" not in self.scores.terms:
            return {}
        means = self.scores.terms["curve"].mean(0).tolist()
        return dict(zip(self.sizes, means, strict=True))

    @property
    def untrusted(self) -> float | None:
        """The part of the rows whose k̂ is above `importance.most_shape` of their draws, unless nearly all of these
        count alike; None where there is no k̂."""
        k = self.scores.terms.get("pareto_k")
        if k is None or k.isnan().any():
            return None
        draws = max(self.sizes)
        uneven = self.scores.terms["ess"] < EVEN * draws
        return (uneven & (k > most_shape(draws))).double().mean().item()

    @property
    def doubt(self) -> str | None:
        """Why the mean may be off by more than its error says, in words; None where nothing shows it."""
        if self.error is None and not self.noisy:
            return "a lower bound: how far log p(x) lies above it is not known"
        if self.error is None:
            return "of one draw a row: how far it may be off is not known"
        if self.untrusted is None and "pareto_k" in self.scores.terms:
            return f"{max(self.sizes)} draws a row are too few to tell whether they suffice"
        if not self.untrusted:
            return None
        most = most_shape(max(self.sizes))
        return f"k̂ > {most:.2g} in {self.untrusted:.0%} of the rows: more draws may raise them"

    @property
    def median(self) -> dict[str, float]:
        """The median over the rows of each term that is one number per row."""
        found = {}
        for name, term in self.scores.terms.items():
            if term.ndim == 1 and not term.isnan().any():
                found[name] = term.double().median().item()
        return found

    def to_dict(self) -> dict[str, Any]:
        """The numbers for JSON, rows apart."""
        names = ("method", "mean", "spread", "error", "bias", "n", "untrusted", "median", "curve")
        return {name: getattr(self, name) for name in names}


def log_likelihood(
    model: LatentModel,
    rows: Dataset,
    method: Method | None = None,
    seed: int = 0,
    advance: Callable[[int], None] = lambda count: None,
) -> LogLikelihood:
    """The log-likelihood log p(x) of every row, by default importance-weighted with 100 draws.

    method     `ImportanceSampling(K)`, `Quadrature()` for one or two latents, or `AnnealedImportance()`
    advance    called with the number of rows finished, for a progress bar

    Of an ensemble it is that of the mean density: each member is estimated by itself, with as many draws.

    On a CPU each row is scored by itself, on one thread, several rows side by side: the arithmetic of a row's number,
    to the last bit, depends on the model, the seed and the row's content alone, not on its neighbours, its position
    or the number of threads.
    """
    if not len(rows):
        raise VaekitError("there are no rows to score.")
    chosen = as_for(method or ImportanceSampling(), model)
    rows.require(model.likelihood)
    parts = []
    for part in _scored(model, rows, chosen, seed):
        parts.append(part)
        advance(len(part.value))
    sizes = getattr(chosen, "sizes", ())
    return LogLikelihood(chosen.name, Scores.joined(parts), tuple(sizes), chosen.noisy)


def _scored(model: LatentModel, rows: Dataset, method: Method, seed: int) -> Iterator[Scores]:
    """The scores of the rows, in their order: on a CPU one row at a time, several side by side."""
    on_cpu = rows.device.type == "cpu"
    blocks = rows.blocks(1 if on_cpu else TOGETHER)

    def score(block: tuple[int, Batch]) -> Scores:
        count, batch = block
        each = [method(member, batch, seed)[:count] for member in members(model)]
        return each[0] if len(each) == 1 else Scores.of_mean(each)

    if not on_cpu:
        yield from map(score, blocks)
        return
    with single_threaded() as threads, side_by_side(threads) as pool:
        together = min(TOGETHER, max(threads, at_once(rows.schema.features)))
        while some := list(islice(blocks, together)):
            yield from pool.map(score, some)
