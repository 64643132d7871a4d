"""Convolutional and residual convolutional networks for images of any size."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaekit.nets.mlp import ACTIVATIONS
from vaekit.nets.shift import Shift


class ResidualBlock(nn.Module):
    """The block x + f(x), where f is two 3×3 convolutions of which the last starts at zero.

    The block starts as the identity, and needs no normalisation (Zhang et al. 2019, arXiv:1901.09321). A row's result
    does not depend on the others.

    >>> ResidualBlock(4, "silu")(torch.zeros(1, 4, 5, 5)).shape
    torch.Size([1, 4, 5, 5])
    """

    layers: nn.Sequential

    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        if last.bias is not None:
            nn.init.zeros_(last.bias)
        act = ACTIVATIONS[activation]
        first = nn.Conv2d(channels, channels, 3, padding=1)
        self.layers = nn.Sequential(act(), first, act(), last)

    def forward(self, x: Tensor) -> Tensor:
        """The images x + f(x) of x (B, C, H, W), of the same shape."""
        return x + self.layers(x)


class ConvEncoder(nn.Module):
    """Images (B, H, W) or (B, C, H, W) ↦ (B, out_features): a halving 3×3 convolution per stage, then a linear layer.

    channels    of the stages, each of ⌈half⌉ the size of the one before
    blocks      residual blocks per stage; 0 gives a plain convolutional network
    local       end in a residual block and a convolution instead: the features are a map, each a function of its
                surroundings in the image
    conditions  C: c (B, C) shifts the channels of the first convolution

    >>> ConvEncoder((3, 17, 9), (8, 16), 6)(torch.zeros(2, 3, 17, 9)).shape
    torch.Size([2, 6])
    >>> ConvEncoder((3, 16, 8), (8, 16), 2 * 4 * 2, local=True)(torch.zeros(2, 3, 16, 8)).shape
    torch.Size([2, 16])
    """

    layers: nn.Sequential

    def __init__(
        self,
        shape: Sequence[int],
        channels: Sequence[int],
        out_features: int,
        activation: str = "silu",
        *,
        blocks: int = 0,
        local: bool = False,
        conditions: int = 0,
    ) -> None:
        super().__init__()
        self.image = _image(shape)
        self.width = _widest(self.image, channels)
        act = ACTIVATIONS[activation]
        layers: list[nn.Module] = []
        for narrow, wide in zip([self.image[0], *channels[:-1]], channels, strict=True):
            layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1)]
            layers += [ResidualBlock(wide, activation) for _ in range(blocks)]
            layers += [act()]
        deepest = channels[-1]
        pixels = math.prod(stage_sizes(shape, len(channels))[-1])
        if local:
            last = nn.Conv2d(deepest, out_features // pixels, 3, padding=1)
            layers += [ResidualBlock(deepest, activation), act(), last, nn.Flatten()]
        else:
            layers += [nn.Flatten(), nn.Linear(deepest * pixels, out_features)]
        self.layers = nn.Sequential(*layers)
        self.shift = Shift(conditions, channels[0])
        _channels_last(self)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The features (B, out_features) of images x, given c (B, C)."""
        images = x.reshape(-1, *self.image)
        return self.shift.through(self.layers, images.contiguous(memory_format=torch.channels_last), c)


class ConvDecoder(nn.Module):
    """Latents (N, in_features) ↦ (N, per_feature · C · H · W): the encoder's stages backwards, by transposed
    convolutions.

    per_feature    numbers the likelihood needs for each pixel, the slowest axis of the output
    start          (out_features,), added to the output, then learned: what the network says before it has learned
    local          begin with a convolution and a residual block: the latents are a map of the size of the last stage
    conditions     C: c (N, C) shifts the smallest map, each of its numbers, or of a local one each channel

    >>> ConvDecoder(6, (3, 17, 9), (8, 16), per_feature=2)(torch.zeros(5, 6)).shape
    torch.Size([5, 918])
    """

    first: nn.Sequential
    stages: nn.ModuleList
    bias: nn.Parameter

    def __init__(
        self,
        in_features: int,
        shape: Sequence[int],
        channels: Sequence[int],
        activation: str = "silu",
        *,
        per_feature: int = 1,
        blocks: int = 0,
        local: bool = False,
        start: Tensor | None = None,
        conditions: int = 0,
    ) -> None:
        super().__init__()
        image = _image(shape)
        self.sizes = stage_sizes(shape, len(channels))
        self.stages = nn.ModuleList()
        for narrow, wide in zip([per_feature * image[0], *channels[:-1]], channels, strict=True):
            residual = [ResidualBlock(wide, activation) for _ in range(blocks)]
            doubling = nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1)
            self.stages.insert(0, nn.Sequential(ACTIVATIONS[activation](), *residual, doubling))
        deepest = channels[-1]
        place = self.sizes[-1]
        pixels = math.prod(place)
        if local:
            latents = in_features // pixels
            layers = [
                nn.Unflatten(1, (latents, *place)),
                nn.Conv2d(latents, deepest, 3, padding=1),
                ResidualBlock(deepest, activation),
            ]
        else:
            layers = [nn.Linear(in_features, deepest * pixels), nn.Unflatten(1, (deepest, *place))]
        self.first = nn.Sequential(*layers)
        self.shift = Shift(conditions, deepest if local else deepest * pixels)
        features = per_feature * math.prod(image)
        self.width = max(features, _widest(image, channels))
        if start is None:
            start = torch.zeros(features)
        self.bias = nn.Parameter(start.detach().clone())
        _channels_last(self)

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """The likelihood's numbers (N, per_feature · C · H · W) of latents z (N, in_features), given c (N, C)."""
        y = self.shift(self.first(z), c).contiguous(memory_format=torch.channels_last)
        for stage, (height, width) in zip(self.stages, self.sizes[-2::-1], strict=True):
            y = stage(y)
            if y.shape[-2:] != (height, width):  # doubling overshoots an odd size by one
                y = y[..., :height, :width]
        return y.flatten(1) + self.bias


def stage_sizes(shape: Sequence[int], stages: int) -> list[tuple[int, int]]:
    """The sizes (height, width) of the image and after each halving, rounded up.

    >>> stage_sizes((28, 28), 3)
    [(28, 28), (14, 14), (7, 7), (4, 4)]
    """
    height, width = shape[-2:]
    sizes = [(height, width)]
    for _ in range(stages):
        height = -(-height // 2)
        width = -(-width // 2)
        sizes.append((height, width))
    return sizes


def _widest(image: Sequence[int], channels: Sequence[int]) -> int:
    """Numbers in the largest of the maps that an image goes through, itself among them."""
    sizes = stage_sizes(image, len(channels))
    maps = zip([image[0], *channels], sizes, strict=True)
    return max(depth * height * width for depth, (height, width) in maps)


def _image(shape: Sequence[int]) -> tuple[int, int, int]:
    """The axes (C, H, W) of an image, one colour where the shape names none."""
    *colours, height, width = shape
    depth = colours[0] if colours else 1
    return depth, height, width


def _channels_last(network: nn.Module) -> None:
    """Keep a network's weights in the order in which convolutions are fastest."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs do not know of it
