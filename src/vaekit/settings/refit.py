"""Another prior for a trained model: by its name, or the best of several by the rows held out."""

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import NamedTuple, cast

import torch

from vaekit.core import LatentModel, members
from vaekit.data import Dataset, Schema
from vaekit.errors import VaekitError
from vaekit.models import VAE, Ensemble
from vaekit.models.trial import check_spaces
from vaekit.parts.posteriors import CodesPosterior
from vaekit.settings.build import build_prior, build_state, seeded, start_parts
from vaekit.settings.declared import AUTO, Settings
from vaekit.training import State
from vaekit.training.refit import Gain, drawn, fit_prior, gain, with_prior

MOST_COMPONENTS = 128
OF_CODES = ("codes:kind=independent", "codes:kind=autoregressive")
LEAST = 0.02
"""nats per row that twice as many components have to gain"""
FALLS = 2
"""times in a row that they do not, after which no more are tried"""
HELD_OUT = 10
"""every so many-th row is held out where a run has no validation rows"""


class Refit(NamedTuple):
    """A model with another prior, and what came of it."""

    settings: Settings
    model: VAE | Ensemble
    gains: dict[str, Gain]
    """by how much the bound of the rows of each part changes"""
    tried: dict[str, float]
    """what each prior that was tried gives the rows held out more, nats per row"""

    @property
    def prior(self) -> str:
        """The prior's name with its arguments."""
        return self.settings.model.prior

    @property
    def held_out(self) -> float:
        """What it gives the rows more that it was chosen by, nats per row."""
        return self.tried[self.prior]


def refit(
    settings: Settings, model: LatentModel, schema: Schema, rows: Mapping[str, Dataset], prior: str = AUTO
) -> Refit:
    """The model with another prior in its place, fitted to draws of q(z|x) of the training rows (`training.refit`).

    rows     "train", and what else there is: the prior is chosen and stopped by "validation", or where that is empty by
             a tenth of the training rows
    prior    a name with its arguments, or "auto": the best mixture of normals, of 1, 2, 4 … and of both covariances;
             of codes the better of independent and autoregressive ones
    """
    of_each = [_Member(one, rows, settings.training.seed) for one in members(model)]
    tried: dict[str, float] = {}
    best: list[LatentModel] = []
    chosen = settings
    candidates = iter([prior])
    if prior == AUTO:
        of_codes = isinstance(of_each[0].model.posterior, CodesPosterior)
        candidates = iter(OF_CODES) if of_codes else _mixtures(tried)
    for name in candidates:
        named = settings.changed(prior=name, refitted=settings.model.refitted or settings.model.prior)
        changed = [one.refitted(named, schema) for one in of_each]
        tried[name] = fmean([gain(new, one.held_out).mean for new, one in zip(changed, of_each, strict=True)])
        if tried[name] == max(tried.values()):
            best = changed
            chosen = named
    gains = {}
    for part in of_each[0].drawn:
        gains[part] = _together([gain(new, one.drawn[part]) for new, one in zip(best, of_each, strict=True)])
    whole = cast(VAE, best[0]) if len(best) == 1 else Ensemble([cast(VAE, one) for one in best])
    return Refit(chosen, whole, gains, tried)


class _Member:
    """A model, and draws of its posteriors for the rows of each part."""

    def __init__(self, model: LatentModel, rows: Mapping[str, Dataset], seed: int) -> None:
        self.model = cast(VAE, model)
        self.seed = seed
        self.rows = rows["train"]
        self.drawn = {part: drawn(model, own, seed) for part, own in rows.items() if len(own)}
        train = self.drawn["train"]
        if "validation" in self.drawn:
            self.train = train
            self.held_out = self.drawn["validation"]
            return
        if len(train.z) < 2:
            raise VaekitError("a prior is fitted to two rows or more.")
        last = torch.arange(len(train.z)) % HELD_OUT == 0
        self.train, self.held_out = train.rows(~last), train.rows(last)

    def refitted(self, settings: Settings, schema: Schema) -> LatentModel:
        """The model with the prior of these settings."""
        with seeded(settings, "refit"):
            prior = build_prior(settings, schema, self.model.likelihood, self.model.posterior)
        if isinstance(prior, torch.nn.Module):
            prior.to(self.rows.device)
        changed = with_prior(self.model, prior)
        check_spaces(changed, self.rows.scoring_batch(torch.zeros(1, dtype=torch.long, device=self.rows.device)))
        start_parts([prior], self.model, self.rows)
        fit_prior(changed, self.train, self.held_out, self.seed)
        return changed


def _mixtures(tried: dict[str, float]) -> Iterator[str]:
    """Mixtures of more and more components, of either kind, until more are no better."""
    for covariance in ("full", "diagonal"):
        falls = 0
        best = float("-inf")
        components = 1
        while components <= MOST_COMPONENTS and falls < FALLS:
            name = f"mixture:components={components},covariance={covariance}"
            yield name
            falls = falls + 1 if tried[name] < best + LEAST else 0
            best = max(best, tried[name])
            components *= 2


def _together(gains: list[Gain]) -> Gain:
    """The mean over members, whose errors are those of the same rows."""
    errors = [one.error for one in gains if one.error is not None]
    return Gain(fmean(one.mean for one in gains), fmean(errors) if errors else None, gains[0].rows)


def refitted_state(before: State, found: Refit, schema: Schema, rows: int) -> State:
    """The state of a training whose prior was refitted: weights those worth keeping, no moments, the counters as they
    were. Going on with it trains the new prior with all else.

    rows    the number of training rows
    """
    device = before.parameters[0].device
    state = build_state(found.settings, schema, rows, device)
    objective = before.smooth.objective.state_dict()
    for one in (state.last, state.smooth):
        one.model.load_state_dict(found.model.state_dict())  # type: ignore[attr-defined]  # a module, as all are
        one.objective.load_state_dict(objective)
    for name, value in before.counters().items():
        setattr(state, name, value)
    state.best_value = float("-inf")  # of the prior before: the first record after this is the best so far
    state.reference = float("-inf")
    return state
