"""Posteriors that are normals pushed through a flow."""

import math
from typing import Annotated

from torch import Tensor

from vaekit.core import Range
from vaekit.distributions import Normal, Pushed
from vaekit.maths import soft_clamp
from vaekit.parts import flows
from vaekit.parts.posteriors.normal import LOG_SCALE_RANGE, NormalFamily

Steps = Annotated[int, Range(1, below=1001)]
Width = Annotated[int, Range(1, below=2**16)]


class _FlowFamily(NormalFamily):
    """What posteriors by a flow share: the encoder gives (μ, log σ) of the normal, then the context of the flow."""

    def __init__(self, latent_dim: int, steps: int, flow: flows.Flow, context: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.steps = steps
        self.sizes = (latent_dim, latent_dim, context)
        self.features = sum(self.sizes)
        self.flow = flow

    def _base(self, loc: Tensor, log_scale: Tensor) -> Normal:
        return Normal(loc, log_scale)

    def forward(self, h: Tensor) -> Pushed:
        """The posterior of the encoder's h (B, features)."""
        loc, log_scale, context = h.split(self.sizes, -1)
        return Pushed(self._base(loc, soft_clamp(log_scale, *LOG_SCALE_RANGE)), self.flow, context)


class Coupling(_FlowFamily):
    """The posterior of a normal pushed through coupling steps, whose density is known for every z.

        z = T(u; c),    u ~ N(μ(x), diag σ²(x)),    c = c(x)

    The encoder gives (μ, log σ) and the context c, `width` numbers, that shifts the hidden layer of each step's
    perceptron. It starts as the diagonal posterior of the same (μ, σ). With one latent the steps move and scale it, and
    it stays a normal. (Dinh et al. 2017, arXiv:1605.08803; Rezende & Mohamed 2015, arXiv:1505.05770)

    steps    coupling steps
    width    units of each step's hidden layer

    h (B, 2D + width) ↦ batch (B,), event (D,).

    >>> import torch
    >>> Coupling(3)(torch.zeros(5, 70)).mean.shape
    torch.Size([5, 3])
    """

    def __init__(self, latent_dim: int, steps: Steps = 4, width: Width = 64) -> None:
        super().__init__(latent_dim, steps, flows.couplings(latent_dim, steps, width, context=width), width)
        self.width = width


class InverseAutoregressive(_FlowFamily):
    """The posterior of a normal pushed through autoregressive steps: each latent leans on all before it.

        z ↦ σ ⊙ z + (1 − σ) ⊙ m,    (m_i, s_i) of z_1 … z_{i−1} and c(x),    σ = sigmoid(s + 1.5)

    Every second step counts from the last latent. The encoder gives (μ, log σ) and the context c, `width` numbers. The
    normal is N(μ/g, diag (σ/g)²) with g = sigmoid(1.5)^steps, so that it starts as the diagonal posterior. The density
    is known for its own draws only. (Kingma et al. 2016, arXiv:1606.04934)

    steps    autoregressive steps
    width    units of each step's hidden layer

    h (B, 2D + width) ↦ batch (B,), event (D,).

    >>> import torch
    >>> InverseAutoregressive(3)(torch.zeros(5, 70)).mean.shape
    torch.Size([5, 3])
    """

    def __init__(self, latent_dim: int, steps: Steps = 2, width: Width = 64) -> None:
        each = (
            flows.Autoregressive(latent_dim, width, context=width, backwards=number % 2 == 1) for number in range(steps)
        )
        super().__init__(latent_dim, steps, flows.Chain(each), width)
        self.width = width

    def _base(self, loc: Tensor, log_scale: Tensor) -> Normal:
        log_gate = self.steps * math.log(1 / (1 + math.exp(-flows.GATE)))
        return Normal(loc * math.exp(-log_gate), log_scale - log_gate)


class Planar(_FlowFamily):
    """The posterior of a normal pushed through planar steps, each of which bends space along one direction.

        z ↦ z + û tanh(wᵀz + b),    (u, w, b) of each step by x

    The encoder gives (μ, log σ) and the (u, w, b) of each step (`flows.Planar`); where it gives 0 for these, it is the
    diagonal posterior. The density is known for its own draws only. (Rezende & Mohamed 2015, arXiv:1505.05770)

    steps    planar steps

    h (B, 2D + steps (2D + 1)) ↦ batch (B,), event (D,).

    >>> import torch
    >>> Planar(3, steps=2)(torch.zeros(5, 20)).mean.shape
    torch.Size([5, 3])
    """

    def __init__(self, latent_dim: int, steps: Steps = 10) -> None:
        planar = flows.Planar(latent_dim, steps)
        super().__init__(latent_dim, steps, planar, planar.features)
