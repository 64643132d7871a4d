"""From rows to latents and back, in blocks of one size, so that a row's result is its own up to rounding, and none
larger than the memory budget allows (`core.at_once`)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vaekit.core import Batch, Latent, LatentModel, UnknownError, at_once
from vaekit.data import Dataset
from vaekit.distributions import OneOf
from vaekit.inference.averages import code
from vaekit.maths import joined
from vaekit.noise import RowNoise, normal_noise
from vaekit.threads import suited


@torch.no_grad()
def encode(model: LatentModel, rows: Dataset) -> tuple[Tensor, Tensor]:
    """The posterior's mean, or what represents it (`averages.code`), and its standard deviation, (n, D) each."""
    size = at_once(model.width)

    def blocks() -> Iterator[dict[str, Tensor]]:
        for count, batch in rows.blocks(size):
            q = model.encode(batch)
            mean = code(model, batch, q)
            yield {"mean": mean[:count], "stddev": _stddev(q, mean)[:count]}

    with suited(model, size):
        found = joined(blocks(), len(rows))
    return found["mean"], found["stddev"]


def keyed_draw(model: LatentModel, batch: Batch, draws: int, seed: int) -> tuple[Tensor, Tensor]:
    """The draws z (K, B, D) ~ q(z|x) of a batch by noise keyed by its rows, and log q(z|x), (K, B)."""
    x = batch.x
    source = RowNoise(batch.key, seed, draws, dtype=x.dtype, device=x.device)
    return model.encode(batch).draw(source(draws, len(x), model.noise))


@torch.no_grad()
def codes(model: LatentModel, rows: Dataset) -> tuple[Tensor, tuple[int, ...], tuple[int, ...]]:
    """The codes of rows whose latents are such: (n, M) integers from 0, how many values each of the M may have, and
    the number of the codebook that each is from. Of an ensemble those of its members side by side.

    Raises UnknownError where the latents are no codes.
    """
    size = at_once(model.width)
    posteriors: list[Latent] = []

    def blocks() -> Iterator[dict[str, Tensor]]:
        for count, batch in rows.blocks(size):
            q = model.encode(batch)
            posteriors[:] = q.each if isinstance(q, OneOf) else [q]
            yield {"codes": torch.cat([_codes(each)[:count] for each in posteriors], -1)}

    with suited(model, size):
        index = joined(blocks(), len(rows))["codes"]
    sizes: list[int] = []
    books: list[int] = []
    for q in posteriors:
        first = max(books, default=-1) + 1
        sizes += q.book.sizes  # type: ignore[attr-defined]  # it has codes
        books += [first + book for book in q.book.books]  # type: ignore[attr-defined]
    return index, tuple(sizes), tuple(books)


def _codes(q: Latent) -> Tensor:
    """The codes (B, M) of a posterior."""
    index = getattr(q, "index", None)
    if index is None:
        raise UnknownError(f"the latents of this model are {q.space}, and no codes: fit with --posterior=fsq for such.")
    return index


def _stddev(q: Latent, mean: Tensor) -> Tensor:
    """The standard deviations (B, D), NaN where they are not known."""
    try:
        return q.stddev
    except UnknownError:
        return torch.full_like(mean, torch.nan)


@torch.no_grad()
def decode(model: LatentModel, z: Tensor, c: Tensor | None = None) -> Tensor:
    """The decoder's mean x̂, (n, *X), of latents z (n, D), given c (n, C)."""
    size = at_once(model.width)

    def blocks() -> Iterator[dict[str, Tensor]]:
        for start in range(0, len(z), size):
            block = z[start : start + size]
            given = None if c is None else _filled_up(c[start : start + size], size)
            yield {"x": model.decode(_filled_up(block, size)[None], given).mean[0, : len(block)]}

    with suited(model, size):
        return joined(blocks(), len(z))["x"]


def _filled_up(block: Tensor, size: int) -> Tensor:
    """A block of rows, filled up with its first to so many."""
    return torch.cat([block, block[:1].expand(size - len(block), -1)])


@torch.no_grad()
def reconstruct(model: LatentModel, rows: Dataset, samples: int, generator: torch.Generator) -> Tensor:
    """The decoder's mean x̂ of `samples` draws z ~ q(z|x) per row, (samples, n, *X)."""
    together = at_once(model.width)
    normal = normal_noise(generator)

    def blocks() -> Iterator[dict[str, Tensor]]:
        for count, batch in rows.blocks(max(1, together // samples)):
            noise = normal(samples, len(batch.x), model.noise)
            z, _ = model.encode(batch).draw(noise)
            again = torch.cat([model.decode(part, batch.c).mean[:, :count] for part in z.split(together)])
            yield {"x": again.transpose(0, 1)}

    with suited(model, together):
        return joined(blocks(), len(rows))["x"].transpose(0, 1)


@torch.no_grad()
def sample(
    model: LatentModel, n: int, generator: torch.Generator, *, mean: bool = False, c: Tensor | None = None
) -> Tensor:
    """Rows x ~ p(x|z) of n draws z ~ p(z), or with `mean` the decoder's x̂ of each z, (n, *X); of all given c (n, C)."""
    size = at_once(model.width)

    def blocks() -> Iterator[dict[str, Tensor]]:
        for start in range(0, n, size):
            given = None if c is None else c[start : start + size]
            px = model.generate(min(size, n - start), generator, given)
            x = px.mean if mean else px.sample(generator)
            yield {"x": x[0]}

    with suited(model, size):
        return joined(blocks(), n)["x"]
