"""What "auto" means: choices from the schema and the number of rows, each with its reason."""

import math
import os
import shutil

import torch

from vaekit.data import Schema
from vaekit.errors import VaekitError
from vaekit.nets import stage_sizes
from vaekit.settings import tables
from vaekit.settings.build import build_objective, choose_device
from vaekit.settings.declared import AUTO, Settings
from vaekit.settings.named import Named, checked, factory, found
from vaekit.settings.tables import FACTOR_ANALYSIS
from vaekit.training.recipe import COSINE, PLATEAU

WIDE = 2**16
"""weights in the first layer from which on its products take most of a step"""
WORTH_COMPILING = 5_000_000
"""draws through the networks, in all of training"""
LARGE = 48
"""pixels a side from which on one code for the whole image leaves out what it shows"""
SMALL_BATCH = 64
"""rows in a batch, of few"""
MANY_ROWS = 30
"""a column"""
LARGEST_BATCH = 256
BATCH_CELLS = 2**18
"""numbers in a batch: of large images few are enough, and many are slow"""
FEW_ROWS = 2_000
"""rows below which a table is small"""
FEW_STEPS = 6_000
"""steps at most for a small table"""
MOST_STEPS = 80_000
"""steps at most: a budget of minutes"""
MOST_CONVOLVED = 16_000
"""steps at most of convolutions, which spend that budget sooner"""
PATIENCE = 10
"""records of 100 steps or more"""
WIDEST_START = 512
"""columns up to which factor analysis takes no time"""


