"""The nouns of a variational autoencoder and the contracts between its parts.

    q(z|x)      posterior    an encoder network and a posterior family
    p(z)        prior
    p(x|z)      likelihood   a decoder network and a likelihood family
    log p(x) ≥  bound        an objective: a function of (model, batch)

Shapes are always in the order K samples, B rows, then the event: D latents for z, X (any shape) for x.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, NamedTuple, Protocol, TypeVar, overload, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from vaekit.errors import VaekitError

T = TypeVar("T")
Part = TypeVar("Part", Tensor, np.ndarray)


class lazy(Generic[T]):
    """A property computed when first asked for and kept: `functools.cached_property` cannot be traced by torch."""

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> "lazy[T]": ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> "T | lazy[T]":
        if instance is None:
            return self
        value = self.function(instance)
        instance.__dict__[self.name] = value
        return value


@dataclass(frozen=True)
class Range:
    """Which numbers an argument may be: `Annotated[float, Range(0, below=1)]`.

    >>> 0.5 in Range(0, below=1), 1 in Range(0, below=1), str(Range(0, below=1))
    (True, False, '0 or more and below 1')
    >>> 0 in Range(above=0), str(Range(above=0))
    (False, 'more than 0')
    >>> str(Range(below=5)), str(Range(above=0, below=5)), str(Range())
    ('below 5', 'more than 0 and below 5', 'any number')
    """

    low: float = -math.inf
    below: float = math.inf
    above: float = -math.inf

    def __contains__(self, number: float) -> bool:
        return self.low <= number < self.below and number > self.above

    def __str__(self) -> str:
        limits = []
        if math.isfinite(self.low):
            limits.append(f"{self.low} or more")
        if math.isfinite(self.above):
            limits.append(f"more than {self.above}")
        if math.isfinite(self.below):
            limits.append(f"below {self.below}")
        return " and ".join(limits) or "any number"


class Batch(NamedTuple):
    """Rows of data on their way through a model. It is handed on whole: who does not know a field does not name it."""

    x: Tensor
    """(B, *X) in the data's own units"""
    mask: Tensor | None = None
    """(B, *X) True where observed; None where every cell is"""
    c: Tensor | None = None
    """(B, C) what is known of the conditions, as the networks see it; None where there are none. Who makes the rows
    makes it of their cells, once (`parts.Conditions`): what is unknown is 0 in it, whatever its cell holds. Then all
    that is said of p(z), p(x|z), q(z|x) and p(x) is said of p(z|c), p(x|z, c), q(z|x, c) and p(x|c)"""
    key: np.ndarray | None = None
    """(B,) uint64, one key per row: what scoring noise is made from"""

    @property
    def tensors(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """All but the keys: what a compiled step or a recording carries. `Batch(*tensors)` is the inverse."""
        return self.x, self.mask, self.c

    def rows(self, start: int, stop: int) -> "Batch":
        """The rows from `start` up to, but without, `stop`."""
        rows = slice(start, stop)
        return Batch(self.x[rows], _cut(self.mask, rows), _cut(self.c, rows), _cut(self.key, rows))


def _cut(part: Part | None, rows: slice) -> Part | None:
    if part is None:
        return None
    return part[rows]


BUDGET = 2**22
"""at most so many numbers in the widest layer are worked on at once outside training"""
BLOCK = 256
"""at most so many rows are worked on at once outside training"""


def at_once(width: int, draws: int = 1) -> int:
    """How many rows of so many draws, each of `width` numbers, keep to the budget: a power of two, up to 256.

    >>> at_once(784), at_once(3 * 512 * 512), at_once(3 * 512 * 512, draws=64)
    (256, 4, 1)
    """
    most = max(1, BUDGET // (width * draws))
    rows = min(BLOCK, most)
    return 1 << rows.bit_length() - 1


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

    z (K, B, D) and log_q = log q(z|x) (K, B) come together, from whoever drew z. Each other quantity is computed when
    asked for, once. All are in nats.
    """

    def __init__(self, batch: Batch, q: "Latent", p: "Latent", px: "Distribution", z: Tensor, log_q: Tensor) -> None:
        self.batch = batch
        self.q = q
        self.p = p
        self.px = px
        self.z = z
        self.log_q = log_q

    @lazy
    def log_pz(self) -> Tensor:
        """The prior's log-density of each draw, log p(z), (K, B)."""
        return self.p.log_prob(self.z)

    @lazy
    def log_px(self) -> Tensor:
        """The log-likelihood of each draw, log p(x|z) summed over the observed features, (K, B)."""
        return self.px.log_prob(self.batch.x, self.batch.mask)

    @lazy
    def log_w(self) -> Tensor:
        """The log importance weight of each draw, log w = log p(x, z) − log q(z|x), (K, B)."""
        return self.log_px + self.log_pz - self.log_q

    @lazy
    def rate_each(self) -> Tensor:
        """The rate KL(q(z|x) ‖ p(z)) as `Latent.rate` gives it, (K or 1, B, D or 1)."""
        return self.q.rate(self.p, self.z, self.log_q)

    @lazy
    def rate(self) -> Tensor:
        """The rate KL(q(z|x) ‖ p(z)) of each row, (B,).

        It is in closed form where there is one, and else the average of log q − log p over the draws.
        """
        return self.rate_each.sum(-1).mean(0)

    @lazy
    def distortion(self) -> Tensor:
        """The distortion −E_q log p(x|z) of each row, by the draws, (B,)."""
        return -self.log_px.mean(0)


class Bound(NamedTuple):
    """What an objective returns. `value` may be reported and selected on; `loss` may only be descended."""

    value: Tensor | None
    """(B,) nats: in expectation a lower bound on log p(x). None where there is none (an encoder without noise, say):
    then the loss on rows held out is selected on, and nothing is called log p"""
    loss: Tensor
    """scalar: what gradient descent makes small; a surrogate where it differs from −mean(value)"""
    terms: Mapping[str, Tensor]
    """(B,) each, detached: the parts of the value, for people to read"""
    draw: Draw | None = None
    """what it was made of, where that is one draw: penalties read it, and make one themselves where it is None"""


class Distribution(Protocol):
    """A (batch of) probability distribution(s) over events; densities in nats, features summed."""

    @property
    def mean(self) -> Tensor:
        """The mean of the event, (…, *X)."""
        ...

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The log-density of x over the features where `mask` is True, all of them without one: (…), nats."""
        ...

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …, *X) from a given generator."""
        ...


@runtime_checkable
class Averaged(Protocol):
    """A distribution that knows the best estimate of its event by weights of its batch. In an ensemble it also has
    `averaged` and `estimate`, as `distributions.Factorised` has them."""

    def average(self, weights: Tensor) -> Tensor:
        """The estimate of each feature, (B, *X), by weights (K, B) that sum to 1 over the K draws."""
        ...


class UnknownError(VaekitError):
    """A distribution was asked for what it does not know."""


class Latent:
    """A distribution of latents, q(z|x) or p(z): batch (B,) or none, event (D,). A subclass has to give `draw`.

    What else it cannot do it refuses in a sentence (`UnknownError`), which evaluation passes on.
    """

    space: str = "real numbers"
    """what z is: a posterior goes with a prior of the same space, for else log p(z) − log q(z|x) means nothing"""
    dense: bool = True
    """whether z has a density; a point has none, and no bound"""
    rungs: tuple[int, ...] = ()
    """how many of its latents are of each layer, the top one first, where there are several layers"""
    owed: Tensor | float = 0.0
    """(B,) what a part wants paid in the loss beside the bound (the commitment to a codebook, say)"""

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The draws z (K, B, D) of ε (K, B, E) ~ N(0, I), and their log-density (K, B). No other chance comes in."""
        raise NotImplementedError

    def log_prob(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """The log-density of any z (…, D), (…) nats."""
        raise UnknownError(f"{type(self).__name__} knows the density of its own draws only.")

    def log_prob_each(self, z: Tensor) -> Tensor:
        """The log-density of each latent by itself, log q(z_d|x), (…, D) nats: of the marginals, where latents are not
        independent."""
        raise UnknownError(f"{type(self).__name__} does not know the density of each latent by itself.")

    def rate(self, p: "Latent", z: Tensor, log_q: Tensor) -> Tensor:
        """The divergence KL(self ‖ p), (K or 1, B, D or 1) nats.

        It is log q − log p at the draws z (K, B, D) of log-density log_q (K, B). One that is known in closed form has
        a single entry on the axis of draws, and one entry per latent where it falls apart.
        """
        return (log_q - p.log_prob(z)).unsqueeze(-1)

    @property
    def mean(self) -> Tensor:
        """The mean E[z], (B, D)."""
        raise UnknownError(f"{type(self).__name__} does not know its mean.")

    @property
    def stddev(self) -> Tensor:
        """The standard deviation of each latent, (B, D)."""
        raise UnknownError(f"{type(self).__name__} does not know its standard deviation.")

    @property
    def covariance(self) -> Tensor:
        """The covariance of the latents, (B, D, D)."""
        raise UnknownError(f"{type(self).__name__} does not know its covariance.")

    def detach(self) -> "Latent":
        """The same distribution with its parameters held constant."""
        raise UnknownError(f"{type(self).__name__} cannot hold its parameters constant: choose the standard gradient.")


@runtime_checkable
class Posterior(Protocol):
    """h, the encoder's (B, features), ↦ q(z|x) with batch (B,) and event (D,), drawn with `noise` numbers per draw."""

    @property
    def features(self) -> int:
        """How many numbers per row it wants of the encoder."""
        ...

    @property
    def noise(self) -> int:
        """E, how many standard normals per draw it takes."""
        ...

    @property
    def latent_dim(self) -> int:
        """D, the number of latents."""
        ...

    def __call__(self, h: Tensor) -> Latent:
        """The posterior q(z|x) of the encoder's h (B, features)."""
        ...


@runtime_checkable
class Prior(Protocol):
    """c (B, C) or None ↦ p(z|c), drawn with `noise` numbers per draw.

    It may have a `start(model, batch)`, as posteriors may (`Starting`).

    posterior    u ↦ q(z|u), or (u, c) ↦ q(z|u, c), for priors made of posteriors: u (M, inputs) is what the encoder
                 sees, `Likelihood.encode`
    """

    @property
    def noise(self) -> int:
        """E, how many standard normals per draw it takes."""
        ...

    def __call__(self, c: Tensor | None = None, *, posterior: Callable[..., Latent]) -> Latent:
        """The prior p(z); or p(z|c) of conditions c (B, C), which it may leave alone: then p(z|c) = p(z)."""
        ...


@runtime_checkable
class Starting(Protocol):
    """A part whose weights begin at what training rows say of them: pseudo-inputs, a codebook, a mixture's means."""

    def start(self, model: "LatentModel", batch: Batch) -> None:
        """Set its weights once, before the first step, by the model as that step will find it and by training rows in
        no order, about a thousand where there are so many. A prior is asked after the posterior; gradients are off."""
        ...


@runtime_checkable
class Likelihood(Protocol):
    """y, the decoder's (K, B, features), ↦ p(x|z) with batch (K, B) and event X. It owns the data's scaling."""

    @property
    def inputs(self) -> int:
        """How many numbers per row the encoder sees."""
        ...

    @property
    def features(self) -> int:
        """How many numbers per row it wants of the decoder."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """X, the shape of an example."""
        ...

    @property
    def normalised(self) -> bool:
        """Whether p(x|z) sums or integrates to 1 over x: only then is the bound one on log p(x)."""
        ...

    @property
    def integers(self) -> bool:
        """Whether it is a probability of values on a grid, so that bits per dimension mean something."""
        ...

    @property
    def support(self) -> str:
        """Which values it gives a density, in words."""
        ...

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the encoder sees of x (B, *X), of which the cells where `mask` is False are hidden."""
        ...

    def supports(self, x: Tensor) -> Tensor:
        """Which cells of x have a density, (…, *X) bool."""
        ...

    def __call__(self, y: Tensor) -> Distribution:
        """The likelihood p(x|z) of the decoder's y (K, B, features)."""
        ...


Joint = Callable[[Tensor], Tensor]
"""z (K, B, D) ↦ log p(x, z), (K, B) nats, for the rows of one batch"""


class LatentModel(Protocol):
    """What objectives, training and evaluation may know of a model."""

    precision: torch.dtype | None
    """the type of the networks' matrix products, where it is not that of their inputs"""

    @property
    def latent_dim(self) -> int:
        """D, the number of latents."""
        ...

    @property
    def noise(self) -> int:
        """E, the standard normals that a draw of z takes."""
        ...

    @property
    def width(self) -> int:
        """Numbers in the widest layer that a row goes through: what memory is planned by."""
        ...

    @property
    def prior(self) -> Prior:
        """The part that gives p(z)."""
        ...

    @property
    def likelihood(self) -> Likelihood:
        """The part that gives p(x|z)."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """The weights, whose type and device random numbers take."""
        ...

    def encode(self, batch: Batch) -> Latent:
        """The posterior q(z|x), batch (B,) and event (D,)."""
        ...

    def pz(self, c: Tensor | None = None) -> Latent:
        """The prior p(z), or p(z|c) of c (B, C), event (D,)."""
        ...

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """The likelihood p(x|z) of z (K, B, D), batch (K, B) and event X."""
        ...

    def draw(self, batch: Batch, noise: Tensor) -> Draw:
        """The draws z ~ q(z|x) of ε (K, B, E), with all that a bound is made of."""
        ...

    def joint(self, batch: Batch) -> Joint:
        """The function z (K, B, D) ↦ log p(x, z), (K, B) nats, of these rows."""
        ...

    def generate(self, n: int, generator: torch.Generator, c: Tensor | None = None) -> Distribution:
        """The likelihood p(x|z) of n draws z ~ p(z), or p(x|z, c) of c (n, C), batch (1, n) and event X."""
        ...


def members(model: LatentModel) -> list[LatentModel]:
    """The models that an ensemble (`models.Ensemble`) is made of; of any other model itself."""
    return list(getattr(model, "members", [model]))


class Penalty(nn.Module):
    """What is paid in the loss beside the bound, loss + weight · penalty, whichever bound it is: no value knows of it.

    (model, draw, ε, …) ↦ a scalar. It may own parameters, as objectives may. A subclass with arguments of its own hands
    `weight` on; one that asks for `rows` gets N, the number of training rows (`settings.named`).

    weight    what one of it costs
    """

    name: str = ""
    """what it is called in words; "" is the name of its class"""
    whole: bool = True
    """whether it compares the rows of a batch, which is then neither cut nor a single row; False for means over rows"""
    generative: bool = False
    """whether it draws all z together to the prior, so that the prior can be sampled without a bound"""
    __call__: Callable[..., Tensor]

    def __init__(self, weight: Annotated[float, Range(0)] = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def noise(self, model: "LatentModel", rows: int) -> tuple[tuple[int, int, int], ...]:
        """The shapes (1, B, E) of the standard normals that it wants beside those of the objective."""
        return ()

    def forward(self, model: "LatentModel", draw: Draw, *noise: Tensor) -> Tensor:
        """The scalar of one draw, by noise of the shapes that `noise` wants."""
        raise NotImplementedError


class Objective(nn.Module):
    """(model, batch, ε, …) ↦ Bound. It may own parameters (a critic's): they are trained and saved with the model's.

    name       what its value is called in records
    samples    draws per row
    settled    the step from which on the loss is the one that is meant
    bounded    whether its value is a bound; where it is not, `Bound.value` is None
    generative whether it makes the prior the law of the latents, so that it can be sampled
    whole      whether its loss compares the rows of a batch, which is then neither cut nor a single row
    posterior  the name of the posterior that belongs to it, where that is no matter of choice
    """

    name: str
    samples: int = 1
    settled: int = 0
    bounded: bool = True
    generative: bool = True
    whole: bool = False
    posterior: str = ""
    surrogate: str | None = None
    """what is descended, in words, where it is not the negative bound"""
    __call__: Callable[..., Bound]

    def begin(self, steps: int) -> None:
        """Told how many steps training will take, before the first."""

    def noise(self, model: LatentModel, rows: int) -> tuple[tuple[int, int, int], ...]:
        """The shapes (K, B, E) of the standard normals that it wants: whoever calls it makes them, keyed."""
        return ((self.samples, rows, model.noise),)

    def parts(self, most: int) -> list["Objective"]:
        """Objectives of at most `most` draws whose mean, weighted by their draws, has the same value; else itself
        alone: for passes that have no room for all draws at once."""
        return [self]

    def forward(self, model: LatentModel, batch: Batch, *noise: Tensor, step: int = 0) -> Bound:
        """The bound of a batch, by noise of the shapes that `noise` wants, at a step of training."""
        raise NotImplementedError
