"""How every network sees conditions."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Shift(nn.Module):
    """What conditions c (N, C) add to the numbers y (N, …) of a layer: y + V c, where V starts at zero.

    So a network begins as the one that it is without conditions, and stays that where nothing of them is known. Of
    `features` as many as y has numbers, each is shifted; of as many as y has channels, (N, features, …), each channel.

    >>> shift = Shift(2, 4)
    >>> y = torch.randn(3, 4, 5, 5)
    >>> torch.equal(shift(y, torch.ones(3, 2)), y), torch.equal(shift(y, None), y)
    (True, True)
    """

    weight: nn.Parameter | None

    def __init__(self, conditions: int, features: int) -> None:
        super().__init__()
        weight = nn.Parameter(torch.zeros(features, conditions)) if conditions else None
        self.register_parameter("weight", weight)

    def forward(self, y: Tensor, c: Tensor | None) -> Tensor:
        """The numbers y, shifted by what is known of c."""
        if c is None:
            return y
        assert self.weight is not None, "a network that was made without conditions was given some"
        shift = functional.linear(c, self.weight)
        if shift.shape[1] == math.prod(y.shape[1:]):
            return y + shift.view_as(y)
        return y + shift.view(*shift.shape, *[1] * (y.dim() - 2))

    def through(self, layers: nn.Sequential, x: Tensor, c: Tensor | None) -> Tensor:
        """What layers make of x, the first of them shifted by what is known of c."""
        first, *others = layers
        y = self(first(x), c)
        for layer in others:
            y = layer(y)
        return y
