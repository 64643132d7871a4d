"""Networks: any size, any number of channels, rows that do not see each other, and a start at the data's mean."""

import numpy as np
import pytest
import torch
from torch import nn

from vaekit.data import Dataset, Source, describe
from vaekit.nets import MLP, ConvDecoder, ConvEncoder, ResidualBlock, stage_sizes
from vaekit.settings import Settings, build_model, prepare, resolve
from vaekit.training import fit

SHAPES = [(8, 8), (9, 13), (28, 28), (3, 8, 8), (3, 17, 31), (4, 33, 20), (1, 64, 64), (2, 256, 5)]


def pair(shape, blocks=0, per_feature=2, start=None):
    torch.manual_seed(0)
    encoder = ConvEncoder(shape, (4, 6), 10, "tanh", blocks=blocks)
    return encoder, ConvDecoder(5, shape, (4, 6), "tanh", per_feature=per_feature, blocks=blocks, start=start)


@pytest.mark.parametrize("blocks", [0, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_any_size_go_in_and_come_out(shape, blocks):
    encoder, decoder = pair(shape, blocks)
    assert encoder(torch.randn(3, *shape)).shape == (3, 10)
    y = decoder(torch.randn(3, 5))
    assert y.shape == (3, 2 * np.prod(shape))
    assert y.isfinite().all()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_map_of_latents_has_the_size_of_the_last_stage(shape):
    places = int(np.prod(stage_sizes(shape, 2)[-1]))
    encoder = ConvEncoder(shape, (4, 6), 3 * places, local=True)
    decoder = ConvDecoder(2 * places, shape, (4, 6), per_feature=2, local=True)
    assert encoder(torch.randn(3, *shape)).shape == (3, 3 * places)
    assert decoder(torch.randn(3, 2 * places)).shape == (3, 2 * np.prod(shape))


def test_a_local_latent_knows_its_surroundings_alone():
    """One at the left edge of a wide image neither sees nor shapes its right edge."""
    encoder = ConvEncoder((16, 128), (4, 6), 4 * 32, local=True)
    decoder = ConvDecoder(4 * 32, (16, 128), (4, 6), local=True)
    for block in (encoder.layers[4], decoder.first[2]):  # which start as the identity
        nn.init.normal_(block.layers[-1].weight)
    x = torch.randn(1, 16, 128, requires_grad=True)
    encoder(x).unflatten(1, (4, 32))[0, :, 0].square().sum().backward()
    assert (x.grad[..., :8] != 0).all()
    assert (x.grad[..., 64:] == 0).all()
    z = torch.randn(1, 4 * 32)
    moved = z.unflatten(1, (4, 32)).clone()
    moved[..., 0] += 1
    changed = (decoder(moved.flatten(1)) != decoder(z)).unflatten(1, (16, 128))
    assert changed[..., :4].all()
    assert not changed[..., 64:].any()


@pytest.mark.parametrize("blocks", [0, 1])
def test_every_pixel_reaches_the_code_and_the_code_every_pixel(blocks):
    encoder, decoder = pair((9, 7), blocks)
    x = torch.randn(1, 9, 7, requires_grad=True)
    encoder(x).square().sum().backward()
    assert (x.grad != 0).all()
    z = torch.randn(2, 5)
    assert (decoder(z)[0] != decoder(z)[1]).all()


@pytest.mark.parametrize("blocks", [0, 1])
def test_a_row_does_not_see_its_neighbours(blocks):
    encoder, decoder = pair((3, 12, 10), blocks)
    x, z = torch.randn(6, 3, 12, 10), torch.randn(6, 5)
    for network, rows in ((encoder, x), (decoder, z)):
        assert torch.allclose(network(rows)[2:3], network(rows[2:3]), atol=1e-5)


def test_the_decoder_s_output_is_a_plane_of_pixels_for_each_number_the_likelihood_needs():
    start = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32)
    _, decoder = pair((3, 4, 5), start=start)
    for parameter in decoder.first.parameters():
        nn.init.zeros_(parameter)
    for layer in decoder.stages.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    assert torch.equal(decoder(torch.randn(1, 5)), start[None])
    one = decoder.stages[-1][-1]
    with torch.no_grad():
        one.bias[0] = 1.0  # the first number's first colour
    changed = (decoder(torch.randn(1, 5)) - start).reshape(2, 3, 4, 5)
    assert (changed[0, 0] == 1).all()
    assert changed.sum() == 20


def test_a_residual_block_starts_as_the_identity():
    block, x = ResidualBlock(4, "silu"), torch.randn(2, 4, 5, 6)
    assert torch.equal(block(x), x)


def test_stages_halve_and_round_up():
    assert stage_sizes((3, 9, 4), 3) == [(9, 4), (5, 2), (3, 1), (2, 1)]


def test_a_linear_mlp_is_one_layer():
    assert [type(layer) for layer in MLP(3, (), 2).layers] == [nn.Linear]


def images(n=80, shape=(20, 18)):
    grey = np.linspace(0, 255, n)[:, None, None] * np.ones(shape)
    return grey.round().astype(np.uint8)


@pytest.mark.parametrize(("changes", "network"), [
    ({}, "conv"), ({"hidden": (8,)}, "mlp"), ({"network": "resnet"}, "resnet"), ({"network": "mlp"}, "mlp"),
])  # fmt: skip
def test_auto_takes_convolutions_for_images_unless_widths_are_given(changes, network):
    schema = describe(images())
    settings, _ = resolve(Settings().changed(**changes), schema, 80, True)
    assert settings.model.network == network
    assert (settings.model.hidden == (32, 64, 128)) == (network != "mlp")


def test_small_images_and_tables_get_fully_connected_layers():
    for x in (images(shape=(8, 8)), np.random.default_rng(0).normal(size=(50, 30))):
        assert resolve(Settings(), describe(x), 50, True)[0].model.network == "skip"
        assert resolve(Settings().changed(hidden=()), describe(x), 50, True)[0].model.network == "mlp"


def test_convolutions_are_refused_for_tables():
    with pytest.raises(ValueError, match="images"):
        resolve(Settings().changed(network="conv"), describe(np.eye(5)), 5, True)


@pytest.mark.parametrize("network", ["conv", "resnet"])
@pytest.mark.parametrize("likelihood", ["discretized-logistic", "gaussian"])
def test_an_untrained_convolutional_model_says_the_mean(network, likelihood):
    x = images()
    schema = describe(x)
    settings = Settings().changed(network=network, likelihood=likelihood, latent_dim=2)
    settings, _ = resolve(settings, schema, 80, True)
    model = build_model(settings, schema)
    mean = model.decode(torch.zeros(1, 1, 2)).mean
    assert mean.shape == (1, 1, 20, 18)
    assert (mean - x.mean()).abs().max() < 40


def test_a_convolutional_model_learns():
    settings = Settings().changed(network="conv", hidden=(4, 8), latent_dim=2, epochs=60, device="cpu", validation=0.0)
    prepared = prepare(settings, Source(images()))
    metrics = [record.metrics for record in fit(prepared.state, prepared.rows["train"]) if record.metrics]
    assert metrics[-1]["elbo"] > metrics[0]["elbo"] + 50
    assert isinstance(prepared.rows["train"], Dataset)
