"""Several layers of latents: a posterior that goes down the same way as its prior."""

from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit import distributions
from vaekit.core import Range
from vaekit.distributions import Normal, Rung
from vaekit.errors import VaekitError
from vaekit.maths import soft_clamp
from vaekit.parts.posteriors.normal import LOG_SCALE_RANGE, NormalFamily

FARTHEST = 50.0
"""means that a network of a ladder gives stay between −FARTHEST and FARTHEST"""
WIDEST = 5.0
"""and its log-scales between −WIDEST and WIDEST: what is above a rung can be as large as the weights are"""


class Way(nn.Module):
    """The prior of a rung below the top, by a perceptron of the latents above it.

        p(z_l | z_>l) = N(m, diag s²),    (m, log s) = V d,    d = silu(W z_>l + b)

    Both are bounded smoothly, |m| < 50 and |log s| < 5. V starts at zero, which makes it N(0, I).

    z_>l (…, above) ↦ batch (…,), event (size,).
    """

    def __init__(self, above: int, size: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(above, width)
        self.last = _at_zero(nn.Linear(width, 2 * size))

    def features(self, above: Tensor) -> Tensor:
        """The generative features d (…, width)."""
        return F.silu(self.first(above))

    def normal(self, features: Tensor) -> Normal:
        """The prior by its features."""
        return Normal(*_bounded(self.last(features)))

    def forward(self, above: Tensor) -> Normal:
        """The prior given the latents above it."""
        return self.normal(self.features(above))


class Relative(nn.Module):
    """The posterior of a rung below the top, as a change of its prior, in units of the prior's scale.

        q(z_l | z_>l, x) = N(m + s ⊙ Δμ, diag (s ⊙ e^Δs)²),    (Δμ, Δs) = (μ, log σ)(x) + U silu(A d + C e(x) + b)

    Of the prior (m, s) and of its features d it is told what `way` makes of z_>l, of the row μ, log σ and a context e.
    U starts at zero.
    """

    def __init__(self, way: Way, size: int, width: int) -> None:
        super().__init__()
        self.way = way
        self.first = nn.Linear(width, width)
        self.context = nn.Linear(width, width, bias=False)
        self.last = _at_zero(nn.Linear(width, 2 * size))

    def forward(self, above: Tensor, loc: Tensor, log_scale: Tensor, context: Tensor) -> Normal:
        """The posterior given the latents above it and what the encoder says of a row."""
        features = self.way.features(above)
        p = self.way.normal(features)
        more, wider = _bounded(self.last(F.silu(self.first(features) + self.context(context))))
        shift = loc + more
        change = soft_clamp(log_scale + wider, *LOG_SCALE_RANGE)
        return Normal(p.loc + p.log_scale.exp() * shift, p.log_scale + change)


def _at_zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _bounded(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The means and log-scales (…, D) of numbers (…, 2D)."""
    loc, log_scale = numbers.chunk(2, -1)
    return FARTHEST * torch.tanh(loc / FARTHEST), WIDEST * torch.tanh(log_scale / WIDEST)


class Ladder(NormalFamily):
    """The posterior of several layers of latents, z = (z_L, …, z_1), from the top one down.

        q(z|x) = q(z_L|x) Π_l q(z_l | z_>l, x),    p(z) = N(z_L; 0, I) Π_l p(z_l | z_>l)

    Each conditional is a diagonal normal by a small network of all latents above it. That of q is a change of that of p
    (`Relative`), which makes a rung that nobody needs cost nothing: no change is no rate. Both go the same way down,
    so that this part owns the networks of p too, and prior `ladder` is made of it. It starts as the diagonal posterior
    and the standard normal prior, and of one rung it stays that. The decoder sees all rungs. (Sønderby et al. 2016,
    arXiv:1602.02282; Vahdat & Kautz 2020, arXiv:2007.03898, section 3.2)

    rungs    L, the layers; each has about half as many latents as the one below it
    width    units of each network's hidden layers, and of the context of each rung below the top
    sizes    the latents of each rung in the place of `rungs`, the top one first: 50-100. They sum to latent_dim

    h (B, 2D + (L − 1) width): (μ, log σ) and the contexts, ↦ batch (B,), event (D,).

    >>> posterior = Ladder(6)
    >>> posterior.each, posterior(torch.zeros(5, posterior.features)).mean.shape
    ((2, 4), torch.Size([5, 6]))
    """

    prior = "ladder"
    zeros: Tensor

    def __init__(
        self,
        latent_dim: int,
        rungs: Annotated[int, Range(1, below=65)] = 2,
        width: Annotated[int, Range(1, below=2**16)] = 128,
        sizes: str = "",
    ) -> None:
        super().__init__()
        self.each = _read(sizes) or _halved(latent_dim, rungs)
        """the latents of each rung, the top one first"""
        if sum(self.each) != latent_dim:
            raise VaekitError(
                f"sizes {sizes} of posterior ladder are {sum(self.each)} latents, and latent_dim is {latent_dim}: give "
                f"--latent-dim {sum(self.each)}, or auto."
            )
        self.latent_dim = latent_dim
        self.rungs = len(self.each)
        self.width = width
        self.sizes = sizes
        self.features = 2 * latent_dim + (self.rungs - 1) * width
        self.register_buffer("zeros", torch.zeros(self.each[0]), persistent=False)
        self.below = nn.ModuleList(
            Relative(Way(sum(self.each[:rung]), self.each[rung], width), self.each[rung], width)
            for rung in range(1, self.rungs)
        )

    @classmethod
    def sized(cls, latents: int, rungs: int = 2, width: int = 128, sizes: str = "") -> int:
        """D where so many latents would do: the sum of the sizes where these are given, at least one in each rung."""
        return sum(_read(sizes)) or max(latents, rungs)

    def _below(self) -> Iterator[tuple[int, Relative]]:
        """The rungs below the top: the latents of each, and its networks."""
        return zip(self.each[1:], self.below, strict=True)  # type: ignore[arg-type]  # all of them are

    def forward(self, h: Tensor) -> distributions.Ladder:
        """The posterior of the encoder's h (B, features)."""
        loc, log_scale, *contexts = h.split((self.latent_dim, self.latent_dim, *[self.width] * (self.rungs - 1)), -1)
        (loc, *locs), (log_scale, *log_scales) = loc.split(self.each, -1), log_scale.split(self.each, -1)
        told = zip(locs, log_scales, contexts, strict=True)
        below = [Rung(size, relative, its) for (size, relative), its in zip(self._below(), told, strict=True)]
        return distributions.Ladder(Normal(loc, soft_clamp(log_scale, *LOG_SCALE_RANGE)), below)

    def way_down(self) -> distributions.Ladder:
        """The prior p(z), event (D,)."""
        below = [Rung(size, relative.way) for size, relative in self._below()]
        return distributions.Ladder(Normal(self.zeros, self.zeros), below)


def _halved(latents: int, rungs: int) -> tuple[int, ...]:
    """The sizes of rungs each of which is about half as large as the one below it, at least one latent each.

    >>> _halved(150, 2), _halved(32, 3), _halved(3, 3)
    ((50, 100), (5, 9, 18), (1, 1, 1))
    """
    if latents < rungs:
        raise VaekitError(
            f"posterior ladder has {rungs} rungs, and latent_dim is {latents}: each rung takes a latent or more."
        )
    sizes = []
    left = latents
    for rung in range(rungs - 1, -1, -1):  # from the bottom, leaving one for each above
        size = left if rung == 0 else min(round(left * 2**rung / (2 ** (rung + 1) - 1)), left - rung)
        sizes.append(size)
        left -= size
    return tuple(reversed(sizes))


def _read(sizes: str) -> tuple[int, ...]:
    """The sizes of a text such as 50-100; none of an empty one."""
    if not sizes:
        return ()
    parts = sizes.split("-")
    if not all(part.isdecimal() and 0 < int(part) < 2**16 for part in parts):
        raise VaekitError(f"sizes of posterior ladder are {sizes!r}: give the latents of each rung, such as 50-100.")
    return tuple(map(int, parts))
