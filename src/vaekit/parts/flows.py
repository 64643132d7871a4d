"""Flows: invertible maps of latents with the logarithm of their determinant, which normals are pushed through.

    z = T(u; c),    log q(z) = log q₀(u) − log |det ∂T/∂u|

(Rezende & Mohamed 2015, arXiv:1505.05770.) c is what the map is told of a row, its context.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.core import UnknownError
from vaekit.nets import Masked

LIMIT = 2.0
"""the log-scales of a coupling stay between −LIMIT and LIMIT"""
GATE = 1.5
"""where the gate of an autoregressive step starts: most of z passes (Kingma et al. 2016, section 4)"""
LEAST = 0.01
"""what the determinant of a planar step stays above"""


class Flow(nn.Module):
    """A map z (…, D), c (B, C) ↦ T(z; c) (…, D) and log |det ∂T/∂z| (…), or with `inverse` those of T⁻¹.

    invertible    whether T⁻¹ is known
    title         what messages call it
    """

    invertible: bool = True
    title: str

    def forward(self, z: Tensor, c: Tensor | None = None, *, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """The map's value at z and the logarithm of its determinant there."""
        if inverse:
            return self.pulled(z, c)
        return self.pushed(z, c)

    def pushed(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """The value T(z; c) and log |det ∂T/∂z|."""
        raise NotImplementedError

    def pulled(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """The value T⁻¹(z; c) and log |det ∂T⁻¹/∂z|."""
        raise UnknownError(f"the inverse of {self.title} steps is not known.")


class Chain(Flow):
    """One step after another, T = T_n ∘ … ∘ T_1: their log-determinants add up."""

    steps: nn.ModuleList

    def __init__(self, steps: Iterable[Flow]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)
        kinds = [step for step in self.steps if isinstance(step, Flow)]
        self.invertible = all(step.invertible for step in kinds)
        self.title = kinds[0].title

    def pushed(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Through all steps."""
        total = z.new_zeros(())
        for step in self.steps:
            z, log_det = step(z, c)
            total = total + log_det
        return z, total

    def pulled(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Back through all steps, the last first."""
        total = z.new_zeros(())
        for step in reversed(self.steps):
            z, log_det = step(z, c, inverse=True)
            total = total + log_det
        return z, total


class Conditioner(nn.Module):
    """The two numbers (a, b) (…, D) that a step has for each latent, by a perceptron of those it may look at.

        (a, b) = W₂ silu(W₁ z + V c + b₁) + b₂

    sees    (width, D) bool, whether a hidden unit may look at a latent
    says    (2D, width) bool, whether a hidden unit may say something to an output

    W₂ and b₂ start at zero.
    """

    context: nn.Linear | None

    def __init__(self, sees: Tensor, says: Tensor, context: int) -> None:
        super().__init__()
        width = len(sees)
        self.first = Masked(sees)
        self.context = nn.Linear(context, width, bias=False) if context else None
        self.last = Masked(says)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """The numbers of z (…, D), given c (B, C)."""
        hidden = self.first(z)
        if self.context is not None:
            hidden = hidden + self.context(c)
        first, second = self.last(F.silu(hidden)).chunk(2, -1)
        return first, second


class Coupling(Flow):
    """Some latents are moved, by what the others are:  z_b ↦ z_b ⊙ e^s + t,  (t, s) of z_a and c.

        log |det| = Σ s,    −2 < s < 2

    z_a stays, so that the inverse is as easy. It starts at the identity. (Dinh et al. 2017, arXiv:1605.08803)

    moved    (D,), 1 for latents that are moved

    >>> step = Coupling(torch.tensor([0.0, 1.0]), width=8)
    >>> z = torch.randn(5, 2)
    >>> torch.equal(step(z)[0], z)
    True
    """

    title = "coupling"
    moved: Tensor

    def __init__(self, moved: Tensor, width: int, context: int = 0) -> None:
        super().__init__()
        dims = len(moved)
        self.register_buffer("moved", moved, persistent=False)
        self.conditioner = Conditioner((moved == 0).repeat(width, 1), torch.ones(2 * dims, width).bool(), context)

    def _of(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """The shifts t and log-scales s, 0 for latents that stay."""
        shift, log_scale = self.conditioner(z, c)
        return shift * self.moved, LIMIT * torch.tanh(log_scale / LIMIT) * self.moved

    def pushed(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """The step and its log-determinant."""
        shift, log_scale = self._of(z, c)
        return z * log_scale.exp() + shift, log_scale.sum(-1)

    def pulled(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """The step back and its log-determinant."""
        shift, log_scale = self._of(z, c)
        return (z - shift) * (-log_scale).exp(), -log_scale.sum(-1)


def couplings(dims: int, steps: int, width: int, context: int = 0) -> Chain:
    """Coupling steps that move, in turn, the second half of the latents, the first, every second one, and the others.

    Of one latent there is nothing else to look at: it is moved by every step, by a shift and a scale.
    """
    return Chain(Coupling(_moved(dims, number), width, context) for number in range(steps))


def _moved(dims: int, number: int) -> Tensor:
    """Which latents (D,) the coupling step of a number moves."""
    if dims == 1:
        return torch.ones(1)
    place = torch.arange(dims)
    side = place >= dims // 2
    if number % 4 >= 2:
        side = place % 2 == 1
    if number % 2 == 1:
        side = ~side
    return side.float()


class Autoregressive(Flow):
    """Each latent is moved by what the ones before it were:  z ↦ σ ⊙ z + (1 − σ) ⊙ m,  σ = sigmoid(s + 1.5).

        log |det| = Σ log σ,    (m_i, s_i) of z_1 … z_{i−1} and c

    All latents at once, by a masked perceptron (Germain et al. 2015, arXiv:1502.03509); the inverse would take one
    after another, and is not computed. (Kingma et al. 2016, arXiv:1606.04934)

    backwards    count from the last latent
    """

    title = "inverse autoregressive"
    invertible = False

    def __init__(self, dims: int, width: int, context: int = 0, *, backwards: bool = False) -> None:
        super().__init__()
        place = torch.arange(dims)
        if backwards:
            place = place.flip(0)
        degree = torch.arange(width) * dims // width
        """of a hidden unit: how many latents, the first, it may look at"""
        sees = place < degree[:, None]
        says = degree <= place[:, None]
        self.conditioner = Conditioner(sees, says.repeat(2, 1), context)

    def pushed(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """The step and its log-determinant."""
        new, gate = self.conditioner(z, c)
        log_gate = F.logsigmoid(gate + GATE)
        kept = log_gate.exp()
        return kept * z + (1 - kept) * new, log_gate.sum(-1)


class Planar(Flow):
    """Steps that each bend space along one direction:  z ↦ z + û tanh(wᵀz + b).

        log |det| = log (1 + (1 − tanh²) wᵀû),    û = u + (m(wᵀu) − wᵀu) w / ‖w‖²,    m(a) > −0.99

    The context (B, n (2D + 1)) is (u, w, b) of each step, and a direction that is learned for all rows alike is added
    to w: without context each step is the identity. m(a) = 0.99 (softplus(a / 0.99 + log(e − 1)) − 1) keeps the
    determinant above 0.01. There is no inverse in closed form. (Rezende & Mohamed 2015, arXiv:1505.05770)
    """

    title = "planar"
    invertible = False

    def __init__(self, dims: int, steps: int) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(steps, dims) / math.sqrt(dims))
        self.sizes = (dims, dims, 1)
        self.features = steps * sum(self.sizes)
        """numbers of the context"""

    def pushed(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Through all steps."""
        assert c is not None, "planar steps are made of their context"
        total = z.new_zeros(())
        each = c.unflatten(-1, (-1, sum(self.sizes)))
        for direction, numbers in zip(self.directions, each.unbind(-2), strict=True):
            u, change, b = numbers.split(self.sizes, -1)
            w = direction + change
            along = (w * u).sum(-1, keepdim=True)
            length = w.square().sum(-1, keepdim=True).clamp(min=1e-12)
            bent = u + (_above(along) - along) * w / length
            height = torch.tanh((w * z).sum(-1, keepdim=True) + b)
            slope = (1 - height.square()) * (w * bent).sum(-1, keepdim=True)
            z = z + bent * height
            total = total + torch.log1p(slope).squeeze(-1)
        return z, total


def _above(a: Tensor) -> Tensor:
    """An increasing function m(a) > −(1 − LEAST) with m(0) = 0, which for large a is a + a constant."""
    most = 1 - LEAST
    start = torch.full_like(a, math.log(math.e - 1))  # softplus of it is 1
    return most * (F.softplus(a / most + start) - F.softplus(start))
