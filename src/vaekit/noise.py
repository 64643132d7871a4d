"""Chance as a function of keys: seeds for each purpose, a key for each row, and the standard normals made of them.

Nothing here keeps state and nothing touches a global random generator.
"""

import hashlib
import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

NoiseSource = Callable[[int, int, int], Tensor]
"""(samples K, rows B, dimensions D) ↦ ε ~ N(0, I) of shape (K, B, D)."""


def normal_quantile(u: Tensor) -> Tensor:
    """The standard normal's quantile Φ⁻¹(u) for u in [0, 1], finite at both ends: in float32 up to 5.4.

    >>> normal_quantile(torch.tensor([0.5])).item()
    0.0
    """
    edge = 1 - torch.finfo(u.dtype).eps / 2
    return torch.erfinv((2 * u - 1).clamp_(-edge, edge)).mul_(math.sqrt(2))


def derive_seed(seed: int, purpose: str, *counters: int) -> int:
    """A 63-bit sub-seed for one purpose: the same arguments give the same seed on every machine.

    >>> derive_seed(0, "order", 3) == derive_seed(0, "order", 3) != derive_seed(0, "noise", 3)
    True
    """
    text = "/".join([str(seed), purpose, *map(str, counters)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, purpose: str, *counters: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh torch generator keyed by (seed, purpose, counters)."""
    return torch.Generator(device).manual_seed(derive_seed(seed, purpose, *counters))


def bytes_below(limit: int, shape: tuple[int, ...], source: np.random.Generator) -> np.ndarray:
    """Uniform on 0, 1, … limit − 1 ≤ 255, each independent and exactly as likely: whole random bytes, and those beyond
    drawn again.

    >>> sorted(set(bytes_below(200, (99, 99), np.random.default_rng(0)).ravel().tolist())) == list(range(200))
    True
    """
    if not 0 < limit <= 256:
        raise ValueError(f"no byte is below {limit}, or every one")
    if limit < 128:  # most bytes would be drawn again
        return source.integers(0, limit, shape, np.uint8)
    count = math.prod(shape)
    drawn = source.bit_generator.random_raw(-(-count // 8)).view(np.uint8)[:count]
    beyond = np.flatnonzero(drawn >= limit)
    drawn[beyond] = source.integers(0, limit, len(beyond), np.uint8)
    return drawn.reshape(shape)


def normal_noise(source: torch.Generator, dtype: torch.dtype | None = None) -> NoiseSource:
    """A source of ε drawn in sequence from a generator: the noise of training and of generation."""

    def drawn(samples: int, rows: int, dims: int) -> Tensor:
        return torch.randn(samples, rows, dims, generator=source, device=source.device, dtype=dtype)

    return drawn


def row_keys(x: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """One 64-bit key per row, (n,) uint64: a hash of its content as float32, hidden cells zeroed.

    Equal rows have equal keys whatever their position, neighbours or stored type.

    >>> row_keys(np.array([[1, 2]], np.uint8)) == row_keys(np.array([[1.0, 2.0]]))
    array([ True])
    """
    rows = np.ascontiguousarray(x.reshape(len(x), -1), dtype="<f4") + np.float32(0)  # −0 becomes +0
    if mask is not None:
        rows = np.where(mask.reshape(len(x), -1), rows, np.float32(0))
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
    return np.fromiter((int.from_bytes(d, "little") for d in digests), np.uint64, len(rows))


def keyed_uniform(keys: np.ndarray, seed: int, purpose: str, columns: int) -> np.ndarray:
    """Uniforms in [0, 1), (n, columns) float64, of a counter-based generator (SplitMix64, Steele et al. 2014).

    Row i depends on keys[i], the seed and the purpose alone.
    """
    gamma = np.uint64(0x9E3779B97F4A7C15)
    start = keys[:, None] ^ np.uint64(derive_seed(seed, purpose))
    with np.errstate(over="ignore"):
        counters = np.arange(1, columns + 1, dtype=np.uint64)
        state = _mix(start) + gamma * counters
        return (_mix(state) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@lru_cache(maxsize=8)
def _points(samples: int, dims: int, seed: int) -> Tensor:
    """Points in the unit cube, (samples, dims) float64: scrambled Sobol points, and independent uniforms in the
    dimensions beyond those for which there are Sobol points (21,201)."""
    even = min(dims, torch.quasirandom.SobolEngine.MAXDIM)
    engine = torch.quasirandom.SobolEngine(even, scramble=True, seed=seed)
    points = engine.draw(samples, dtype=torch.float64)
    if dims == even:
        return points
    source = torch.Generator().manual_seed(seed)
    others = torch.rand(samples, dims - even, generator=source, dtype=torch.float64)
    return torch.cat([points, others], 1)


@lru_cache(maxsize=8)
def fixed_normals(count: int, dims: int) -> Tensor:
    """Standard normals that are always the same, (count, dims) float64, for moments of what is made of them.

    They are evenly spread, half of them the mirror images of the others, and of mean 0 and variance 1 in each
    dimension; in up to count/4 dimensions their covariances are 0 too.

    >>> points = fixed_normals(64, 2)
    >>> points.mean(0).abs().max().item() < 1e-12, torch.allclose(points.T @ points / 64, torch.eye(2).double())
    (True, True)
    """
    half = normal_quantile(_points(count // 2, dims, 0))
    if dims <= count // 4:
        factor = torch.linalg.cholesky(half.mT @ half / len(half))
        half = torch.linalg.solve_triangular(factor, half.mT, upper=False).mT
    else:
        half = half / half.square().mean(0).sqrt()
    return torch.cat([half, -half])


class RowNoise:
    """The ε of scoring: one low-discrepancy point set, shifted by a key per row (Cranley & Patterson 1976).

    u_kb = (s_k + v_b) mod 1 and ε = Φ⁻¹(u): every ε_kb is N(0, I) over the random shift (to the resolution of the
    type: in float32 up to 5.4σ), so averages over k are unbiased, and row b's noise does not depend on any other row.
    Any number of dimensions will do: beyond 21,201 the points are independent uniforms, no longer evenly spread.
    A `NoiseSource`; successive calls of one object give fresh dimensions. `start` and `total` cut the same K = `total`
    points into chunks.

    >>> noise = RowNoise(np.array([1, 2], np.uint64), seed=0, total=8)
    >>> noise(8, 2, 3).shape
    torch.Size([8, 2, 3])
    """

    def __init__(
        self,
        keys: np.ndarray | None,
        seed: int,
        total: int,
        *,
        start: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.keys = keys
        self.seed = seed
        self.total = total
        self.start = start
        self.dtype = dtype
        self.device = device
        self.calls = 0

    def __call__(self, samples: int, rows: int, dims: int) -> Tensor:
        """The next ε, (samples, rows, dims)."""
        purpose = f"score-{self.calls}"
        self.calls += 1
        if not dims:  # of a part that takes no chance
            return torch.zeros(samples, rows, 0, dtype=self.dtype, device=self.device)
        if self.keys is None:
            raise ValueError("scoring noise is made of a key per row, and this batch has none")
        points = _points(self.total, dims, derive_seed(self.seed, purpose) % 2**31)
        shift = torch.from_numpy(keyed_uniform(self.keys, self.seed, purpose, dims))
        points = points[self.start : self.start + samples, None].to(self.device, self.dtype)
        u = (points + shift.to(self.device, self.dtype)) % 1
        return normal_quantile(u)
