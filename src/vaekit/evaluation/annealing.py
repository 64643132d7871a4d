"""log p(x) by annealed importance sampling, and from both sides where the rows are the model's own.

A path of densities leads from one that can be sampled to the joint one, whose integral is p(x):

    log f_β(z) = (1 − β) log f_0(z) + β log p(x, z),    0 = β_0 < … < β_T = 1,    f_0 = q(z|x) or p(z)

A chain starts at z_0 ~ f_0 and moves by z_t ~ 𝒯_t(z_{t−1} → ·), Hamiltonian Monte Carlo that leaves f_{β_t} invariant:

    log w = Σ_{t=1}^T (β_t − β_{t−1}) [log p(x, z_{t−1}) − log f_0(z_{t−1})],    E w = p(x)

however badly the chain mixes (Neal 2001, arXiv:physics/9803008; Wu et al. 2017, arXiv:1611.04273). Where z* is an exact
draw of p(z|x), the chain can be walked backwards from it, and the same sum has E 1/w = 1/p(x). By Jensen's inequality
the one is below and the other above log p(x) in expectation (Grosse et al. 2015, arXiv:1511.02543).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaekit.core import BUDGET, Batch, Latent, LatentModel
from vaekit.errors import VaekitError, unknown
from vaekit.evaluation.scores import Scores, weighed
from vaekit.maths import log_mean_exp
from vaekit.noise import generator, keyed_uniform, normal_noise, normal_quantile

STARTS = ("encoder", "prior")
SHARPNESS = 4.0
"""of the sigmoid along which β rises (Grosse et al. 2015)"""
ACCEPTANCE, GAIN = 0.8, 1.0
"""what the step sizes are tuned to, and how far the logarithm of one moves for a miss of 1"""
TUNING_CHAINS, TUNING_SHARE, TUNING_LEAST = 8, 4, 20
"""the tuning run: this many chains, one in so many temperatures, but no fewer than the last"""
BLOCK = 1024
"""most chains of simulated rows that go through the decoder at once"""


class Point(NamedTuple):
    """Where K chains of B rows stand, with both ends of the path there."""

    z: Tensor
    """(K, B, D)"""
    log_base: Tensor
    """log f_0(z), (K, B) nats"""
    log_joint: Tensor
    """log p(x, z), (K, B) nats"""
    base_slope: Tensor
    """∂ log f_0/∂z, (K, B, D)"""
    joint_slope: Tensor
    """∂ log p(x, z)/∂z, (K, B, D)"""

    def log_density(self, beta: float) -> Tensor:
        """log f_β(z), (K, B)"""
        return (1 - beta) * self.log_base + beta * self.log_joint

    def slope(self, beta: float) -> Tensor:
        """∂ log f_β/∂z, (K, B, D)"""
        return (1 - beta) * self.base_slope + beta * self.joint_slope

    @property
    def log_ratio(self) -> Tensor:
        """log p(x, z) − log f_0(z), (K, B) float64"""
        return self.log_joint.double() - self.log_base.double()


Path = Callable[[Tensor], Point]
"""z ↦ the point there"""


def path(model: LatentModel, batch: Batch, base: Latent) -> Path:
    """The path from `base` to p(x, z), with gradients for z and none for the model's parameters."""
    with torch.no_grad():
        log_joint = model.joint(batch)

    def at(z: Tensor) -> Point:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            ends = base.log_prob(z), log_joint(z)
            slopes = [torch.autograd.grad(end.sum(), z)[0] for end in ends]
        return Point(z.detach(), *(end.detach() for end in ends), *slopes)

    return at


def leapfrog(at: Path, point: Point, momentum: Tensor, beta: float, step: Tensor, steps: int) -> tuple[Point, Tensor]:
    """Hamilton's equations of −log f_β(z) + ½‖v‖² for `steps` steps of ε, (K, B, D): reversible, and keeping volumes.

        v ← v + ½ε ∂ log f_β/∂z,    z ← z + ε v,    v ← v + ½ε ∂ log f_β/∂z

    (Neal 2011, arXiv:1206.1901.) An ε of its own for each coordinate is one ε in coordinates of that scale.
    """
    for _ in range(steps):
        momentum = momentum + step / 2 * point.slope(beta)
        point = at(point.z + step * momentum)
        momentum = momentum + step / 2 * point.slope(beta)
    return point, momentum


