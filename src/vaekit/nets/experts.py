"""An encoder for cells of which any may be missing."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaekit.nets.mlp import MLP
from vaekit.nets.shift import Shift


class Experts(nn.Module):
    """What each observed code says of the latents, summed, beside a perceptron's correction.

        h = Σ_j m_j (u_j − b_j) C_j,    Σ_j m_j A_j A_jᵀ,    (δ, s) = MLP(u, m)

    Codes u (B, U) and indicators m (B, U), 1 where a code is observed, side by side ↦ what `parts.posteriors.Experts`
    takes: (h, the sum of matrices, δ, s), (B, 3D + D²). A and C (U, D) and b (U,) start at random and 0, and the last
    layer of the perceptron at zero. Of `conditions`, b moves with them: b + V c.

    >>> Experts(6, (8,), 2)(torch.zeros(5, 6)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        latent_dim: int,
        activation: str = "silu",
        *,
        conditions: int = 0,
    ) -> None:
        super().__init__()
        codes = in_features // 2
        self.factors = nn.Parameter(torch.randn(codes, latent_dim) / codes**0.5)
        """A"""
        self.directions = nn.Parameter(torch.randn(codes, latent_dim) / codes**0.5)
        """C"""
        self.centre = nn.Parameter(torch.zeros(codes))
        """b"""
        self.shift = Shift(conditions, codes)
        """V"""
        nothing = torch.zeros(2 * latent_dim)
        self.correction = MLP(in_features, hidden, 2 * latent_dim, activation, start=nothing, conditions=conditions)
        self.width = max(self.correction.width, latent_dim**2)
        with torch.no_grad():
            self.correction.last.weight.zero_()

    @torch.no_grad()
    def start(self, mean: Tensor, loading: Tensor, deviation: Tensor, effect: Tensor) -> None:
        """Begin at the exact posterior of a factor analysis, u = mean + effect c + loading z + deviation ⊙ e.

        mean (U,), loading (U, D), deviation (U,), effect (U, C)
        """
        self.centre.copy_(mean)
        self.factors.copy_(loading / deviation[:, None])
        self.directions.copy_(loading / deviation.square()[:, None])
        if self.shift.weight is not None:
            self.shift.weight.copy_(effect)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The posterior's numbers (B, 3D + D²) of codes and indicators x (B, 2U), given c (B, C)."""
        codes, observed = x.chunk(2, -1)
        centre = self.shift(self.centre.expand_as(codes), c)
        natural = ((codes - centre) * observed) @ self.directions
        products = self.factors.unsqueeze(2) * self.factors.unsqueeze(1)
        heard = observed.amax(-1, keepdim=True)  # of a row without any cell nothing is known: q is the prior
        return torch.cat([natural, observed @ products.flatten(1), heard * self.correction(x, c)], -1)
