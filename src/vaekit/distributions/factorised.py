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

    @property
    def averaged(self) -> Tensor:
        """What of each z is averaged where a feature is estimated from many, (…, V): of numbers their means E[x|z], of
        codes the probabilities of the levels."""
        return self.mean.flatten(-self.event_dims)

    def estimate(self, average: Tensor) -> Tensor:
        """The estimate of each feature, (…, *X), by an average of `averaged`, (…, V): the mean of numbers, the most
        probable code."""
        if self.event_dims == 1:
            return average
        return average.unflatten(-1, self.mean.shape[-self.event_dims :])

    def average(self, weights: Tensor) -> Tensor:
        """The estimate of each feature, (B, *X), by weights (K, B) that sum to 1 over the K draws."""
        return self.estimate((weights.unsqueeze(-1) * self.averaged).sum(0))

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The log-density Σ_j log p(x_j) over the features where `mask` is True (all without one), (…) nats."""
        if mask is not None:  # what is hidden may be NaN, and would come back in the gradient
            x = torch.where(mask, x, torch.zeros_like(x))
        return masked_sum(self.log_prob_each(x), mask, self.event_dims)
