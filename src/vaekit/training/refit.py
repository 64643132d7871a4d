"""A prior fitted anew to what a trained model makes of its rows, the networks left as they are.

    p* = argmax_p  (1/N) Σ_n E_q(z|x_n) log p(z)

It is a step of coordinate ascent on the ELBO: of the bound the prior's term is the only one that changes, by
KL(q(z) ‖ p_before) − KL(q(z) ‖ p_after), q(z) the mean of all q(z|x_n). So posteriors and likelihood stay what they
were, and what z says of x. It has to be fitted to draws of q(z|x), for the means are less spread than these.
"""

import copy
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from vaekit.core import LatentModel, Prior, at_once
from vaekit.data import Dataset
from vaekit.inference import keyed_draw
from vaekit.maths import standard_error
from vaekit.noise import generator
from vaekit.threads import suited

DRAWS = 5
"""of each row"""
NUMBERS = 2**20
"""in all draws at most: of many rows some are enough"""
BATCH = 256
"""draws per step"""
RATE = 3e-3
"""of Adam"""
PERIOD = 200
"""steps between looks at the rows held out"""
PATIENCE = 4
"""looks without a better one, after which the rate is a quarter"""
QUARTERINGS = 2
"""after which it ends"""
LEAST = 1e-3
"""nats by which a look has to be better"""
LONGEST = 10.0
"""a gradient that is followed as it is"""


@runtime_checkable
class Fitting(Protocol):
    """A prior that finds by itself what makes draws most likely."""

    def fit(self, z: Tensor, seed: int = 0) -> None:
        """Set its weights by draws z (n, D) of q(z|x)."""
        ...


class Drawn(NamedTuple):
    """Draws of q(z|x) for some rows."""

    z: Tensor
    """(n, K, D), K draws per row"""
    log_p: Tensor
    """(n, K) log p(z) under the prior as it was"""
    c: Tensor | None
    """(n, C) the rows' conditions"""

    def rows(self, chosen: Tensor) -> "Drawn":
        """Those of some rows, (n,) bool."""
        return Drawn(self.z[chosen], self.log_p[chosen], None if self.c is None else self.c[chosen])


class Gain(NamedTuple):
    """By how much the bound on log p(x) changes, nats per row."""

    mean: float
    error: float | None
    """its standard error over the rows; None for one"""
    rows: int


@torch.no_grad()
def drawn(model: LatentModel, rows: Dataset, seed: int) -> Drawn:
    """Draws of q(z|x) for the rows, several of each, by noise keyed by the row; of some rows where there are many."""
    most = max(1, NUMBERS // model.latent_dim)
    rows = rows.some(most) if len(rows) > most else rows
    draws = max(1, min(DRAWS, most // len(rows)))
    z = []
    log_p = []
    c = []
    size = at_once(model.width, draws)
    with suited(model, size):
        for count, batch in rows.blocks(size):
            found, _ = keyed_draw(model, batch, draws, seed)
            z.append(found[:, :count].transpose(0, 1))
            log_p.append(model.pz(batch.c).log_prob(found)[:, :count].T)
            if batch.c is not None:
                c.append(batch.c[:count])
    return Drawn(torch.cat(z), torch.cat(log_p), torch.cat(c) if c else None)


def with_prior(model: LatentModel, prior: Prior) -> LatentModel:
    """A copy of the model with another prior, all else held as it is."""
    changed: Any = copy.deepcopy(model)
    changed.requires_grad_(False)
    changed.prior = prior
    found: LatentModel = changed
    return found


def fit_prior(model: LatentModel, train: Drawn, held_out: Drawn, seed: int) -> None:
    """Fit the model's prior to draws of the training rows: by its own `fit`, or else by gradient descent until the rows
    held out gain no more. A prior without weights stays as it is."""
    prior = model.prior
    if isinstance(prior, Fitting):
        prior.fit(train.z.flatten(0, 1), seed)
    elif isinstance(prior, nn.Module) and list(prior.parameters()):
        _descend(model, prior, train, held_out, seed)
        prior.requires_grad_(False)


def gain(model: LatentModel, rows: Drawn) -> Gain:
    """What a model with another prior gives the rows more."""
    each = (log_prior(model, rows) - rows.log_p).double().mean(1)
    return Gain(each.mean().item(), standard_error(each), len(each))


@torch.no_grad()
def log_prior(model: LatentModel, rows: Drawn) -> Tensor:
    """The log-density log p(z) of each draw, or log p(z|c), (n, K) nats."""
    size = at_once(model.width, rows.z.shape[1])
    found = []
    for start in range(0, len(rows.z), size):
        z = rows.z[start : start + size].transpose(0, 1)
        p = model.pz(None if rows.c is None else rows.c[start : start + size])
        found.append(p.log_prob(z).T)
    return torch.cat(found)


def _descend(model: LatentModel, prior: nn.Module, train: Drawn, held_out: Drawn, seed: int) -> None:
    """Adam on −log p(z): each time that the rows held out have gained no more for a while, on from the best weights at
    a quarter of the rate, and at last these weights."""
    rate = RATE
    kept = copy.deepcopy(prior.state_dict())
    best = log_prior(model, held_out).double().mean().item()
    batches = _batches(train, seed)
    for _ in range(1 + QUARTERINGS):
        prior.load_state_dict(kept)
        adam = torch.optim.Adam(prior.parameters(), rate)
        stale = 0
        while stale < PATIENCE:
            for z, c in itertools.islice(batches, PERIOD):
                adam.zero_grad()
                loss = -model.pz(c).log_prob(z).mean()
                loss.backward()
                nn.utils.clip_grad_norm_(prior.parameters(), LONGEST)
                adam.step()
            now = log_prior(model, held_out).double().mean().item()
            stale += 1
            if now > best + LEAST:
                best = now
                kept = copy.deepcopy(prior.state_dict())
                stale = 0
        rate /= 4
    prior.load_state_dict(kept)


def _batches(train: Drawn, seed: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Draws z (1, B, D) of rows drawn by the seed, with these rows' conditions, without end."""
    rows, draws = train.z.shape[:2]
    source = generator(seed, "refit")
    while True:
        chosen = torch.randint(rows, (BATCH,), generator=source).to(train.z.device)
        which = torch.randint(draws, (BATCH,), generator=source).to(train.z.device)
        yield train.z[chosen, which].unsqueeze(0), None if train.c is None else train.c[chosen]
