"""Convolutional and residual convolutional networks for images of any size."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaekit.nets.mlp import ACTIVATIONS


class ResidualBlock(nn.Module):
    """x + f(x), f two 3×3 convolutions of which the last starts at zero: the block starts as the identity, and needs no
    normalisation (Zhang et al. 2019, arXiv:1901.09321). A row's result does not depend on the others.

    >>> ResidualBlock(4, "silu")(torch.zeros(1, 4, 5, 5)).shape
    torch.Size([1, 4, 5, 5])
    """

    def __init__(self, channels: int, activation: str):
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        act = ACTIVATIONS[activation]
        self.layers = nn.Sequential(act(), nn.Conv2d(channels, channels, 3, padding=1), act(), last)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class ConvEncoder(nn.Module):
    """(B, H, W) or (B, C, H, W) ↦ (B, out_features): a halving 3×3 convolution a stage, then one linear layer.

    channels    of the stages, each of ⌈half⌉ the size of the one before
    blocks      residual blocks a stage; 0 gives a plain convolutional network
    local       end in a residual block and a convolution instead: the features are a map, each a function of its
                surroundings in the image

    >>> ConvEncoder((3, 17, 9), (8, 16), 6)(torch.zeros(2, 3, 17, 9)).shape
    torch.Size([2, 6])
    >>> ConvEncoder((3, 16, 8), (8, 16), 2 * 4 * 2, local=True)(torch.zeros(2, 3, 16, 8)).shape
    torch.Size([2, 16])
    """

    def __init__(
        self, shape: Sequence[int], channels: Sequence[int], out_features: int, activation="silu", *,
        blocks: int = 0, local: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.image = _image(shape)
        sizes, act = stage_sizes(shape, len(channels)), ACTIVATIONS[activation]
        layers: list[nn.Module] = []
        for narrow, wide in zip([self.image[0], *channels[:-1]], channels, strict=True):
            layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1)]
            layers += [ResidualBlock(wide, activation) for _ in range(blocks)] + [act()]
        self.width = _widest(self.image, channels)
        height, width = sizes[-1]
        if local:
            last = nn.Conv2d(channels[-1], out_features // (height * width), 3, padding=1)
            layers += [ResidualBlock(channels[-1], activation), act(), last, nn.Flatten()]
        else:
            layers += [nn.Flatten(), nn.Linear(channels[-1] * height * width, out_features)]
        self.layers = nn.Sequential(*layers)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.reshape(-1, *self.image).contiguous(memory_format=torch.channels_last))


class ConvDecoder(nn.Module):
    """(N, in_features) ↦ (N, per_feature · C · H · W): the encoder's stages backwards, by transposed
    convolutions.

    per_feature    numbers the likelihood needs for each pixel, the slowest axis of the output
    start          (out_features,), added to the output, then learned: what the network says before it has learned
    local          begin with a convolution and a residual block: the latents are a map of the size of the last stage

    >>> ConvDecoder(6, (3, 17, 9), (8, 16), per_feature=2)(torch.zeros(5, 6)).shape
    torch.Size([5, 918])
    """

    def __init__(self, in_features: int, shape: Sequence[int], channels: Sequence[int], activation="silu", *,
                 per_feature: int = 1, blocks: int = 0, local: bool = False, start: Tensor | None = None):  # fmt: skip
        super().__init__()
        colours, height, width = _image(shape)
        self.sizes, act = stage_sizes(shape, len(channels)), ACTIVATIONS[activation]
        self.stages = nn.ModuleList()
        for narrow, wide in zip([per_feature * colours, *channels[:-1]], channels, strict=True):
            stage = [act()] + [ResidualBlock(wide, activation) for _ in range(blocks)]
            self.stages.insert(0, nn.Sequential(*stage, nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1)))
        wide, place = channels[-1], self.sizes[-1]
        if local:
            latents = in_features // math.prod(place)
            first = nn.Conv2d(latents, wide, 3, padding=1)
            layers = [nn.Unflatten(1, (latents, *place)), first, ResidualBlock(wide, activation)]
        else:
            layers = [nn.Linear(in_features, wide * math.prod(place)), nn.Unflatten(1, (wide, *place))]
        self.first = nn.Sequential(*layers)
        features = per_feature * colours * height * width
        self.width = max(features, _widest((colours, height, width), channels))
        self.bias = nn.Parameter(torch.zeros(features) if start is None else start.detach().clone())
        self.to(memory_format=torch.channels_last)

    def forward(self, z: Tensor) -> Tensor:
        y = self.first(z).contiguous(memory_format=torch.channels_last)
        for stage, (height, width) in zip(self.stages, self.sizes[-2::-1], strict=True):
            y = stage(y)
            if y.shape[-2:] != (height, width):  # doubling overshoots an odd size by one
                y = y[..., :height, :width]
        return y.flatten(1) + self.bias


def stage_sizes(shape: Sequence[int], stages: int) -> list[tuple[int, int]]:
    """(height, width) of the image and after each halving, rounded up.

    >>> stage_sizes((28, 28), 3)
    [(28, 28), (14, 14), (7, 7), (4, 4)]
    """
    sizes = [tuple(shape[-2:])]
    for _ in range(stages):
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)))
    return sizes


def _widest(image: Sequence[int], channels: Sequence[int]) -> int:
    """Numbers in the largest of the maps that an image goes through, itself among them."""
    sizes = stage_sizes(image, len(channels))
    return max(c * height * width for c, (height, width) in zip([image[0], *channels], sizes, strict=True))


def _image(shape: Sequence[int]) -> tuple[int, int, int]:
    return (1, *shape) if len(shape) == 2 else tuple(shape)
