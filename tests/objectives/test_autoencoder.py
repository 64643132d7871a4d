"""The loss of an autoencoder, which bounds nothing, and the penalties that keep its decoder smooth."""

import math

import pytest
import torch
from touchstone import B, D, Touchstone, X

from vaekit.core import Batch, UnknownError
from vaekit.distributions import Point
from vaekit.errors import VaekitError
from vaekit.inference import over_rows
from vaekit.models import VAE
from vaekit.models.trial import check_parts
from vaekit.nets import MLP
from vaekit.noise import row_keys
from vaekit.objectives import (
    ELBO,
    MMD,
    Autoencoder,
    CodeNorm,
    ImportanceWeighted,
    Information,
    Jacobian,
    Penalised,
    WeightDecay,
)
from vaekit.parts import likelihoods, posteriors, priors


def plain(seed: int = 0) -> tuple[VAE, Batch]:
    """A linear autoencoder, σ = 1."""
    source = torch.Generator().manual_seed(seed)
    posterior, likelihood = posteriors.Point(D), likelihoods.Gaussian((X,), sigma="unit")
    model = VAE(MLP(X, (), D), posterior, priors.StandardNormal(D), MLP(D, (), X), likelihood).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=source))
    return model, Batch(torch.randn(B, X, generator=source, dtype=torch.float64))


def test_its_loss_is_half_the_squared_error_and_it_has_no_value():
    model, batch = plain()
    assert Autoencoder().noise(model, B) == ()
    bound = Autoencoder()(model, batch)
    again = model.decode(model.encode(batch).mean[None]).mean[0]
    error = 0.5 * (batch.x - again).square().sum(-1) + 0.5 * X * math.log(2 * math.pi)
    assert bound.value is None
    assert bound.loss.item() == pytest.approx(error.mean().item(), rel=1e-12)
    assert list(bound.terms) == ["distortion"]
    assert torch.allclose(bound.terms["distortion"], error)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(bound.loss, list(model.parameters())))


def test_of_a_normal_posterior_it_takes_the_mean(inexact):
    bound = Autoencoder()(inexact.model, inexact.batch)
    px = inexact.model.decode(inexact.model.encode(inexact.batch).mean[None])
    assert bound.loss.item() == pytest.approx(-px.log_prob(inexact.x).mean().item(), rel=1e-12)


def test_a_regularised_autoencoder_has_its_three_terms():
    """½ of Σ (x − x̂)² + β ½ ‖z‖² + λ ‖θ‖²."""
    model, batch = plain()
    beta, lambda_ = 0.3, 0.02
    objective = Penalised(Autoencoder(), [CodeNorm(beta / 2), WeightDecay(lambda_ / 2)])
    z = model.encode(batch).mean
    squared = (batch.x - model.decode(z[None]).mean[0]).square().sum(-1).mean()
    weights = sum(weight.square().sum() for weight in model.decoder.parameters())
    theirs = squared + beta * 0.5 * z.square().sum(-1).mean() + lambda_ * weights
    ours = objective(model, batch).loss - 0.5 * X * math.log(2 * math.pi)
    assert 2 * ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    assert not objective.bounded
    assert not objective.whole


def test_the_jacobian_of_a_linear_decoder_is_its_weights():
    """‖W‖²_F: over all corners exactly, also with scales of the data."""
    stone = Touchstone()
    weight = stone.model.decoder.layers[-1].weight
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * X)
    draw = stone.model.draw(Batch(stone.x[:1].expand(len(signs), -1)), stone.noise(1, len(signs)))
    found = Jacobian()(stone.model, draw, signs[None])
    assert found.item() == pytest.approx(weight.square().sum().item(), rel=1e-10)


def test_the_jacobian_is_that_of_x_and_neither_of_its_sum_nor_of_its_square():
    """By autograd, of a decoder that is not linear, with a direction along each number of x in turn."""
    model, batch = plain()
    model.decoder = MLP(D, (5,), X, "tanh").double()
    z = model.encode(batch).mean.detach()
    draw = model.draw(batch, torch.zeros(1, B, 0, dtype=torch.float64))
    found = sum(Jacobian()(model, draw, torch.eye(X, dtype=torch.float64)[j].expand(1, B, X)).item() for j in range(X))
    each = [torch.autograd.functional.jacobian(lambda one: model.decode(one[None, None]).mean[0, 0], row) for row in z]
    assert found == pytest.approx(torch.stack(each).square().sum((1, 2)).mean().item(), rel=1e-10)


def test_a_point_has_no_density_and_says_so():
    q = Point(torch.zeros(B, D))
    for ask in (q.log_prob, q.log_prob_each, lambda z: q.rate(q, z, None)):
        with pytest.raises(UnknownError, match="no density"):
            ask(torch.zeros(1, B, D))
    assert not q.dense
    assert q.stddev.abs().max() == 0
    assert q.covariance.shape == (B, D, D)


@pytest.mark.parametrize("objective", [ELBO(), ImportanceWeighted(), Penalised(ELBO(), [MMD()])])
def test_no_bound_is_made_of_a_point(objective):
    model, batch = plain()
    with pytest.raises(VaekitError, match=r"a point has no density.*choose objective ae, or posterior auto"):
        check_parts(model, objective, batch)
    check_parts(model, Penalised(Autoencoder(), [MMD(), Jacobian()]), batch)
    with pytest.raises(VaekitError, match="no density"):
        check_parts(model, Penalised(Autoencoder(), [Information(9)]), batch)


def test_an_objective_that_says_it_is_a_bound_and_is_none_is_refused():
    class Undeclared(Autoencoder):
        bounded = True

    class Shy(ELBO):
        bounded = False

    stone = Touchstone()
    with pytest.raises(VaekitError, match="ae gives no value: set its attribute `bounded` to False"):
        check_parts(stone.model, Undeclared(), stone.batch)
    with pytest.raises(VaekitError, match=r"elbo gives a value .*`bounded` to True"):
        check_parts(stone.model, Shy(), stone.batch)


def test_a_prior_with_weights_is_not_left_as_it_is():
    class Learned(priors.StandardNormal):
        def __init__(self, latent_dim):
            super().__init__(latent_dim)
            self.loc = torch.nn.Parameter(torch.zeros(latent_dim))

    model, batch = plain()
    model.prior = Learned(D).double()
    with pytest.raises(VaekitError, match="ae trains no prior"):
        check_parts(model, Autoencoder(), batch)
    check_parts(model, Penalised(Autoencoder(), [MMD()]), batch)  # which draws the codes to it, and it to them


def test_the_loss_of_rows_held_out_is_of_these_rows_and_not_of_what_fills_a_block_up():
    """A block of 4 rows is filled up with copies of the first, which would count in whatever compares rows."""
    model, batch = plain()
    objective = Penalised(Autoencoder(), [MMD(weight=50.0)])
    x = batch.x[:4]
    alone = Batch(x, key=row_keys(x.numpy()))
    filled = torch.cat([x, x[:1].expand(9, -1)])
    block = Batch(filled, key=row_keys(filled.numpy()))
    expected = over_rows(objective, model, [(4, alone)], seed=0)
    found = over_rows(objective, model, [(4, block)], seed=0)
    assert torch.allclose(found.loss, expected.loss, rtol=1e-12)
    assert found.value is None
    assert found.selected == pytest.approx(-expected.loss.mean().item(), rel=1e-12)
