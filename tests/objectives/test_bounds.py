"""Bounds against the linear-Gaussian model of `touchstone`, where log p(x) and the posterior are known."""

import contextlib
import itertools
import math
from functools import partial

import pytest
import torch
from scipy.special import logsumexp
from torch import nn
from touchstone import B, D, Touchstone, X, corners

from vaekit.core import Batch
from vaekit.distributions import MultivariateNormal, Normal
from vaekit.errors import VaekitError
from vaekit.maths import log_mean_exp
from vaekit.models import VAE
from vaekit.objectives import ELBO, GRADIENTS, ImportanceWeighted
from vaekit.parts import priors

BOUNDS = {
    "elbo": partial(ELBO, samples=10),
    "importance-weighted": partial(ImportanceWeighted, samples=10),
    "importance-weighted, repeated": partial(ImportanceWeighted, samples=15, repeats=3),
}
"""Every bound goes through the laws below: a new one is a line here."""

CHANGES = (
    {"beta": 0.0}, {"beta": 3.0}, {"warmup": 0.5}, {"warmup": 0.75, "cycles": 2}, {"free_bits": 0.5},
    {"capacity": 9.0}, {"share": 0.25}, *({"gradient": name} for name in GRADIENTS),
)  # fmt: skip
"""what may be descended instead"""


@pytest.fixture(params=BOUNDS)
def make(request):
    return BOUNDS[request.param]


def variants(make):
    """The same bound with each change that it knows."""
    for change in CHANGES:
        with contextlib.suppress(TypeError, VaekitError):
            bound = make(**change)
            bound.begin(14)
            yield bound


class _Unknown:
    """A normal under another name, so that no closed form is found for it."""

    def __init__(self, p: Normal):
        self.log_prob, self.sample, self.mean = p.log_prob, p.sample, p.mean


class _UnknownPrior(nn.Module):
    def __init__(self, p: Normal):
        super().__init__()
        self.p = p

    def forward(self, c=None, *, posterior=None) -> _Unknown:
        return _Unknown(self.p)


def by_draws(stone: Touchstone) -> Touchstone:
    """The same model, without a closed form for its rate."""
    stone.model.prior = _UnknownPrior(stone.model.prior())
    return stone


# laws of every bound


def test_it_lies_between_the_elbo_and_log_p_in_expectation(make, inexact):
    repeats, bound = 2000, make()
    rows = inexact.x.repeat(repeats, 1)
    value = bound(inexact.model, Batch(rows), inexact.noise(bound.samples, len(rows))).value
    assert value.shape == (repeats * B,)
    mean, error = value.unflatten(0, (repeats, B)).mean(0), value.unflatten(0, (repeats, B)).std(0) / repeats**0.5
    elbo = ELBO(samples=4)(inexact.model, inexact.batch, corners()).value
    assert (mean < inexact.log_p + 5 * error).all()
    assert (mean > elbo - 5 * error).all()
    assert (inexact.log_p - elbo > 20 * error).all()  # so that both mean something


def test_where_q_is_exact_it_is_log_p_for_every_draw(make, exact):
    """The rate by draws: in closed form it is so in expectation only."""
    bound = make()
    value = bound(by_draws(exact).model, exact.batch, 3 * exact.noise(bound.samples)).value
    assert (value - exact.log_p).abs().max() < 1e-7


def test_whatever_is_descended_the_value_is_the_same(make, inexact):
    noise = inexact.noise(make().samples)
    plain, changed = make()(inexact.model, inexact.batch, noise), list(variants(make))
    assert len(changed) >= 5
    for bound, step in itertools.product(changed, (0, 100)):
        other = bound(inexact.model, inexact.batch, noise, step=step)
        assert torch.equal(other.value, plain.value), bound
        assert all(torch.equal(other.terms[name], term) for name, term in plain.terms.items()), bound
    losses = {round(bound(inexact.model, inexact.batch, noise).loss.item(), 9) for bound in changed}
    assert len(losses) >= 4  # they do change something