def transition(
    at: Path, point: Point, momentum: Tensor, log_u: Tensor, beta: float, step: Tensor, steps: int
) -> tuple[Point, Tensor]:
    """One step of Hamiltonian Monte Carlo, which leaves f_β invariant: where the chains are next, and their
    probabilities of acceptance (K, B).

    momentum (K, B, D) ~ N(0, I); log_u (K, B) the logarithm of uniforms. What is not finite is not accepted.
    """
    proposal, final = leapfrog(at, point, momentum, beta, step, steps)
    kinetic = 0.5 * (momentum.square() - final.square()).sum(-1)
    change = proposal.log_density(beta) - point.log_density(beta) + kinetic
    change = torch.where(proposal.log_density(beta).isfinite() & ~change.isnan(), change, -torch.inf)
    accepted = log_u < change
    parts = [
        torch.where(accepted.reshape(*accepted.shape, *[1] * (new.dim() - 2)), new, old)
        for new, old in zip(proposal, point, strict=True)
    ]
    return Point(*parts), change.clamp(max=0).exp()


def schedule(temperatures: int) -> Tensor:
    """β_0 = 0 … β_T = 1, (T + 1,) float64: a sigmoid's values at equal steps, so that both ends are approached slowly.

    (Grosse et al. 2015, arXiv:1511.02543)

    >>> [round(beta, 3) for beta in schedule(4).tolist()]
    [0.0, 0.105, 0.5, 0.895, 1.0]
    """
    rising = torch.linspace(-SHARPNESS, SHARPNESS, temperatures + 1, dtype=torch.float64).sigmoid()
    return (rising - rising[0]) / (rising[-1] - rising[0])


@dataclass(frozen=True)
class AnnealedImportance:
    """log p̂(x) = log (1/K) Σ_k w_k from K annealed chains (Neal 2001, arXiv:physics/9803008).

    chains         K
    temperatures   T, the steps in which β rises from 0 to 1
    leapfrog       gradients of log p(x, z) a temperature and chain
    start          f_0: "encoder", q(z|x), with its standard deviations for scale; or "prior", p(z)

    E p̂ = p(x), so E log p̂ ≤ log p(x). The step sizes are found for each row and temperature in a run of its own, which
    is thrown away: steps that followed the very chains they move would spoil that. `error` is √(Var w / K) / mean w, of
    the weights at hand; where `terms["ess"]`, (Σw)²/Σw², is near 1 both it and the value are too low to be trusted.
    `terms["acceptance"]` is the mean over chains and temperatures.

    >>> from vaekit import nets, parts
    >>> from vaekit.models import VAE
    >>> posterior, likelihood = parts.posteriors.Diagonal(2), parts.likelihoods.Bernoulli((8,))
    >>> model = VAE(nets.MLP(8, (), posterior.features), posterior, parts.priors.StandardNormal(2),
    ...                   nets.MLP(2, (), likelihood.features), likelihood)
    >>> batch = Batch(torch.ones(3, 8), key=np.arange(3, dtype=np.uint64))
    >>> AnnealedImportance(temperatures=10)(model, batch, seed=0).value.shape
    torch.Size([3])
    """

    chains: int = 16
    temperatures: int = 300
    leapfrog: int = 3
    start: str = "encoder"
    name: ClassVar[str] = "ais"

    def __post_init__(self):
        if self.start not in STARTS:
            raise unknown("start of the annealing", self.start, STARTS)
        if self.chains < 2 or self.temperatures < 2 or self.leapfrog < 1:
            raise VaekitError(
                "annealing takes 2 or more chains and temperatures and 1 or more leapfrog steps, and got "
                f"{self.chains}, {self.temperatures} and {self.leapfrog}."
            )

    @torch.no_grad()
    def __call__(self, model: LatentModel, batch: Batch, seed: int) -> Scores:
        chains = _Chains(self, model, batch, seed)
        return _scores(*chains.run(chains.drawn("ais-forward", self.chains), "ais-forward", chains.tuned()))


