"""How long, how fast: the numbers of a training run, and its schedule."""

import math
from dataclasses import dataclass

import torch

COSINE, PLATEAU = "cosine", "plateau"
COOLING = 0.25
"""steps in which the rate comes down from the plateau, as a part of those before"""
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Recipe:
    """Everything that training needs to know besides the model, the objective and the data."""

    steps: int
    batch_size: int = 256
    learning_rate: float = 5e-3
    """the peak, reached after the warm-up"""
    schedule: str = COSINE
    """what follows the warm-up: "cosine", half a cosine that reaches 0 after the last of `steps` (Loshchilov & Hutter
    2017, arXiv:1608.03983), or "plateau", the peak until the bound has stopped rising, then down to 0 within a quarter
    of the steps that it took (Hägele et al. 2024, arXiv:2405.18392); `steps` is then the most there can be"""
    warmup: int = 500
    """steps of linear warm-up (at most a tenth of all steps)"""
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 4.0
    """a gradient longer than `clip` times the running mean length is shortened to that; 0: never"""
    averaging: float = 0.999
    """decay a step of the averaged weights, which are those evaluated and kept; 0: the weights themselves"""
    patience: int = 0
    """records without a better bound before training stops, or, on the plateau, before the rate comes down; 0: never"""
    tolerance: float = 0.0
    """nats by which a bound has to be better to count as that"""
    record_steps: int = 100
    """steps from one record (and validation) to the next, rounded up to whole epochs"""
    seed: int = 0
    precision: str = "float32"
    """of the networks' matrix products while training, float32 or bfloat16; weights and likelihoods stay float32"""
    compiled: bool = False
    """whether a step is compiled into one function, after the first 100 (`compiled.Compiled`); on an accelerator it is
    recorded as one graph in any case (`recorded.Recorded`)"""

    def rate(self, step: int, cooling: int = 0) -> float:
        """The learning rate of step `step`: a linear warm-up, then what `schedule` says.

        cooling    the step from which on the rate comes down from the plateau; 0: not yet known

        >>> recipe = Recipe(steps=1000, learning_rate=1.0, warmup=100)
        >>> [round(recipe.rate(s), 3) for s in (0, 99, 550, 999)]
        [0.01, 1.0, 0.5, 0.0]
        >>> recipe = Recipe(steps=1000, learning_rate=1.0, warmup=100, schedule="plateau")
        >>> [round(recipe.rate(s, cooling=400), 3) for s in (99, 399, 400, 425, 499)]
        [1.0, 1.0, 1.0, 0.5, 0.005]
        """
        warmup = min(self.warmup, self.steps // 10)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        if self.schedule == COSINE:
            progress = (step - warmup) / max(1, self.steps - warmup)
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
        if not cooling:
            return self.learning_rate
        progress = (step - cooling) / (self.last(cooling) - cooling)
        return self.learning_rate * (1 - math.sqrt(max(0.0, progress)))

    def last(self, cooling: int = 0) -> int:
        """The number of steps of a training whose rate comes down from step `cooling` on."""
        if not cooling:
            return self.steps
        return min(self.steps, cooling + max(1, math.ceil(COOLING * cooling)))

    @property
    def latest_cooling(self) -> int:
        """The step from which on the rate comes down if the bound still rises: the end is then the last of `steps`."""
        return max(1, math.floor(self.steps / (1 + COOLING)))

    def decay(self, step: int) -> float:
        """The averaging decay after step `step`: short memory first, so that the start is forgotten."""
        return min(self.averaging, (1 + step) / (10 + step))
