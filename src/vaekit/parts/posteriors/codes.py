"""Posteriors of codes: the encoder's numbers, each put to the nearest of finitely many values."""

import math
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.core import Batch, LatentModel, Range
from vaekit.distributions.codes import Categories, OneCode, one_hot
from vaekit.errors import VaekitError
from vaekit.maths import soft_clamp

EPSILON = 1e-3
"""by which FSQ's range is wider than its outermost levels"""
MOST_CODES = 2**16
"""values of a code: more are a slip of the pen, or meant to fill the memory"""
LOGIT_RANGE = (-30.0, 30.0)
"""the logits of a concrete posterior stay inside"""
LLOYD = 10
"""steps of k-means with which a codebook begins"""
Count = Annotated[int, Range(1, below=2**16)]


class CodesPosterior(nn.Module):
    """What posteriors of codes share: q(z|x) is one code, and its gradient goes past the rounding unchanged (Bengio et
    al. 2013, arXiv:1308.3432). With the methods below it is a `distributions.Book`.
    """

    prior: ClassVar[str] = "codes"
    latent_dim: int
    features: int
    noise: int = 0
    places: int
    """how many places of a map its numbers could be of: several of one place are that many numbers apart"""
    sizes: tuple[int, ...]
    """L_m, how many values each of the M codes may have"""

    unit: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("unit", torch.ones(()), persistent=False)  # of the type that values are to have

    @property
    def books(self) -> tuple[int, ...]:
        """The number of the codebook that each of the M codes is from: each has its own."""
        return tuple(range(len(self.sizes)))

    def index(self, z: Tensor) -> Tensor:
        """The codes (…, M), integers from 0, whose values z (…, D) has; of any other z the nearest."""
        raise NotImplementedError

    def values(self, index: Tensor) -> Tensor:
        """The values z (…, D) of codes (…, M)."""
        raise NotImplementedError

    def chosen(self, z: Tensor) -> Tensor:
        """1 at the code that z (…, D) has, of each of the M, and 0 at the others, (…, M, max L)."""
        return one_hot(self.index(z), max(self.sizes), z)


def straight_through(value: Tensor, h: Tensor) -> Tensor:
    """A value, to the bit, whose gradient is taken for that of h."""
    return value.detach() + (h - h.detach())


