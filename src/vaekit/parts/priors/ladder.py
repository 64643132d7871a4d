"""The prior of several layers of latents."""

from collections.abc import Callable

from torch import Tensor, nn

from vaekit import distributions
from vaekit.core import Latent, Posterior
from vaekit.errors import VaekitError
from vaekit.parts import posteriors


class Ladder(nn.Module):
    """The prior p(z) = N(z_L; 0, I) Π_l p(z_l | z_>l), event (D,): the way down that posterior `ladder` is made of.

    Its networks are the posterior's, which are trained with it: it has no weights of its own, and fitting it anew to a
    trained model changes nothing. Conditions do not change it. (Sønderby et al. 2016, arXiv:1602.02282)

    posterior    `posteriors.Ladder`

    >>> import torch
    >>> prior = Ladder(posteriors.Ladder(3))
    >>> round(prior().log_prob(torch.zeros(3)).item(), 4)    # it starts at N(0, I): −³⁄₂ log 2π
    -2.7568
    """

    def __init__(self, posterior: Posterior) -> None:
        super().__init__()
        if not isinstance(posterior, posteriors.Ladder):
            raise VaekitError("prior ladder is the way down of posterior ladder: choose that too, or prior auto.")
        self._lent: tuple[posteriors.Ladder] = (posterior,)  # in a tuple, for it is not a part of this module
        self.noise = posterior.latent_dim
        self.width = posterior.width

    def forward(
        self, c: Tensor | None = None, *, posterior: Callable[..., Latent] | None = None
    ) -> distributions.Ladder:
        """The prior, whatever the conditions are."""
        return self._lent[0].way_down()