def test_the_loss_is_the_negative_bound_with_the_defaults(make, inexact):
    bound = make()(inexact.model, inexact.batch, inexact.noise(make().samples))
    assert bound.loss.shape == ()
    assert bound.loss.requires_grad
    assert torch.allclose(bound.loss, -bound.value.mean(), rtol=1e-12)
    assert make().surrogate is None


def test_its_terms_are_rate_and_distortion_of_each_row_and_sum_to_the_elbo(make, inexact):
    noise = inexact.noise(make().samples)
    bound = make()(inexact.model, inexact.batch, noise)
    draw = inexact.model.draw(inexact.batch, noise)
    assert bound.value.shape == (B,)
    assert torch.allclose(bound.terms["distortion"], -draw.log_px.mean(0))
    assert torch.allclose(bound.terms["rate"], draw.q.rate(draw.p, None, None).sum((0, 2)))
    assert torch.allclose(bound.terms["elbo"], -bound.terms["distortion"] - bound.terms["rate"], rtol=1e-13)
    assert not any(t.requires_grad for t in (bound.value, *bound.terms.values()))


def test_loss_and_gradient_are_finite_for_rows_far_out(make, inexact):
    model, noise = inexact.model.float(), inexact.noise(make().samples).float()
    x = (inexact.x + 1e4 * torch.tensor([1.0, -1.0, 1.0, -1.0])).float()
    for bound in (make(), *variants(make)):
        loss = bound(model, Batch(x), 2 * noise).loss
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        assert loss.isfinite(), bound
        assert all(g.isfinite().all() for g in gradients), bound


def test_row_order_and_batch_split_change_nothing(make, inexact):
    noise = inexact.noise(make().samples)
    for bound in (make(), *variants(make)):
        whole = bound(inexact.model, inexact.batch, noise)
        order = torch.tensor([3, 0, 5, 1, 4, 2])
        shuffled = bound(inexact.model, Batch(inexact.x[order]), noise[:, order])
        assert torch.allclose(shuffled.value, whole.value[order], rtol=1e-13)
        assert torch.allclose(shuffled.loss, whole.loss, rtol=1e-13)
        parts = [bound(inexact.model, Batch(inexact.x[s]), noise[:, s]) for s in (slice(0, 2), slice(2, B))]
        assert torch.allclose(torch.cat([p.value for p in parts]), whole.value, rtol=1e-13)
        if not (getattr(bound, "free_bits", 0) or getattr(bound, "capacity", 0)):  # which are of the batch
            assert torch.allclose((2 * parts[0].loss + 4 * parts[1].loss) / 6, whole.loss, rtol=1e-13)


def test_a_full_mask_is_none(make, inexact):
    noise, seen = inexact.noise(make().samples), torch.ones(B, X, dtype=torch.bool)
    plain = make()(inexact.model, inexact.batch, noise)
    masked = make()(inexact.model, Batch(inexact.x, seen), noise)
    assert torch.equal(masked.value, plain.value)
    assert torch.equal(masked.loss, plain.loss)


@pytest.mark.parametrize("change", [{}, {"beta": 0.5}, {"warmup": 0.2}], ids=str)
def test_the_gradient_agrees_with_central_differences(make, change, inexact):
    bound, parameters = make(**change), list(inexact.model.parameters())
    bound.begin(20)
    noise = inexact.noise(bound.samples)
    loss = lambda *values: bound(inexact.model, inexact.batch, noise, step=1).loss  # noqa: E731
    assert torch.autograd.gradcheck(loss, parameters, rtol=1e-6, atol=1e-6, fast_mode=True)


# where q is the exact posterior


def test_the_touchstone_s_encoder_is_the_exact_posterior(exact):
    q = exact.model.encode(exact.batch)
    assert torch.allclose(q.mean, exact.posterior_mean, rtol=1e-10)
    assert torch.allclose(q.covariance, exact.covariance.expand(B, -1, -1), rtol=1e-8)


