"""The closed tables of names: all that a specification can ask for."""

from collections.abc import Callable

import numpy as np
from torch import nn

from vaekit import nets, objectives, parts
from vaekit.data import BINARIZE, Schema
from vaekit.errors import VaekitError
from vaekit.training import recipe

FACTOR_ANALYSIS = "factor-analysis"


Build = Callable[[Schema, str], parts.likelihoods.Likelihood]
"""(schema, range) ↦ a likelihood in the units of `Schema.centred`"""


def _gaussian(sigma: str) -> Build:
    def build(schema: Schema, range: str = "seen") -> parts.likelihoods.Likelihood:
        # A difference of one resolution is the finest there is: rounding alone has this standard deviation.
        floor = schema.array("resolution") / 12**0.5
        mean, scale, constant = schema.shifted("mean"), schema.array("scale"), schema.array("constant")
        if sigma != "column":  # one scale for all: that of the columns that vary
            varies = ~constant
            scale = np.sqrt(np.square(scale[varies]).mean()) if varies.any() else scale.mean()
        options = {"mean": mean, "scale": scale, "floor": floor, "constant": constant}
        return parts.likelihoods.Gaussian(schema.shape, sigma=sigma, **options)

    return build


def _bernoulli(schema: Schema, range: str = "seen") -> parts.likelihoods.Likelihood:
    return parts.likelihoods.Bernoulli(schema.shape, mean=schema.array("mean"), expected=schema.binarized == "expected")


BEYOND = 1e-4
"""probability of a column's values outside the range seen in fitting, which costs each row as much in nats"""


def _on_a_grid(family) -> Build:
    def build(schema: Schema, range: str = "seen") -> parts.likelihoods.Likelihood:
        """A pixel's values are known beforehand, and so is its unit; a column's are as far apart as they are."""
        low, high, mean = (schema.shifted(name) for name in ("low", "high", "mean"))
        return family(
            schema.shape, low=low, high=high, mean=mean, scale=schema.array("scale"), bounded=range == "seen",
            least=-schema.array("offset"), by_scale=not schema.is_image, beyond=0.0 if schema.is_image else BEYOND,
        )  # fmt: skip

    return build


def _perceptron(kind: type[nets.MLP] | type[nets.SkipMLP]) -> Callable:
    def build(schema: Schema, hidden, activation: str, posterior, likelihood) -> tuple[nn.Module, nn.Module]:
        """Encoder and decoder; the decoder's widths are the encoder's backwards."""
        encoder = kind(likelihood.inputs, hidden, posterior.features, activation)
        start = likelihood.initial()
        return encoder, kind(posterior.latent_dim, hidden[::-1], likelihood.features, activation, start=start)

    return build


def _convolutional(blocks: int, local: bool = False) -> Callable:
    def build(schema: Schema, hidden, activation: str, posterior, likelihood) -> tuple[nn.Module, nn.Module]:
        """Encoder and decoder with the channels `hidden`, a stage each."""
        if local:
            _check_map(schema, hidden, posterior)
        kind = {"blocks": blocks, "local": local}
        encoder = nets.ConvEncoder(schema.shape, hidden, posterior.features, activation, **kind)
        decoder = nets.ConvDecoder(
            posterior.latent_dim, schema.shape, hidden, activation,
            per_feature=likelihood.per_feature, start=likelihood.initial(), **kind,
        )  # fmt: skip
        return encoder, decoder

    return build


def _check_map(schema: Schema, hidden, posterior) -> None:
    height, width = nets.stage_sizes(schema.shape, len(hidden))[-1]
    if not isinstance(posterior, parts.posteriors.Diagonal):
        raise VaekitError("the local network has one latent a place in the image: it goes with the diagonal posterior.")
    if posterior.latent_dim % (height * width):
        raise VaekitError(
            f"latent_dim is {posterior.latent_dim}, and with {len(hidden)} stages the latents of the local network are "
            f"a map of {height}×{width}: give a multiple of {height * width}, or auto."
        )


def _elbo(settings, warmup: int) -> objectives.ELBO:
    if settings.repeats != 1:
        raise VaekitError("repeats go with --objective iwae; the elbo averages over its samples.")
    return objectives.ELBO(settings.samples, settings.beta, warmup, settings.free_bits, settings.gradient)


def _iwae(settings, warmup: int) -> objectives.ImportanceWeighted:
    if settings.free_bits:
        raise VaekitError("free bits go with --objective elbo: the importance-weighted bound has no rate of its own.")
    return objectives.ImportanceWeighted(settings.samples, settings.repeats, settings.beta, warmup, settings.gradient)


LIKELIHOODS: dict[str, Build] = {
    "bernoulli": _bernoulli,
    "gaussian": _gaussian("shared"),
    "gaussian-unit": _gaussian("unit"),
    "gaussian-diagonal": _gaussian("column"),
    "discretized-logistic": _on_a_grid(parts.likelihoods.DiscretizedLogistic),
    "colour-logistic": _on_a_grid(parts.likelihoods.ColourLogistic),
}
POSTERIORS = {"diagonal": parts.posteriors.Diagonal, "full": parts.posteriors.FullCovariance}
PRIORS = {"standard": parts.priors.StandardNormal}
OBJECTIVES = {"elbo": _elbo, "iwae": _iwae}
GRADIENTS = objectives.GRADIENTS
NETWORKS: dict[str, Callable] = {
    "mlp": _perceptron(nets.MLP),
    "skip": _perceptron(nets.SkipMLP),
    "conv": _convolutional(0),
    "resnet": _convolutional(1),
    "local": _convolutional(0, local=True),
}
ACTIVATIONS = tuple(nets.ACTIVATIONS)
DEVICES = ("cpu", "cuda")
COMPILE = ("on", "off")
STARTS = ("random", FACTOR_ANALYSIS)
SCHEDULES = (recipe.COSINE, recipe.PLATEAU)
PRECISIONS = tuple(recipe.PRECISIONS)
RANGES = ("seen", "open")

__all__ = [
    "ACTIVATIONS", "BINARIZE", "COMPILE", "DEVICES", "GRADIENTS", "LIKELIHOODS", "NETWORKS", "OBJECTIVES", "POSTERIORS",
    "PRECISIONS", "PRIORS", "RANGES", "SCHEDULES", "STARTS",
]  # fmt: skip
