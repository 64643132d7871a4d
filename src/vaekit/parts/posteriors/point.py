"""The posterior of an encoder without noise."""

from torch import Tensor, nn

from vaekit.distributions import Point as OnePoint


class Point(nn.Module):
    """The posterior of an autoencoder: z = the encoder's h, and no chance. It has no density, and no bound with it.

    h (B, D) ↦ batch (B,), event (D,).

    >>> import torch
    >>> Point(3)(torch.ones(5, 3)).mean.shape
    torch.Size([5, 3])
    """

    noise = 0
    """what a draw takes"""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.features = latent_dim

    def affine(self, weight: Tensor, bias: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        """The linear encoder for z = weight u + bias: weight (D, U), bias (D,), and log σ (D,) is left out."""
        return weight, bias

    def forward(self, h: Tensor) -> OnePoint:
        """The point that the encoder's h (B, D) is."""
        return OnePoint(h)
