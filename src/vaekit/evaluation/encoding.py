"""From rows to latents and back, in blocks of one size, so that a row's result is its own up to rounding."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vaekit.data import Rows
from vaekit.data.stream import BLOCK


@torch.no_grad()
def encode(model, rows: Rows) -> tuple[Tensor, Tensor]:
    """The posterior's mean and standard deviation, (n, D) each."""
    means, spreads = [], []
    for count, batch in rows.blocks():
        q = model.encode(batch.x, batch.mask)
        means.append(q.mean[:count])
        spreads.append(q.stddev[:count])
    return torch.cat(means), torch.cat(spreads)


@torch.no_grad()
def decode(model, z: Tensor) -> Tensor:
    """x̂, the decoder's mean, (n, *X) of z (n, D)."""

    def means() -> Iterator[Tensor]:
        for start in range(0, len(z), BLOCK):
            block = z[start : start + BLOCK]
            padded = torch.cat([block, block[:1].expand(BLOCK - len(block), -1)])
            yield model.decode(padded[None]).mean[0, : len(block)]

    return _joined(means(), len(z))


@torch.no_grad()
def reconstruct(model, rows: Rows, samples: int, generator: torch.Generator) -> Tensor:
    """x̂ of `samples` draws z ~ q(z|x) a row, (samples, n, *X)."""
    drawn = []
    for count, batch in rows.blocks():
        z = model.encode(batch.x, batch.mask).sample(generator, (samples,))
        drawn.append(model.decode(z).mean[:, :count])
    return torch.cat(drawn, 1)


@torch.no_grad()
def sample(model, n: int, generator: torch.Generator, *, mean: bool = False) -> Tensor:
    """n draws x ~ p(x|z), z ~ p(z), or with `mean` the decoder's x̂ of each z, (n, *X)."""

    def draws() -> Iterator[Tensor]:
        for start in range(0, n, BLOCK):
            px = model.generate(min(BLOCK, n - start), generator)
            yield (px.mean if mean else px.sample(generator))[0]

    return _joined(draws(), n)


def _joined(blocks: Iterator[Tensor], n: int) -> Tensor:
    """Blocks of n rows in all, each written to its place as it comes: their memory is used again, and the whole is held
    once."""
    first = next(blocks)
    whole, end = first.new_empty(n, *first.shape[1:]), len(first)
    whole[:end] = first
    for block in blocks:
        whole[end : end + len(block)] = block
        end += len(block)
    return whole
