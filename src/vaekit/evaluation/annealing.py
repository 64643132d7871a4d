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
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaekit.core import BUDGET, Batch, Latent, LatentModel
from vaekit.errors import VaekitError, unknown
from vaekit.evaluation.scores import Scores, require_real, weighed
from vaekit.maths import log_mean_exp
from vaekit.noise import generator, keyed_uniform, normal_noise, normal_quantile

STARTS = ("encoder", "prior")
SHARPNESS = 4.0
"""of the sigmoid along which β rises (Grosse et al. 2015)"""
ACCEPTANCE = 0.8
"""what the step sizes are tuned to"""
GAIN = 1.0
"""how far the logarithm of a step size moves for a miss of 1"""
TUNING_CHAINS = 8
"""most chains of the tuning run"""
TUNING_SHARE = 4
"""it takes one in so many temperatures"""
TUNING_LEAST = 20
"""but no fewer than this"""
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
        """The log-density log f_β(z), (K, B) nats."""
        return (1 - beta) * self.log_base + beta * self.log_joint

    def slope(self, beta: float) -> Tensor:
        """The gradient ∂ log f_β/∂z, (K, B, D)."""
        return (1 - beta) * self.base_slope + beta * self.joint_slope

    @property
    def log_ratio(self) -> Tensor:
        """The difference log p(x, z) − log f_0(z), (K, B) float64 nats."""
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
            log_base = base.log_prob(z)
            log_end = log_joint(z)
            (base_slope,) = torch.autograd.grad(log_base.sum(), z)
            (joint_slope,) = torch.autograd.grad(log_end.sum(), z)
        return Point(z.detach(), log_base.detach(), log_end.detach(), base_slope, joint_slope)

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
    """One step of Hamiltonian Monte Carlo, which leaves f_β invariant.

    It returns where the chains are next, and their probabilities of acceptance (K, B). The momentum (K, B, D) is
    ~ N(0, I), and log_u (K, B) is the logarithm of uniforms. What is not finite is not accepted.
    """
    proposal, final = leapfrog(at, point, momentum, beta, step, steps)
    kinetic = 0.5 * (momentum.square() - final.square()).sum(-1)
    log_density = proposal.log_density(beta)
    change = log_density - point.log_density(beta) + kinetic
    change = torch.where(log_density.isfinite() & ~change.isnan(), change, -torch.inf)
    accepted = log_u < change
    parts = []
    for new, old in zip(proposal, point, strict=True):
        chosen = accepted.reshape(*accepted.shape, *[1] * (new.dim() - 2))
        parts.append(torch.where(chosen, new, old))
    return Point(*parts), change.clamp(max=0).exp()


def schedule(temperatures: int) -> Tensor:
    """The inverse temperatures β_0 = 0 … β_T = 1, (T + 1,) float64.

    They are a sigmoid's values at equal steps, so that both ends are approached slowly. (Grosse et al. 2015,
    arXiv:1511.02543)

    >>> [round(beta, 3) for beta in schedule(4).tolist()]
    [0.0, 0.105, 0.5, 0.895, 1.0]
    """
    rising = torch.linspace(-SHARPNESS, SHARPNESS, temperatures + 1, dtype=torch.float64).sigmoid()
    return (rising - rising[0]) / (rising[-1] - rising[0])


