"""A normal distribution that is multiplied together: by its natural parameters, with a correction."""

import math
from typing import Any

import torch
from torch import Tensor

from vaekit.core import Latent
from vaekit.distributions.normal import Normal
from vaekit.maths import LOG_2PI, common_shape


class PrecisionNormal(Latent):
    """The normal distribution of z = P⁻¹h + L⁻ᵀ (δ + e^s ⊙ ε), where L Lᵀ = P is a precision.

        log q(z) = log N(ε; 0, I) − Σ_i s_i + Σ_i log L_ii

    With δ = s = 0 it is N(P⁻¹h, P⁻¹), the posterior of a linear-Gaussian model: h and P are sums over what is observed.
    shift δ and log_scale s correct it, in units of its own standard deviations.

    natural h (B, D); precision P (B, D, D), symmetric and positive definite; shift (B, D); log_scale (B, D).

    >>> q = PrecisionNormal(torch.tensor([[6.0]]), torch.tensor([[[4.0]]]), torch.zeros(1, 1), torch.zeros(1, 1))
    >>> q.mean.tolist(), q.stddev.tolist()
    ([[1.5]], [[0.5]])
    """

    def __init__(self, natural: Tensor, precision: Tensor, shift: Tensor, log_scale: Tensor) -> None:
        self.whitener = inverse_factor(precision)
        self.shift = shift
        self.log_scale = log_scale
        whitened = self.whitener @ natural.unsqueeze(-1)
        """L⁻¹h, so that P⁻¹h = L⁻ᵀ L⁻¹h"""
        self.centre = whitened.squeeze(-1) + shift

    def _unwhitened(self, y: Tensor) -> Tensor:
        """The products L⁻ᵀ y of y (K, B, D)."""
        return (self.whitener.mT @ y.unsqueeze(-1)).squeeze(-1)

    @property
    def log_diagonal(self) -> Tensor:
        """The logarithms of L_ii, (B, D)."""
        return -self.whitener.diagonal(dim1=-2, dim2=-1).log()

    @property
    def factor(self) -> Tensor:
        """L⁻ᵀ diag(e^s), (B, D, D): times its transpose it is the covariance."""
        return self.whitener.mT * self.log_scale.exp().unsqueeze(-2)

    @property
    def mean(self) -> Tensor:
        """The mean P⁻¹h + L⁻ᵀδ, (B, D)."""
        return self._unwhitened(self.centre)

    @property
    def stddev(self) -> Tensor:
        """The marginal standard deviations, (B, D)."""
        return self.factor.norm(dim=-1)

    @property
    def covariance(self) -> Tensor:
        """The covariance, (B, D, D)."""
        return self.factor @ self.factor.mT

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The draws z (K, B, D) of ε (K, B, D), and log q(z) by ε, (K, B)."""
        z = self._unwhitened(self.centre + self.log_scale.exp() * noise)
        log_q = -0.5 * (noise.square() + LOG_2PI).sum(-1) + (self.log_diagonal - self.log_scale).sum(-1)
        return z, log_q

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, B, D) from a given generator."""
        like = self.centre
        count = math.prod(shape)
        noise = torch.randn(count, *like.shape, generator=generator, dtype=like.dtype, device=like.device)
        z, _ = self.draw(noise)
        return z.reshape(*shape, *like.shape)

    def log_prob(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """The log-density of any z (…, D), (…) nats; no coordinate can be left out of it."""
        if mask is not None:
            raise ValueError("a normal by its precision cannot sum over some coordinates: mask must be None")
        z = z.expand(common_shape(z, self.centre))
        columns = z.reshape(-1, *self.centre.shape).movedim(0, -1)
        whitened = torch.linalg.solve_triangular(self.whitener.mT, columns, upper=True)
        noise = (whitened.movedim(-1, 0).reshape(z.shape) - self.centre) * (-self.log_scale).exp()
        return -0.5 * (noise.square() + LOG_2PI).sum(-1) + (self.log_diagonal - self.log_scale).sum(-1)

    def log_prob_each(self, z: Tensor) -> Tensor:
        """The log-density of each latent by itself, (…, D) nats, of its normal marginal."""
        return Normal(self.mean, self.stddev.log()).log_prob_each(z)

    def rate(self, p: Latent, z: Tensor, log_q: Tensor) -> Tensor:
        """The divergence KL(self ‖ p), (1, B, 1) nats, in closed form for a diagonal normal p = N(m, diag t²).

            ½ [ ‖T⁻¹F‖²_F + ‖T⁻¹(μ − m)‖² − D ] − Σ s_i + Σ log L_ii + Σ log t_i,    F Fᵀ the covariance

        For any other p it is as `Latent.rate` has it.
        """
        if not isinstance(p, Normal):
            return super().rate(p, z, log_q)
        inverse = (-p.log_scale).exp()
        spread = (self.factor * inverse.unsqueeze(-1)).square().sum((-2, -1))
        distance = ((self.mean - p.loc) * inverse).square().sum(-1)
        log_ratio = (self.log_scale - self.log_diagonal - p.log_scale).sum(-1)
        total = 0.5 * (spread + distance - z.shape[-1]) - log_ratio
        return total[None, :, None]

    def detach(self) -> "PrecisionNormal":
        """The same distribution with its parameters held constant."""
        same = object.__new__(PrecisionNormal)
        same.whitener = self.whitener.detach()
        same.shift = self.shift.detach()
        same.log_scale = self.log_scale.detach()
        same.centre = self.centre.detach()
        return same


def inverse_factor(precision: Tensor) -> Tensor:
    """The inverse M = L⁻¹ of the Cholesky factor of P = L Lᵀ (B, D, D), symmetric and positive definite: M P Mᵀ = I.

    >>> inverse_factor(torch.tensor([[4.0]])).item()
    0.5
    """
    found: Tensor = _InverseFactor.apply(precision)
    return found


class _InverseFactor(torch.autograd.Function):
    """P ↦ M, whose differential is dM = −Φ(M dP Mᵀ) M, where Φ takes the lower triangle and half of the diagonal.

    It is one function, since the derivatives of a factorisation and of an inverse each take several triangular
    solutions, and that of both together three products. (Murray 2016, arXiv:1602.07527)
    """

    @staticmethod
    def forward(precision: Tensor) -> Tensor:
        return _factorised(precision)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ANN401  torch's own
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401  torch's own
        (inverse,) = ctx.saved_tensors
        product = gradient @ inverse.mT
        half = product.tril() - 0.5 * torch.diag_embed(product.diagonal(dim1=-2, dim2=-1))
        found = inverse.mT @ half @ inverse
        return -0.5 * (found + found.mT)


@torch.library.custom_op("vaekit::inverse_factor", mutates_args=())
def _factorised(precision: Tensor) -> Tensor:
    """The factorisation itself, which a compiled step calls as it is."""
    lower, _ = torch.linalg.cholesky_ex(precision)
    identity = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device)
    return torch.linalg.solve_triangular(lower, identity, upper=False).contiguous()


@_factorised.register_fake
def _(precision: Tensor) -> Tensor:
    return torch.empty_like(precision, memory_format=torch.contiguous_format)
