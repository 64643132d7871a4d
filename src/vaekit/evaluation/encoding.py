"""From rows to latents and back, in blocks of one size, so that a row's result is its own up to rounding."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vaekit.data import Rows
from vaekit.data.stream import BLOCK
from vaekit.maths import joined


@torch.no_grad()
def encode(model, rows: Rows) -> tuple[Tensor, Tensor]:
    """The posterior's mean and standard deviation, (n, D) each."""

    def blocks() -> Iterator[dict[str, Tensor]]:
        for count, batch in rows.blocks():
            q = model.encode(batch.x, batch.mask)
            yield {"mean": q.mean[:count], "stddev": q.stddev[:count]}

    found = joined(blocks(), len(rows))
    return found["mean"], found["stddev"]


@torch.no_grad()
def decode(model, z: Tensor) -> Tensor:
    """x̂, the decoder's mean, (n, *X) of z (n, D)."""

    def blocks() -> Iterator[dict[str, Tensor]]:
        for start in range(0, len(z), BLOCK):
            block = z[start : start + BLOCK]
            padded = torch.cat([block, block[:1].expand(BLOCK - len(block), -1)])
            yield {"x": model.decode(padded[None]).mean[0, : len(block)]}

    return joined(blocks(), len(z))["x"]


@torch.no_grad()
def reconstruct(model, rows: Rows, samples: int, generator: torch.Generator) -> Tensor:
    """x̂ of `samples` draws z ~ q(z|x) a row, (samples, n, *X)."""
    drawn = []
    for count, batch in rows.blocks(max(1, BLOCK // samples)):
        z = model.encode(batch.x, batch.mask).sample(generator, (samples,))
        drawn.append(model.decode(z).mean[:, :count])
    return torch.cat(drawn, 1)


@torch.no_grad()
def sample(model, n: int, generator: torch.Generator, *, mean: bool = False) -> Tensor:
    """n draws x ~ p(x|z), z ~ p(z), or with `mean` the decoder's x̂ of each z, (n, *X)."""

    def blocks() -> Iterator[dict[str, Tensor]]:
        for start in range(0, n, BLOCK):
            px = model.generate(min(BLOCK, n - start), generator)
            yield {"x": (px.mean if mean else px.sample(generator))[0]}

    return joined(blocks(), n)["x"]
