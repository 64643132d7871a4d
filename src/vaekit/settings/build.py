"""Settings + schema → model, objective, recipe."""

import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import nn

from vaekit import core
from vaekit.core import LatentModel, Objective, Starting
from vaekit.data import Dataset, Schema
from vaekit.errors import VaekitError, unknown
from vaekit.models import VAE, Ensemble
from vaekit.models.start import LEAST_VARIANCE, Factors, effects, factor_analysis, factor_analysis_observed
from vaekit.models.start import start as start_at
from vaekit.models.trial import check_networks
from vaekit.noise import derive_seed
from vaekit.objectives import EachMember, Penalised
from vaekit.parts import Conditions
from vaekit.parts.likelihoods import Likelihood
from vaekit.parts.posteriors import Experts
from vaekit.settings.declared import AUTO, Settings, chosen
from vaekit.settings.named import Named, found
from vaekit.settings.tables import DEVICES, FACTOR_ANALYSIS, NETWORKS
from vaekit.training import Recipe, State

TOLERANCE = 0.01
"""nats per row by which a bound has to rise to count as risen"""
TOLERANCE_EACH = 1e-4
"""nats per feature that are added to it"""
FEWEST_ROWS, MOST_ROWS, MOST_CODES = 1000, 4000, 2**18
"""rows, and codes of these, that a start with missing cells is fitted to: it takes a second or two"""
START, START_BUDGET = 1024, 2**26
"""training rows that parts begin at, and numbers in these rows' widest layer, at most"""
SEEDING = Lock()
"""one model at a time"""


def build_model(settings: Settings, schema: Schema) -> VAE | Ensemble:
    """The model of resolved settings, weights drawn from its seed; global random state is left as it was."""
    with seeded(settings, "weights"):
        members = [_member(settings, schema) for _ in range(settings.model.members)]
    if len(members) == 1:
        return members[0]
    return Ensemble(members)


def _member(settings: Settings, schema: Schema) -> VAE:
    """One model, its weights drawn from PyTorch's generator."""
    conditions = Conditions(schema.conditions).size
    _check_conditions(settings, conditions)
    known: dict[str, Any] = {
        **vars(settings.model), "schema": schema, "shape": schema.shape, "conditions": conditions,
    }  # fmt: skip
    likelihood = settings.made("likelihood", **known)
    known["likelihood"] = likelihood
    posterior = settings.made("posterior", **known)
    known["posterior"] = posterior
    if isinstance(likelihood, Likelihood):
        likelihood.indicates = schema.has_missing or isinstance(posterior, Experts)
    prior = build_prior(settings, schema, likelihood, posterior)
    networks = settings.made("network", **known)
    encoder, decoder = _pair(settings, networks)
    return VAE(encoder, posterior, prior, decoder, likelihood)


def build_prior(
    settings: Settings, schema: Schema, likelihood: core.Likelihood, posterior: core.Posterior
) -> core.Prior:
    """The prior by its name, for a model of these other parts; its weights are drawn from PyTorch's generator."""
    prior: core.Prior = settings.made(
        "prior",
        latent_dim=posterior.latent_dim,
        schema=schema,
        shape=schema.shape,
        conditions=Conditions(schema.conditions).size,
        likelihood=likelihood,
        posterior=posterior,
    )
    return prior


def _pair(settings: Settings, networks: object) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder, which somebody's own function may return as a list, or as plain functions."""
    pair = tuple(networks) if isinstance(networks, Iterable) else ()
    if len(pair) != 2 or not all(map(callable, pair)):
        name = Named.parse(settings.model.network).name
        raise VaekitError(f"network {name} makes no pair of modules: return (encoder, decoder).")
    return pair


def try_networks(settings: Settings, model: LatentModel, schema: Schema, device: torch.device) -> None:
    """Try somebody's own networks on rows of the data's shape; the global random state is left as it was.

    Once, before a training: networks may look at their numbers, and a model is also made without any, to see its sizes.
    """
    named = Named.parse(settings.model.network)
    if named.module is None:
        return
    conditions = Conditions(schema.conditions).size
    for one in model if isinstance(model, Ensemble) else [model]:
        assert isinstance(one, VAE)  # since `build_model`
        try:
            with torch.random.fork_rng(devices=[]):
                check_networks(
                    one.encoder, one.posterior, one.decoder, one.likelihood, schema.shape, conditions, device
                )
        except VaekitError as error:
            raise VaekitError(f"network {named.name}: {error}") from error.__cause__


def _check_conditions(settings: Settings, conditions: int) -> None:
    """Refuse conditions for a network of one's own that was not made for any."""
    if not conditions:
        return
    named = Named.parse(settings.model.network)
    make = found("network", NETWORKS, named, settings.trust)
    if "conditions" not in inspect.signature(make).parameters:
        raise VaekitError(
            f"network {named.name} takes no conditions: give what makes it a parameter `conditions`, their number C, "
            f"and its networks c (B, C) as a second argument."
        )


def build_objective(settings: Settings, schema: Schema | None = None, rows: int | None = None) -> Objective:
    """The objective by its name, with its penalties; weights that they have of their own (a critic's) are drawn from
    the seed too.

    schema, rows    of the training rows, for those that ask what these are
    """
    known: dict[str, Any] = {name: getattr(settings.model, name) for name in ("latent_dim", "hidden", "activation")}
    if schema is not None:
        known |= {"schema": schema, "shape": schema.shape, "conditions": Conditions(schema.conditions).size}
    if rows is not None:
        known["rows"] = rows
    with seeded(settings, "objective"):
        objective: Objective = settings.made("objective", **known)
        penalties = settings.made("penalty", **known)
    if penalties:
        objective = Penalised(objective, penalties)
    if settings.model.members > 1:
        return EachMember(objective, settings.model.members)
    return objective


