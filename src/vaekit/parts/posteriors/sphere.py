"""The posterior for latents on a sphere."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.distributions import VonMisesFisher
from vaekit.errors import VaekitError
from vaekit.maths import soft_clamp

LOG_CONCENTRATION_RANGE = (-6.0, math.log(1e4))
"""log κ of a posterior stays inside: from almost uniform to a cap of a hundredth of a radian, times √D"""


class Spherical(nn.Module):
    """The posterior q(z|x) = vMF(z; μ(x), κ(x)) on the sphere S^(D−1) in ℝ^D, for directions instead of places.

        μ = m / ‖m‖,    κ = e^s

    The encoder gives m and s. Its prior is the uniform distribution on the sphere, and the rate, of κ alone, has a
    closed form (`distributions.VonMisesFisher`). The D latents are the coordinates of a point of the sphere: D − 1 of
    them are free, and 2 make a circle. (Davidson et al. 2018, arXiv:1804.00891)

    h (B, D + 1) ↦ batch (B,), event (D,).

    >>> import torch
    >>> Spherical(3)(torch.randn(5, 4)).mean.shape
    torch.Size([5, 3])
    """

    prior = "uniform-sphere"

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        if latent_dim < 2:
            raise VaekitError(
                f"posterior vmf is for points of a sphere, and latent_dim is {latent_dim}: give 2 or more."
            )
        self.latent_dim = latent_dim
        self.features = latent_dim + 1
        self.noise = latent_dim + 1

    def forward(self, h: Tensor) -> VonMisesFisher:
        """The posterior of the encoder's h (B, features)."""
        direction, log_concentration = h[..., :-1], h[..., -1]
        concentration = soft_clamp(log_concentration, *LOG_CONCENTRATION_RANGE).exp()
        return VonMisesFisher(F.normalize(direction, dim=-1), concentration)
