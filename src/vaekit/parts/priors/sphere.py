"""The uniform prior on a sphere."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vaekit.core import Latent
from vaekit.distributions import UniformSphere as Uniform


class UniformSphere(nn.Module):
    """The prior p(z) that is uniform on the sphere S^(D−1) in ℝ^D, event (D,): that of `posteriors.Spherical`.

    >>> z, _ = UniformSphere(2)().draw(torch.tensor([[3.0, 4.0]]))
    >>> z
    tensor([[0.6000, 0.8000]])
    """

    zero: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.noise = latent_dim
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self, c: Tensor | None = None, *, posterior: Callable[[Tensor], Latent] | None = None) -> Uniform:
        """The prior, whatever the conditions and the posterior are."""
        return Uniform(self.noise, self.zero)
