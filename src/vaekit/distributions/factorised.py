"""What every distribution with independent features shares."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vaekit.maths import masked_sum


class Factorised:
    """A product p(x) = Π_j p(x_j): log-densities per feature first, summed over the observed features second.

    A family gives `log_prob_each`; masks, per-feature blame and mixed tables all come from that one method.
    """

    event_dims: int
    """how many of the last axes are the event"""

    if TYPE_CHECKING:  # a family may compute it, or set it

        @property
        def mean(self) -> Tensor:
            """The mean of each feature, (…, *X)."""

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) from a given generator."""
        raise NotImplementedError  # abstract: as each family has it

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-density log p(x_j) of each feature, (…, *X)."""
        raise NotImplementedError  # abstract: each family is one formula

    def average(self, weights: Tensor) -> Tensor:
        """The estimate Σ_k w_k E[x|z_k] of each feature, (B, *X), by weights (K, B) that sum to 1 over the K draws.

        A family whose features are codes gives the code of greatest weight.
        """
        each = weights.reshape(*weights.shape, *(1,) * self.event_dims)
        return (each * self.mean).sum(0)

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The log-density Σ_j log p(x_j) over the features where `mask` is True (all without one), (…) nats."""
        if mask is not None:  # what is hidden may be NaN, and would come back in the gradient
            x = torch.where(mask, x, torch.zeros_like(x))
        return masked_sum(self.log_prob_each(x), mask, self.event_dims)