@dataclass(frozen=True)
class AnnealedImportance:
    """The estimate log p̂(x) = log (1/K) Σ_k w_k from K annealed chains (Neal 2001, arXiv:physics/9803008).

    chains         K
    temperatures   T, the steps in which β rises from 0 to 1
    leapfrog       gradients of log p(x, z) per temperature and chain
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
    size: ClassVar[str] = "chains"
    noisy: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"annealed, {self.chains:,} chains a row"

    def __post_init__(self) -> None:
        if self.start not in STARTS:
            raise unknown("start of the annealing", self.start, STARTS)
        if self.chains < 2 or self.temperatures < 2 or self.leapfrog < 1:
            raise VaekitError(
                "annealing takes 2 or more chains and temperatures and 1 or more leapfrog steps, and got "
                f"{self.chains}, {self.temperatures} and {self.leapfrog}."
            )

    @torch.no_grad()
    def __call__(self, model: LatentModel, batch: Batch, seed: int) -> Scores:
        """The scores of a batch of B rows, of K chains each."""
        require_real(model.pz(batch.c), "annealing")
        chains = _Chains(self, model, batch, seed)
        log_w, acceptance = chains.forward(chains.tuned())
        ess, error = weighed(log_w)
        return Scores(log_mean_exp(log_w), error, {"acceptance": acceptance, "ess": ess})


class _Chains:
    """The chains of one batch: where they start, how they move and how far. A purpose is a stream of random numbers."""

    def __init__(self, method: AnnealedImportance, model: LatentModel, batch: Batch, seed: int) -> None:
        if batch.key is None:
            raise VaekitError("annealing takes its random numbers from the keys of the rows, and this batch has none.")
        self.method = method
        self.seed = seed
        self.keys = batch.key
        self.x = batch.x
        if method.start == "encoder":
            self.base = model.encode(batch)
            self.scale = self.base.stddev
            self.noise = model.noise
        else:
            self.base = model.pz(batch.c)
            self.scale = batch.x.new_ones(())
            self.noise = model.prior.noise
        self.at = path(model, batch, self.base)

    def forward(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """The log-weights (K, B) and the mean acceptance (B,) of chains from f_0 to the posterior."""
        start = self.drawn("ais-forward", self.method.chains)
        return self.run(start, "ais-forward", steps)

    def drawn(self, purpose: str, chains: int) -> Point:
        """Where so many chains start: draws of f_0."""
        noise = self._normal(f"{purpose}-start", chains, len(self.x), self.noise)
        z, _ = self.base.draw(noise)
        return self.at(z)

    def run(self, point: Point, purpose: str, steps: Tensor, *, backwards: bool = False) -> tuple[Tensor, Tensor]:
        """The log-weights (K, B) and the mean acceptance (B,) of chains from `point` to the other end of the path.

        steps (T − 1, B), one for each temperature between the ends.
        """
        whole = schedule(self.method.temperatures)
        rises = whole.diff()
        between = whole[1:-1]
        if backwards:
            rises = rises.flip(0)
            between = between.flip(0)
            steps = steps.flip(0)
        first, *others = rises.tolist()
        log_w = first * point.log_ratio
        accepted = torch.zeros((), dtype=torch.float64, device=log_w.device)
        for t, (rise, beta, step) in enumerate(zip(others, between.tolist(), steps, strict=True)):
            point, acceptance = self._move(point, f"{purpose}-{t}", beta, step)
            log_w += rise * point.log_ratio
            accepted = accepted + acceptance.double().mean(0)
        return log_w, accepted / len(between)

    def tuned(self) -> Tensor:
        """Step sizes (T − 1, B), in units of the scale, from a shorter run that nothing else is taken from."""
        temperatures = max(self.method.temperatures // TUNING_SHARE, TUNING_LEAST)
        point = self.drawn("ais-tuning", min(self.method.chains, TUNING_CHAINS))
        log_step = point.log_base.new_full((len(self.x),), math.log(0.5))
        found = []
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
        log_u = u[..., 1].log().to(point.z)
        return transition(self.at, point, momentum, log_u, beta, size, self.method.leapfrog)

    def _normal(self, purpose: str, chains: int, rows: int, dims: int) -> Tensor:
        """Standard normals (K, B, D), of the type of x and where it is."""
        u = self._uniform(purpose, chains, rows, dims)
        return normal_quantile(u).to(self.x)

    def _uniform(self, purpose: str, chains: int, rows: int, dims: int) -> Tensor:
        """Uniforms in [0, 1), (K, B, dims) float64, on the CPU: a row's depend on its key alone."""
        u = keyed_uniform(self.keys, self.seed, purpose, chains * dims)
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
        """The mean of upper − lower, nats: in expectation no less than either is off by."""
        return (self.upper - self.lower).mean().item()

    @property
    def gap_error(self) -> float:
        """The gap's standard error over the rows."""
        return (self.upper - self.lower).std().item() / math.sqrt(len(self.lower))

    def to_dict(self) -> dict[str, Any]:
        """The gap for JSON."""
        return {"gap": self.gap, "gap_se": self.gap_error, "n": len(self.lower)}


@torch.no_grad()
def two_sided(model: LatentModel, n: int, method: AnnealedImportance, seed: int, c: Tensor | None = None) -> TwoSided:
    """The log-likelihood of n rows that the model made, z* ~ p(z) and x ~ p(x|z*), or given c (n, C), from below and
    from above.

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
    noise = normal_noise(source, like.dtype)(1, n, model.prior.noise)
    z, _ = model.pz(c).draw(noise)
    x = model.decode(z, c).sample(source)[0]
    keys = np.arange(n, dtype=np.uint64)  # not of the content: equal rows have each their own z*
    lower = []
    upper = []
    most = min(BLOCK, BUDGET // model.width)
    for rows in torch.arange(n).split(max(1, most // method.chains)):
        batch = Batch(x[rows], c=None if c is None else c[rows], key=keys[rows.numpy()])
        chains = _Chains(method, model, batch, seed)
        steps = chains.tuned()
        forward, _ = chains.forward(steps)
        exact = chains.at(z[:, rows].expand(method.chains, -1, -1))
        backward, _ = chains.run(exact, "ais-backward", steps, backwards=True)
        lower.append(log_mean_exp(forward))
        upper.append(-log_mean_exp(-backward))
    return TwoSided(x, torch.cat(lower), torch.cat(upper))