def test_every_weight_is_log_p_for_every_draw(exact):
    log_w = exact.model.draw(exact.batch, 3 * exact.noise(50)).log_w
    assert log_w.shape == (50, B)
    assert (log_w - exact.log_p).abs().max() < 1e-7
    for samples in (1, 5, 50):
        assert (log_mean_exp(log_w[:samples]) - exact.log_p).abs().max() < 1e-7


def test_the_elbo_with_its_closed_form_kl_is_log_p_in_expectation_only(exact):
    objective = ELBO(samples=4)
    expected = objective(exact.model, exact.batch, corners()).value
    assert expected.shape == (B,)
    assert (expected - exact.log_p).abs().max() < 1e-7
    one = ELBO()(exact.model, exact.batch, exact.noise(1)).value
    assert (one - exact.log_p).abs().min() > 1e-4


# where it is not


def test_the_elbo_misses_log_p_by_the_divergence_from_the_true_posterior(inexact):
    """log p(x) − ELBO = KL(q(z|x) ‖ p(z|x)), exactly."""
    q = inexact.model.encode(inexact.batch)
    true = torch.distributions.MultivariateNormal(inexact.posterior_mean, inexact.covariance)
    gap = torch.distributions.kl_divergence(torch.distributions.MultivariateNormal(q.mean, scale_tril=q.tril), true)
    value = ELBO(samples=4)(inexact.model, inexact.batch, corners()).value
    assert gap.min() > 0.1
    assert torch.allclose(inexact.log_p - value, gap, rtol=1e-6)


def test_without_a_closed_form_the_rate_is_the_average_over_draws(inexact):
    closed = ELBO(samples=4)(inexact.model, inexact.batch, corners())
    by_draws(inexact)
    draw = inexact.model.draw(inexact.batch, corners())
    assert torch.allclose(draw.rate, (draw.log_q - draw.log_pz).mean(0))
    sampled = ELBO(samples=4)(inexact.model, inexact.batch, corners())
    assert torch.allclose(sampled.value, draw.log_w.mean(0))
    assert torch.allclose(sampled.value, closed.value)  # log q − log p is quadratic in ε too
    noise = inexact.noise(20_000)
    sampled = ELBO(samples=20_000)(inexact.model, inexact.batch, noise)
    log_w = inexact.model.draw(inexact.batch, noise).log_w.detach()
    assert ((sampled.value - closed.value).abs() < 5 * log_w.std(0) / math.sqrt(20_000)).all()


# what the objective does with its draws


def test_samples_are_averaged(inexact):
    noise = inexact.noise(5)
    several = ELBO(samples=5)(inexact.model, inexact.batch, noise)
    single = [ELBO()(inexact.model, inexact.batch, noise[k : k + 1]) for k in range(5)]
    assert torch.allclose(several.value, sum(b.value for b in single) / 5)
    assert torch.allclose(several.loss, sum(b.loss for b in single) / 5)
    assert several.terms["distortion"].shape == several.terms["rate"].shape == (B,)


@pytest.mark.parametrize("beta", [0.0, 0.25, 4.0])
def test_beta_weighs_the_rate_in_the_loss(inexact, beta):
    noise = inexact.noise(3)
    bound = ELBO(samples=3, beta=beta)(inexact.model, inexact.batch, noise)
    assert torch.allclose(bound.loss, (bound.terms["distortion"] + beta * bound.terms["rate"]).mean())


