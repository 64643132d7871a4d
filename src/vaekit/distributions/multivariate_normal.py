"""The normal distribution with a full covariance, through its Cholesky factor."""

import torch
from torch import Tensor

from vaekit.core import Latent
from vaekit.distributions.normal import Normal
from vaekit.maths import LOG_2PI


class MultivariateNormal(Latent):
    """The normal distribution N(z; μ, L Lᵀ), L lower triangular with a positive diagonal given by its logarithm.

        log N(z; μ, LLᵀ) = −½ [ ‖L⁻¹(z − μ)‖² + D log 2π ] − Σ_i log L_ii

    loc (B, D); log_diagonal (B, D); below (B, D, D), of which only the strictly lower triangle is used.

    >>> q = MultivariateNormal(torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1, 2, 2))
    >>> round(q.log_prob(torch.zeros(1, 1, 2)).item(), 6)
    -1.837877
    """

    def __init__(self, loc: Tensor, log_diagonal: Tensor, below: Tensor) -> None:
        self.loc = loc
        self.log_diagonal = log_diagonal
        self.below = below
        self.tril = below.tril(-1) + torch.diag_embed(log_diagonal.exp())

    @property
    def mean(self) -> Tensor:
        """The mean μ, (B, D)."""
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """The marginal standard deviations √(Σ_ii), (B, D)."""
        return self.tril.norm(dim=-1)

    @property
    def covariance(self) -> Tensor:
        """The covariance Σ = L Lᵀ, (B, D, D)."""
        return self.tril @ self.tril.mT

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The reparameterisation z = μ + L ε (K, B, D) of ε (K, B, D), and log q(z) by ε, (K, B)."""
        z = self.loc + torch.einsum("...ij,...j->...i", self.tril, noise)
        log_q = -0.5 * (noise.square() + LOG_2PI).sum(-1) - self.log_diagonal.sum(-1)
        return z, log_q

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) from a given generator."""
        loc = self.loc
        noise = torch.randn(*shape, *loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
        z, _ = self.draw(noise)
        return z

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The log-density of any x (…, D), (…) nats; no coordinate can be left out of it."""
        if mask is not None:
            raise ValueError("a full-covariance normal cannot sum over some of its coordinates: mask must be None")
        difference = x - self.loc
        draws = difference.shape[: difference.dim() - self.loc.dim()]  # all of them are right-hand sides of one L
        columns = difference.reshape(-1, *difference.shape[len(draws) :]).movedim(0, -1)
        whitened = torch.linalg.solve_triangular(self.tril, columns, upper=False)
        distance = whitened.square().sum(-2).movedim(-1, 0).reshape(difference.shape[:-1])
        return -0.5 * (distance + x.shape[-1] * LOG_2PI) - self.log_diagonal.sum(-1)

    def log_prob_each(self, z: Tensor) -> Tensor:
        """The log-density of each latent by itself, (…, D) nats: its marginal is N(μ_d, Σ_dd)."""
        return Normal(self.mean, self.stddev.log()).log_prob_each(z)

    def rate(self, p: Latent, z: Tensor, log_q: Tensor) -> Tensor:
        """The divergence KL(self ‖ p), (1, B, 1) nats, in closed form for a diagonal normal p = N(m, diag s²).

            ½ [ ‖S⁻¹L‖²_F + ‖S⁻¹(μ − m)‖² − D ] − Σ_i log(L_ii / s_i),
            for p = N(0, I)    ½ [ tr Σ + ‖μ‖² − D − log|Σ| ]

        For any other p it is as `Latent.rate` has it.
        """
        if not isinstance(p, Normal):
            return super().rate(p, z, log_q)
        inverse = (-p.log_scale).exp()
        spread = (self.below.tril(-1) * inverse.unsqueeze(-1)).square().sum((-2, -1))
        log_ratio = self.log_diagonal - p.log_scale
        distance = (self.loc - p.loc) * inverse
        along_axes = 0.5 * (torch.expm1(2 * log_ratio) + distance.square()) - log_ratio
        total = 0.5 * spread + along_axes.sum(-1)
        return total[None, :, None]

    def detach(self) -> "MultivariateNormal":
        """The same distribution with its parameters held constant."""
        return MultivariateNormal(self.loc.detach(), self.log_diagonal.detach(), self.below.detach())
