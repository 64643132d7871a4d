"""The nouns of a variational autoencoder and the contracts between its parts.

    q(z|x)      posterior    an encoder network and a posterior family
    p(z)        prior
    p(x|z)      likelihood   a decoder network and a likelihood family
    log p(x) ≥  bound        an objective: a function of (model, batch)

Shapes are always in the order K samples, B rows, then the event: D latents for z, X (any shape) for x.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from vaekit.maths import NoiseSource


class lazy:
    """A property computed when first asked for and kept. (`functools.cached_property` cannot be traced by torch.)"""

    def __init__(self, function):
        self.function, self.name, self.__doc__ = function, function.__name__, function.__doc__

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        value = instance.__dict__[self.name] = self.function(instance)
        return value


class Batch(NamedTuple):
    """Rows of data on their way through a model."""

    x: Tensor
    """(B, *X) in the data's own units"""
    mask: Tensor | None = None
    """(B, *X) True where observed; None where every cell is"""
    key: np.ndarray | None = None
    """(B,) uint64, one key a row: what scoring noise is made from"""

    def rows(self, start: int, stop: int) -> "Batch":
        """Some rows of it, one after another."""
        return Batch(*(None if part is None else part[start:stop] for part in self))


BUDGET, BLOCK = 2**22, 256
"""what is worked on at once outside training: at most so many numbers in the widest layer, and at most so many rows"""


def at_once(width: int, draws: int = 1) -> int:
    """How many rows of so many draws, each of `width` numbers, keep to the budget: a power of two, up to 256.

    >>> at_once(784), at_once(3 * 512 * 512), at_once(3 * 512 * 512, draws=64)
    (256, 4, 1)
    """
    return 1 << min(BLOCK, max(1, BUDGET // (width * draws))).bit_length() - 1


def in_pieces(blocks: Iterable[tuple[int, Batch]], size: int) -> Iterator[tuple[int, Batch]]:
    """Blocks (rows that count, Batch) of at most `size` rows, from larger ones; what only fills up is left out.

    >>> [(count, len(batch.x)) for count, batch in in_pieces([(5, Batch(torch.zeros(8, 1)))], 2)]
    [(2, 2), (2, 2), (1, 2)]
    """
    for count, batch in blocks:
        if len(batch.x) <= size:
            yield count, batch
            continue
        for start in range(0, count, size):
            yield min(size, count - start), batch.rows(start, start + size)


class Draw:
    """z ~ q(z|x) for one batch, with the three distributions, and the log-densities that bounds are made of.

    Each quantity is computed when asked for, once. All are in nats.
    """

    def __init__(self, batch: Batch, q: "PosteriorDistribution", p: "Distribution", px: "Distribution", z: Tensor):
        self.batch, self.q, self.p, self.px, self.z = batch, q, p, px, z

    @lazy
    def log_q(self) -> Tensor:
        """log q(z|x), (K, B)"""
        return self.q.log_prob(self.z)

    @lazy
    def log_pz(self) -> Tensor:
        """log p(z), (K, B)"""
        return self.p.log_prob(self.z)

    @lazy
    def log_px(self) -> Tensor:
        """log p(x|z) summed over the observed features, (K, B)"""
        return self.px.log_prob(self.batch.x, self.batch.mask)

    @lazy
    def log_w(self) -> Tensor:
        """log w = log p(x, z) − log q(z|x), (K, B): the importance weight of each draw"""
        return self.log_px + self.log_pz - self.log_q

    @lazy
    def kl(self) -> Tensor:
        """KL(q(z|x) ‖ p(z)), (B,): in closed form where there is one, else the average of log q − log p over draws"""
        closed = self.q.kl(self.p)
        return (self.log_q - self.log_pz).mean(0) if closed is None else closed

    @lazy
    def kl_each(self) -> Tensor | None:
        """KL(q(z_d|x) ‖ p(z_d)) per latent, (B, D); None where it does not fall apart, or has no closed form"""
        return self.q.kl_each(self.p)


class Bound(NamedTuple):
    """What an objective returns. `value` may be reported and selected on; `loss` may only be descended."""

    value: Tensor
    """(B,) nats: in expectation a lower bound on log p(x)"""
    loss: Tensor
    """scalar: what gradient descent makes small; a surrogate where it differs from −mean(value)"""
    terms: Mapping[str, Tensor]
    """(B,) each, detached: the parts of the value, for people to read"""


class Distribution(Protocol):
    """A (batch of) probability distribution(s) over events; densities in nats, features summed."""

    @property
    def mean(self) -> Tensor: ...
    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor: ...
    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor: ...


class PosteriorDistribution(Distribution, Protocol):
    """q(z|x), reparameterised: z = g(ε)."""

    @property
    def stddev(self) -> Tensor: ...
    def g(self, noise: Tensor) -> Tensor: ...
    def kl(self, p: Any) -> Tensor | None: ...
    def kl_each(self, p: Any) -> Tensor | None: ...
    def detach(self) -> "PosteriorDistribution": ...


@runtime_checkable
class Posterior(Protocol):
    """h, the encoder's (B, features), ↦ q(z|x) with batch (B,) and event (D,)."""

    features: int
    latent_dim: int

    def __call__(self, h: Tensor) -> PosteriorDistribution: ...


@runtime_checkable
class Prior(Protocol):
    """() ↦ p(z). `posterior` is the function x ↦ q(z|x), for priors that are made of it."""

    def __call__(self, *, posterior=None) -> Distribution: ...


@runtime_checkable
class Likelihood(Protocol):
    """y, the decoder's (K, B, features), ↦ p(x|z) with batch (K, B) and event X. It owns the data's scaling."""

    features: int
    shape: tuple[int, ...]
    normalised: bool
    integers: bool
    support: str

    def standardise(self, x: Tensor) -> Tensor: ...
    def supports(self, x: Tensor) -> Tensor: ...
    def __call__(self, y: Tensor) -> Distribution: ...


class LatentModel(Protocol):
    """What objectives, training and evaluation may know of a model."""

    latent_dim: int
    width: int
    likelihood: "Likelihood"
    precision: torch.dtype | None

    def encode(self, x: Tensor, mask: Tensor | None = None) -> "PosteriorDistribution": ...
    def pz(self) -> Distribution: ...
    def log_joint(self, batch: Batch, z: Tensor) -> Tensor: ...
    def noise(self, samples: int, rows: int, source: NoiseSource) -> Tensor: ...
    def draw(self, batch: Batch, noise: Tensor) -> Draw: ...
    def decode(self, z: Tensor) -> Distribution: ...
    def generate(self, n: int, generator: torch.Generator) -> Distribution: ...


class Objective(Protocol):
    """(model, batch, ε) ↦ Bound, from `samples` draws a row. `name` is what its value is called in records."""

    name: str
    samples: int

    def __call__(self, model: LatentModel, batch: Batch, noise: Tensor, *, step: int = 0) -> Bound: ...