class FSQ(CodesPosterior):
    """Finite scalar quantisation: each latent is rounded to one of L levels (Mentzer et al. 2024, arXiv:2309.15505).

        b = (L − 1)(1 + ε)/2 · tanh(h + s) − o,    z = round(b) / ⌊L/2⌋,    i = round(b) + ⌊L/2⌋ in {0 … L − 1}

    with o = ½ for an even L and 0 for an odd one, and s such that h = 0 gives b = 0. The loss has no further term.

    h (B, D) ↦ batch (B,), event (D,), of D codes. q(z|x) is one code, and its prior by default uniform: then the rate
    is Σ_d ln L_d whatever x is. Of two levels h = 0 would lie far beyond the middle between them, by an arbitrary ε:
    `LFQ` has these.

    levels    L of all latents, or several with x between them, which the latents have in turn: 8x5x5x5

    >>> q = FSQ(2, "5")(torch.tensor([[-9.0, 0.0], [0.6, 9.0]]))
    >>> q.mean.tolist(), q.index.tolist()
    ([[-1.0, 0.0], [0.5, 1.0]], [[0, 2], [3, 4]])
    """

    offset: Tensor
    reach: Tensor
    shift: Tensor
    middle: Tensor

    def __init__(self, latent_dim: int, levels: str | int = "8") -> None:
        super().__init__()
        each = _levels(levels)
        _check_multiple("fsq", latent_dim, len(each), f"{len(each)} numbers of levels are taken in turn")
        self.levels = str(levels)
        self.latent_dim = self.places = latent_dim
        self.features = latent_dim
        self.sizes = tuple(each * (latent_dim // len(each)))
        sizes = torch.tensor(self.sizes, dtype=torch.float64)
        offset = (1 - sizes % 2) / 2
        epsilon = (0.5 / (sizes - 1).clamp(min=1)).clamp(max=EPSILON)  # so that no level beyond the last is rounded to
        reach = (sizes - 1) * (1 + epsilon) / 2
        numbers = {"offset": offset, "reach": reach, "shift": (offset / reach).atanh(), "middle": (sizes / 2).floor()}
        for name, number in numbers.items():
            self.register_buffer(name, number.to(torch.get_default_dtype()), persistent=False)

    @classmethod
    def sized(cls, latents: int, levels: str | int = "8") -> int:
        """D where so many latents would do: no more, but as many as come out even."""
        return _even(latents, len(_levels(levels)))

    def bound(self, h: Tensor) -> Tensor:
        """What is rounded, b (…, D): from a little beyond the lowest level to a little beyond the highest."""
        return self.reach * torch.tanh(h + self.shift) - self.offset

    def forward(self, h: Tensor) -> OneCode:
        """The posterior of the encoder's h (B, D)."""
        b = self.bound(h)
        level = b.round()
        return OneCode(straight_through(level / self.middle, b / self.middle), (level + self.middle).long(), self)

    def index(self, z: Tensor) -> Tensor:
        """The codes (…, D) of values z (…, D)."""
        last = 2 * (self.middle - self.offset)  # L − 1
        return (z * self.middle + self.middle).round().clamp(min=0).minimum(last).long()

    def values(self, index: Tensor) -> Tensor:
        """The values (…, D) of codes (…, D)."""
        return (index - self.middle) / self.middle


class VQ(CodesPosterior):
    """Vector quantisation: each place of h becomes the nearest vector of a codebook (van den Oord et al. 2017,
    arXiv:1711.00937), or with a depth several vectors, each nearest to what those before it leave (residual
    quantisation, Zeghidour et al. 2021, arXiv:2107.03312).

        i_m = argmin_k ‖r_m − e_mk‖²,    r_1 = h,  r_{m+1} = r_m − e_{m, i_m}
        owed = Σ_m ‖sg(r_m) − e_m‖² + β ‖r_m − sg(e_m)‖²    summed over places, a row: the unit of ln p(x|z)

    The codebook follows by the first term's gradient, which leads to the mean of what chose a vector, as k-means does.
    It begins as k-means of encoder outputs of training rows. The vectors of a place stand in z side by side, where
    they are usually added: so z tells its codes, and a decoder can add them in its first layer.

    h (B, D / depth) ↦ batch (B,), event (D,), of M = D / size codes. q(z|x) is one code.

    codes         K, vectors of a codebook
    size          numbers of a vector
    depth         vectors of a place
    grouped       whether each place has a codebook of its own, or all places share one
    commitment    β

    >>> vq = VQ(4, codes=8, size=2)
    >>> q = vq(torch.randn(5, 4))
    >>> q.mean.shape, q.index.shape, torch.equal(q.mean, vq.values(q.index))
    (torch.Size([5, 4]), torch.Size([5, 2]), True)
    """

    book: nn.Parameter

    def __init__(
        self,
        latent_dim: int,
        codes: Annotated[int, Range(1, below=MOST_CODES + 1)] = 64,
        size: Count = 2,
        depth: Count = 1,
        grouped: bool = False,
        commitment: Annotated[float, Range(0)] = 0.25,
    ) -> None:
        super().__init__()
        vectors = "a vector has 1 number" if size == 1 else f"a vector has {size} numbers"
        _check_multiple("vq", latent_dim, size * depth, f"{vectors}, of which a place has {depth}")
        self.codes = codes
        self.size = size
        self.depth = depth
        self.grouped = grouped
        self.commitment = commitment
        self.latent_dim = latent_dim
        self.features = latent_dim // depth
        self.places = self.features // size
        self.sizes = (codes,) * (self.places * depth)
        self.book = nn.Parameter(torch.randn(self.places if grouped else 1, depth, codes, size))

    @classmethod
    def sized(cls, latents: int, size: int = 2, depth: int = 1, **others: object) -> int:
        """D where so many latents would do: no more, but as many as come out even."""
        return _even(latents, size * depth)

    @property
    def books(self) -> tuple[int, ...]:
        """The number of the codebook that each of the M codes is from."""
        if self.grouped:
            return super().books
        return tuple(range(self.depth)) * self.places

    def forward(self, h: Tensor) -> OneCode:
        """The posterior of the encoder's h (B, features)."""
        residual = self._by_place(h)
        vectors = []
        index = []
        owed: Tensor = h.new_zeros(len(h))
        for stage in range(self.depth):
            nearest = self._nearest(residual, stage)
            vector = self._vectors(nearest, stage)
            to_book = (vector - residual.detach()).square()
            to_encoder = (residual - vector.detach()).square()
            owed = owed + (to_book + self.commitment * to_encoder).sum((-2, -1))
            residual = residual - vector.detach()
            vectors.append(vector)
            index.append(nearest)
        share = (h / self.depth).repeat(1, self.depth)  # so that the sum of the vectors has the gradient of h
        z = straight_through(self._side_by_side(vectors), share)
        q = OneCode(z, torch.stack(index, -1).flatten(1), self, owed)
        q.h = h
        return q

    def _by_place(self, h: Tensor) -> Tensor:
        """The numbers of each place, (…, places, size), of h (…, size · places), in which one number of all places
        comes first, as on a map."""
        return h.unflatten(-1, (self.size, self.places)).mT

    def _side_by_side(self, vectors: list[Tensor]) -> Tensor:
        """The vectors (…, places, size) of all stages as z (…, D)."""
        return torch.cat([vector.mT.flatten(-2) for vector in vectors], -1)

    def _nearest(self, r: Tensor, stage: int) -> Tensor:
        """The number of the nearest vector of a stage, (…, places), to r (…, places, size)."""
        return (r.unsqueeze(-2) - self.book[:, stage]).detach().square().sum(-1).argmin(-1)

    def _vectors(self, index: Tensor, stage: int) -> Tensor:
        """The vectors of a stage, (…, places, size), of the numbers (…, places)."""
        return self.book[torch.arange(self.places, device=index.device) % len(self.book), stage, index]

    def index(self, z: Tensor) -> Tensor:
        """The codes (…, M) whose vectors z (…, D) has; of any other z the nearest ones."""
        vectors = z.chunk(self.depth, -1)
        each = [self._nearest(self._by_place(vector), stage) for stage, vector in enumerate(vectors)]
        return torch.stack(each, -1).flatten(-2)

    def values(self, index: Tensor) -> Tensor:
        """The vectors z (…, D) of codes (…, M)."""
        index = index.unflatten(-1, (self.places, self.depth))
        return self._side_by_side([self._vectors(index[..., stage], stage) for stage in range(self.depth)])

    def start(self, model: LatentModel, batch: Batch) -> None:
        """Let each codebook begin as k-means of what the encoder gives for training rows."""
        q = model.encode(batch)
        assert isinstance(q, OneCode)
        residual = self._by_place(q.h)
        for stage in range(self.depth):
            for group in range(len(self.book)):
                own = residual[:, group] if self.grouped else residual.flatten(0, 1)
                begin_at(self.book[group, stage], own)
            residual = residual - self._vectors(self._nearest(residual, stage), stage)


def begin_at(book: Tensor, points: Tensor) -> None:
    """Make vectors (K, size) the means of points (n, size), in no order, by some steps of Lloyd's algorithm.

    It begins at the first K that differ; where there are fewer, the vectors that are left stay about them.
    """
    _, which = points.unique(dim=0, return_inverse=True)
    first = which.new_full((int(which.max()) + 1,), len(points))
    first = first.scatter_reduce(0, which, torch.arange(len(points), device=which.device), "amin").sort().values
    book.mul_(points.std(0, correction=0)).add_(points.mean(0))
    chosen = points[first[: len(book)]]
    book[: len(chosen)] = chosen
    for _ in range(LLOYD):
        nearest = torch.cdist(points, book).argmin(-1)
        counts = torch.bincount(nearest, minlength=len(book))
        sums = torch.zeros_like(book).index_add(0, nearest, points)
        book.copy_(torch.where(counts.unsqueeze(-1) > 0, sums / counts.clamp(min=1).unsqueeze(-1), book))


class LFQ(CodesPosterior):
    """Lookup-free quantisation: each latent is the sign of h, −1 or 1 (Yu et al. 2024, arXiv:2310.05737).

        owed = w [Σ_d H(π_d) − γ Σ_d H(E π_d)] + β ‖h − sg(z)‖²,    π_d = σ(4 τ h_d),  E the mean over a batch

    π is the probability of z_d = 1 under p(z) ∝ exp(−τ ‖h − z‖²): rows are to be sure of their code, and all rows
    together to use both values of each. (H(E π) of the whole code is at most that sum.)

    h (B, D) ↦ batch (B,), event (D,), of D codes. q(z|x) is one code.

    entropy       w, nats of the loss per nat of entropy
    diversity     γ
    sharpness     τ
    commitment    β

    >>> q = LFQ(2)(torch.tensor([[-0.3, 2.0]]))
    >>> q.mean.tolist(), q.index.tolist()
    ([[-1.0, 1.0]], [[0, 1]])
    """

    def __init__(
        self,
        latent_dim: int,
        entropy: Annotated[float, Range(0)] = 0.1,
        diversity: Annotated[float, Range(0)] = 1.0,
        sharpness: Annotated[float, Range(above=0)] = 1.0,
        commitment: Annotated[float, Range(0)] = 0.25,
    ) -> None:
        super().__init__()
        self.entropy = entropy
        self.diversity = diversity
        self.sharpness = sharpness
        self.commitment = commitment
        self.latent_dim = self.places = latent_dim
        self.features = latent_dim
        self.sizes = (2,) * latent_dim

    def forward(self, h: Tensor) -> OneCode:
        """The posterior of the encoder's h (B, D)."""
        index = (h > 0).long()
        value = self.values(index)
        logit = 4 * self.sharpness * h
        of_rows = bit_entropy(logit).sum(-1)
        together = logit.sigmoid().mean(0)
        of_all = bit_entropy(together.logit(eps=1e-6)).sum()
        commitment = (h - value).square().sum(-1)
        owed = self.entropy * (of_rows - self.diversity * of_all) + self.commitment * commitment
        return OneCode(straight_through(value, h), index, self, owed)

    def index(self, z: Tensor) -> Tensor:
        """The codes (…, D), 0 or 1, of values z (…, D)."""
        return (z > 0).long()

    def values(self, index: Tensor) -> Tensor:
        """The values −1 or 1, (…, D), of codes (…, D)."""
        return (2 * index - 1) * self.unit


def bit_entropy(logit: Tensor) -> Tensor:
    """The entropy of a bit by its logit, nats: softplus(l) − l σ(l).

    >>> round(bit_entropy(torch.zeros(())).item(), 4)    # ln 2
    0.6931
    """
    return F.softplus(logit) - logit * logit.sigmoid()


class Concrete(CodesPosterior):
    """The posterior q(z|x) = Π_m Cat(π_m(x)) of M = D / L codes of L values each, z being 1 at each code and 0
    elsewhere; the encoder gives logits.

    Draws are exact, and so is the bound; the gradient is that of the Concrete, or Gumbel-softmax, relaxation of
    temperature τ (straight through; Jang et al. 2017, arXiv:1611.01144; Maddison et al. 2017, arXiv:1611.00712).

    h (B, D) ↦ batch (B,), event (D,).

    levels         L
    temperature    τ: of a low one the gradient is less biased, and noisier

    >>> q = Concrete(6, levels=3)(torch.zeros(4, 6))
    >>> q.mean.shape, q.index.shape
    (torch.Size([4, 6]), torch.Size([4, 2]))
    """

    def __init__(
        self,
        latent_dim: int,
        levels: Annotated[int, Range(2, below=MOST_CODES + 1)] = 8,
        temperature: Annotated[float, Range(above=0)] = 0.5,
    ) -> None:
        super().__init__()
        _check_multiple("concrete", latent_dim, levels, f"a code has {levels} levels, a number in z for each")
        self.levels = levels
        self.temperature = temperature
        self.latent_dim = latent_dim
        self.places = latent_dim // levels
        self.features = latent_dim
        self.noise = latent_dim
        self.sizes = (levels,) * self.places

    @classmethod
    def sized(cls, latents: int, levels: int = 8, **others: object) -> int:
        """D where so many latents would do: as many codes."""
        return latents * levels

    def forward(self, h: Tensor) -> Categories:
        """The posterior of the encoder's h (B, D)."""
        bounded = soft_clamp(h, *LOGIT_RANGE)
        return Categories(self.chosen(bounded).log_softmax(-1), self, self.temperature)

    def index(self, z: Tensor) -> Tensor:
        """The codes (…, M) of values z (…, D)."""
        return self.chosen(z).argmax(-1)

    def values(self, index: Tensor) -> Tensor:
        """The values (…, D), 1 at each code (…, M)."""
        return one_hot(index, self.levels, self.unit).mT.flatten(-2)

    def chosen(self, z: Tensor) -> Tensor:
        """What z (…, D) is, code by code, (…, M, L), with its gradient."""
        return z.unflatten(-1, (self.levels, self.places)).mT


def _levels(text: str | int) -> list[int]:
    """The numbers of levels that a text names."""
    parts = str(text).split("x")
    levels = [int(part) for part in parts if part.isdecimal()]
    if len(levels) < len(parts) or min(levels, default=0) < 3 or max(levels) > MOST_CODES:
        raise VaekitError(
            f"levels of posterior fsq is '{text}': give a number from 3 to {MOST_CODES:,}, or several with x between "
            f"them, as 8x5x5x5; for two levels posterior lfq."
        )
    return levels


def _even(latents: int, step: int) -> int:
    """So many latents or fewer, a multiple of a step."""
    return max(step, latents // step * step)


def _check_multiple(name: str, latent_dim: int, step: int, why: str) -> None:
    """Refuse a number of latents that does not come out even."""
    if latent_dim % step:
        more = math.ceil(latent_dim / step) * step
        raise VaekitError(
            f"latent_dim is {latent_dim}, and of posterior {name} {why}: give a multiple of {step}, {more} say."
        )