def test_latents_may_be_permuted_flipped_and_joined_by_dead_ones():
    """None of it changes log p(x), nor the bound where q follows."""
    stone = Touchstone(sigma="unit").blur()
    noise = stone.noise(3)
    log_w = stone.model.draw(stone.batch, noise).log_w
    decoder = stone.model.decoder.layers[-1]
    mean, factor = stone.model.encode(stone.batch).mean, stone.model.encode(stone.batch).tril
    with torch.no_grad():
        decoder.weight.mul_(torch.tensor([1.0, -1.0]))  # z₂ ↦ −z₂
    flip = torch.tensor([[1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    q = MultivariateNormal(mean @ flip, factor.diagonal(dim1=-2, dim2=-1).log(), flip @ factor @ flip)
    stone.model.encode = lambda batch: q
    assert torch.allclose(stone.model.draw(stone.batch, noise @ flip).log_w, log_w)
    wide = nn.Linear(D + 1, X).double()
    with torch.no_grad():
        wide.weight.copy_(torch.cat([decoder.weight, torch.zeros(X, 1)], 1))
        wide.bias.copy_(decoder.bias)
    below = torch.zeros(B, D + 1, D + 1, dtype=torch.float64)
    below[:, :D, :D] = q.below
    pad = torch.zeros(B, 1, dtype=torch.float64)
    dead = MultivariateNormal(torch.cat([q.mean, pad], 1), torch.cat([q.log_diagonal, pad], 1), below)
    prior = priors.StandardNormal(D + 1).double()
    model = VAE(nn.Identity(), stone.model.posterior, prior, wide, stone.model.likelihood)
    model.encode = lambda batch: dead
    extra = torch.randn(3, B, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert torch.allclose(model.draw(stone.batch, torch.cat([noise @ flip, extra], -1)).log_w, log_w)


def test_hidden_cells_leave_the_bound_on_what_was_seen(inexact):
    """A full mask is the ordinary bound; an empty one leaves −KL(q(z|∅) ‖ p)."""
    noise, objective = inexact.noise(3), ELBO(samples=3)
    plain = objective(inexact.model, inexact.batch, noise)
    seen = torch.ones(B, X, dtype=torch.bool)
    assert torch.equal(objective(inexact.model, Batch(inexact.x, seen), noise).value, plain.value)
    x = inexact.x.clone()
    x[:, 1] = math.nan
    seen[:, 1] = False
    partly = objective(inexact.model, Batch(x, seen), noise)
    partly.loss.backward()
    assert all(p.grad.isfinite().all() for p in inexact.model.parameters())
    px = inexact.model.draw(Batch(x, seen), noise).px
    columns = [0, 2, 3]
    each = px.log_prob_each(inexact.x)[..., columns].sum(-1).mean(0)
    assert torch.allclose(partly.terms["distortion"], -each)
    nothing = objective(inexact.model, Batch(torch.full_like(x, math.nan), torch.zeros_like(seen)), noise)
    assert torch.equal(nothing.terms["distortion"], torch.zeros(B, dtype=torch.float64))
    assert torch.equal(nothing.value, -nothing.terms["rate"])
    assert (nothing.value <= 0).all()


# the importance-weighted family


@torch.no_grad()
def test_it_rises_from_the_elbo_with_the_number_of_draws_and_stays_below_log_p(inexact):
    """ELBO ≤ IWAE_K ≤ log p(x), non-decreasing in K, the gap → Var(w) / (2 K p(x)²)."""
    repeats, most = 1500, 32
    rows = Batch(inexact.x.repeat(repeats, 1))
    noise = inexact.noise(most, repeats * B)
    elbo = ELBO(samples=4)(inexact.model, inexact.batch, corners()).value
    means, errors = [], []
    for k in (1, 2, 4, 8, 16, 32):
        bound = ImportanceWeighted(k) if k > 1 else ELBO()
        values = bound(inexact.model, rows, noise[:k]).value.unflatten(0, (repeats, B))
        means.append(values.mean(0))
        errors.append(values.std(0) / math.sqrt(repeats))
    assert ((means[0] - elbo).abs() < 5 * errors[0]).all()
    for lower, higher in itertools.pairwise(means):
        assert (higher > lower).all()
    for mean, error in zip(means, errors, strict=True):
        assert (mean < inexact.log_p + 5 * error).all()
    log_w = inexact.model.draw(rows, noise).log_w.unflatten(1, (repeats, B))
    relative = (log_w - inexact.log_p).exp().flatten(0, 1)
    assert ((relative.mean(0) - 1).abs() < 5 * relative.std(0) / math.sqrt(len(relative))).all()  # E[w] = p(x)
    gap, expected = inexact.log_p - means[-1], relative.var(0) / (2 * most)
    assert ((gap - expected).abs() < 0.3 * expected + 5 * errors[-1]).all()


def test_it_is_the_log_of_the_mean_weight(inexact):
    noise = inexact.noise(5)
    log_w = inexact.model.draw(inexact.batch, noise).log_w.detach().numpy()
    value = ImportanceWeighted(5)(inexact.model, inexact.batch, noise).value
    assert value.numpy() == pytest.approx(logsumexp(log_w, axis=0, b=1 / 5), rel=1e-12)


@pytest.mark.parametrize("gradient", ["standard", "doubly-reparameterised"])
def test_repeats_are_averages_of_independent_bounds(inexact, gradient):
    """M = 3 times K = 5 over B = 6 rows: no two axes are of one length."""
    noise = inexact.noise(15)
    bound = ImportanceWeighted(15, repeats=3, gradient=gradient)(inexact.model, inexact.batch, noise)
    single = ImportanceWeighted(5, gradient=gradient)
    parts = [single(inexact.model, inexact.batch, noise[start : start + 5]) for start in (0, 5, 10)]
    assert torch.allclose(bound.value, sum(p.value for p in parts) / 3, rtol=1e-12)
    assert torch.allclose(bound.loss, sum(p.loss for p in parts) / 3, rtol=1e-12)
    parameters = list(inexact.model.parameters())
    ours = torch.autograd.grad(bound.loss, parameters)
    theirs = torch.autograd.grad(sum(p.loss for p in parts) / 3, parameters)
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("beta", [0.0, 0.25, 4.0])
def test_beta_is_a_power_of_the_prior_over_the_posterior_in_the_loss(inexact, beta):
    noise = inexact.noise(6)
    loss = ImportanceWeighted(6, repeats=2, beta=beta)(inexact.model, inexact.batch, noise).loss
    draw = inexact.model.draw(inexact.batch, noise)
    log_w = (draw.log_px + beta * (draw.log_pz - draw.log_q)).detach().numpy().reshape(2, 3, B)
    assert loss.item() == pytest.approx(-logsumexp(log_w, axis=1, b=1 / 3).mean(), rel=1e-12)


# what is refused, and what is said


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ELBO(gradient="doubly-reparameterised"), ["elbo", "standard", "sticking-the-landing"]),
        (lambda: ELBO(gradient="stl"), ["'stl'", "standard", "sticking-the-landing"]),
        (lambda: ELBO(gradient="sticking-the-landing", free_bits=0.1), ["free bits", "sticking-the-landing"]),
        (lambda: ImportanceWeighted(gradient="sticking-the-landing"), ["standard", "doubly-reparameterised"]),
        (lambda: ELBO(cycles=3), ["cycles is 3", "warmup=0.875"]),
        (lambda: ELBO(capacity=5.0, free_bits=0.1), ["capacity", "free bits"]),
        (lambda: ELBO(capacity=5.0, gradient="sticking-the-landing"), ["capacity", "sticking-the-landing"]),
        (lambda: ImportanceWeighted(4, gradient="partially-weighted"), ["several bounds", "repeats=2"]),
        (lambda: ImportanceWeighted(4, 2, gradient="partially-weighted", share=0.1), ["share", "partially-weighted"]),
        (lambda: ImportanceWeighted(4, share=0.1, gradient="doubly-reparameterised"), ["share", "doubly"]),
        (lambda: ImportanceWeighted(samples=1), ["samples = 1", "elbo"]),
        (lambda: ImportanceWeighted(samples=3, repeats=3), ["samples = 3", "repeats = 3", "samples = 15"]),
        (lambda: ImportanceWeighted(samples=7, repeats=2), ["samples = 7", "repeats = 2"]),
        (lambda: ImportanceWeighted(samples=4, repeats=0), ["repeats = 0"]),
    ],
)
def test_what_makes_no_bound_is_refused_with_what_would(make, words):
    with pytest.raises(VaekitError) as error:
        make()
    for word in words:
        assert word in str(error.value)


def test_a_surrogate_is_described():
    assert ELBO(gradient="sticking-the-landing").surrogate is None
    objective = ELBO(beta=0.5, warmup=0.2, free_bits=0.25)
    objective.begin(10_000)
    text = objective.surrogate
    for word in ("β = 0.5", "2,000 steps", "0.25 nats"):
        assert word in text
    assert "β = 4" in ImportanceWeighted(beta=4).surrogate
    assert "0.05" in ImportanceWeighted(share=0.05).surrogate
    assert "all draws" in ImportanceWeighted(4, 2, gradient="partially-weighted").surrogate
    annealed = ELBO(beta=30.0, warmup=0.5, capacity=12.0)
    annealed.begin(1000)
    assert annealed.surrogate == "distortion + β · |rate − C| with β = 30 and C = 12 nats, reached over 500 steps"
    cyclical = ELBO(warmup=0.875, cycles=4)
    cyclical.begin(800)
    assert "700 steps in 4 cycles" in cyclical.surrogate
    weighted = ImportanceWeighted(warmup=0.3)
    weighted.begin(100)
    assert "30 steps" in weighted.surrogate


# combined with the elbo, and weighted partially


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_a_share_of_the_elbo_has_both_bounds_for_its_ends_to_the_bit(inexact, beta):
    noise = inexact.noise(6)
    elbo = ELBO(6, beta)(inexact.model, inexact.batch, noise)
    iwae = ImportanceWeighted(6, beta=beta)(inexact.model, inexact.batch, noise)
    ends = [ImportanceWeighted(6, beta=beta, share=s)(inexact.model, inexact.batch, noise) for s in (0.0, 1.0)]
    assert torch.equal(ends[0].loss, iwae.loss)
    assert torch.equal(ends[1].loss, elbo.loss)
    assert all(torch.equal(end.value, iwae.value) for end in ends)
    between = ImportanceWeighted(6, beta=beta, share=0.05)(inexact.model, inexact.batch, noise)
    assert between.loss.item() == pytest.approx(0.05 * elbo.loss.item() + 0.95 * iwae.loss.item(), rel=1e-13)


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_partially_weighted_encoder_and_decoder_have_the_gradient_of_a_bound_each(inexact, beta):
    """The encoder's of 3 bounds of 4 draws, the decoder's and the likelihood's of one bound of 12."""
    model, noise = inexact.model, inexact.noise(12)
    phi = list(model.encoder.parameters())
    theta = [*model.decoder.parameters(), *model.likelihood.parameters()]
    found = {}
    for name, bound in {
        "partial": ImportanceWeighted(12, 3, beta, gradient="partially-weighted"),
        "few": ImportanceWeighted(12, 3, beta),
        "all": ImportanceWeighted(12, 1, beta),
    }.items():
        result = bound(model, inexact.batch, noise)
        gradients = torch.autograd.grad(result.loss, [*phi, *theta])
        found[name] = (result, gradients[: len(phi)], gradients[len(phi) :])
    partial, few, every = found["partial"], found["few"], found["all"]
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in zip(partial[1], few[1], strict=True))
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in zip(partial[2], every[2], strict=True))
    assert not any(torch.allclose(a, b, rtol=1e-3) for a, b in zip(few[1], every[1], strict=True))
    assert not any(torch.allclose(a, b, rtol=1e-3) for a, b in zip(few[2], every[2], strict=True))
    assert torch.equal(partial[0].value, few[0].value)
    assert partial[0].loss.item() == pytest.approx(every[0].loss.item(), rel=1e-13)


def test_partially_weighted_a_prior_with_weights_of_its_own_has_the_decoder_s_bound(inexact):
    class Moved(nn.Module):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.tensor([0.3, -0.2], dtype=torch.float64))

        def forward(self, c=None, *, posterior=None):
            return Normal(self.loc, torch.zeros(2, dtype=torch.float64))

    inexact.model.prior = Moved()
    noise = inexact.noise(6)
    gradients = []
    for bound in (ImportanceWeighted(6, 3, gradient="partially-weighted"), ImportanceWeighted(6)):
        loss = bound(inexact.model, inexact.batch, noise).loss
        gradients.append(torch.autograd.grad(loss, inexact.model.prior.loc)[0])
    assert torch.allclose(*gradients, rtol=1e-12)
