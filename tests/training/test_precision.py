"""bfloat16 is for the networks' matrix products, and for nothing else."""

import tomllib

import numpy as np
import pytest
import torch
from torch import nn

from vaekit import nets, parts
from vaekit.core import Batch
from vaekit.data import Dataset, Source, describe
from vaekit.inference import over_rows
from vaekit.models import VAE
from vaekit.objectives import ELBO, ImportanceWeighted
from vaekit.runs import Run
from vaekit.settings import Settings, prepare
from vaekit.training import Recipe, State, fit

RECIPE = {"precision": "bfloat16"}


class Seen(nn.Module):
    """A network that writes down the types of what comes out of its layers."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.types = network, set()
        for layer in network.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.register_forward_hook(lambda layer, given, y: self.types.add((y.dtype, layer.weight.dtype)))

    def forward(self, x):
        return self.network(x)


def everything(model, objective, batch, noise) -> dict[str, torch.Tensor]:
    """Every tensor on the way from a batch to its gradient."""
    draw = model.draw(batch, noise)
    bound = objective(model, batch, noise)
    bound.loss.backward()
    lazy = {name: getattr(draw, name) for name in ("log_q", "log_pz", "log_px", "log_w", "rate")}
    made = {"q.mean": draw.q.mean, "q.stddev": draw.q.stddev, "z": draw.z, "px.mean": draw.px.mean}
    weights = dict(model.named_parameters())
    gradients = {f"∂{name}": p.grad for name, p in weights.items()}
    return {**lazy, **made, **weights, **gradients, "value": bound.value, "loss": bound.loss, **bound.terms}


def test_only_the_layers_of_the_networks_work_in_it(bench):
    model = bench.state(**RECIPE).model
    model.encoder, model.decoder = Seen(model.encoder), Seen(model.decoder)
    batch, noise = bench.rows.train_batch(0, 16), torch.randn(4, 16, 2, generator=torch.Generator().manual_seed(0))
    found = everything(model, ImportanceWeighted(4), batch, noise)
    assert {name: tensor.dtype for name, tensor in found.items() if tensor.dtype != torch.float32} == {}
    for network in (model.encoder, model.decoder):
        assert network.types == {(torch.bfloat16, torch.float32)}
    model.precision = None
    plain = everything(model, ImportanceWeighted(4), batch, noise)
    assert torch.allclose(found["value"], plain["value"], rtol=0.1, atol=0.1)
    assert not torch.allclose(found["value"], plain["value"], rtol=1e-4)


class Constant(nn.Module):
    """A network without a product: its values, which 8 bits cannot hold, one set a row."""

    def __init__(self, features: int, seed: int):
        super().__init__()
        self.y = nn.Parameter(torch.randn(features, generator=torch.Generator().manual_seed(seed)))

    def forward(self, x):
        return self.y.expand(len(x), -1)


@pytest.mark.parametrize("posterior", [parts.posteriors.Diagonal, parts.posteriors.FullCovariance])
def test_without_products_it_changes_no_bit(posterior):
    posterior, likelihood = posterior(2), parts.likelihoods.Gaussian((4,), sigma="column")
    encoder, decoder = Constant(posterior.features, 0), Constant(likelihood.features, 1)
    model = VAE(encoder, posterior, parts.priors.StandardNormal(2), decoder, likelihood)
    generator = torch.Generator().manual_seed(2)
    batch, noise = Batch(torch.randn(3, 4, generator=generator)), torch.randn(5, 3, 2, generator=generator)
    plain = everything(model, ELBO(5), batch, noise)
    model.zero_grad()
    model.precision = torch.bfloat16
    assert all(torch.equal(tensor, plain[name]) for name, tensor in everything(model, ELBO(5), batch, noise).items())


def test_what_is_validated_and_kept_is_float32(bench):
    state = bench.state(**RECIPE, averaging=0.0, steps=12)
    (record,) = (r.metrics for r in fit(state, bench.rows, bench.validation) if r.metrics)
    value = lambda model: over_rows(ELBO(), model, bench.validation.blocks(), 0).value.double().mean().item()  # noqa: E731
    assert state.model.precision == torch.bfloat16
    assert state.averaged.precision is state.trained().precision is None
    assert record["validation_elbo"] == value(state.averaged) == value(state.trained())
    assert record["validation_elbo"] != pytest.approx(value(state.model), rel=1e-6)  # the same weights in bfloat16
    state.model.precision = None
    assert record["validation_elbo"] == value(state.model)


def run(state, rows):
    return [record.metrics for record in fit(state, rows)]


def test_a_training_with_it_repeats_to_the_bit():
    x = np.random.default_rng(0).integers(0, 256, (48, 8, 8), dtype=np.uint8)
    schema = describe(x).as_binary("dynamic")

    def state() -> State:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            posterior = parts.posteriors.Diagonal(2)
            likelihood = parts.likelihoods.Bernoulli((8, 8))
            encoder = nets.ConvEncoder((8, 8), (4, 8), posterior.features)
            decoder = nets.ConvDecoder(2, (8, 8), (4, 8))
        model = VAE(encoder, posterior, parts.priors.StandardNormal(2), decoder, likelihood)
        return State(model, ELBO(), Recipe(12, batch_size=16, record_steps=3, **RECIPE))

    rows = Dataset(x, schema, seed=0)
    whole, again = state(), state()
    assert run(again, rows) == run(whole, rows)
    tensors = again.tensors()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in whole.tensors().items())
    assert {tensor.dtype for tensor in whole.tensors().values()} == {torch.float32}


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_a_run_folder_says_which_it_was(tmp_path, network):
    x = np.random.default_rng(0).integers(0, 256, (48, 8, 8), dtype=np.uint8)
    prepared = prepare(Settings().changed(network=network, hidden=(4,), device="cpu"), Source(x))
    Run.create(tmp_path, prepared.settings, prepared.schema, {})
    written = tomllib.loads((tmp_path / "run.toml").read_text())["training"]["precision"]
    assert written == prepared.state.recipe.precision in ("float32", "bfloat16")
