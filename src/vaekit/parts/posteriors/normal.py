"""Normal posteriors: the encoder gives means and scales."""

import torch
from torch import Tensor, nn

from vaekit.distributions import MultivariateNormal, Normal
from vaekit.maths import soft_clamp

LOG_SCALE_RANGE = (-12.0, 6.0)
"""log σ of a posterior stays inside: σ from 6e-6 to 400 prior standard deviations."""


class NormalFamily(nn.Module):
    """What the normal families share: the encoder gives μ first, then the logarithms of the scales, then the rest."""

    latent_dim: int
    features: int

    @property
    def noise(self) -> int:
        """One standard normal per latent."""
        return self.latent_dim

    def affine(self, weight: Tensor, bias: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        """The linear encoder, weight (features, U) and bias (features,), for q(z|u) = N(weight u + bias, diag σ²).

        weight (D, U), bias (D,), log_scale (D,) = log σ
        """
        rest = self.features - 2 * self.latent_dim
        whole = torch.cat([weight, weight.new_zeros(self.latent_dim + rest, weight.shape[1])])
        return whole, torch.cat([bias, log_scale, bias.new_zeros(rest)])


class Diagonal(NormalFamily):
    """The posterior q(z|x) = N(μ(x), diag σ²(x)); the encoder gives (μ, log σ).

    (Kingma & Welling 2014, arXiv:1312.6114)

    h (B, 2D) ↦ batch (B,), event (D,).

    >>> import torch
    >>> Diagonal(3)(torch.zeros(5, 6)).mean.shape
    torch.Size([5, 3])
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.features = 2 * latent_dim

    def forward(self, h: Tensor) -> Normal:
        """The posterior of the encoder's h (B, features)."""
        loc, log_scale = h.chunk(2, -1)
        return Normal(loc, soft_clamp(log_scale, *LOG_SCALE_RANGE))


class FullCovariance(NormalFamily):
    """The posterior q(z|x) = N(μ(x), L(x)L(x)ᵀ); the encoder gives μ, log L_ii and the rows below the diagonal.

    (Kingma & Welling 2019, arXiv:1906.02691, section 2.5.1)

    h (B, 2D + D(D−1)/2) ↦ batch (B,), event (D,).

    >>> import torch
    >>> FullCovariance(3)(torch.zeros(5, 9)).covariance.shape
    torch.Size([5, 3, 3])
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        below = latent_dim * (latent_dim - 1) // 2
        self.latent_dim = latent_dim
        self.features = 2 * latent_dim + below
        self.sizes = (latent_dim, latent_dim, below)

    def forward(self, h: Tensor) -> MultivariateNormal:
        """The posterior of the encoder's h (B, features)."""
        loc, log_diagonal, entries = h.split(self.sizes, -1)
        dim = self.latent_dim
        row, column = torch.tril_indices(dim, dim, -1, device=h.device)
        below = h.new_zeros(*h.shape[:-1], dim, dim)
        below[..., row, column] = entries  # by number: where a mask holds, an accelerator has to be asked
        return MultivariateNormal(loc, soft_clamp(log_diagonal, *LOG_SCALE_RANGE), below)
