"""Published variants, each a part or two in a module that is not vaekit's, on the contracts as they are."""

import numpy as np
import pytest
import torch
from lanes import but_few_slow

import vaekit
from vaekit import VAE
from vaekit.data import Source
from vaekit.settings import Settings, prepare
from vaekit.training import fit

RNG = np.random.default_rng(0)
X = np.tanh(RNG.normal(size=(200, 4))) @ RNG.normal(size=(4, 6))
VARIANTS = {
    "VampPrior": {"prior": "variants:Vamp"},
    "coupling flow": {"posterior": "variants:CouplingPosterior"},
    "MMD": {"objective": "variants:InfoVAE"},
    "vector quantised": {"posterior": "variants:Quantised", "prior": "variants:UniformCodes"},
    "ladder": {"posterior": "variants:LadderPosterior", "prior": "variants:LadderPrior"},
    "FactorVAE": {"objective": "variants:FactorVAE"},
    "vaekit's coupling": {"posterior": "coupling", "objective": "elbo:gradient=sticking-the-landing"},
    "vaekit's iaf": {"posterior": "iaf"},
    "vaekit's planar": {"posterior": "planar"},
    "vaekit's ladder": {"posterior": "ladder:rungs=3", "objective": "elbo:gradient=sticking-the-landing"},
    "vaekit's von Mises-Fisher": {"posterior": "vmf"},
    "vaekit's flow prior": {"prior": "flow", "objective": "iwae:samples=4,gradient=doubly-reparameterised"},
}
SMALL = {"latent_dim": 4, "hidden": (8,), "device": "cpu", "network": "mlp"}


@pytest.fixture(params=but_few_slow(VARIANTS, quick=2))
def parts(request) -> dict[str, str]:
    return VARIANTS[request.param]


def test_every_parameter_has_a_finite_gradient_and_the_step_is_traced_whole(parts):
    prepared = prepare(Settings().changed(**SMALL, epochs=2, compile="off", **parts), Source(X))
    state, batch = prepared.state, prepared.rows["train"].train_batch(0, 32)
    noise = state.noise(batch)
    loss = state.last(batch.tensors, noise, 0).loss
    gradients = torch.autograd.grad(loss, state.parameters)  # refuses a parameter that the loss does not depend on
    assert all(gradient.isfinite().all() for gradient in gradients)
    torch.compiler.reset()  # of the variants before, which share some code, it would recompile too often
    whole = torch.compile(lambda: state.last(batch.tensors, noise, 0).loss, fullgraph=True, backend="eager")
    assert whole().item() == pytest.approx(loss.item(), abs=1e-4)


@pytest.mark.slow
def test_training_raises_the_bound_of_rows_held_out_and_repeats(parts):
    values = []
    for _ in range(2):
        prepared = prepare(Settings().changed(**SMALL, epochs=40, compile="off", **parts), Source(X))
        records = fit(prepared.state, prepared.rows["train"], prepared.rows["validation"])
        values.append([record.metrics["validation_elbo"] for record in records if record.metrics])
    assert values[0][-1] > values[0][0]
    assert values[0] == values[1]


def test_a_run_is_opened_again_to_the_bit(parts, tmp_path):
    vae = VAE(**SMALL, max_epochs=2, **parts).fit(X)
    vae.save(tmp_path / "run")
    again = vaekit.load(tmp_path / "run", device="cpu", trust=["variants"])
    assert np.array_equal(again.score_samples(X[:9]), vae.score_samples(X[:9]))
    assert np.array_equal(again.transform(X[:9]), vae.transform(X[:9]))
    assert np.array_equal(again.sample(5, random_state=0), vae.sample(5, random_state=0))


def test_parts_begin_at_training_rows_posterior_first():
    prepared = prepare(Settings().changed(**SMALL, posterior="variants:Begun", prior="variants:BegunPrior"), Source(X))
    model = prepared.state.model
    rows = prepared.rows["train"]
    seen = model.prior.seen
    assert len(seen) == len(rows)
    assert not torch.equal(seen, rows.scoring_batch(torch.arange(len(rows))).x)  # in no order
    assert torch.equal(seen.sort(0).values, rows.scoring_batch(torch.arange(len(rows))).x.sort(0).values)
    assert model.prior.after_posterior


def test_posterior_and_prior_of_other_spaces_are_refused_before_a_step():
    with pytest.raises(vaekit.errors.VaekitError, match="a circle, and the prior's real numbers"):
        prepare(Settings().changed(**SMALL, posterior="variants:OnACircle"), Source(X))