def _scores(log_w: Tensor, acceptance: Tensor) -> Scores:
    """Of the chains' weights (K, B)."""
    ess, error = weighed(log_w)
    return Scores(log_mean_exp(log_w), error, {"acceptance": acceptance, "ess": ess})


class _Chains:
    """The chains of one batch: where they start, how they move and how far. A purpose is a stream of random numbers."""

    def __init__(self, method: AnnealedImportance, model: LatentModel, batch: Batch, seed: int):
        if batch.key is None:
            raise VaekitError("annealing takes its random numbers from the keys of the rows, and this batch has none.")
        self.method, self.model, self.batch, self.seed = method, model, batch, seed
        self.encoder = method.start == "encoder"
        self.base = model.encode(batch) if self.encoder else model.pz(batch.c)
        self.scale = self.base.stddev if self.encoder else batch.x.new_ones(())
        self.at = path(model, batch, self.base)

    def drawn(self, purpose: str, chains: int) -> Point:
        """z ~ f_0"""
        numbers = self.model.noise if self.encoder else self.model.prior.noise
        z, _ = self.base.draw(self._normal(f"{purpose}-start", chains, len(self.batch.x), numbers))
        return self.at(z)

    def run(self, point: Point, purpose: str, steps: Tensor, *, backwards: bool = False) -> tuple[Tensor, Tensor]:
        """log w (K, B) and the mean acceptance (B,) of chains from `point` to the other end of the path.

        steps (T − 1, B), one for each temperature between the ends.
        """
        betas = schedule(self.method.temperatures)
        rises, betas = betas.diff().tolist(), betas[1:-1].tolist()
        if backwards:
            rises, betas, steps = rises[::-1], betas[::-1], steps.flip(0)
        log_w, accepted = rises[0] * point.log_ratio, 0.0
        for t, (rise, beta, step) in enumerate(zip(rises[1:], betas, steps, strict=True)):
            point, acceptance = self._move(point, f"{purpose}-{t}", beta, step)
            log_w += rise * point.log_ratio
            accepted = accepted + acceptance.double().mean(0)
        return log_w, accepted / len(betas)

    def tuned(self) -> Tensor:
        """Step sizes (T − 1, B), in units of the scale, from a shorter run that nothing else is taken from."""
        temperatures = max(self.method.temperatures // TUNING_SHARE, TUNING_LEAST)
        point = self.drawn("ais-tuning", min(self.method.chains, TUNING_CHAINS))
        log_step, found = point.log_base.new_full((len(self.batch.x),), math.log(0.5)), []
        for t, beta in enumerate(schedule(temperatures)[1:-1].tolist()):
            point, acceptance = self._move(point, f"ais-tuning-{t}", beta, log_step.exp())
            log_step = log_step + GAIN * (acceptance.mean(0) - ACCEPTANCE)
            found.append(log_step)
        share = torch.arange(1, self.method.temperatures) / self.method.temperatures
        nearest = (share * temperatures).round().long().clamp(1, temperatures - 1) - 1
        return torch.stack(found).exp()[nearest.to(log_step.device)]

    def _move(self, point: Point, purpose: str, beta: float, step: Tensor) -> tuple[Point, Tensor]:
        """One transition of every chain, its step (B,) times something from ½ to 1½: else trajectories may close."""
        chains, rows, dims = point.z.shape
        momentum = self._normal(f"{purpose}-momentum", chains, rows, dims)
        u = self._uniform(f"{purpose}-step", chains, rows, 2)
        size = (0.5 + u[..., :1]).to(point.z) * step.unsqueeze(-1) * self.scale
        return transition(self.at, point, momentum, u[..., 1].log().to(point.z), beta, size, self.method.leapfrog)

    def _normal(self, purpose: str, chains: int, rows: int, dims: int) -> Tensor:
        """(K, B, D) ~ N(0, I), like x"""
        u = self._uniform(purpose, chains, rows, dims)
        return normal_quantile(u).to(self.batch.x)

    def _uniform(self, purpose: str, chains: int, rows: int, dims: int) -> Tensor:
        """(K, B, dims) float64 in [0, 1), on the CPU: a row's depend on its key alone"""
        u = keyed_uniform(self.batch.key, self.seed, purpose, chains * dims)
        return torch.from_numpy(u).reshape(rows, chains, dims).transpose(0, 1)


@dataclass(frozen=True)
class TwoSided:
    """log p(x) of simulated rows from both sides, each right in expectation only."""

    x: Tensor
    """(n, *X)"""
    lower: Tensor
    """(n,) float64 nats: E lower ≤ log p(x)"""
    upper: Tensor
    """(n,) float64 nats: E upper ≥ log p(x)"""

    @property
    def gap(self) -> float:
        """The mean of upper − lower: in expectation no less than either is off by"""
        return (self.upper - self.lower).mean().item()

    @property
    def gap_error(self) -> float:
        """Its standard error over the rows"""
        return (self.upper - self.lower).std().item() / math.sqrt(len(self.lower))

    def to_dict(self) -> dict:
        """The gap for JSON."""
        return {"gap": self.gap, "gap_se": self.gap_error, "n": len(self.lower)}


@torch.no_grad()
def two_sided(model: LatentModel, n: int, method: AnnealedImportance, seed: int) -> TwoSided:
    """log p(x) of n rows that the model made, z* ~ p(z) and x ~ p(x|z*), from below and from above.

        lower = log (1/K) Σ_k w_k        chains from f_0 to p(z|x)
        upper = −log (1/K) Σ_k 1/w_k     chains back from z*, an exact draw of p(z|x), to f_0

    (Grosse et al. 2015, arXiv:1511.02543.) All K backward chains of a row set out from its z*, the one draw known to be
    exact: E 1/w_k = 1/p(x) for each of them. Both ways take the step sizes of `method`, which know x and not z*. There
    is no upper side for rows that the model did not make.

    >>> from vaekit import nets, parts
    >>> from vaekit.models import VAE
    >>> posterior, likelihood = parts.posteriors.Diagonal(2), parts.likelihoods.Bernoulli((8,))
    >>> model = VAE(nets.MLP(8, (), posterior.features), posterior, parts.priors.StandardNormal(2),
    ...                   nets.MLP(2, (), likelihood.features), likelihood)
    >>> both = two_sided(model, 5, AnnealedImportance(temperatures=10), seed=0)
    >>> both.lower.shape, both.upper.shape
    (torch.Size([5]), torch.Size([5]))
    """
    if n < 2:
        raise VaekitError(f"{n} rows were asked for: a gap and its standard error take 2 or more.")
    like = next(model.parameters())
    source = generator(seed, "simulate", device=like.device)
    z, _ = model.pz().draw(normal_noise(source, like.dtype)(1, n, model.prior.noise))
    x = model.decode(z).sample(source)[0]
    keys = np.arange(n, dtype=np.uint64)  # not of the content: equal rows have each their own z*
    lower, upper = [], []
    most = min(BLOCK, BUDGET // model.width)
    for rows in torch.arange(n).split(max(1, most // method.chains)):
        chains = _Chains(method, model, Batch(x[rows], key=keys[rows.numpy()]), seed)
        steps = chains.tuned()
        forward, _ = chains.run(chains.drawn("ais-forward", method.chains), "ais-forward", steps)
        exact = chains.at(z[:, rows].expand(method.chains, -1, -1))
        backward, _ = chains.run(exact, "ais-backward", steps, backwards=True)
        lower.append(log_mean_exp(forward))
        upper.append(-log_mean_exp(-backward))
    return TwoSided(x, torch.cat(lower), torch.cat(upper))
