"""What every way of estimating log p(x) gives for a block of rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from vaekit.core import Batch, Latent, LatentModel
from vaekit.errors import VaekitError
from vaekit.maths import log_mean_exp

CURVE = "curve"
"""the term that is log p(x) by fewer draws"""


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
    def of_mean(each: "list[Scores]") -> "Scores":
        """The scores log (1/M) Σ_m p_m(x) of M models by theirs.

        The error is that of a mean of estimates of their own. Of the other terms the curve is such a mean, and the rest
        that of the model in which the row has the greatest density.
        """
        values = torch.stack([one.value for one in each])
        share = values.softmax(0)
        errors = torch.stack([one.error for one in each])
        best = share.argmax(0, keepdim=True)
        terms = {}
        for name in each[0].terms:
            term = torch.stack([one.terms[name] for one in each])
            index = best.reshape(1, -1, *(1,) * (term.dim() - 2))
            terms[name] = log_mean_exp(term) if name == CURVE else term.take_along_dim(index, 0)[0]
        return Scores(log_mean_exp(values), (share * errors).square().sum(0).sqrt(), terms)

    @staticmethod
    def joined(parts: "list[Scores]") -> "Scores":
        """The rows of several blocks, one after another."""
        value = torch.cat([part.value for part in parts])
        error = torch.cat([part.error for part in parts])
        terms = {name: torch.cat([part.terms[name] for part in parts]) for name in parts[0].terms}
        return Scores(value, error, terms)


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


def require_real(p: Latent, what: str) -> None:
    """Refuse latents that are no real numbers, for what moves through these."""
    if p.space != Latent.space:
        raise VaekitError(f"{what} is for latents that are real numbers, and this model's are {p.space}: use iwae.")


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
