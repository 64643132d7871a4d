"""The posterior for rows with missing cells."""

import torch
from torch import Tensor, nn

from vaekit.distributions import PrecisionNormal
from vaekit.errors import VaekitError
from vaekit.maths import soft_clamp
from vaekit.parts.posteriors.normal import LOG_SCALE_RANGE


class Experts(nn.Module):
    """The posterior q(z|x) of a linear-Gaussian model for whatever cells are observed, with a correction.

        z = P⁻¹h + L⁻ᵀ (δ + e^s ⊙ ε),   P = I + Σ_j A_j A_jᵀ,   h = Σ_j (u_j − b_j) C_j,   over the observed codes j

    A product of Gaussian experts, one per observed code, times the prior: what is missing contributes nothing, and
    without any cell q is the prior. The encoder (`nets.Experts`) gives h, P − I, and (δ, s).
    (Wu & Goodman 2018, arXiv:1802.05335; for missing cells Ma et al. 2019, arXiv:1809.11142)

    h (B, 3D + D²) ↦ batch (B,), event (D,).

    >>> import torch
    >>> Experts(2)(torch.zeros(5, 10)).mean.shape
    torch.Size([5, 2])
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.sizes = (latent_dim, latent_dim**2, latent_dim, latent_dim)
        self.features = sum(self.sizes)

    @property
    def noise(self) -> int:
        """One standard normal per latent."""
        return self.latent_dim

    def affine(self, weight: Tensor, bias: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        """Refuses: its encoder is linear by itself (`nets.Experts.start`)."""
        raise VaekitError("the posterior 'experts' has an encoder of its own, which starts without `affine`.")

    def forward(self, h: Tensor) -> PrecisionNormal:
        """The posterior of the encoder's h (B, features)."""
        natural, entries, shift, log_scale = h.split(self.sizes, -1)
        products = entries.unflatten(-1, (self.latent_dim, self.latent_dim))
        precision = products + torch.eye(self.latent_dim, dtype=h.dtype, device=h.device)
        bounded = soft_clamp(log_scale, *LOG_SCALE_RANGE)
        at_zero = soft_clamp(torch.zeros_like(log_scale), *LOG_SCALE_RANGE)  # no correction has to be none
        return PrecisionNormal(natural, precision, shift, bounded - at_zero)
