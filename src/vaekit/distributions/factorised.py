"""What every distribution with independent features shares."""

import torch
from torch import Tensor

from vaekit.maths import masked_sum


class Factorised:
    """p(x) = Π_j p(x_j): log-densities per feature first, summed over the observed features second.

    A family gives `log_prob_each`; masks, per-feature blame and mixed tables all come from that one method.
    """

    event_dims: int

    def log_prob_each(self, x: Tensor) -> Tensor:
        """log p(x_j), one a feature: (…, *X)"""
        raise NotImplementedError  # abstract: each family is one formula

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """log p(x) = Σ_j log p(x_j) over the features where `mask` is True (all without one): (…), nats"""
        if mask is not None:  # what is hidden may be NaN, and would come back in the gradient
            x = torch.where(mask, x, torch.zeros_like(x))
        return masked_sum(self.log_prob_each(x), mask, self.event_dims)
