"""Distributions of points on the sphere S^(D−1) = {z ∈ ℝ^D: ‖z‖ = 1}, their densities with respect to its surface.

A point at the angle θ from a direction μ, z = cos θ μ + sin θ v, has an area sin^(D−2) θ dθ dv around it. What holds of
θ is found by quadrature over it, in float64: Gauss-Legendre nodes on the equal parts of the interval on which the
density is above e^−45 of its maximum. The integrand is analytic, so they suffice for rounding.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.core import Latent

SPACE = "points of a sphere"
INTERVALS, NODES = 32, 8
NEGLIGIBLE = 45.0
"""nats below its maximum, where the density of θ ends"""
HALVINGS = 12
"""of the interval in which that is"""
NEWTON = 8
"""steps by which an angle is found within one of the intervals"""
EXTREME = 1e-12
"""no angle is of a smaller probability than that on either side"""


class UniformSphere(Latent):
    """The uniform distribution on the sphere S^(D−1) in ℝ^D, event (D,).

        log p(z) = −log |S^(D−1)|,    |S^(D−1)| = 2 π^(D/2) / Γ(D/2)

    like    any tensor of its type and place

    >>> z, log_p = UniformSphere(2, torch.zeros(())).draw(torch.tensor([[0.0, -3.0]]))
    >>> z.tolist(), round(log_p.exp().item(), 4)    # of a circle, 1/2π
    ([[0.0, -1.0]], 0.1592)
    """

    space = SPACE

    def __init__(self, dims: int, like: Tensor) -> None:
        self.dims = dims
        self.like = like

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The directions z (K, B, D) of ε (K, B, D), and their log-density (K, B)."""
        z = F.normalize(noise, dim=-1)
        return z, self.log_prob(z)

    def log_prob(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """The log-density of any z (…, D) on the sphere, (…) nats."""
        return z.new_full(z.shape[:-1], -log_area(self.dims))

    @property
    def mean(self) -> Tensor:
        """The mean 0, (D,)."""
        return self.like.new_zeros(self.dims)

    @property
    def stddev(self) -> Tensor:
        """The standard deviation of each latent, D^−½, (D,)."""
        return self.like.new_full((self.dims,), self.dims**-0.5)

    def detach(self) -> "UniformSphere":
        """Itself: it has no parameters."""
        return self


class VonMisesFisher(Latent):
    """The von Mises-Fisher distribution on the sphere S^(D−1) in ℝ^D: a direction μ and a concentration κ ≥ 0.

        log q(z) = κ (μᵀz − 1) − log (|S^(D−2)| Z),    Z = ∫_0^π e^{κ (cos θ − 1)} sin^(D−2) θ dθ

    Z is a scaled Bessel function, e^−κ I_{D/2−1}(κ) (κ/2)^{1−D/2} √π Γ((D−1)/2). At κ = 0 it is uniform.

    direction        μ (B, D), of length 1
    concentration    κ (B,)

    A draw takes D + 1 standard normals: the first gives the angle θ from μ by its inverse distribution function,
    F(θ; κ) = Φ(ε_0), with the implicit gradient dθ/dκ = −∂_κF / ∂_θF (Figurnov et al. 2018, arXiv:1805.08498); the
    others, as far as they are orthogonal to μ, the direction v in which z = cos θ μ + sin θ v lies. So nothing is
    rejected. (Davidson et al. 2018, arXiv:1804.00891)

    >>> q = VonMisesFisher(torch.tensor([[0.0, 1.0]]), torch.tensor([3.0]))
    >>> [round(number, 4) for number in q.mean[0].tolist()]    # κ = 3: I_1/I_0
    [0.0, 0.81]
    """

    space = SPACE

    def __init__(self, direction: Tensor, concentration: Tensor) -> None:
        self.direction = direction
        self.concentration = concentration
        self.dims = direction.shape[-1]
        held = concentration.detach()
        found = _moments(held.double(), self.dims).to(concentration.dtype)
        log_z, gap, variance, square, slope = found.unbind()
        change = concentration - held  # 0, with a gradient of 1
        self.log_z = log_z - gap * change
        self.gap = gap - variance * change
        """E[1 − cos θ], (B,)"""
        self.square = square + slope * change
        """E[sin² θ], (B,)"""
        self.variance = variance

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The draws z (K, B, D) of ε (K, B, D + 1), and log q(z) (K, B)."""
        first = noise[..., 0]
        held = self.concentration.detach()
        found = _angles(first.detach().double(), held.double(), self.dims).to(noise.dtype)
        angle, by_concentration, by_noise = found.unbind()
        angle = angle + by_concentration * (self.concentration - held) + by_noise * (first - first.detach())
        across = noise[..., 1:]
        for _ in range(2):  # again, for what was left of ε may have been as small as its rounding
            along = (across * self.direction).sum(-1, keepdim=True)
            across = F.normalize(across - along * self.direction, dim=-1)
        z = angle.cos().unsqueeze(-1) * self.direction + angle.sin().unsqueeze(-1) * across
        return z, -2 * self.concentration * (angle / 2).sin().square() - self._log_normaliser()

    def _log_normaliser(self) -> Tensor:
        return log_area(self.dims - 1) + self.log_z

    def log_prob(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """The log-density of any z (…, D) on the sphere, (…) nats: there μᵀz − 1 = −½‖z − μ‖²."""
        distance = (z - self.direction).square().sum(-1)
        return -0.5 * self.concentration * distance - self._log_normaliser()

    def rate(self, p: Latent, z: Tensor, log_q: Tensor) -> Tensor:
        """The divergence KL(self ‖ p), (1, B, 1) nats, in closed form for the uniform distribution.

            κ (E[cos θ] − 1) − log (|S^(D−2)| Z) + log |S^(D−1)|,    whose derivative is κ Var[cos θ]

        For any other p it is as `Latent.rate` has it.
        """
        if not isinstance(p, UniformSphere):
            return super().rate(p, z, log_q)
        total = -self.concentration * self.gap - self._log_normaliser() + log_area(self.dims)
        return total[None, :, None]

    @property
    def mean(self) -> Tensor:
        """The mean E[cos θ] μ, (B, D)."""
        return (1 - self.gap).unsqueeze(-1) * self.direction

    @property
    def stddev(self) -> Tensor:
        """The standard deviation of each latent, (B, D)."""
        along = self.direction.square()
        across = self.square.unsqueeze(-1) / (self.dims - 1)
        return (across * (1 - along) + self.variance.unsqueeze(-1) * along).sqrt()

    def detach(self) -> "VonMisesFisher":
        """The same distribution with its parameters held constant."""
        return VonMisesFisher(self.direction.detach(), self.concentration.detach())


def log_area(dims: int) -> float:
    """The logarithm of the area |S^(D−1)| of the sphere in ℝ^D; of two points, D = 1, their number.

    >>> round(math.exp(log_area(3)), 6), round(math.exp(log_area(1)), 6)    # 4π, 2
    (12.566371, 2.0)
    """
    return math.log(2) + dims / 2 * math.log(math.pi) - math.lgamma(dims / 2)


@lru_cache(maxsize=8)
def _rule(device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss-Legendre quadrature on [0, 1], float64; made once for a device."""
    nodes, weights = (torch.from_numpy(each).to(device) for each in np.polynomial.legendre.leggauss(NODES))
    return (nodes + 1) / 2, weights / 2


class _Polar(NamedTuple):
    """The density of the angle, f(θ) = e^{g(θ) − top}, up to a constant."""

    kappa: Tensor
    """(B,) float64"""
    dims: int
    top: Tensor
    """(B,) the maximum of g"""
    edges: Tensor
    """(B, INTERVALS + 1)"""

    @staticmethod
    def of(kappa: Tensor, dims: int) -> "_Polar":
        """The density, and the intervals that it is on."""
        power = dims - 2
        denominator = power + (power**2 + 4 * kappa.square()).sqrt()
        mode = torch.acos(2 * kappa / denominator.clamp(min=1e-300))
        polar = _Polar(kappa, dims, kappa.new_zeros(()), kappa)
        top = polar.log_density(mode, kappa)
        inside = mode.expand(2, -1)
        outside = torch.zeros_like(inside)
        outside[1] = math.pi
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            negligible = polar.log_density(middle, kappa) < top - NEGLIGIBLE
            inside = torch.where(negligible, inside, middle)
            outside = torch.where(negligible, middle, outside)
        low, high = outside
        share = torch.linspace(0, 1, INTERVALS + 1, dtype=kappa.dtype, device=kappa.device)
        return _Polar(kappa, dims, top, low[:, None] + (high - low)[:, None] * share)

    def log_density(self, angle: Tensor, kappa: Tensor) -> Tensor:
        """The exponent g(θ) = (D − 2) log sin θ + κ (cos θ − 1)."""
        power = angle.new_full((), self.dims - 2.0)
        return torch.xlogy(power, angle.sin()) - 2 * kappa * (angle / 2).sin().square()

    def at(self, angle: Tensor) -> tuple[Tensor, Tensor]:
        """The density and 1 − cos θ at angles (B, …)."""
        after = [1] * (angle.dim() - 1)
        kappa = self.kappa.reshape(-1, *after)
        density = (self.log_density(angle, kappa) - self.top.reshape(-1, *after)).exp()
        return density, 2 * (angle / 2).sin().square()

    def between(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes (B, …, NODES) from one angle (B, …) to another, as (f · weight, 1 − cos θ)."""
        nodes, weights = _rule(low.device)
        width = (high - low).unsqueeze(-1)
        density, gap = self.at(low.unsqueeze(-1) + width * nodes)
        return density * weights * width, gap


@torch.library.custom_op("vaekit::sphere_moments", mutates_args=())
def _moments(kappa: Tensor, dims: int) -> Tensor:
    """The numbers log Z, E[1 − cos θ], Var[cos θ], E[sin² θ] and its derivative, (5, B), of κ (B,) float64."""
    polar = _Polar.of(kappa, dims)
    mass, gap = polar.between(polar.edges[:, :-1], polar.edges[:, 1:])
    mass, gap = mass.flatten(1), gap.flatten(1)
    total = mass.sum(1)
    mass = mass / total[:, None]
    mean = (mass * gap).sum(1)
    apart = gap - mean[:, None]
    square = gap * (2 - gap)
    variance = (mass * apart.square()).sum(1)
    slope = -(mass * apart * square).sum(1)
    return torch.stack([total.log() + polar.top, mean, variance, (mass * square).sum(1), slope])


@_moments.register_fake
def _(kappa: Tensor, dims: int) -> Tensor:
    return kappa.new_empty(5, *kappa.shape)


@torch.library.custom_op("vaekit::sphere_angles", mutates_args=())
def _angles(noise: Tensor, kappa: Tensor, dims: int) -> Tensor:
    """The angles F(θ; κ) = Φ(ε) of ε (K, B) and their derivatives by κ and by ε, (3, K, B) float64.

    dθ/dκ = −∂_κF / f,    ∂_κF(θ) = ∫_0^θ (cos t − E[cos t]) f(t) dt,    dθ/dε = φ(ε) / f
    """
    polar = _Polar.of(kappa, dims)
    mass, gap = polar.between(polar.edges[:, :-1], polar.edges[:, 1:])
    total = mass.sum((1, 2))
    mean = (mass * gap).sum((1, 2)) / total
    drift = (mass * (mean[:, None, None] - gap)).sum(-1)
    u = torch.special.ndtr(noise.T).clamp(EXTREME, 1 - EXTREME) * total[:, None]
    below = F.pad(mass.sum(-1).cumsum(1), (1, 0))
    interval = (torch.searchsorted(below, u.contiguous(), right=True) - 1).clamp(0, INTERVALS - 1)
    left = polar.edges.gather(1, interval)
    right = polar.edges.gather(1, interval + 1)
    angle = _reached(polar, left, right, u - below.gather(1, interval), mass.sum(-1).gather(1, interval))
    inside, gap = polar.between(left, angle)
    density, _ = polar.at(angle)
    drifted = F.pad(drift.cumsum(1), (1, 0)).gather(1, interval) + (inside * (mean[:, None, None] - gap)).sum(-1)
    normal = (-0.5 * noise.T.square()).exp() / math.sqrt(2 * math.pi)
    return torch.stack([angle.T, (-drifted / density).T, (normal * total[:, None] / density).T])


def _reached(polar: _Polar, left: Tensor, right: Tensor, wanted: Tensor, mass: Tensor) -> Tensor:
    """The angle (B, K) up to which an interval has the mass that is wanted of it, by Newton's method in a bracket.

    It starts from the nearer end, as the density may vanish at the other; and as what lies between that end and the
    angle is almost a power of their distance, it goes by logarithms.
    """
    near = wanted <= mass / 2
    end = torch.where(near, left, right)
    toward = torch.where(near, 1.0, -1.0)
    wanted = torch.where(near, wanted, mass - wanted).clamp(min=0)
    low = torch.zeros_like(wanted)
    high = right - left
    distance = high * (wanted / mass)
    for _ in range(NEWTON):
        angle = end + toward * distance
        inside = polar.between(end, angle)[0].sum(-1).abs()
        low = torch.where(inside < wanted, distance, low)
        high = torch.where(inside < wanted, high, distance)
        density, _ = polar.at(angle)
        step = distance * (-inside / (density * distance) * (inside / wanted).log()).exp()
        distance = torch.where((step >= low) & (step <= high), step, (low + high) / 2)
    return end + toward * distance


@_angles.register_fake
def _(noise: Tensor, kappa: Tensor, dims: int) -> Tensor:
    return noise.new_empty(3, *noise.shape)
