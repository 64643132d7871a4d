"""How the codes of a model are used: which of them rows have, and how evenly."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vaekit.core import LatentModel, members
from vaekit.data import Dataset
from vaekit.inference import codes


@dataclass(frozen=True)
class CodeUse:
    """How rows use each codebook, in the order of the codes that have it first."""

    sizes: tuple[int, ...]
    """how many codes are in each"""
    used: tuple[float, ...]
    """the share of these that some row has"""
    perplexity: tuple[float, ...]
    """e^H, H = −Σ_k f_k ln f_k of the frequencies f: as many codes used evenly would have the same entropy"""
    entropy: float | None
    """Σ_m H_m of the codes of a row, nats: the rate under the best prior of independent codes, for these rows; of an
    ensemble the mean over its members. None where q(z|x) is a distribution of codes, whose rate is another"""
    distinct: int
    """how many different z the rows have"""
    n: int
    """rows"""

    def to_dict(self) -> dict[str, Any]:
        """All of it ready for JSON."""
        return asdict(self)


def code_use(model: LatentModel, rows: Dataset) -> CodeUse:
    """How rows use the codes of a model, of q(z|x) the most probable ones; UnknownError where its latents are no codes.

    Codes that share a codebook are counted together.
    """
    index, sizes, books = codes(model, rows)
    counts = [torch.bincount(column, minlength=size) for column, size in zip(index.T, sizes, strict=True)]
    together: dict[int, Tensor] = {}
    for book, count in zip(books, counts, strict=True):
        together[book] = together.get(book, torch.zeros_like(count)) + count
    entropy = None
    if not members(model)[0].noise:  # q(z|x) is one code
        entropy = float(sum(_entropy(count) for count in counts)) / len(members(model))
    return CodeUse(
        sizes=tuple(len(count) for count in together.values()),
        used=tuple((count > 0).double().mean().item() for count in together.values()),
        perplexity=tuple(_entropy(count).exp().item() for count in together.values()),
        entropy=entropy,
        distinct=len(index.unique(dim=0)),
        n=len(index),
    )


def _entropy(counts: Tensor) -> Tensor:
    """The entropy −Σ f ln f of frequencies, nats."""
    frequency = counts.double() / counts.sum()
    return -torch.special.xlogy(frequency, frequency).sum()
