"""0 and 1."""

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vaekit import distributions
from vaekit.data import Schema
from vaekit.parts.likelihoods.base import Likelihood, expanded


class Bernoulli(Likelihood):
    """The likelihood p(x|z) = Π_j x̂_j^x_j (1 − x̂_j)^(1−x_j) for x in {0, 1}; the decoder gives logits.

    With `expected=True` x may be grey, in [0, 1], and the value is Σ x log x̂ + (1 − x) log(1 − x̂): the mean
    log-likelihood of the image binarised with those probabilities, so the bound is one on *that*, and `normalised` is
    False. `mean` is the data's mean, where the logits start.

    >>> Bernoulli((2,))(torch.zeros(1, 1, 2)).log_prob(torch.tensor([[1.0, 0.0]])).exp().item()
    0.25
    """

    integers = True
    left = 0.5
    support = "0 and 1 only"

    centre: Tensor

    @classmethod
    def of(cls, schema: Schema) -> "Bernoulli":
        """The family for data of a schema: x̂ starts at the data's mean."""
        return cls(schema.shape, mean=schema.array("mean"), expected=schema.binarized == "expected")

    @classmethod
    def suits(cls, schema: Schema) -> str | None:
        """That the data is, or is made, 0 and 1."""
        if schema.binarized != "none":
            return f"binarised data ({schema.binarized})"
        if schema.kind == "binary":
            return "every value is 0 or 1"
        return None

    @classmethod
    def misfit(cls, schema: Schema) -> str | None:
        """That the data has other values than 0 and 1, and is not binarised."""
        if schema.kind == "binary" or schema.binarized != "none":
            return None
        return (
            "the bernoulli likelihood is for 0 and 1, and this data has other values: binarize it (dynamic, threshold, "
            "or expected for the textbook's grey-value form), or choose discretized-logistic or gaussian."
        )

    def __init__(self, shape: Sequence[int], *, mean: ArrayLike = 0.5, expected: bool = False) -> None:
        super().__init__(shape)
        self.expected = expected
        self.normalised = not expected
        self.integers = not expected
        if expected:
            self.support = "values from 0 to 1"
        self.register_buffer("centre", expanded(mean, shape))

    def initial(self) -> Tensor:
        """The logits of the mean, (features,)."""
        return torch.logit(self.centre, eps=1e-3).flatten()

    def affine(self, centre: Tensor, loading: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The linear decoder, weight (features, D) and bias (features,), whose x̂ is centre + loading z to first order.

        centre (U,), loading (U, D): of the codes
        """
        mean = centre.clamp(1e-3, 1 - 1e-3)
        return loading / (mean * (1 - mean))[:, None], torch.logit(mean)

    def supports(self, x: Tensor) -> Tensor:
        """Which cells are 0 or 1, or where x may be grey from 0 to 1, (…, *X) bool."""
        if self.expected:
            return (x >= 0) & (x <= 1)
        return (x == 0) | (x == 1)

    def forward(self, y: Tensor) -> distributions.Bernoulli:
        """The likelihood of the decoder's logits y (K, B, features)."""
        (logits,) = self.split(y)
        return distributions.Bernoulli(logits, len(self.shape))
