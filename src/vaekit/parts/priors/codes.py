"""Priors of codes: probabilities of which code each latent has."""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.core import Latent, Posterior, Range
from vaekit.distributions.codes import Book, Codes, EvenCodes, possible
from vaekit.errors import VaekitError
from vaekit.nets import Masked

Kind = Literal["uniform", "independent", "autoregressive"]


class CodesPrior(nn.Module):
    """What priors of codes share: the codes are those of the posterior, and a draw takes a standard normal for each.

    posterior    whose values the codes have: a part of another module, which this one does not train
    """

    impossible: Tensor

    def __init__(self, posterior: Posterior) -> None:
        super().__init__()
        if not isinstance(posterior, Book):
            raise VaekitError(
                "prior codes is for a posterior whose latents are codes, such as fsq: choose one, or prior auto."
            )
        self._lent: tuple[Book] = (posterior,)  # in a tuple, for it is not a part of this module
        self.noise = len(posterior.sizes)
        self.register_buffer("impossible", ~possible(posterior.sizes), persistent=False)

    def log_p(self, chosen: Tensor) -> Tensor:
        """The log-probability of each value of each code, (…, M, L), given the codes before it, `chosen` (…, M, L)."""
        logits = self.logits(chosen)
        return logits.masked_fill(self.impossible, -torch.inf).log_softmax(-1)

    def logits(self, chosen: Tensor) -> Tensor:
        """Those of each value of each code, (…, M, L) or (M, L)."""
        raise NotImplementedError

    def forward(self, c: Tensor | None = None, *, posterior: Callable[..., Latent] | None = None) -> Codes:
        """The prior, whatever the conditions are."""
        return Codes(self._lent[0], self.log_p)


class UniformCodes(CodesPrior):
    """The prior under which every code is as probable as any other: log P(z) = −Σ_m ln L_m.

    >>> from vaekit.parts.posteriors import FSQ
    >>> prior = UniformCodes(FSQ(2, "4"))
    >>> round(prior().log_prob(torch.zeros(2)).item(), 4)    # −2 ln 4
    -2.7726
    """

    def logits(self, chosen: Tensor) -> Tensor:
        """Zeros, (M, L)."""
        return chosen.new_zeros(self.impossible.shape)

    def forward(self, c: Tensor | None = None, *, posterior: Callable[..., Latent] | None = None) -> EvenCodes:
        """The prior, whatever the conditions are."""
        return EvenCodes(self._lent[0], self.log_p)


class IndependentCodes(CodesPrior):
    """The prior P(z) = Π_m P_m(i_m), a learned categorical of each code; it begins as the uniform one.

    >>> from vaekit.parts.posteriors import FSQ
    >>> prior = IndependentCodes(FSQ(2, "4"))
    >>> round(prior().log_prob(torch.zeros(2)).item(), 4)
    -2.7726
    """

    def __init__(self, posterior: Posterior) -> None:
        super().__init__(posterior)
        self.weights = nn.Parameter(torch.zeros(self.impossible.shape))

    def logits(self, chosen: Tensor) -> Tensor:
        """The learned ones, (M, L)."""
        return self.weights


class AutoregressiveCodes(CodesPrior):
    """The prior P(z) = Π_m P(i_m | i_1 … i_{m−1}) by a masked network (Germain et al. 2015, arXiv:1502.03509).

    Two hidden layers see the codes; each of their units has a degree, the last code that it may see, and what is said
    of code m depends on units of lower degrees alone. It begins as the uniform prior.

    width    units of each hidden layer

    >>> from vaekit.parts.posteriors import FSQ
    >>> prior = AutoregressiveCodes(FSQ(2, "4"), width=8)
    >>> round(prior().log_prob(torch.zeros(2)).item(), 4)
    -2.7726
    """

    def __init__(self, posterior: Posterior, width: int = 128) -> None:
        super().__init__(posterior)
        self.width = width
        places, size = self.impossible.shape
        seen = torch.arange(places).repeat_interleave(size)
        degree = torch.arange(width) % max(1, places - 1)
        self.first = Masked(degree.unsqueeze(-1) >= seen)
        self.second = Masked(degree.unsqueeze(-1) >= degree)
        self.last = Masked(seen.unsqueeze(-1) > degree)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def logits(self, chosen: Tensor) -> Tensor:
        """The network's, (…, M, L)."""
        hidden = F.silu(self.first(chosen.flatten(-2)))
        hidden = hidden + F.silu(self.second(hidden))
        return self.last(hidden).unflatten(-1, self.impossible.shape)

    def forward(self, c: Tensor | None = None, *, posterior: Callable[..., Latent] | None = None) -> Codes:
        """The prior, whatever the conditions are; a draw takes the codes one after another."""
        return Codes(self._lent[0], self.log_p, passes=self.noise)


KINDS: dict[str, Callable[..., CodesPrior]] = {"uniform": UniformCodes, "independent": IndependentCodes}


def codes_prior(
    posterior: Posterior, kind: Kind = "uniform", width: Annotated[int, Range(1, below=2**16)] = 128
) -> CodesPrior:
    """The prior of codes of a kind.

    kind     uniform; independent (a learned probability of each code); or autoregressive (of each given those before
             it, by a masked network)
    width    units of the network's hidden layers, of autoregressive
    """
    if kind == "autoregressive":
        return AutoregressiveCodes(posterior, width)
    return KINDS[kind](posterior)
