"""A prior that is learned: a standard normal pushed through a flow."""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor, nn

from vaekit.core import Latent, Range
from vaekit.distributions import Normal, Pushed
from vaekit.parts import flows


class Flow(nn.Module):
    """The prior p(z) of z = T(u), u ~ N(0, I), T of coupling steps with weights of their own.

        log p(z) = log N(T⁻¹(z); 0, I) + log |det ∂T⁻¹/∂z|

    Training begins where the prior is N(0, I), and moves it to where the posteriors are. Conditions do not change it.
    With one latent it is a normal of any mean and scale. (Dinh et al. 2017, arXiv:1605.08803; as a prior Chen et al.
    2017, arXiv:1611.02731)

    steps    coupling steps
    width    units of each step's hidden layer

    >>> Flow(2)().log_prob(torch.zeros(2)).shape
    torch.Size([])
    """

    zeros: Tensor

    def __init__(
        self,
        latent_dim: int,
        steps: Annotated[int, Range(1, below=1001)] = 6,
        width: Annotated[int, Range(1, below=2**16)] = 64,
    ) -> None:
        super().__init__()
        self.noise = latent_dim
        self.steps = steps
        self.width = width
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)
        self.flow = flows.couplings(latent_dim, steps, width)

    def forward(self, c: Tensor | None = None, *, posterior: Callable[[Tensor], Latent] | None = None) -> Pushed:
        """The prior, whatever the conditions and the posterior are."""
        return Pushed(Normal(self.zeros, self.zeros), self.flow)
