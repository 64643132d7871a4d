"""Penalties: the laws of all, and for each its closed form."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from touchstone import B, D, Touchstone, X

from vaekit.core import Batch, Penalty, UnknownError
from vaekit.distributions import MultivariateNormal, Normal
from vaekit.errors import VaekitError
from vaekit.inference import over_rows
from vaekit.models import VAE
from vaekit.nets import MLP
from vaekit.noise import row_keys
from vaekit.objectives import (
    DIPI,
    DIPII,
    ELBO,
    MMD,
    CodeNorm,
    DimensionWise,
    EachMember,
    ImportanceWeighted,
    Information,
    Jacobian,
    Penalised,
    TotalCorrelation,
    WeightDecay,
)
from vaekit.objectives.correlation import aggregate
from vaekit.objectives.divergences import WIDTHS, mmd
from vaekit.parts import likelihoods, posteriors, priors

N = 40
"""training rows"""
PENALTIES = {
    "mmd, imq": MMD,
    "mmd, rbf": partial(MMD, kernel="rbf", scale=0.5),
    "tc": partial(TotalCorrelation, N),
    "information": partial(Information, N),
    "dimension-wise": partial(DimensionWise, N),
    "dip-i": DIPI,
    "dip-ii": DIPII,
    "code-norm": CodeNorm,
    "weight-decay": WeightDecay,
    "jacobian": Jacobian,
}
"""Every penalty goes through the laws below: a new one is a line here."""
OBJECTIVES = {"elbo": partial(ELBO, 3), "iwae": partial(ImportanceWeighted, 4)}


@pytest.fixture(params=PENALTIES)
def make(request):
    return PENALTIES[request.param]


@pytest.fixture(params=OBJECTIVES)
def objective(request):
    return OBJECTIVES[request.param]()


def noise_of(objective, stone: Touchstone, rows: int = B) -> list[torch.Tensor]:
    source = torch.Generator().manual_seed(7)
    shapes = objective.noise(stone.model, rows)
    return [torch.randn(*shape, generator=source, dtype=torch.float64) for shape in shapes]


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# laws of every penalty


def test_it_is_in_the_loss_with_its_weight_and_in_no_value(make, objective, inexact):
    plain = objective(inexact.model, inexact.batch, *noise_of(objective, inexact))
    losses = []
    for weight in (0.0, 1.0, 3.0):
        both = Penalised(objective, [make(weight=weight)])
        found = both(inexact.model, inexact.batch, *noise_of(both, inexact))
        assert torch.equal(found.value, plain.value)
        assert found.terms.keys() == plain.terms.keys()
        assert all(torch.equal(found.terms[name], term) for name, term in plain.terms.items())
        losses.append(found.loss.item())
    assert losses[0] == plain.loss.item()
    assert losses[1] != losses[0]
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]), rel=1e-9)


def test_with_no_weight_the_gradient_is_that_of_the_objective_to_the_bit(make, objective, inexact):
    parameters = list(inexact.model.parameters())
    gradients = []
    for one in (objective, Penalised(objective, [make(weight=0.0)])):
        loss = one(inexact.model, inexact.batch, *noise_of(one, inexact)).loss
        gradients.append(torch.autograd.grad(loss, parameters))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_its_gradient_agrees_with_central_differences(make, inexact):
    both = Penalised(ELBO(2), [make(weight=2.0)])
    noise = noise_of(both, inexact)
    loss = lambda *values: both(inexact.model, inexact.batch, *noise).loss  # noqa: E731
    parameters = list(inexact.model.parameters())
    assert torch.autograd.gradcheck(loss, parameters, rtol=1e-6, atol=1e-6, fast_mode=True)


def test_the_order_of_the_rows_changes_nothing(make, inexact):
    both = Penalised(ELBO(2), [make()])
    noise = noise_of(both, inexact)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    whole = both(inexact.model, inexact.batch, *noise).loss
    shuffled = both(inexact.model, Batch(inexact.x[order]), *(each[:, order] for each in noise)).loss
    assert shuffled.item() == pytest.approx(whole.item(), rel=1e-12)


def test_one_that_is_a_mean_over_rows_says_so_and_no_other(make, inexact):
    penalty = make()
    both = Penalised(ELBO(2), [penalty])
    noise = noise_of(both, inexact)
    whole = both(inexact.model, inexact.batch, *noise).loss
    cut = [
        both(inexact.model, Batch(inexact.x[s]), *(each[:, s] for each in noise)).loss
        for s in (slice(0, 2), slice(2, B))
    ]
    alike = ((2 * cut[0] + 4 * cut[1]) / 6).item() == pytest.approx(whole.item(), rel=1e-12)
    assert alike == (not penalty.whole)
    assert both.whole == penalty.whole


def test_it_is_finite_for_rows_far_out_and_for_copies_of_one(make, inexact):
    model = inexact.model.float()
    both = Penalised(ELBO(2), [make()])
    noise = [each.float() for each in noise_of(both, inexact)]
    far = inexact.x + 1e3 * torch.tensor([1.0, -1.0, 1.0, -1.0])
    for x in (far, inexact.x[:1].expand(B, -1)):
        loss = both(model, Batch(x.float()), *noise).loss
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        assert loss.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_what_is_reported_of_rows_held_out_costs_no_penalty(make, inexact):
    batch = Batch(inexact.x, key=row_keys(inexact.x.numpy()))
    plain = over_rows(ELBO(3), inexact.model, [(B, batch)], seed=0)
    found = over_rows(Penalised(ELBO(3), [make()]), inexact.model, [(B, batch)], seed=0)
    assert torch.equal(found.value, plain.value)
    assert torch.equal(found.loss, plain.loss)


def test_each_member_of_an_ensemble_pays_its_own(make, inexact):
    pair = nn.Module()
    pair.members = nn.ModuleList([inexact.model, Touchstone(seed=3).blur().model])
    both = Penalised(ELBO(2), [make(weight=2.0)])
    each = EachMember(both, 2)
    assert (each.whole, each.bounded, each.surrogate) == (both.whole, True, both.surrogate)
    source = torch.Generator().manual_seed(7)
    noise = [torch.randn(*shape, generator=source, dtype=torch.float64) for shape in each.noise(pair, B)]
    count = len(noise) // 2
    alone = [
        both(member, inexact.batch, *noise[i * count : (i + 1) * count]).loss for i, member in enumerate(pair.members)
    ]
    assert torch.allclose(each(pair, inexact.batch, *noise).loss, sum(alone) / 2, rtol=1e-13)


# how they are asked


class Loud(Penalty):
    """It wants two ε, of its own shapes."""

    whole = False

    def noise(self, model, rows):
        return (1, rows, 3), (1, rows, 1)

    def forward(self, model, draw, *noise):
        first, second = noise
        assert first.shape == (1, B, 3)
        return first.sum() + 10 * second.sum()


def test_each_gets_the_noise_that_it_asked_for_behind_the_objective_s(inexact):
    both = Penalised(ELBO(2), [Loud(0.5), MMD(0.0), Loud(2.0)])
    assert both.noise(inexact.model, B) == ((2, B, D), (1, B, 3), (1, B, 1), (1, B, D), (1, B, 3), (1, B, 1))
    noise = noise_of(both, inexact)
    plain = ELBO(2)(inexact.model, inexact.batch, noise[0]).loss
    paid = 0.5 * (noise[1].sum() + 10 * noise[2].sum()) + 2 * (noise[4].sum() + 10 * noise[5].sum())
    assert both(inexact.model, inexact.batch, *noise).loss.item() == pytest.approx((plain + paid).item(), rel=1e-12)


def test_an_objective_that_tells_no_draw_is_penalised_by_one_of_its_own_noise(inexact):
    class Silent(ELBO):
        def forward(self, *arguments, **options):
            return super().forward(*arguments, **options)._replace(draw=None)

    noise = noise_of(ELBO(2), inexact)
    found = Penalised(Silent(2), [DIPI()])(inexact.model, inexact.batch, *noise).loss
    assert torch.equal(found, Penalised(ELBO(2), [DIPI()])(inexact.model, inexact.batch, *noise).loss)


def test_the_loss_is_described_with_all_that_is_paid():
    both = Penalised(ELBO(beta=0.5, warmup=0.1), [MMD(weight=10), TotalCorrelation(9, weight=2.5)])
    both.begin(1000)
    assert both.surrogate == "distortion + β · rate with β = 0.5, reached over 100 steps + 10 · mmd + 2.5 · tc"
    assert both.settled == 100


# the discrepancy


def gaussian_rbf(mean: torch.Tensor, s: float, h2: float) -> float:
    """MMD² of N(m, s²I) and N(0, I) by the kernel exp(−d²/2h²), in closed form."""
    d = len(mean)
    own = (h2 / (h2 + 2 * s**2)) ** (d / 2) + (h2 / (h2 + 2)) ** (d / 2)
    wide = h2 + s**2 + 1
    return own - 2 * (h2 / wide) ** (d / 2) * math.exp(-mean.square().sum().item() / (2 * wide))


@pytest.mark.parametrize(("shift", "s"), [(0.0, 1.0), (0.7, 1.0), (0.0, 0.4), (1.5, 2.0)])
def test_between_normals_it_has_its_closed_form_in_expectation(shift, s):
    """Averaged over 4,000 batches of 16: also where both are alike, and it is 0."""
    dims, scale = 3, 0.8
    mean = torch.full((dims,), shift, dtype=torch.float64)
    z = mean + s * normals(4000, 16, dims)
    y = normals(4000, 16, dims, seed=1)
    found = torch.stack([mmd(a[None], b[None], "rbf", scale) for a, b in zip(z, y, strict=True)])
    error = found.std() / math.sqrt(len(found))
    exact = gaussian_rbf(mean, s, h2=dims * scale)
    assert abs(found.mean().item() - exact) < 5 * error.item()
    assert error.item() < 0.01 * max(exact, 0.3)


def test_it_is_that_of_its_kernel_pair_by_pair():
    z, y, dims = normals(2, 4, 3), normals(1, 5, 3, seed=1), 3
    for kernel in ("imq", "rbf"):

        def k(a, b, kernel=kernel):
            squared = float(np.square(a - b).sum())
            if kernel == "rbf":
                return math.exp(-squared / (2 * dims * 1.5))
            return sum(2 * dims * 1.5 * c / (2 * dims * 1.5 * c + squared) for c in WIDTHS)

        each = []
        for one in z.numpy():
            other = y[0].numpy()
            total = sum(k(a, b) for i, a in enumerate(one) for j, b in enumerate(one) if i != j) / (4 * 3)
            total += sum(k(a, b) for i, a in enumerate(other) for j, b in enumerate(other) if i != j) / (5 * 4)
            each.append(total - 2 * sum(k(a, b) for a in one for b in other) / (4 * 5))
        assert mmd(z, y, kernel, 1.5).item() == pytest.approx(np.mean(each), rel=1e-12)


def test_the_draws_of_a_row_are_not_compared_with_each_other(inexact):
    """z of one row are not independent: several draws per row have the expectation of one."""
    q, y = Normal(normals(5, 2), torch.full((5, 2), -3.0, dtype=torch.float64)), normals(1, 5, 2, seed=2)
    several = torch.stack([mmd(q.draw(normals(8, 5, 2, seed=s))[0], y) for s in range(400)])
    single = torch.stack([mmd(q.draw(normals(1, 5, 2, seed=1000 + s))[0], y) for s in range(400)])
    error = math.hypot(several.std(), single.std()) / 20
    assert abs(several.mean() - single.mean()) < 5 * error


def test_infovae_with_alpha_0_and_lambda_1_is_the_elbo_and_has_its_own_weights_else(inexact):
    alpha, lambda_ = 0.25, 3.0
    objective = Penalised(ELBO(2, beta=1 - alpha), [MMD(weight=alpha + lambda_ - 1)])
    noise = noise_of(objective, inexact)
    found = objective(inexact.model, inexact.batch, *noise).loss
    draw = inexact.model.draw(inexact.batch, noise[0])
    expected = draw.distortion.mean() + (1 - alpha) * draw.rate.mean()
    expected = expected + (alpha + lambda_ - 1) * mmd(draw.z, noise[1])
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    both = Penalised(ELBO(2, beta=1 - 0.0), [MMD(weight=0.0 + 1.0 - 1)])
    plain = ELBO(2)(inexact.model, inexact.batch, noise[0])
    assert torch.equal(both(inexact.model, inexact.batch, *noise).loss, plain.loss)


# the parts of the rate


def test_where_the_batch_is_all_rows_q_of_z_is_exact(inexact):
    draw = inexact.model.draw(inexact.batch, inexact.noise(3))
    found = aggregate(draw, rows=B)
    q = draw.q
    each = torch.stack([
        MultivariateNormal(q.loc[j], q.log_diagonal[j], q.below[j]).log_prob(draw.z) for j in range(B)
    ])  # fmt: skip
    assert torch.allclose(found.log_q, each.logsumexp(0) - math.log(B), rtol=1e-12)
    marginal = Normal(q.mean[:, None, None], q.stddev.log()[:, None, None]).log_prob_each(draw.z)
    assert torch.allclose(found.log_q_each, marginal.logsumexp(0) - math.log(B), rtol=1e-12)


def test_the_three_parts_sum_to_the_rate_of_each_draw(inexact):
    draw = inexact.model.draw(inexact.batch, inexact.noise(5))
    for rows in (B, N, 10**6):
        all_z = aggregate(draw, rows)
        parts = sum(make(rows).part(draw, all_z) for make in (Information, TotalCorrelation, DimensionWise))
        assert torch.allclose(parts, draw.log_q - draw.log_pz, rtol=0, atol=1e-12)


def test_with_weights_of_zero_to_one_beta_tcvae_is_the_elbo_by_draws(inexact):
    """α = β = γ = 1 of the whole rate in parts, beside an elbo that pays no rate."""
    noise = inexact.noise(4)
    in_parts = Penalised(ELBO(4, beta=0.0), [make(B) for make in (Information, TotalCorrelation, DimensionWise)])
    draw = inexact.model.draw(inexact.batch, noise)
    found = in_parts(inexact.model, inexact.batch, noise)
    assert found.loss.item() == pytest.approx((draw.distortion + draw.log_q - draw.log_pz).mean().item(), rel=1e-12)


def test_a_batch_gives_the_density_of_all_rows_without_bias():
    """By all batches of two of five rows, for one z of one of them."""
    rows, at = 5, 2
    q = Normal(normals(rows, 2), 0.3 * normals(rows, 2, seed=1))
    z = q.draw(normals(1, rows, 2, seed=2))[0]
    exact = q.log_prob(z[0, at]).exp().mean()
    found = []
    for other in range(rows):
        if other == at:
            continue
        pair = torch.tensor([at, other])

        class Two:
            """As much of a draw as is looked at."""

        draw = Two()
        draw.q, draw.z = Normal(q.loc[pair], q.log_scale[pair]), z[:, pair]
        found.append(aggregate(draw, rows).log_q[0, 0].exp())
    assert torch.stack(found).mean().item() == pytest.approx(exact.item(), rel=1e-12)


@pytest.mark.parametrize("posterior", [posteriors.Diagonal, posteriors.FullCovariance, posteriors.Experts])
def test_every_normal_posterior_knows_its_marginals_and_its_covariance(posterior):
    family = posterior(3)
    q = family(0.4 * normals(4, family.features)) if posterior is not posteriors.Experts else _experts(family)
    z, _ = q.draw(normals(200_000, 4, 3, seed=1))
    centred = z - q.mean
    drawn = torch.einsum("kbi,kbj->bij", centred, centred) / len(z)
    assert torch.allclose(drawn, q.covariance, atol=0.02 * q.covariance.abs().max().item())
    assert torch.allclose(q.covariance.diagonal(dim1=-2, dim2=-1).sqrt(), q.stddev, rtol=1e-10)
    expected = torch.distributions.Normal(q.mean, q.stddev).log_prob(z[:9])
    assert torch.allclose(q.log_prob_each(z[:9]), expected, rtol=1e-10)


def _experts(family):
    a = 0.3 * normals(4, 3, 3)
    natural, shift, log_scale = normals(4, 3, seed=2), normals(4, 3, seed=3), 0.1 * normals(4, 3, seed=4)
    return family(torch.cat([natural, (a @ a.mT).flatten(1), shift, log_scale], -1))


def test_a_posterior_that_knows_no_marginals_is_refused_in_a_sentence(inexact):
    from variants import CouplingPosterior

    model = inexact.model
    model.posterior = CouplingPosterior(D).double()
    model.encoder = MLP(X, (), model.posterior.features).double()
    with pytest.raises(UnknownError, match="does not know the density of each latent by itself"):
        Penalised(ELBO(), [TotalCorrelation(N)])(model, inexact.batch, inexact.noise(1))


# the inferred priors


def ppca(rows: int = 60) -> tuple[VAE, Batch, torch.Tensor]:
    """Probabilistic PCA at its maximum of likelihood with its exact posterior: model, rows, and S = Cov(z|x)."""
    x = normals(rows, 4) @ normals(4, 4, seed=5)
    x = x - x.mean(0)
    values, vectors = torch.linalg.eigh(x.T @ x / rows)
    sigma2 = values[:2].mean()
    w = vectors[:, 2:] * (values[2:] - sigma2).sqrt()
    covariance = torch.linalg.inv(torch.eye(2, dtype=torch.float64) + w.T @ w / sigma2)
    encoder, decoder = nn.Linear(4, 4).double(), nn.Linear(2, 4).double()
    posterior = posteriors.Diagonal(2)
    with torch.no_grad():
        encoder.weight.copy_(torch.cat([covariance @ w.T / sigma2, torch.zeros(2, 4)]))
        encoder.bias.zero_()
    likelihood = likelihoods.Gaussian((4,), sigma="unit")
    model = VAE(encoder, posterior, priors.StandardNormal(2), decoder, likelihood).double()
    model.encode = lambda batch: Normal(batch.x @ encoder.weight[:2].T, 0.5 * covariance.diagonal().log())
    return model, Batch(x), covariance


def test_at_the_optimum_of_probabilistic_pca_the_covariance_of_z_is_the_identity():
    """C_II = I, and C_I = I − S."""
    model, batch, covariance = ppca()
    draw = model.draw(batch, normals(1, len(batch.x), 2))
    assert torch.allclose(DIPII().covariance(draw), torch.eye(2, dtype=torch.float64), atol=1e-10)
    assert torch.allclose(DIPI().covariance(draw), torch.eye(2, dtype=torch.float64) - covariance, atol=1e-10)
    assert DIPII()(model, draw).item() == pytest.approx(0, abs=1e-18)
    assert DIPI(diagonal=4.0)(model, draw).item() == pytest.approx(4 * covariance.diagonal().square().sum().item())


def test_what_is_off_the_diagonal_counts_once_for_each_of_two_latents():
    c = torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    penalty = DIPI(diagonal=10.0)
    penalty.covariance = lambda draw: c
    assert penalty(None, None).item() == pytest.approx(2 * 0.5**2 + 10 * 1.0)


# what is refused


def test_a_kernel_of_another_name_is_refused_with_those_there_are():
    with pytest.raises(VaekitError, match=r"'gauss'.*imq.*rbf"):
        MMD(kernel="gauss")
