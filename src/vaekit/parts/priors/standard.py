"""The standard normal prior."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vaekit.core import Latent
from vaekit.distributions import Normal


class StandardNormal(nn.Module):
    """The prior p(z) = N(0, I), event (D,).

    >>> StandardNormal(2)().log_prob(torch.zeros(2)).shape
    torch.Size([])
    """

    zeros: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.noise = latent_dim
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)

    def forward(self, c: Tensor | None = None, *, posterior: Callable[[Tensor], Latent] | None = None) -> Normal:
        """The prior, whatever the conditions and the posterior are."""
        return Normal(self.zeros, self.zeros)
