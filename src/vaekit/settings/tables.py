"""The closed tables of names: all that settings can ask for."""

from collections.abc import Callable

from torch import nn

from vaekit import nets, objectives, parts
from vaekit.core import Posterior
from vaekit.data import BINARIZE, Schema
from vaekit.errors import VaekitError
from vaekit.parts.likelihoods import Likelihood
from vaekit.training import recipe

FACTOR_ANALYSIS = "factor-analysis"


def _perceptron(kind: type[nets.MLP] | type[nets.SkipMLP]) -> Callable:
    def build(
        schema: Schema,
        hidden: tuple[int, ...],
        activation: str,
        posterior: Posterior,
        likelihood: Likelihood,
        conditions: int = 0,
    ) -> tuple[nn.Module, nn.Module]:
        """Encoder and decoder; the decoder's widths are the encoder's backwards."""
        encoder: nn.Module = kind(likelihood.inputs, hidden, posterior.features, activation, conditions=conditions)
        if isinstance(posterior, parts.posteriors.Experts):
            if not likelihood.indicates:
                raise VaekitError("posterior 'experts' needs a likelihood that says which cells are observed.")
            encoder = nets.Experts(likelihood.inputs, hidden, posterior.latent_dim, activation, conditions=conditions)
        decoder = kind(
            posterior.latent_dim, hidden[::-1], likelihood.features, activation,
            start=likelihood.initial(), conditions=conditions,
        )  # fmt: skip
        return encoder, decoder

    return build


def _convolutional(blocks: int, local: bool = False) -> Callable:
    def build(
        schema: Schema,
        hidden: tuple[int, ...],
        activation: str,
        posterior: Posterior,
        likelihood: Likelihood,
        conditions: int = 0,
    ) -> tuple[nn.Module, nn.Module]:
        """Encoder and decoder with the channels `hidden`, a stage each."""
        if local:
            _check_map(schema, hidden, posterior)
        encoder = nets.ConvEncoder(
            schema.shape, hidden, posterior.features, activation, blocks=blocks, local=local, conditions=conditions
        )
        decoder = nets.ConvDecoder(
            posterior.latent_dim, schema.shape, hidden, activation,
            per_feature=likelihood.per_feature, start=likelihood.initial(),
            blocks=blocks, local=local, conditions=conditions,
        )  # fmt: skip
        return encoder, decoder

    return build


def _check_map(schema: Schema, hidden: tuple[int, ...], posterior: Posterior) -> None:
    height, width = nets.stage_sizes(schema.shape, len(hidden))[-1]
    if not isinstance(posterior, parts.posteriors.Diagonal | parts.posteriors.CodesPosterior):
        raise VaekitError(
            "the local network has latents at each place in the image: it goes with the posteriors diagonal, fsq, lfq, "
            "vq and concrete."
        )
    each = posterior.latent_dim
    if isinstance(posterior, parts.posteriors.CodesPosterior):
        each = posterior.places
    if each % (height * width):
        step = height * width * posterior.latent_dim // each
        raise VaekitError(
            f"latent_dim is {posterior.latent_dim}, and with {len(hidden)} stages the latents of the local network are "
            f"a map of {height}×{width}: give a multiple of {step}, or auto."
        )


LIKELIHOODS: dict[str, type[Likelihood]] = {"columns": parts.likelihoods.Columns, **parts.likelihoods.FAMILIES}
"""in the order in which they are asked whether they suit the data"""
POSTERIORS = {
    "diagonal": parts.posteriors.Diagonal,
    "full": parts.posteriors.FullCovariance,
    "experts": parts.posteriors.Experts,
    "coupling": parts.posteriors.Coupling,
    "iaf": parts.posteriors.InverseAutoregressive,
    "planar": parts.posteriors.Planar,
    "ladder": parts.posteriors.Ladder,
    "vmf": parts.posteriors.Spherical,
    "fsq": parts.posteriors.FSQ,
    "vq": parts.posteriors.VQ,
    "lfq": parts.posteriors.LFQ,
    "concrete": parts.posteriors.Concrete,
    "point": parts.posteriors.Point,
}
PRIORS: dict[str, Callable] = {
    "standard": parts.priors.StandardNormal,
    "gaussian": parts.priors.Gaussian,
    "mixture": parts.priors.Mixture,
    "vamp": parts.priors.VampPrior,
    "flow": parts.priors.Flow,
    "ladder": parts.priors.Ladder,
    "uniform-sphere": parts.priors.UniformSphere,
    "codes": parts.priors.codes_prior,
}
OBJECTIVES = {"elbo": objectives.ELBO, "iwae": objectives.ImportanceWeighted, "ae": objectives.Autoencoder}
PENALTIES = {
    "mmd": objectives.MMD,
    "tc": objectives.TotalCorrelation,
    "information": objectives.Information,
    "dimension-wise": objectives.DimensionWise,
    "dip-i": objectives.DIPI,
    "dip-ii": objectives.DIPII,
    "code-norm": objectives.CodeNorm,
    "weight-decay": objectives.WeightDecay,
    "jacobian": objectives.Jacobian,
}
NETWORKS: dict[str, Callable] = {
    "mlp": _perceptron(nets.MLP),
    "skip": _perceptron(nets.SkipMLP),
    "conv": _convolutional(0),
    "resnet": _convolutional(1),
    "local": _convolutional(0, local=True),
}
FOR_IMAGES = ("conv", "resnet", "local")
ACTIVATIONS = tuple(nets.ACTIVATIONS)
DEVICES = ("cpu", "cuda")
COMPILE = ("on", "off")
STARTS = ("random", FACTOR_ANALYSIS)
SCHEDULES = (recipe.COSINE, recipe.PLATEAU)
PRECISIONS = tuple(recipe.PRECISIONS)

__all__ = [
    "ACTIVATIONS", "BINARIZE", "COMPILE", "DEVICES", "FOR_IMAGES", "LIKELIHOODS", "NETWORKS", "OBJECTIVES",
    "PENALTIES", "POSTERIORS", "PRECISIONS", "PRIORS", "SCHEDULES", "STARTS",
]  # fmt: skip
