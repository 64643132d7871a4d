"""Published variants as parts of one's own, as short as the contracts let them be: they show that the seams hold.

Each stands between its marks; `test_variants.py` trains them by name.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.core import Latent
from vaekit.distributions import Normal
from vaekit.maths import soft_clamp
from vaekit.nets import MLP
from vaekit.objectives import ELBO
from vaekit.parts.posteriors import LOG_SCALE_RANGE, Diagonal
from vaekit.parts.priors import StandardNormal


# >>> VampPrior (Tomczak & Welling 2018, arXiv:1705.07120)
class Mixture(Latent):
    def __init__(self, q: Normal, log_weights: Tensor):
        self.q, self.log_weights = q, log_weights

    def log_prob(self, z, mask=None):
        return (self.q.log_prob(z.unsqueeze(-2)) + self.log_weights).logsumexp(-1)

    def draw(self, noise):
        u = torch.special.ndtr(noise[..., :1])
        which = (u > self.log_weights.exp().cumsum(-1)[:-1]).sum(-1)
        z = self.q.loc[which] + self.q.log_scale[which].exp() * noise[..., 1:]
        return z, self.log_prob(z)


class Vamp(nn.Module):
    def __init__(self, latent_dim, likelihood, components=8):
        super().__init__()
        self.noise = latent_dim + 1
        self.inputs = nn.Parameter(torch.randn(components, likelihood.inputs))
        self.weights = nn.Parameter(torch.zeros(components))

    def forward(self, c=None, *, posterior):
        return Mixture(posterior(self.inputs), self.weights.log_softmax(0))


# <<<
# >>> coupling flow (Dinh et al. 2017, arXiv:1605.08803)
class Coupling(nn.Module):
    def __init__(self, d, hidden, context):
        super().__init__()
        self.half = d // 2
        self.net = MLP(self.half + context, (hidden,), 2 * (d - self.half))
        nn.init.zeros_(self.net.layers[-1].weight)
        nn.init.zeros_(self.net.layers[-1].bias)

    def _of(self, a, c):
        given = torch.cat([a, c.expand(*a.shape[:-1], -1)], -1)
        m, s = self.net.layers(given).chunk(2, -1)
        return m, s.tanh()

    def forward(self, z, c):
        a, b = z[..., : self.half], z[..., self.half :]
        m, s = self._of(a, c)
        return torch.cat([a, b * s.exp() + m], -1).flip(-1), s.sum(-1)

    def inverse(self, z, c):
        z = z.flip(-1)
        a, b = z[..., : self.half], z[..., self.half :]
        m, s = self._of(a, c)
        return torch.cat([a, (b - m) * (-s).exp()], -1), s.sum(-1)


class Pushed(Latent):
    def __init__(self, base, flows, c):
        self.base, self.flows, self.c = base, flows, c

    @property
    def mean(self):
        return self.base.mean

    @property
    def stddev(self):
        return self.base.stddev

    def draw(self, noise):
        z, log_q = self.base.draw(noise)
        for flow in self.flows:
            z, log_det = flow(z, self.c)
            log_q = log_q - log_det
        return z, log_q

    def log_prob(self, z, mask=None):
        total = 0.0
        for flow in reversed(self.flows):
            z, log_det = flow.inverse(z, self.c)
            total = total - log_det
        return self.base.log_prob(z) + total


class CouplingPosterior(nn.Module):
    def __init__(self, latent_dim, steps=2, context=8):
        super().__init__()
        self.latent_dim = self.noise = latent_dim
        self.sizes = (latent_dim, latent_dim, context)
        self.features = sum(self.sizes)
        self.flows = nn.ModuleList(Coupling(latent_dim, 32, context) for _ in range(steps))

    def forward(self, h):
        loc, log_scale, c = h.split(self.sizes, -1)
        return Pushed(Normal(loc, soft_clamp(log_scale, *LOG_SCALE_RANGE)), self.flows, c)


# <<<
# >>> MMD (Zhao et al. 2019, arXiv:1706.02262)
class InfoVAE(ELBO):
    def __init__(self, weight=10.0):
        super().__init__()
        self.weight = weight

    def noise(self, model, rows):
        return (*super().noise(model, rows), (1, rows, model.prior.noise))

    def forward(self, model, batch, *noise, step=0):
        bound = super().forward(model, batch, noise[0], step=step)
        z, _ = model.encode(batch).draw(noise[0])
        p, _ = model.pz(batch.c).draw(noise[1])
        return bound._replace(loss=bound.loss + self.weight * mmd(z.flatten(0, 1), p.flatten(0, 1)))


def mmd(a, b):
    n, d = a.shape

    def kernel(x, y):
        squared = (x.unsqueeze(1) - y.unsqueeze(0)).square().sum(-1)
        return sum(2 * d * s / (2 * d * s + squared) for s in (0.1, 1.0, 10.0))

    def between_others(k):
        return (k.sum() - k.diagonal().sum()) / (n * (n - 1))

    return between_others(kernel(a, a)) + between_others(kernel(b, b)) - 2 * kernel(a, b).mean()


# <<<
# >>> vector quantised (van den Oord et al. 2017, arXiv:1711.00937)
class Chosen(Latent):
    def __init__(self, h, book, commitment=0.25):
        places = h.unflatten(-1, (-1, book.shape[1]))
        self.index = (places.detach().unsqueeze(-2) - book.detach()).square().sum(-1).argmin(-1)
        chosen = book[self.index]
        self.z = (places + (chosen - places).detach()).flatten(-2)
        first = (chosen - places.detach()).square()
        second = (chosen.detach() - places).square()
        self.owed = (first + commitment * second).sum((-2, -1))

    @property
    def mean(self):
        return self.z

    @property
    def stddev(self):
        return torch.zeros_like(self.z)

    def draw(self, noise):
        return self.z.expand(len(noise), -1, -1), self.z.new_zeros(noise.shape[:2])


class Quantised(nn.Module):
    def __init__(self, latent_dim, codes=16, size=2):
        super().__init__()
        self.latent_dim = self.features = latent_dim
        self.noise = 0
        self.book = nn.Parameter(torch.randn(codes, size) * 0.5)

    def forward(self, h):
        return Chosen(h, self.book)


class Uniform(Latent):
    def __init__(self, book, places):
        self.book, self.places = book, places

    def log_prob(self, z, mask=None):
        return z.new_full(z.shape[:-1], -self.places * math.log(len(self.book)))

    def draw(self, noise):
        which = (torch.special.ndtr(noise) * len(self.book)).long().clamp(max=len(self.book) - 1)
        z = self.book[which].flatten(-2)
        return z, self.log_prob(z)


class UniformCodes(nn.Module):
    def __init__(self, posterior):
        super().__init__()
        self.book = posterior.book
        self.noise = posterior.latent_dim // self.book.shape[1]

    def forward(self, c=None, *, posterior):
        return Uniform(self.book, self.noise)


# <<<
# >>> ladder (Sønderby et al. 2016, arXiv:1602.02282)
class Chain(Latent):
    def __init__(self, rungs, dims):
        self.rungs, self.dims = rungs, dims

    def at(self, z):
        above = z[..., :0]
        for rung, part in zip(self.rungs, z.split(self.dims, -1), strict=True):
            yield rung(above), part
            above = torch.cat([above, part], -1)

    def log_prob(self, z, mask=None):
        return sum(rung.log_prob(part) for rung, part in self.at(z))

    def draw(self, noise):
        z, log = noise[..., :0], 0.0
        for rung, e in zip(self.rungs, noise.split(self.dims, -1), strict=True):
            part, own = rung(z).draw(e)
            z, log = torch.cat([z, part], -1), log + own
        return z, log

    def rate(self, p, z, log_q):
        parts = []
        for (q, part), (other, _) in zip(self.at(z), p.at(z), strict=True):
            parts.append(q.rate(other, part, None).expand(len(z), -1, -1))
        return torch.cat(parts, -1)


class LadderPosterior(nn.Module):
    def __init__(self, latent_dim, width=16):
        super().__init__()
        self.dims = [latent_dim // 2, latent_dim - latent_dim // 2]
        self.width, self.latent_dim = width, latent_dim
        self.noise, self.features = latent_dim, 2 * width
        self.nets = nn.ModuleList(
            MLP(width + sum(self.dims[:rung]), (width,), 2 * d) for rung, d in enumerate(self.dims)
        )

    def forward(self, h):
        def rung(net, h):
            def at(above):
                given = h if not above.shape[-1] else torch.cat([h.expand(*above.shape[:-1], -1), above], -1)
                loc, log_scale = net.layers(given).chunk(2, -1)
                return Normal(loc, soft_clamp(log_scale, *LOG_SCALE_RANGE))

            return at

        return Chain([rung(net, part) for net, part in zip(self.nets, h.split(self.width, -1), strict=True)], self.dims)


class LadderPrior(nn.Module):
    def __init__(self, latent_dim, width=16):
        super().__init__()
        self.noise, self.dims = latent_dim, [latent_dim // 2, latent_dim - latent_dim // 2]
        self.net = MLP(self.dims[0], (width,), 2 * self.dims[1])
        self.register_buffer("zeros", torch.zeros(self.dims[0]), persistent=False)

    def forward(self, c=None, *, posterior):
        return Chain(
            [lambda above: Normal(self.zeros, self.zeros), lambda above: Normal(*self.net.layers(above).chunk(2, -1))],
            self.dims,
        )


# <<<
# >>> FactorVAE (Kim & Mnih 2018, arXiv:1802.05983)
class FactorVAE(ELBO):
    def __init__(self, gamma=6.0):
        super().__init__()
        self.gamma, self.critic = gamma, MLP(4, (32, 32), 1, "leaky-relu")

    def forward(self, model, batch, *noise, step=0):
        bound = super().forward(model, batch, *noise, step=step)
        z = model.encode(batch).draw(noise[0])[0].flatten(0, 1)
        held = {name: parameter.detach() for name, parameter in self.critic.named_parameters()}
        correlation = torch.func.functional_call(self.critic, held, (z,)).mean()
        still = z.detach()
        shuffled = torch.stack([column.roll(j + 1) for j, column in enumerate(still.unbind(-1))], -1)
        mistaken = F.softplus(-self.critic(still)).mean() + F.softplus(self.critic(shuffled)).mean()
        return bound._replace(loss=bound.loss + self.gamma * correlation + mistaken)


# <<<


class Begun(Diagonal):
    """A posterior that begins at training rows."""

    begun = False

    def start(self, model, batch):
        self.begun = True


class BegunPrior(StandardNormal):
    """A prior that begins at training rows, once the posterior has begun."""

    def start(self, model, batch):
        self.seen = batch.x
        self.after_posterior = model.posterior.begun


class OnACircle(Diagonal):
    """A posterior whose latents are no real numbers."""

    def forward(self, h):
        q = super().forward(h)
        q.space = "a circle"
        return q
