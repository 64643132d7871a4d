"""Distributions of many events, made by several models."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vaekit.core import UnknownError


class Assembled:
    """A batch (K, B) of distributions of rows, some by one model and some by another.

    parts      one distribution per model, of its own entries of the batch, (1, n_m)
    places     (n_m,) per model, where these are in the batch put in one line, K·B entries
    batch      K and B

    >>> from vaekit.distributions import Normal
    >>> first, second = Normal(torch.zeros(1, 1, 1), torch.zeros(1)), Normal(torch.ones(1, 1, 1), torch.zeros(1))
    >>> p = Assembled([first, second], [torch.tensor([1]), torch.tensor([0])], (2, 1))
    >>> p.mean.flatten().tolist(), [round(v, 4) for v in p.log_prob(torch.zeros(1, 1)).flatten().tolist()]
    ([1.0, 0.0], [-1.4189, -0.9189])
    """

    def __init__(self, parts: Sequence[Any], places: Sequence[Tensor], batch: tuple[int, int]) -> None:
        self.parts = parts
        self.places = places
        self.batch = batch

    def _put(self, of_part: Callable[[Any, Tensor], Tensor]) -> Tensor:
        """What a function makes of each part and the rows it is of, (1, n_m, …), where it belongs: (K, B, …)."""
        draws, rows = self.batch
        found = [of_part(part, places % rows) for part, places in zip(self.parts, self.places, strict=True)]
        together = torch.cat(found, 1)[0]
        at = torch.cat(list(self.places))
        return torch.empty_like(together).index_copy_(0, at, together).unflatten(0, (draws, rows))

    @property
    def mean(self) -> Tensor:
        """The mean of each event, (K, B, *X)."""
        return self._put(lambda part, _: part.mean)

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The log-density of the rows x (B, *X) over the features where `mask` is True, (K, B) nats."""
        return self._put(lambda part, rows: part.log_prob(x[rows], None if mask is None else mask[rows]))

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """A draw of each event, (K, B, *X), from a given generator."""
        assert not shape  # of each entry one draw: whoever wants more draws more latents
        return self._put(lambda part, _: part.sample(generator))

    def average(self, weights: Tensor) -> Tensor:
        """The estimate of each feature, (B, *X), by weights (K, B) that sum to 1 over the K draws: see
        `Factorised.average`."""
        for part in self.parts:
            if not hasattr(part, "averaged"):
                raise UnknownError(
                    f"{type(part).__name__} has no `averaged`, by which members of an ensemble are joined."
                )
        averaged = self._put(lambda part, _: part.averaged)
        average = (weights.unsqueeze(-1) * averaged).sum(0)
        estimate: Tensor = self.parts[0].estimate(average)
        return estimate
