"""log p(x, z) of many latents, a number at a time that stays in the processor's caches."""

import torch
from torch import Tensor

from vaekit.core import Batch, Joint, LatentModel

MOST_DRAWS = 512
"""at most so many latents go through the decoder at once on a CPU"""
CELLS = 2**19
"""and at most so many numbers come out of it"""


def joint_in_pieces(model: LatentModel, batch: Batch) -> Joint:
    """The function z ↦ log p(x, z) of `model.joint(batch)`, for any number of draws."""
    log_joint = model.joint(batch)
    together = max(1, min(MOST_DRAWS, CELLS // model.likelihood.features))
    if batch.x.device.type != "cpu":
        together *= 64
    draws = max(1, together // len(batch.x))

    def in_pieces(z: Tensor) -> Tensor:
        return torch.cat([log_joint(piece) for piece in z.split(draws)])

    return in_pieces
