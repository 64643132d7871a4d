"""How long, how fast: the numbers of a training run, and its schedule."""

import math
from dataclasses import dataclass

import torch

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Recipe:
    """Everything that training needs to know besides the model, the objective and the data."""

    steps: int
    batch_size: int = 256
    learning_rate: float = 5e-3
    """the peak, reached after the warm-up; the cosine brings it to 0 at the end"""
    warmup: int = 500
    """steps of linear warm-up (at most a tenth of all steps)"""
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 4.0
    """a gradient longer than `clip` times the running mean length is shortened to that; 0: never"""
    averaging: float = 0.999
    """decay a step of the averaged weights, which are those evaluated and kept; 0: the weights themselves"""
    patience: int = 0
    """records without a better validation bound before training stops; 0: never"""
    record_steps: int = 100
    """steps from one record (and validation) to the next, rounded up to whole epochs"""
    seed: int = 0
    precision: str = "float32"
    """of the networks' matrix products while training, float32 or bfloat16; weights and likelihoods stay float32"""
    compiled: bool = False
    """whether a step is compiled into one function (`descent.Compiled`), after the first 100"""

    def rate(self, step: int) -> float:
        """The learning rate of step `step`: linear warm-up, then half a cosine to 0 (Loshchilov & Hutter 2017).

        >>> recipe = Recipe(steps=1000, learning_rate=1.0, warmup=100)
        >>> [round(recipe.rate(s), 3) for s in (0, 99, 550, 999)]
        [0.01, 1.0, 0.5, 0.0]
        """
        warmup = min(self.warmup, self.steps // 10)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        progress = (step - warmup) / max(1, self.steps - warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))

    def decay(self, step: int) -> float:
        """The averaging decay after step `step`: short memory first, so that the start is forgotten."""
        return min(self.averaging, (1 + step) / (10 + step))
