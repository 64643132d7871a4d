"""What every way of estimating log p(x) gives for a block of rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from vaekit.core import Batch, LatentModel


@dataclass(frozen=True)
class Scores:
    """log p(x) of B rows in nats, each with its own error."""

    value: Tensor
    """(B,) float64"""
    error: Tensor
    """(B,) float64: what the estimate itself may be off by. A standard error where it was made by sampling, the
    difference between two resolutions where it was made by quadrature"""
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    """(B, …) each: what the method knows beside it"""

    def __getitem__(self, rows) -> "Scores":
        return Scores(self.value[rows], self.error[rows], {name: term[rows] for name, term in self.terms.items()})

    @staticmethod
    def joined(parts: "list[Scores]") -> "Scores":
        """The rows of several blocks, one after another."""
        names = parts[0].terms
        terms = {name: torch.cat([part.terms[name] for part in parts]) for name in names}
        return Scores(torch.cat([p.value for p in parts]), torch.cat([p.error for p in parts]), terms)


def weighed(log_w: Tensor) -> tuple[Tensor, Tensor]:
    """What K weights (K, B) say of their own mean: the effective number of them, 1 / Σ w̃² with w̃ = w / Σ w (Kong
    1992), and the standard error of its logarithm by the delta method, √((K Σ w̃² − 1) / (K − 1)), infinite for one.

    >>> [term.item() for term in weighed(torch.zeros(4, 1))]
    [4.0, 0.0]
    """
    k, squares = len(log_w), log_w.softmax(0).square().sum(0)
    error = ((k * squares - 1).clamp(min=0) / (k - 1)).sqrt() if k > 1 else torch.full_like(squares, torch.inf)
    return 1 / squares, error


class Method(Protocol):
    """A way of estimating log p(x). Randomness comes from (seed, `batch.key`) alone."""

    name: str

    def __call__(self, model: LatentModel, batch: Batch, seed: int) -> Scores: ...
