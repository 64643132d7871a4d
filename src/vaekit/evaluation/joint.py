"""log p(x, z) of many latents, a number at a time that stays in the processor's caches."""

import torch
from torch import Tensor

from vaekit.core import Batch, LatentModel

MOST_DRAWS, CELLS = 512, 2**19
"""latents that go through the decoder at once on a CPU: at most so many, and so many numbers of its output"""


def log_joint(model: LatentModel, batch: Batch, z: Tensor) -> Tensor:
    """log p(x, z), (K, B) of z (K, B, D)."""
    at_once = max(1, min(MOST_DRAWS, CELLS // model.likelihood.features)) * (1 if z.device.type == "cpu" else 64)
    pieces = z.split(max(1, at_once // len(batch.x)))
    return torch.cat([model.log_joint(batch, piece) for piece in pieces])
