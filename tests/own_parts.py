"""Parts as a researcher writes them, in a module that is not vaekit's."""

import math
from typing import Annotated

import torch
from torch import Tensor, nn

from vaekit.core import Bound, Latent, Objective, Penalty, Range
from vaekit.distributions import Normal
from vaekit.distributions.factorised import Factorised
from vaekit.parts.likelihoods import Likelihood
from vaekit.parts.posteriors import Diagonal


class Mixture(Latent):
    """p(z) = Σ_c π_c N(z; m_c, I)"""

    def __init__(self, log_weights: Tensor, loc: Tensor):
        self.log_weights = log_weights.log_softmax(0)
        self.parts = Normal(loc, torch.zeros_like(loc))

    def log_prob(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        return (self.log_weights + self.parts.log_prob(z[..., None, :])).logsumexp(-1)

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        u = torch.special.ndtr(noise[..., :1])
        which = (u > self.log_weights.exp().cumsum(0)[:-1]).sum(-1)
        z = self.parts.loc[which] + noise[..., 1:]
        return z, self.log_prob(z)


class MyPrior(nn.Module):
    def __init__(self, latent_dim: int, components: Annotated[int, Range(1)] = 3):
        super().__init__()
        self.components = components
        self.noise = 1 + latent_dim
        self.log_weights = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, latent_dim))

    def forward(self, c: Tensor | None = None, *, posterior=None) -> Mixture:
        return Mixture(self.log_weights, self.loc)


class MyPosterior(Diagonal):
    """Its scales are no smaller than `least`."""

    def __init__(self, latent_dim: int, least: Annotated[float, Range(0)] = 0.0):
        super().__init__(latent_dim)
        self.least = least

    def forward(self, h: Tensor) -> Normal:
        q = super().forward(h)
        return Normal(q.loc, torch.log(q.log_scale.exp() + self.least))


class Laplace(Factorised):
    def __init__(self, loc: Tensor, log_scale: Tensor, event_dims: int):
        self.loc, self.log_scale, self.event_dims = loc, log_scale, event_dims

    @property
    def mean(self) -> Tensor:
        return self.loc

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        u = torch.rand(*shape, *self.loc.shape, generator=generator) - 0.5
        return self.loc - self.log_scale.exp() * u.sign() * torch.log1p(-2 * u.abs())

    def log_prob_each(self, x: Tensor) -> Tensor:
        return -(x - self.loc).abs() * (-self.log_scale).exp() - self.log_scale - math.log(2)


class MyLikelihood(Likelihood):
    @classmethod
    def of(cls, schema) -> "MyLikelihood":
        return cls(schema.shape, schema.shifted("mean"), schema.array("scale"))

    def __init__(self, shape, mean, scale):
        super().__init__(shape)
        self.register_buffer("centre", torch.tensor(mean).float())
        self.register_buffer("scale", torch.tensor(scale).float())

    def standardise(self, x: Tensor) -> Tensor:
        return (x - self.centre) / self.scale

    def forward(self, y: Tensor) -> Laplace:
        (y,) = self.split(y)
        return Laplace(self.centre + self.scale * y, self.scale.log(), len(self.shape))


class MyObjective(Objective):
    """The ELBO by draws."""

    name = "mine"

    def __init__(self, samples: Annotated[int, Range(1)] = 2):
        super().__init__()
        self.samples = samples

    def forward(self, model, batch, *noise, step=0) -> Bound:
        draw = model.draw(batch, *noise)
        value = draw.log_w.mean(0)
        terms = {"elbo": value, "rate": draw.rate, "distortion": draw.distortion}
        return Bound(value.detach(), -value.mean(), {name: term.detach() for name, term in terms.items()})


class Unbounded(Objective):
    """The squared error of x̂ at the posterior's mean: a bound on nothing, and no noise."""

    name = "squared"
    bounded = False

    def noise(self, model, rows) -> tuple:
        return ()

    def forward(self, model, batch, *noise, step=0) -> Bound:
        z = model.encode(batch).mean
        error = (model.decode(z[None]).mean[0] - batch.x).flatten(1).square().sum(-1)
        return Bound(None, error.mean(), {"error": error.detach()})


class MyPenalty(Penalty):
    """The mean of ‖μ‖ to a power."""

    whole = False

    def __init__(self, weight: float = 1.0, power: Annotated[float, Range(above=0)] = 2.0):
        super().__init__(weight)
        self.power = power

    def forward(self, model, draw, *noise) -> Tensor:
        return draw.q.mean.norm(dim=-1).pow(self.power).mean()


def my_network(posterior, likelihood, width: int = 8):
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(likelihood.inputs, width), nn.Tanh(),
                            nn.Linear(width, posterior.features))  # fmt: skip
    return encoder, nn.Linear(posterior.latent_dim, likelihood.features)


class Wary(nn.Sequential):
    """A network that looks at its numbers, which it has to have for that."""

    def forward(self, u: Tensor) -> Tensor:
        if u.isnan().any():
            raise ValueError("a number is missing")
        return super().forward(u)


def wary(posterior, likelihood, width: int = 8):
    """Two of them, in a list."""
    encoder, decoder = my_network(posterior, likelihood, width)
    return [Wary(*encoder), Wary(decoder)]


def in_functions(posterior, likelihood):
    """An encoder that is a plain function: nothing of it is learned."""
    return lambda u: u.mean(1, keepdim=True).expand(-1, posterior.features), nn.Linear(
        posterior.latent_dim, likelihood.features
    )


def crooked(posterior, likelihood, wrong: str = "takes"):
    """A network that does not fit, in one way or another."""
    encoder, decoder = my_network(posterior, likelihood)
    if wrong == "takes":
        encoder = nn.Linear(likelihood.inputs + 5, posterior.features)
    elif wrong == "gives":
        encoder = nn.Linear(likelihood.inputs, posterior.features + 1)
    elif wrong == "decoder":
        decoder = nn.Linear(posterior.latent_dim, likelihood.features - 1)
    elif wrong == "tuple":
        decoder = nn.LSTM(posterior.latent_dim, likelihood.features)
    else:
        return encoder
    return encoder, decoder
