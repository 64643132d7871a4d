"""What every way of estimating log p(x) gives for a block of rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from vaekit.core import Batch, Latent, LatentModel
from vaekit.errors import VaekitError


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

    def __getitem__(self, rows: slice | Tensor) -> "Scores":
        terms = {name: term[rows] for name, term in self.terms.items()}
        return Scores(self.value[rows], self.error[rows], terms)

    @staticmethod
    def joined(parts: "list[Scores]") -> "Scores":
        """The rows of several blocks, one after another."""
        value = torch.cat([part.value for part in parts])
        error = torch.cat([part.error for part in parts])
        terms = {name: torch.cat([part.terms[name] for part in parts]) for name in parts[0].terms}
        return Scores(value, error, terms)


def check_continuous(latent: Latent, method: str) -> None:
    """Refuse latents among which a method cannot move: those of an ensemble have a number that names a member."""
    if not latent.continuous:
        raise VaekitError(f"{method} moves along the latents, and those of an ensemble name a member too: use iwae.")


def weighed(log_w: Tensor) -> tuple[Tensor, Tensor]:
    """What K weights say of their own mean, of their logarithms (K, B): two numbers per row, (B,) each.

    One is the effective number of them, 1 / Σ w̃² with w̃ = w / Σ w (Kong 1992). The other is the standard error of the
    logarithm of their mean by the delta method, √((K Σ w̃² − 1) / (K − 1)) nats, infinite for a single weight.

    >>> [term.item() for term in weighed(torch.zeros(4, 1))]
    [4.0, 0.0]
    """
    k = len(log_w)
    squares = log_w.softmax(0).square().sum(0)
    effective = 1 / squares
    if k == 1:
        return effective, torch.full_like(squares, torch.inf)
    variance = (k * squares - 1).clamp(min=0) / (k - 1)
    return effective, variance.sqrt()


class Method(Protocol):
    """A way of estimating log p(x). Randomness comes from (seed, `batch.key`) alone."""

    @property
    def name(self) -> str:
        """What it is called in records, and at the command line."""
        ...

    @property
    def size(self) -> str:
        """Its field that is a number of draws per row; "" where it has none."""
        ...

    @property
    def noisy(self) -> bool:
        """Whether the rows' errors are noise, which averages out; else they may all lie on one side."""
        ...

    def __str__(self) -> str:
        """What it did, in words."""
        ...

    def __call__(self, model: LatentModel, batch: Batch, seed: int) -> Scores:
        """The scores of a batch."""
        ...
