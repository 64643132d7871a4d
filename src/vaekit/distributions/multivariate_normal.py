"""The normal distribution with a full covariance, through its Cholesky factor."""

import torch
from torch import Tensor

from vaekit.core import Latent
from vaekit.distributions.normal import Normal
from vaekit.maths import LOG_2PI


class MultivariateNormal(Latent):
    """N(z; μ, L Lᵀ), L lower triangular with a positive diagonal given by its logarithm.

        log N(z; μ, LLᵀ) = −½ [ ‖L⁻¹(z − μ)‖² + D log 2π ] − Σ_i log L_ii

    loc (B, D); log_diagonal (B, D); below (B, D, D), of which only the strictly lower triangle is used.

    >>> q = MultivariateNormal(torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1, 2, 2))
    >>> round(q.log_prob(torch.zeros(1, 1, 2)).item(), 6)
    -1.837877
    """

    def __init__(self, loc: Tensor, log_diagonal: Tensor, below: Tensor):
        self.loc, self.log_diagonal, self.below = loc, log_diagonal, below
        self.tril = below.tril(-1) + torch.diag_embed(log_diagonal.exp())

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """The marginal standard deviations √(Σ_ii), (B, D)"""
        return self.tril.norm(dim=-1)

    @property
    def covariance(self) -> Tensor:
        """Σ = L Lᵀ, (B, D, D)"""
        return self.tril @ self.tril.mT

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The reparameterisation z = μ + L ε, and log q(z) by ε. ε (K, B, D) ↦ z (K, B, D), (K, B)"""
        z = self.loc + torch.einsum("...ij,...j->...i", self.tril, noise)
        return z, -0.5 * (noise.square() + LOG_2PI).sum(-1) - self.log_diagonal.sum(-1)

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) from a given generator."""
        loc = self.loc
        z, _ = self.draw(torch.randn(*shape, *loc.shape, generator=generator, dtype=loc.dtype, device=loc.device))
        return z

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            raise ValueError("a full-covariance normal cannot sum over some of its coordinates: mask must be None")
        difference = x - self.loc
        draws = difference.shape[: difference.dim() - self.loc.dim()]  # all of them are right-hand sides of one L
        columns = difference.reshape(-1, *difference.shape[len(draws) :]).movedim(0, -1)
        whitened = torch.linalg.solve_triangular(self.tril, columns, upper=False)
        distance = whitened.square().sum(-2).movedim(-1, 0).reshape(difference.shape[:-1])
        return -0.5 * (distance + x.shape[-1] * LOG_2PI) - self.log_diagonal.sum(-1)

    def rate(self, p: Latent, z: Tensor, log_q: Tensor) -> Tensor:
        """KL(self ‖ p), (1, B, 1), for a diagonal normal p = N(m, diag s²); else as `Latent.rate`:

        ½ [ ‖S⁻¹L‖²_F + ‖S⁻¹(μ − m)‖² − D ] − Σ_i log(L_ii / s_i),    p = N(0, I):  ½ [ tr Σ + ‖μ‖² − D − log|Σ| ]
        """
        if not isinstance(p, Normal):
            return super().rate(p, z, log_q)
        inverse = (-p.log_scale).exp()
        spread = (self.below.tril(-1) * inverse.unsqueeze(-1)).square().sum((-2, -1))
        log_ratio = self.log_diagonal - p.log_scale
        distance = (self.loc - p.loc) * inverse
        total = 0.5 * spread + (0.5 * (torch.expm1(2 * log_ratio) + distance.square()) - log_ratio).sum(-1)
        return total[None, :, None]

    def detach(self) -> "MultivariateNormal":
        """The same distribution with its parameters held constant."""
        return MultivariateNormal(self.loc.detach(), self.log_diagonal.detach(), self.below.detach())