def resolve(settings: Settings, schema: Schema, rows: int, validated: bool) -> tuple[Settings, dict[str, str]]:
    """The settings with every "auto" replaced, and for each choice one line that says why.

    rows        number of rows to train on
    validated   whether there are validation rows, so that training can stop early
    """
    batch = settings.training.batch_size
    if isinstance(batch, str):  # no number is text: it is "auto"
        batch = _batch_size(rows, schema.features)
    steps_an_epoch = max(1, rows // min(batch, rows))
    likelihood = settings.model.likelihood
    why_likelihood = ""
    if likelihood == AUTO:
        likelihood, why_likelihood = _likelihood(schema)
    network = settings.model.network
    if network == AUTO:
        network = _network(schema, settings.model.hidden)
    epochs = settings.training.epochs
    if isinstance(epochs, str):
        epochs = _epochs(steps_an_epoch, network, rows)
    if network in tables.FOR_IMAGES and not schema.is_image:
        raise VaekitError(
            f"network '{network}' is for images, and each of these rows is a {schema.layout} of shape {schema.shape}: "
            f"choose mlp, or kind image if they are."
        )
    hidden = settings.model.hidden
    why_hidden = ""
    if isinstance(hidden, str):
        hidden, why_hidden = _hidden(schema, network, rows)
    if settings.model.start == FACTOR_ANALYSIS and not _is_linear(network, hidden):
        raise VaekitError(
            f"start '{FACTOR_ANALYSIS}' needs networks with a linear path, and '{network}' has none: choose network "
            f"skip, or hidden () with mlp."
        )
    posterior = settings.model.posterior
    why_posterior = ""
    if posterior == AUTO:
        posterior, why_posterior = _posterior(settings, schema, network)
    prior, why_prior = _prior(settings, posterior)
    latent_dim = _sized(_latent_dim(schema, network, hidden), posterior, settings)
    sizes = {"latent_dim": latent_dim[0], "hidden": hidden, "activation": "silu"}
    auto = {name: value for name, value in sizes.items() if getattr(settings.model, name) == AUTO}
    objective = build_objective(settings.changed(**auto), schema, rows)
    said = ("bound", "rising") if objective.bounded else ("loss", "falling")
    choices = {
        "likelihood": (likelihood, why_likelihood),
        "posterior": (posterior, why_posterior),
        "prior": (prior, why_prior),
        "latent_dim": latent_dim,
        "network": (network, _network_reason(schema, network)),
        "hidden": (hidden, why_hidden),
        "activation": ("silu", "smooth"),
        "batch_size": (batch, f"{rows:,} rows"),
        "epochs": (epochs, f"at most: {epochs * steps_an_epoch:,} steps, stopped when the {said[0]} stops {said[1]}"),
        "learning_rate": (_learning_rate(schema.features), "of Adam, after a warm-up"),
        "precision": _precision(network, schema.features, hidden, settings.training.device),
        "compile": _compile(settings, network, epochs * rows * objective.samples),
        "start": _start(settings, schema, network, hidden, {"likelihood": likelihood, "posterior": posterior}),
        "schedule": _schedule(settings.training.epochs, f"the {said[0]} has stopped {said[1]}"),
        "patience": _patience(validated, said[0]),
    }
    asked = {**vars(settings.model), **vars(settings.training)}
    wanted = {name: choice for name, choice in choices.items() if asked[name] == AUTO}
    resolved = settings.changed(kind=schema.layout, **{name: value for name, (value, _) in wanted.items()})
    return resolved, {name: reason for name, (_, reason) in wanted.items() if reason}


def check_fits(settings: Settings, schema: Schema) -> None:
    """Refuse a likelihood that gives the data no density, before anything is trained."""
    if settings.model.likelihood == AUTO:
        return
    named = Named.parse(settings.model.likelihood)
    family = factory("likelihood", tables.LIKELIHOODS, named, settings.trust)
    misfit = getattr(family, "misfit", None)
    if misfit is None:
        return
    reason = misfit(schema)
    if reason is not None:
        raise VaekitError(reason)


def _likelihood(schema: Schema) -> tuple[str, str]:
    """The first family that suits the data."""
    for name, family in tables.LIKELIHOODS.items():
        reason = family.suits(schema)
        if reason is not None:
            return name, reason
    raise VaekitError(f"no likelihood suits {schema.kind} data: choose one.")


def _network(schema: Schema, hidden: tuple[int, ...] | str) -> str:
    """By the shorter side of the image; fully connected layers where their widths were given."""
    if not schema.is_image:
        return "mlp" if hidden == () else "skip"
    if hidden != AUTO:
        return "mlp"
    side = min(schema.shape[-2:])
    if side >= LARGE:
        return "local"
    return "conv" if side >= 16 else "skip"


def _network_reason(schema: Schema, network: str) -> str:
    if network == "mlp":
        return "fully connected"
    if network == "skip":
        return "a linear map and a fully connected network"
    size = f"images of {'×'.join(map(str, schema.shape))}"
    if network == "local":
        return f"{size}: a latent map, for detail; conv gives one code an image"
    return size


def _hidden(schema: Schema, network: str, rows: int) -> tuple[tuple[int, ...], str]:
    """Widths of the layers, or channels of the stages: each halves the image, down to about 4 pixels."""
    if network == "local":
        return (32, 64, 128), "channels, a stage each"
    if network not in tables.FOR_IMAGES:
        width = 256 if schema.features >= 64 else 128
        if rows < FEW_ROWS:
            width = 64
        return (width, width), f"{schema.features} features, {rows:,} rows"
    stages = max(1, math.ceil(math.log2(max(schema.shape[-2:]) / 4)))
    return tuple(min(128, 32 << i) for i in range(stages)), "channels, a stage each"


def _latent_dim(schema: Schema, network: str, hidden: tuple[int, ...]) -> tuple[int, str]:
    """By the size of the image, or fewer than the columns of a table."""
    if network == "local":
        height, width = stage_sizes(schema.shape, len(hidden))[-1]
        return 16 * height * width, f"16 at each of {height}×{width} places"
    if schema.is_image:
        latents = 32 if schema.features >= 256 else 16
        return latents, f"images of {schema.features // schema.channels} pixels"
    return max(1, min(20, schema.codes - 2)), f"{schema.features} columns"


def _sized(chosen: tuple[int, str], posterior: str, settings: Settings) -> tuple[int, str]:
    """As many latents as a posterior makes of them, where it has a word in that (`sized`)."""
    named = Named.parse(posterior)
    family = factory("posterior", tables.POSTERIORS, named, settings.trust)
    sized = getattr(family, "sized", None)
    if sized is None:
        return chosen
    latents, reason = chosen
    arguments = checked("posterior", found("posterior", tables.POSTERIORS, named, settings.trust), named)
    return sized(latents, **arguments), reason


def _posterior(settings: Settings, schema: Schema, network: str) -> tuple[str, str]:
    """The one that an objective names as its own; else by whether cells are missing: then the best linear model has
    another posterior for each pattern of them."""
    objective = Named.parse(settings.training.objective)
    own = getattr(factory("objective", tables.OBJECTIVES, objective, settings.trust), "posterior", "")
    if own:
        return own, f"that of objective {objective.name}"
    if not schema.has_missing:
        return "diagonal", "every cell is there"
    if network not in tables.NETWORKS:
        return "diagonal", "a network of your own"
    return "experts", "some cells are missing"


def _prior(settings: Settings, posterior: str) -> tuple[str, str]:
    """The one that a posterior names as its own, whose latents are of its kind; else the standard normal."""
    family = factory("posterior", tables.POSTERIORS, Named.parse(posterior), settings.trust)
    own = getattr(family, "prior", "")
    if own:
        return own, f"that of posterior {Named.parse(posterior).name}"
    return "standard", ""


def _precision(network: str, features: int, hidden: tuple[int, ...], device: str) -> tuple[str, str]:
    """Half the bits where the processor has instructions for them and most of the time goes into products."""
    if network not in tables.NETWORKS:
        return "float32", "a network of your own"
    if network == "skip":
        return "float32", "a linear path: its solution is kept exactly"
    if network == "mlp" and features * max(hidden, default=0) < WIDE:
        return "float32", "narrow layers: little to gain"
    if choose_device(device).type == "cpu" and not torch.cpu.get_capabilities().get("avx512_bf16"):
        return "float32", "no bfloat16 instructions here"
    return "bfloat16", "the networks' products; weights and bounds stay float32"


def _compile(settings: Settings, network: str, draws: int) -> tuple[str, str]:
    """On where enough goes through the networks to repay the seconds that compiling takes."""
    if network not in tables.NETWORKS:
        return "off", "a network of your own"
    if network in tables.FOR_IMAGES:
        return "off", "nothing to gain for convolutions"
    if draws < WORTH_COMPILING:
        return "off", "a short training"
    if not has_compiler():
        return "off", "no C++ compiler found"
    return "on", f"{draws:,} draws to train on repay its seconds"


def has_compiler() -> bool:
    """Whether this machine has a C++ compiler, which torch.compile calls."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))


def _batch_size(rows: int, features: int) -> int:
    """The largest power of two up to a tenth of the rows, and of so many cells in all, at least 16.

    Where a column has many rows to be learned from, it is up to a fifth of them, as far as that is no more than 64: the
    noise of small batches keeps wide tables of few rows from being learned by heart, and only slows these down.
    """
    share = 10
    if rows >= MANY_ROWS * features:
        share = 5
    most = min(max(rows // 10, min(rows // share, SMALL_BATCH)), BATCH_CELLS // features)
    return max(16, min(LARGEST_BATCH, 1 << max(0, most.bit_length() - 1)))


def _learning_rate(features: int) -> float:
    """5e-3, and lower by the root of the features of a row where these are too many for the largest batch."""
    return float(f"{5e-3 * min(1.0, BATCH_CELLS / features / LARGEST_BATCH) ** 0.5:.1g}")


def _epochs(steps_an_epoch: int, network: str, rows: int) -> int:
    """As many passes as the budget of steps allows: an epoch at least."""
    steps = FEW_STEPS if rows < FEW_ROWS else MOST_STEPS
    if network in tables.FOR_IMAGES:
        steps = MOST_CONVOLVED
    return max(1, steps // steps_an_epoch)


def _is_linear(network: str, hidden: tuple[int, ...]) -> bool:
    """Whether a network is a linear map before it has learned anything."""
    return network == "skip" or (network == "mlp" and hidden == ())


def _start(
    settings: Settings, schema: Schema, network: str, hidden: tuple[int, ...], chosen: dict[str, str]
) -> tuple[str, str]:
    """Where networks, likelihood and posterior know how to be linear."""
    if not _is_linear(network, hidden):
        return "random", "no linear path"
    for kind, table in (("likelihood", tables.LIKELIHOODS), ("posterior", tables.POSTERIORS)):
        if not hasattr(factory(kind, table, Named.parse(chosen[kind]), settings.trust), "affine"):
            return "random", f"the {kind} has no `affine`"
    if schema.codes > WIDEST_START:
        return "random", f"more than {WIDEST_START} columns"
    return FACTOR_ANALYSIS, "the best linear model"


def _schedule(epochs: int | str, stopped: str) -> tuple[str, str]:
    if epochs == AUTO:
        return PLATEAU, f"the rate comes down once {stopped}"
    return COSINE, "down to 0 over the epochs asked for"


def _patience(validated: bool, what: str) -> tuple[int, str]:
    whose = "validation" if validated else "training"
    return PATIENCE, f"records without a better {whose} {what}"
