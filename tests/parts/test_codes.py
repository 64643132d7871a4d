"""Codes: which values they have, what they cost, and that a bound with them is one. A new part is a line in BOOKS, a
new prior one in PRIORS."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from lanes import but_few_slow

import vaekit
from vaekit import VAE, inference
from vaekit.core import Batch
from vaekit.data import Dataset, Source, describe
from vaekit.errors import VaekitError
from vaekit.evaluation import AnnealedImportance, ImportanceSampling, Quadrature, code_use, evaluate, log_likelihood
from vaekit.models import VAE as Model
from vaekit.nets import MLP
from vaekit.objectives import ELBO, ImportanceWeighted
from vaekit.parts import likelihoods
from vaekit.parts.posteriors import FSQ, LFQ, VQ, Concrete
from vaekit.parts.posteriors.codes import begin_at, bit_entropy
from vaekit.parts.priors import AutoregressiveCodes, IndependentCodes, UniformCodes
from vaekit.settings import Settings, prepare

X, B = 5, 40


def finer(vq: VQ) -> VQ:
    """Grids of K numbers, each as wide as a step of the one before: together one grid of K^depth."""
    for stage in range(vq.depth):
        step = float(vq.codes) ** -stage
        vq.book.data[:, stage, :, 0] = step * (torch.arange(vq.codes) - (vq.codes - 1) / 2)
    return vq


BOOKS = {
    "fsq": lambda: FSQ(3, "4x3x5"),
    "fsq of one size": lambda: FSQ(2, "5"),
    "vq": lambda: VQ(4, codes=5, size=2),
    "vq in groups": lambda: VQ(4, codes=4, size=2, grouped=True),
    "residual vq": lambda: finer(VQ(4, codes=3, size=1, depth=2, grouped=True)),
    "lfq": lambda: LFQ(3),
    "concrete": lambda: Concrete(8, levels=4),
}
PRIORS = {
    "uniform": UniformCodes,
    "independent": IndependentCodes,
    "autoregressive": lambda posterior: AutoregressiveCodes(posterior, width=8),
}
NAMES = {
    "fsq": "fsq:levels=4x3",
    "vq": "vq:codes=8,size=2",
    "fsq, autoregressive": "fsq:levels=4",
    "residual vq": "vq:codes=5,size=1,depth=2,grouped=true",
    "lfq": "lfq",
    "concrete": "concrete:levels=2",
    "concrete, autoregressive": "concrete:levels=2",
}
RNG = np.random.default_rng(0)
ROWS = np.tanh(RNG.normal(size=(200, 3))) @ RNG.normal(size=(3, X)) + 0.1 * RNG.normal(size=(200, X))


@pytest.fixture(params=BOOKS)
def book(request):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return BOOKS[request.param]().double()


@pytest.fixture(params=PRIORS)
def prior(request, book):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        made = PRIORS[request.param](book).double()
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter)
        return made


def all_codes(book) -> torch.Tensor:
    return torch.tensor(list(itertools.product(*map(range, book.sizes))))


def model_of(book, prior=None) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        likelihood = likelihoods.Gaussian((X,))
        encoder = MLP(X, (16,), book.features)
        encoder.last.weight.data *= 4  # so that rows have several codes
        return Model(
            encoder, book, prior or UniformCodes(book), MLP(book.latent_dim, (8,), likelihood.features), likelihood
        ).double()


def batch(rows: int = B) -> Batch:
    return Batch(torch.from_numpy(ROWS[:rows]))


# values


def test_codes_and_values_are_one_to_one_and_all_are_reached(book):
    index = all_codes(book)
    z = book.values(index)
    assert torch.equal(book.index(z), index)
    assert len(z.unique(dim=0)) == math.prod(book.sizes) == len(index)
    h = 3 * torch.randn(20_000, book.features, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    q = book(h)
    assert len(q.index.unique(dim=0)) == len(index)
    z, _ = q.draw(torch.zeros(1, len(h), book.noise, dtype=torch.float64))
    assert torch.equal(z[0], book.values(q.index))
    assert torch.equal(book.chosen(z[0]).argmax(-1), q.index)


def test_no_chance_comes_in_and_the_bound_does_not_depend_on_the_noise(book):
    if book.noise:
        pytest.skip("a distribution of codes")
    model = model_of(book)
    values = [ELBO(2)(model, batch(), torch.randn(2, B, model.noise)).value for _ in range(2)]
    assert torch.equal(*values)


@pytest.mark.parametrize("levels", range(3, 10))
def test_fsq_gives_the_middle_level_for_zero_and_hardly_depends_on_epsilon(levels, monkeypatch):
    h = torch.linspace(-4, 4, 1001, dtype=torch.float64).unsqueeze(-1)
    found = []
    for epsilon in (1e-3, 1e-2):
        monkeypatch.setattr("vaekit.parts.posteriors.codes.EPSILON", epsilon)
        torch.set_default_dtype(torch.float64)
        try:
            fsq = FSQ(1, levels)
        finally:
            torch.set_default_dtype(torch.float32)
        assert fsq.bound(torch.zeros(1, dtype=torch.float64)).item() == pytest.approx(0, abs=1e-12)
        found.append(fsq(h).index)
        assert fsq.bound(h).min() > -levels / 2 - 0.5
        assert found[-1].unique().tolist() == list(range(levels))
    assert (found[0] != found[1]).double().mean() < 0.02


def test_the_gradient_of_fsq_goes_past_the_rounding():
    fsq = FSQ(2, "5x4").double()
    h = torch.tensor([[0.3, -0.7]], dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(fsq(h).mean.sum(), h)
    (smooth,) = torch.autograd.grad((fsq.bound(h) / torch.tensor([2.0, 2.0])).sum(), h)
    assert torch.equal(found, smooth)
    assert found.abs().min() > 0.1


# probabilities


def test_a_prior_of_codes_is_a_probability_and_its_draws_have_it(prior):
    book = prior._lent[0]
    z = book.values(all_codes(book))
    p = prior()
    log_p = p.log_prob(z).detach()
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)
    n = 20_000
    noise = torch.randn(1, n, prior.noise, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    drawn, log_drawn = p.draw(noise)
    assert torch.allclose(p.log_prob(drawn), log_drawn)
    counts = Counter(map(tuple, book.index(drawn[0]).tolist()))
    for code, probability in zip(all_codes(book).tolist(), log_p.exp().tolist(), strict=True):
        error = math.sqrt(probability * (1 - probability) / n)
        assert abs(counts[tuple(code)] / n - probability) < 5 * error + 1e-4


def test_uniform_codes_have_the_rate_of_their_number(book):
    if book.noise:
        pytest.skip("a distribution of codes")
    draw = model_of(book).draw(batch(), torch.zeros(1, B, 0))
    expected = sum(math.log(size) for size in book.sizes)
    assert draw.rate.detach().numpy() == pytest.approx(np.full(B, expected), abs=1e-12)


@pytest.mark.parametrize("kind", ["independent", "autoregressive"])
def test_a_learned_prior_begins_as_the_uniform_one_and_is_a_code_given_those_before_it(kind):
    book = FSQ(3, "3x5x4")
    prior = PRIORS[kind](book)
    z = book.values(all_codes(book))
    assert torch.allclose(prior().log_prob(z), UniformCodes(book)().log_prob(z))
    with torch.random.fork_rng(devices=[]):
        for parameter in prior.parameters():
            torch.nn.init.normal_(parameter)
    chosen = book.chosen(z).requires_grad_()
    for m in range(3):
        log_p = prior.log_p(chosen).expand(chosen.shape)[:, m, : book.sizes[m]]
        if kind == "independent":
            continue
        (slope,) = torch.autograd.grad(log_p.square().sum(), chosen)
        assert slope[:, m:].abs().max() == 0
        assert m == 0 or slope[:, :m].abs().amin() >= 0
        assert all(slope[:, before].abs().max() > 0 for before in range(m))


def test_fitted_to_dependent_codes_an_autoregressive_prior_saves_what_they_share():
    """The second code is the first: of independent ones the best rate is 2 ln 4, of these ln 4."""
    book = FSQ(2, "4")
    z = book.values(torch.arange(4).unsqueeze(-1).expand(-1, 2))
    reached = {}
    for kind in ("independent", "autoregressive"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            prior = PRIORS[kind](book)
        adam = torch.optim.Adam(prior.parameters(), 0.05)
        for _ in range(200):
            adam.zero_grad()
            loss = -prior().log_prob(z).mean()
            loss.backward()
            adam.step()
        reached[kind] = loss.item()
    assert reached["independent"] == pytest.approx(2 * math.log(4), abs=1e-3)
    assert reached["autoregressive"] == pytest.approx(math.log(4), abs=0.02)


# bounds


def test_the_bound_is_one_term_of_the_sum_over_all_codes(prior):
    model = model_of(prior._lent[0], prior)
    if model.noise:
        pytest.skip("a distribution of codes")
    b = batch()
    z = model.posterior.values(all_codes(model.posterior)).unsqueeze(1).expand(-1, B, -1)
    log_joint = model.joint(b)(z)
    exact = log_joint.logsumexp(0)
    bound = ELBO()(model, b, torch.zeros(1, B, 0))
    assert (bound.value < exact).all()
    own = model.joint(b)(model.encode(b).mean.unsqueeze(0))[0]
    assert torch.allclose(bound.value, own)
    weighted = ImportanceWeighted(4)(model, b, torch.zeros(4, B, 0))
    assert torch.allclose(weighted.value, bound.value)  # of one code as often as one likes


@pytest.mark.parametrize("kind", PRIORS)
def test_of_few_codes_the_bound_of_a_concrete_posterior_is_its_sum_over_all(kind):
    """ELBO = Σ_z q(z) ln(p(x, z) / q(z)), and its draws have the probabilities q, which the relaxation leaves alone."""
    book = Concrete(8, levels=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = model_of(book, PRIORS[kind](book))
        for parameter in model.prior.parameters():
            torch.nn.init.normal_(parameter)
    b = batch(6)
    q = model.encode(b)
    z = book.values(all_codes(book)).unsqueeze(1).expand(-1, 6, -1)
    log_q = q.log_prob(z)
    assert log_q.logsumexp(0).abs().max() < 1e-12
    exact = (log_q.exp() * (model.joint(b)(z) - log_q)).sum(0)
    k = 20_000
    noise = torch.randn(k, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    draw = model.draw(b, noise)
    assert torch.allclose(draw.log_q, q.log_prob(draw.z))
    drawn = draw.log_px - draw.rate_each[..., 0].expand(k, 6)
    error = drawn.std(0) / math.sqrt(k)
    assert ((drawn.mean(0) - exact).abs() < 5 * error + 1e-12).all()
    if kind != "autoregressive":
        rate = (log_q.exp() * (log_q - model.pz().log_prob(z))).sum(0)
        assert torch.allclose(draw.rate, rate)


def test_the_gradient_of_a_concrete_posterior_comes_near_the_exact_one():
    """∂/∂logits of E_q f(z), by enumeration, and by draws at a low temperature for a quadratic f."""
    h = torch.tensor([[0.4, -0.3, 0.2, 0.9]], dtype=torch.float64, requires_grad=True)
    book = Concrete(4, levels=2, temperature=0.2).double()
    weights = torch.tensor([1.0, -0.5, 0.3, 0.7], dtype=torch.float64)

    def f(z):
        return (z @ weights + 1).square()

    z = book.values(all_codes(book))
    (exact,) = torch.autograd.grad((book(h).log_prob(z).exp() * f(z)).sum(), h)
    noise = torch.randn(40_000, 1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (found,) = torch.autograd.grad(f(book(h).draw(noise)[0]).mean(), h)
    assert torch.allclose(found, exact, atol=0.1)
    assert torch.nn.functional.cosine_similarity(found, exact).item() > 0.99


# codebooks


def test_a_step_of_the_codebooks_gradient_is_one_of_k_means():
    """∂ owed/∂e_k = 2 Σ (e_k − h) over the rows that chose it: a step of 1 / 2n_k is Lloyd's."""
    vq = VQ(2, codes=6, size=2).double()
    h = torch.randn(300, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    q = vq(h)
    (slope,) = torch.autograd.grad(q.owed.sum(), vq.book)
    chosen = q.index[:, 0]
    for k in chosen.unique().tolist():
        own = h[chosen == k]
        moved = vq.book[0, 0, k] - slope[0, 0, k] / (2 * len(own))
        assert torch.allclose(moved, own.mean(0))
    commitment = VQ(2, codes=6, size=2, commitment=3.0).double()
    commitment.load_state_dict(vq.state_dict())
    squared = (h - q.mean).square().sum(-1)
    assert torch.allclose(q.owed, 1.25 * squared)  # summed over the numbers of a row
    assert torch.allclose(commitment(h).owed, 4 * squared)


def test_what_is_paid_goes_to_book_and_encoder_each_by_its_own_weight():
    vq = VQ(4, codes=3, size=2, commitment=0.1).double()
    h = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    q = vq(h)
    (slope,) = torch.autograd.grad(q.owed.sum(), h, retain_graph=True)
    assert torch.allclose(slope, 0.2 * (h - q.mean))
    (through,) = torch.autograd.grad((q.mean * torch.arange(4.0)).sum(), h)
    assert torch.allclose(through, torch.arange(4.0, dtype=torch.float64).expand(5, 4))


def test_of_one_code_the_rate_is_0_and_deeper_quantisers_leave_less():
    lone = model_of(VQ(4, codes=1, size=2))
    assert lone.draw(batch(), torch.zeros(1, B, 0)).rate.abs().max() == 0
    left = []
    for depth in (1, 2, 3):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = model_of(VQ(2 * depth, codes=4, size=2, depth=depth))
        with torch.no_grad():
            model.posterior.start(model, batch())
        q = model.encode(batch())
        total = model.posterior.values(q.index).unflatten(-1, (depth, 2)).sum(-2)
        left.append((q.h - total).square().sum(-1).mean().item())
    assert left[0] > left[1] > left[2]


@pytest.mark.parametrize("name", ["vq:size=2,depth=2", "concrete:levels=4"])
def test_on_a_map_a_code_is_of_one_place(name):
    """4 channels of 2×3 places: what the encoder gives at one place changes the codes, and the z, of no other."""
    book = {"vq:size=2,depth=2": VQ(24, codes=8, size=2, depth=2), "concrete:levels=4": Concrete(24, levels=4)}[name]
    channels = book.features // 6
    h = torch.randn(1, channels, 2, 3, generator=torch.Generator().manual_seed(0))
    moved = h.clone()
    moved[:, :, 1, 2] = moved[:, :, 1, 2].flip(1) * -3
    first, second = (book(each.flatten(1)) for each in (h, moved))
    z, other = (q.mean.unflatten(-1, (-1, 2, 3)) for q in (first, second))
    changed = (z != other).any(1)[0]
    assert changed.tolist() == [[False] * 3, [False, False, True]]
    assert (first.index != second.index).unflatten(-1, (6, -1)).any(-1)[0, :5].sum() == 0


@pytest.mark.parametrize("posterior", but_few_slow(["vq:size=4", "fsq", "concrete:levels=4"], quick=1))
def test_images_have_maps_of_codes(posterior):
    images = np.random.default_rng(0).integers(0, 17, (60, 8, 8)).astype(np.uint8)
    vae = VAE(posterior=posterior, network="local", hidden=(8, 8), max_epochs=1, device="cpu").fit(images)
    model = vae.model_
    assert model.posterior.places % 4 == 0  # of 2×2 places
    assert np.isfinite(vae.score_samples(images[:3])).all()
    assert vae.sample(2).shape == (2, 8, 8)
    lone = model.latent_dim // model.posterior.places
    with pytest.raises(VaekitError, match=r"give a multiple of \d+, or auto"):
        VAE(latent_dim=lone, posterior=posterior, network="local", hidden=(8, 8), device="cpu").fit(images)


def test_grids_within_grids_are_one_fine_grid():
    vq = finer(VQ(3, codes=3, size=1, depth=3)).double()
    h = torch.linspace(-1.4, 1.4, 977, dtype=torch.float64).unsqueeze(-1)
    total = vq(h).mean.sum(-1, keepdim=True)
    fine = (torch.arange(27, dtype=torch.float64) - 13) / 9
    nearest = fine[(h - fine).abs().argmin(-1)].unsqueeze(-1)
    assert torch.allclose(total, nearest)


def test_a_codebook_begins_at_what_the_encoder_gives_for_training_rows():
    settings = Settings().changed(latent_dim=4, hidden=(8,), device="cpu", posterior="vq:codes=16")
    prepared = prepare(settings, Source(ROWS))
    use = code_use(prepared.state.model, prepared.rows["train"])
    assert use.used == (1.0,)
    few = torch.tensor([[0.0, 1.0], [0.0, 1.0], [2.0, 3.0]])
    book = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    begin_at(book, few)
    assert book[:2].tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert len(book.unique(dim=0)) == 4


def test_the_entropy_of_bits_is_that_of_all_codes():
    """p(z) ∝ exp(−τ ‖h − z‖²) over 2⁶ codes falls apart into bits."""
    h = torch.randn(7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    codes = LFQ(6).double().values(all_codes(LFQ(6)))
    tau = 0.7
    log_p = (-tau * (h.unsqueeze(1) - codes).square().sum(-1)).log_softmax(1)
    exact = -(log_p.exp() * log_p).sum(1)
    assert torch.allclose(bit_entropy(4 * tau * h).sum(-1), exact)
    lfq = LFQ(6, entropy=1.0, diversity=0.0, sharpness=tau, commitment=0.0).double()
    assert torch.allclose(lfq(h).owed, exact)


# what is said of it


def _rows(n: int = 60) -> Dataset:
    return Dataset(ROWS[:n], describe(ROWS), seed=0)


def test_importance_sampling_of_one_code_is_the_bound_with_no_error_to_tell():
    model = model_of(FSQ(2, "5")).float()
    found = log_likelihood(model, _rows(), ImportanceSampling(50))
    values = evaluate(model, _rows())
    assert found.mean == pytest.approx(values.elbo, abs=1e-4)
    assert found.error is None
    assert not found.bias
    assert found.untrusted is None
    assert "lower bound" in found.doubt
    assert values.parts is None
    assert "the bound itself" in str(vaekit.evaluation.as_for(ImportanceSampling(50), model))
    for method in (Quadrature(), AnnealedImportance()):
        with pytest.raises(VaekitError, match="latents that are real numbers, and this model's are codes: use iwae"):
            log_likelihood(model, _rows(), method)


def test_the_use_of_codes_is_counted():
    model = model_of(FSQ(2, "5x3")).float()
    index, sizes, _ = inference.codes(model, _rows())
    use = code_use(model, _rows())
    assert use.sizes == sizes == (5, 3)
    entropies = []
    for m, size in enumerate(sizes):
        frequency = np.bincount(index[:, m], minlength=size) / len(index)
        seen = frequency[frequency > 0]
        entropies.append(-(seen * np.log(seen)).sum())
        assert use.used[m] == pytest.approx(len(seen) / size)
        assert use.perplexity[m] == pytest.approx(math.exp(entropies[-1]))
    assert use.entropy == pytest.approx(sum(entropies))
    assert use.distinct == len(np.unique(index, axis=0))
    assert evaluate(model, _rows()).to_dict()["codes"] == use.to_dict()


def test_parts_of_other_spaces_are_refused_with_a_remedy_that_works():
    with pytest.raises(VaekitError, match="a posterior whose latents are codes, such as fsq"):
        prepare(Settings().changed(prior="codes", latent_dim=2), Source(ROWS))
    with pytest.raises(VaekitError, match=r"latents are codes, and the prior's real numbers: choose prior auto"):
        prepare(Settings().changed(posterior="fsq", prior="standard", latent_dim=2), Source(ROWS))
    with pytest.raises(VaekitError, match=r"not a density, so that no prior is made of it: choose prior auto"):
        prepare(Settings().changed(posterior="fsq", prior="vamp", latent_dim=2), Source(ROWS))
    with pytest.raises(VaekitError, match=r"levels of posterior fsq is '2'.*posterior lfq"):
        prepare(Settings().changed(posterior="fsq:levels=2"), Source(ROWS))
    with pytest.raises(VaekitError, match="give a multiple of 2, 4 say"):
        prepare(Settings().changed(posterior="fsq:levels=8x5", latent_dim=3), Source(ROWS))
    even = prepare(Settings().changed(posterior="fsq:levels=8x5", prior="auto"), Source(ROWS))
    assert even.settings.model.latent_dim == 2
    assert even.settings.model.prior == "codes"
    with pytest.raises(VaekitError, match="real numbers, and no codes"):
        inference.codes(VAE(latent_dim=1, hidden=(), max_epochs=1).fit(ROWS).model_, _rows())


# the whole way


@pytest.fixture(params=but_few_slow(NAMES, quick=2))
def parts(request) -> dict[str, str]:
    prior = "codes:kind=autoregressive,width=8" if "autoregressive" in request.param else "auto"
    return {"posterior": NAMES[request.param], "prior": prior}


SMALL = {"latent_dim": 4, "hidden": (8,), "device": "cpu", "random_state": 0}


def test_the_step_is_traced_whole_and_every_parameter_has_a_finite_gradient(parts):
    settings = Settings().changed(latent_dim=4, hidden=(8,), device="cpu", epochs=2, compile="off", **parts)
    prepared = prepare(settings, Source(ROWS))
    state, rows = prepared.state, prepared.rows["train"].train_batch(0, 32)
    noise = state.noise(rows)
    loss = state.last(rows.tensors, noise, 0).loss
    gradients = torch.autograd.grad(loss, state.parameters)
    assert all(gradient.isfinite().all() for gradient in gradients)
    whole = torch.compile(lambda: state.last(rows.tensors, noise, 0).loss, fullgraph=True, backend="eager")
    assert whole().item() == pytest.approx(loss.item(), abs=1e-4)


def test_a_training_taken_up_again_goes_on_to_the_same_bits(parts):
    settings = Settings().changed(latent_dim=4, hidden=(8,), device="cpu", epochs=9, compile="off", **parts)
    whole, begun = (prepare(settings, Source(ROWS)) for _ in range(2))
    rows = whole.rows["train"]
    for step in range(6):
        whole.state.advance(rows.train_batch(step, 32))
    for step in range(3):
        begun.state.advance(rows.train_batch(step, 32))
    again = prepare(settings, Source(ROWS), begun.schema)
    again.state.load({name: t.clone() for name, t in begun.state.tensors().items()}, begun.state.counters())
    for step in range(3, 6):
        again.state.advance(rows.train_batch(step, 32))
    found = again.state.tensors()
    assert all(torch.equal(tensor, found[name]) for name, tensor in whole.state.tensors().items())


def test_a_run_with_codes_goes_the_whole_way(parts, tmp_path):
    X = ROWS.copy()
    X[RNG.random(X.shape) < 0.1] = np.nan
    vae = VAE(**SMALL, max_epochs=6, **parts).fit(X)
    assert vae.history_[-1]["validation_elbo"] > vae.history_[0]["validation_elbo"] - 1
    vae.save(tmp_path / "run")
    again = vaekit.load(tmp_path / "run", device="cpu")
    assert np.array_equal(again.score_samples(X[:9]), vae.score_samples(X[:9]))
    codes = again.codes(X[:9])
    assert np.array_equal(codes, vae.codes(X[:9]))
    model = again.model_
    if not model.noise:
        values = model.posterior.values(torch.from_numpy(codes)).detach().numpy()
        assert np.array_equal(again.transform(X[:9]), values)
    assert np.array_equal(again.sample(5, random_state=0), vae.sample(5, random_state=0))
    filled = vae.impute(X[:20])
    assert np.isfinite(filled).all()
    assert np.array_equal(filled[~np.isnan(X[:20])], X[:20][~np.isnan(X[:20])])
    assert again.inverse_transform(again.transform(X[:9])).shape == (9, X.shape[1])


def test_another_prior_is_fitted_to_codes_and_none_of_densities(tmp_path):
    """A density of real numbers may be as great as one likes at a code: its log is no rate."""
    X = np.concatenate([ROWS] * 3)
    vae = VAE(**SMALL, max_epochs=30, posterior="vq:codes=8,size=2").fit(X)
    for other in ("mixture", "vamp", "standard"):
        with pytest.raises(VaekitError, match=r"latents are codes|is one code and not a density.*choose prior auto"):
            vae.refit(X, prior=other)
    again = vae.refit(X)
    assert again.settings_.model.prior in ("codes:kind=independent", "codes:kind=autoregressive")
    assert again.score(X) > vae.score(X)
    assert np.array_equal(again.codes(X), vae.codes(X))
    z = again.model_.posterior.values(all_codes(again.model_.posterior))
    assert again.model_.pz().log_prob(z).exp().sum().item() == pytest.approx(1, abs=1e-5)
    again.save(tmp_path / "run")
    loaded = vaekit.load(tmp_path / "run", device="cpu")
    assert np.array_equal(loaded.score_samples(X[:5]), again.score_samples(X[:5]))


def test_an_ensemble_with_codes_is_a_model_too():
    vae = VAE(**SMALL, max_epochs=2, members=2, posterior="fsq:levels=4").fit(ROWS)
    assert vae.codes(ROWS[:3]).shape == (3, 8)
    assert np.isfinite(vae.score_samples(ROWS[:3])).all()
    assert vae.sample(3).shape == (3, X)
    use = code_use(vae.model_, vae._rows(ROWS))
    assert use.sizes == (4,) * 8
    assert use.entropy <= 4 * math.log(4) + 1e-9  # of one member


def test_what_makes_no_sense_of_codes_is_refused_in_a_sentence():
    model = model_of(Concrete(4, levels=2)).float()
    use = code_use(model, _rows())
    assert use.entropy is None
    assert evaluate(model, _rows()).parts.information <= math.log(60)
    for gradient in (ELBO(gradient="sticking-the-landing"), ImportanceWeighted(4, gradient="doubly-reparameterised")):
        with pytest.raises(VaekitError, match="choose the standard gradient"):
            gradient(model_of(FSQ(2, "5")), batch(), torch.zeros(gradient.samples, B, 0))


def test_many_levels_have_no_value_beyond_the_last():
    posterior = FSQ(1, "4001")
    index = posterior(torch.tensor([[-30.0], [30.0]])).index
    assert index.flatten().tolist() == [0, 4000]
