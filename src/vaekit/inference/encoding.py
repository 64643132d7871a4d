"""From rows to latents and back, in blocks of one size, so that a row's result is its own up to rounding, and none
larger than the memory budget allows (`core.at_once`)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vaekit.core import Latent, LatentModel, UnknownError, at_once
from vaekit.data import Dataset
from vaekit.inference.averages import code
from vaekit.maths import joined
from vaekit.noise import normal_noise
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
