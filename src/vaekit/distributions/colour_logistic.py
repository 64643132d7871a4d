"""Discretised logistics of a pixel's colours, each given those before it."""

import torch
from torch import Tensor

from vaekit.distributions.discretized_logistic import DiscretizedLogistic
from vaekit.distributions.factorised import Factorised
from vaekit.errors import VaekitError


class ColourLogistic(Factorised):
    """Pixels of three colours, each of which follows the colours before it in its pixel.

    Each colour is a discretised logistic, whose location depends on the colours before it (Salimans et al. 2017,
    arXiv:1701.05517):

        p(x) = Π_pixels P(r) P(g | r) P(b | r, g)
        location of r: μ_r      of g: μ_g + a (r − μ_r)      of b: μ_b + b (r − μ_r) + c (g − μ_g)

    loc, log_scale    (…, 3, H, W) μ and log s
    slopes            (…, 3, H, W) a, b and c: all 0 gives `DiscretizedLogistic`
    event_dims        3 for images; 1 for a single pixel, (…, 3)

    >>> grid = torch.cartesian_prod(*[torch.arange(4.0)] * 3)
    >>> loc, log_scale, slopes = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 0.5], [0.9, -0.4, 0.3]])
    >>> pixel = ColourLogistic(loc, log_scale, slopes, 0.0, 3.0, 1.0, event_dims=1)
    >>> round(pixel.log_prob(grid).exp().sum().item(), 5)
    1.0
    """

    def __init__(
        self,
        loc: Tensor,
        log_scale: Tensor,
        slopes: Tensor,
        low: Tensor | float,
        high: Tensor | float,
        step: Tensor | float,
        event_dims: int = 3,
    ) -> None:
        self.loc = loc
        self.log_scale = log_scale
        self.slopes = slopes
        self.grid = (low, high, step)
        self.event_dims = event_dims

    @property
    def mean(self) -> Tensor:
        """The mean E[x], (…, 3, H, W), where no colour reaches an end of the grid: there the locations are those of
        every mean before."""
        return DiscretizedLogistic(self.loc, self.log_scale, *self.grid, self.event_dims).mean

    def given(self, x: Tensor) -> DiscretizedLogistic:
        """The distribution of each colour given those before it in x."""
        red, green, _ = (x - self.loc).unbind(-self.event_dims)
        a, b, c = self.slopes.unbind(-self.event_dims)
        shift = torch.stack([torch.zeros_like(red), a * red, b * red + c * green], -self.event_dims)
        return DiscretizedLogistic(self.loc + shift, self.log_scale, *self.grid, self.event_dims)

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …, 3, H, W) from a given generator, a colour at a time."""
        x = self.loc.expand(*shape, *self.loc.shape).clone()
        for colour in range(3):
            drawn = self.given(x).sample(generator)
            x.select(-self.event_dims, colour).copy_(drawn.select(-self.event_dims, colour))
        return x

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-probability of each colour given those before it, (…, 3, H, W)."""
        return self.given(x).log_prob_each(x)

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The log-probability of the pixels where `mask` is True (all without one), (…) nats.

        A pixel is hidden as a whole.
        """
        if mask is not None and (mask != mask.narrow(-self.event_dims, 0, 1)).any():
            raise VaekitError(
                "a pixel has some of its colours hidden and others not, and their probability has no closed form: hide "
                "whole pixels, or choose the discretized-logistic likelihood, whose colours are independent."
            )
        return super().log_prob(x, mask)