def can_be_sampled(settings: Settings, objective: Objective) -> bool:
    """Whether draws of the prior are like codes of rows: where training saw to it, or it was fitted to them after."""
    return objective.generative or bool(settings.model.refitted)


@contextmanager
def seeded(settings: Settings, purpose: str) -> Iterator[None]:
    """PyTorch's layers draw their weights from the process's generator: it is seeded, and left as it was."""
    with SEEDING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(settings.training.seed, purpose))
        yield


def build_state(
    settings: Settings, schema: Schema, rows: int, device: torch.device, train: Dataset | None = None
) -> State:
    """The training state of resolved settings before its first step, for a number of training rows.

    train    the training rows, for a model that starts at what a linear model makes of them; without them its weights
             are random: to be overwritten by a checkpoint
    """
    recipe = build_recipe(settings, schema, rows)
    model = build_model(settings, schema).to(device)
    if train is not None:
        each: list[VAE] = list(model) if isinstance(model, Ensemble) else [model]
        for number, member in enumerate(each):
            own = train if len(each) == 1 else train.subset(_own_rows(settings, len(train), number))
            if settings.model.start == FACTOR_ANALYSIS:
                start_at(member, _factors(member, own))
            start_parts([member.posterior, member.prior], member, own)
    return State(model, build_objective(settings, schema, rows), recipe)


@torch.no_grad()
def start_parts(parts: Iterable[object], model: LatentModel, train: Dataset) -> None:
    """Let those parts of a model begin at training rows that want to."""
    starting = [part for part in parts if isinstance(part, Starting)]
    if not starting:
        return
    most = max(1, START_BUDGET // model.width)  # a part may look at all of them through the encoder
    order = train.unordered(min(START, most))
    batch = train.scoring_batch(torch.from_numpy(order).to(train.device))
    for part in starting:
        part.start(model, batch)


def _own_rows(settings: Settings, rows: int, member: int) -> np.ndarray:
    """The rows at whose factor analysis a member of an ensemble starts: as many as there are, drawn with replacement.

    So members differ from the first step on (Breiman 1996, Bagging predictors).
    """
    random = np.random.default_rng(derive_seed(settings.training.seed, f"member {member}"))
    return np.sort(random.integers(rows, size=rows))


@torch.no_grad()
def _factors(model: VAE, train: Dataset) -> Factors:
    """The best linear model of the codes of the training rows, given their conditions; of some of these rows where
    cells are missing, and the effect of conditions by some in any case."""
    codes = model.likelihood.inputs
    least: np.ndarray | float = LEAST_VARIANCE
    if isinstance(model.likelihood, Likelihood):
        codes = model.likelihood.codes
        least = model.likelihood.unexplained().cpu().double().numpy()
    some = train.some(max(FEWEST_ROWS, min(MOST_ROWS, MOST_CODES // codes)))
    if model.likelihood.inputs > codes and train.schema.has_missing:
        both, c = _together(model, some)
        rows, indicators = np.split(both, 2, 1)
        observed = indicators > 0
        effect = effects(rows, observed, c)
        factors = factor_analysis_observed(rows - c @ effect.T, observed, model.latent_dim, least)
    else:
        effect = np.zeros((codes, 0))
        if train.c is not None:
            both, c = _together(model, some)
            rows = both[:, :codes]
            effect = effects(rows, np.ones(rows.shape, bool), c)
        left = (rows[:, :codes] - c @ effect.T for rows, c in _codes(model, train))
        factors = factor_analysis(left, np.zeros(codes), np.ones(codes), model.latent_dim, least)
    return factors._replace(effect=effect)


def _together(model: VAE, rows: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """What the encoder sees of rows and of their conditions, (n, inputs) and (n, C)."""
    inputs, conditions = zip(*_codes(model, rows), strict=True)
    return np.concatenate(inputs), np.concatenate(conditions)


def _codes(model: VAE, rows: Dataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What the encoder sees of rows, (B, inputs) float64 a block: hidden codes are 0, the mean of a column. Beside it
    what it sees of their conditions, (B, C)."""
    for count, batch in rows.blocks():
        codes = model.likelihood.encode(batch.x, batch.mask)
        c = codes.new_zeros(len(codes), 0) if batch.c is None else batch.c
        yield codes[:count].flatten(1).cpu().double().numpy(), c[:count].cpu().double().numpy()


def build_recipe(settings: Settings, schema: Schema, rows: int) -> Recipe:
    """The recipe of resolved settings for a number of training rows."""
    training = settings.training
    size = min(chosen(training.batch_size), rows)
    steps = chosen(training.epochs) * max(1, rows // size)
    return Recipe(
        steps=steps,
        batch_size=size,
        learning_rate=chosen(training.learning_rate),
        schedule=training.schedule,
        tolerance=TOLERANCE + TOLERANCE_EACH * schema.features,
        patience=chosen(training.patience),
        seed=training.seed,
        precision=training.precision,
        compiled=training.compile == "on",
    )


def choose_device(name: str) -> torch.device:
    """Cpu or cuda; "auto" takes the accelerator where there is one."""
    if name not in (AUTO, *DEVICES):
        raise unknown("device", name, (AUTO, *DEVICES))
    if name == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise VaekitError("device cuda was asked for and this machine offers none: use --device cpu.")
    return torch.device(name)
