"""Latents that are codes: each is one of finitely many, and z is made of the codes' values."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from vaekit.core import Latent, UnknownError

CODES = "codes"
"""what such latents are called"""


@runtime_checkable
class Book(Protocol):
    """Which values codes have: what posterior and prior of codes share. M codes make a z of D numbers."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """L_m, how many values each of the M codes may have."""
        ...

    @property
    def books(self) -> tuple[int, ...]:
        """The number of the codebook that each of the M codes is from: some may share one."""
        ...

    def index(self, z: Tensor) -> Tensor:
        """The codes (…, M), integers from 0, whose values z (…, D) has; of any other z the nearest."""
        ...

    def values(self, index: Tensor) -> Tensor:
        """The values z (…, D) of codes (…, M): the inverse of `index`."""
        ...

    def chosen(self, z: Tensor) -> Tensor:
        """1 at the code that z (…, D) has, of each of the M, and 0 at the others, (…, M, max L)."""
        ...


class OneCode(Latent):
    """The distribution q(z|x) that has all its probability on one code: log q(z|x) = 0 at z, and no chance comes in.

    So ln p(x|z) + ln P(z) is a lower bound on log p(x) = log Σ_z P(z) p(x|z), of which it is one term.

    z        (B, D), the values of the codes
    index    (B, M), the codes
    book     which values they have
    owed     (B,), as in `core.Latent`

    >>> from vaekit.parts.posteriors import FSQ
    >>> fsq = FSQ(2, "3")
    >>> q = OneCode(fsq.values(torch.tensor([[0, 2]])), torch.tensor([[0, 2]]), fsq)
    >>> z, log_q = q.draw(torch.zeros(4, 1, 0))
    >>> z.shape, z[0].tolist(), log_q[0].tolist()
    (torch.Size([4, 1, 2]), [[-1.0, 1.0]], [0.0])
    """

    space = CODES

    def __init__(self, z: Tensor, index: Tensor, book: Book, owed: Tensor | float = 0.0) -> None:
        self.z = z
        self.index = index
        self.book = book
        self.owed = owed
        self.h = z
        """(B, features): what the encoder gave for it, where whoever made it says so"""

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The code (K, B, D), K times the same, and log q = 0 (K, B)."""
        return self.z.expand(len(noise), -1, -1), self.z.new_zeros(noise.shape[0], len(self.z))

    def log_prob(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """Refuses: a bound is made of its own z alone, where it is 0, and of any other z it would be −∞."""
        raise UnknownError("q(z|x) is one code and not a density, so that no prior is made of it: choose prior auto.")

    @property
    def mean(self) -> Tensor:
        """The code, (B, D)."""
        return self.z

    @property
    def stddev(self) -> Tensor:
        """Zeros, (B, D)."""
        return torch.zeros_like(self.z)


class Categories(Latent):
    """The distribution q(z|x) = Π_m Cat(i_m; π_m) of M independent codes, z being 1 at each code and 0 elsewhere:
    the first values of all codes, then the second ones, as on a map.

    A draw takes a Gumbel variable G = −ln(−ln Φ(ε)) for each value of each code, and has the code of the greatest
    ln π + G, so that it is exact (Gumbel 1954). Its gradient is that of the relaxation softmax((ln π + G)/τ) (Maddison
    et al. 2017, arXiv:1611.00712; Jang et al. 2017, arXiv:1611.01144).

    log_p          (B, M, L), ln π
    temperature    τ

    >>> from vaekit.parts.posteriors import Concrete
    >>> q = Categories(torch.tensor([[[0.5, 0.5]]]).log(), Concrete(2, levels=2), temperature=0.5)
    >>> z, log_q = q.draw(torch.tensor([[[1.0, -1.0]]]))
    >>> z.tolist(), round(log_q.item(), 4)
    ([[[1.0, 0.0]]], -0.6931)
    """

    space = CODES

    def __init__(self, log_p: Tensor, book: Book, temperature: float) -> None:
        self.log_p = log_p
        self.book = book
        self.temperature = temperature

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The draws z (K, B, M·L) of ε (K, B, M·L), and log q (K, B)."""
        gumbel = -torch.log(-torch.special.log_ndtr(noise))
        perturbed = self.log_p + self.book.chosen(gumbel)
        relaxed = (perturbed / self.temperature).softmax(-1)
        hard = one_hot(perturbed.argmax(-1), perturbed.shape[-1], perturbed)
        z = hard + (relaxed - relaxed.detach())
        return z.mT.flatten(-2), (hard * self.log_p).sum((-2, -1))

    def log_prob(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """The log-probability of any codes z (…, M·L), (…) nats."""
        return (self.book.chosen(z) * self.log_p).sum((-2, -1))

    def rate(self, p: Latent, z: Tensor, log_q: Tensor) -> Tensor:
        """The divergence Σ_m Σ_k π ln(π/P), (1, B, 1) nats, in closed form for a prior of independent codes; for
        another −H(π) − ln P(z) at the draws, (K, B, 1).
        """
        if isinstance(p, Codes) and p.passes == 1:
            log_ratio = self.log_p - p.log_p(self.log_p)
            return (self.probabilities * log_ratio).sum((-2, -1)).reshape(1, -1, 1)
        negative_entropy = (self.probabilities * self.log_p).sum((-2, -1))
        return (negative_entropy - p.log_prob(z)).unsqueeze(-1)

    @property
    def probabilities(self) -> Tensor:
        """The probability π of each value of each code, (B, M, L)."""
        return self.log_p.exp()

    @property
    def index(self) -> Tensor:
        """The most probable codes, (B, M)."""
        return self.log_p.argmax(-1)

    @property
    def mean(self) -> Tensor:
        """The mean π, (B, M·L)."""
        return self.probabilities.mT.flatten(-2)

    @property
    def stddev(self) -> Tensor:
        """The standard deviations √(π (1 − π)), (B, M·L)."""
        return (self.mean * (1 - self.mean)).sqrt()


class Codes(Latent):
    """A probability of codes, P(z) = Π_m P(i_m | i_1 … i_{m−1}), where z has the values of the codes i.

    book      which values codes have
    log_p     chosen (…, M, L) as `Book.chosen` has it ↦ log P of each value of each code given the codes before it,
              (…, M, L), −∞ where a code has fewer values than L
    passes    how often `log_p` is asked for a draw: 1 where it looks at no other code, else M

    A draw takes a standard normal ε_m for each code: i_m is the number of values whose cumulated probability is at most
    Φ(ε_m).
    """

    space = CODES

    def __init__(self, book: Book, log_p: Callable[[Tensor], Tensor], passes: int = 1) -> None:
        self.book = book
        self.log_p = log_p
        self.passes = passes

    def log_prob(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """The log-probability of any z (…, D) of codes, (…) nats."""
        chosen = self.book.chosen(z)
        log_p = self.log_p(chosen).expand(chosen.shape)
        each = chosen * torch.where(log_p.isinf(), 0.0, log_p)  # of values that a code does not have
        return each.sum((-2, -1))

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The draws z (K, B, D) of ε (K, B, M), and their log-probability (K, B)."""
        u = torch.special.ndtr(noise).unsqueeze(-1)
        index = torch.zeros(noise.shape, dtype=torch.long, device=noise.device)
        for _ in range(self.passes):  # after each, one code more is as those before it want it
            log_p = self.log_p(one_hot(index, max(self.book.sizes), u))
            last = log_p.isfinite().sum(-1) - 1
            index = torch.minimum((u >= log_p.exp().cumsum(-1)).sum(-1), last)
        z = self.book.values(index)
        return z, self.log_prob(z)


class EvenCodes(Codes):
    """The probability under which every code is as likely as any other: log P(z) = −Σ_m ln L_m, whatever z is."""

    def log_prob(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """The log-probability of any z (…, D) of codes, (…) nats."""
        return z.new_full(z.shape[:-1], -sum(math.log(size) for size in self.book.sizes))


def one_hot(index: Tensor, size: int, like: Tensor) -> Tensor:
    """1 at the place that an index says and 0 elsewhere, (…) ↦ (…, size), of the type of `like`.

    >>> one_hot(torch.tensor([2, 0]), 3, torch.zeros(1)).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    return (index.unsqueeze(-1) == torch.arange(size, device=index.device)).to(like)


def possible(sizes: Sequence[int]) -> Tensor:
    """Which values each code may have, (M, max L) bool.

    >>> possible([2, 3]).tolist()
    [[True, True, False], [True, True, True]]
    """
    return torch.arange(max(sizes)) < torch.tensor(sizes).unsqueeze(-1)
