"""Every part with every other: each combination works, from fit over a kill and a resume to samples, or is refused in a
sentence before anything is trained."""

import itertools

import numpy as np
import pytest
import torch

from vaekit import evaluation, inference
from vaekit.core import Posterior, Prior
from vaekit.data import Source
from vaekit.errors import VaekitError
from vaekit.noise import generator
from vaekit.runs import Run, fit_and_save
from vaekit.settings import Prepared, Settings, prepare, tables

RNG = np.random.default_rng(0)
ROWS = 60
FACTOR = RNG.normal(size=(ROWS, 1))
REALS = FACTOR * [1.0, -2.0, 0.5] + 0.3 * RNG.normal(size=(ROWS, 3))
COUNTS = RNG.poisson(np.exp(1 + 0.5 * REALS)).astype(np.float64)
AMOUNTS = np.where(RNG.random(REALS.shape) < 0.3, 0.0, np.exp(REALS).round(2) + 0.01)
LIKELIHOODS = {
    "gaussian": REALS,
    "student-t": REALS,
    "laplace": REALS,
    "logistic-mixture": REALS,
    "log-normal": np.exp(REALS),
    "zero-inflated-log-normal": AMOUNTS,
    "discretized-logistic": COUNTS,
    "discretized-mixture": COUNTS,
    "poisson": COUNTS,
    "negative-binomial": COUNTS,
    "zero-inflated-negative-binomial": COUNTS,
    "bernoulli": (REALS > 0).astype(np.float64),
    "columns": np.column_stack([REALS[:, 0], COUNTS[:, 0], REALS[:, 1] > 0]),
}
"""rows that each suits"""
OBJECTIVES = ("elbo", "iwae:samples=4", "elbo:gradient=sticking-the-landing", "elbo:samples=2,beta=0.5,warmup=0.5")
NAMED = {"concrete": "concrete:levels=4"}
"""posteriors whose usual arguments are for more latents"""
SMALL = {"latent_dim": 4, "hidden": (8,), "epochs": 2, "batch_size": 16, "device": "cpu", "compile": "off"}


def prepared(likelihood: str, **parts: str) -> Prepared:
    """A run on rows that the likelihood suits."""
    parts["posterior"] = NAMED.get(parts["posterior"], parts["posterior"])
    settings = Settings().changed(**SMALL, likelihood=likelihood, **parts)
    return prepare(settings, Source(LIKELIHOODS[likelihood]))


def pairs() -> list[tuple[str, str]]:
    """Posteriors and priors of one space, by what the posterior names as its own."""
    found = []
    for posterior, family in tables.POSTERIORS.items():
        if posterior == "point":  # which has no density, and goes with the autoencoder's loss alone
            continue
        own = getattr(family, "prior", "")
        for prior in tables.PRIORS:
            of_own = prior == own.split(":")[0] or (prior == "vamp" and posterior in ("vmf", "concrete"))
            of_reals = own in ("", "ladder") and prior not in ("codes", "uniform-sphere", "ladder")
            if of_own or of_reals:
                found.append((posterior, prior))
    return found


def cases() -> list[tuple[str, str, str, str]]:
    """Each pair of posterior and prior twice, with likelihoods and objectives in turn."""
    likelihoods = itertools.cycle(LIKELIHOODS)
    objectives = itertools.cycle(OBJECTIVES)
    found = []
    for posterior, prior in [*pairs(), *pairs()[3:], *pairs()[:3]]:
        found.append((posterior, prior, next(likelihoods), next(objectives)))
    return found


def refused(posterior: str, prior: str, objective: str) -> bool:
    """Whether the parts are known not to go together."""
    if posterior in ("iaf", "planar"):  # which know the density of their own draws only
        return prior == "vamp" or "sticking" in objective
    of_codes = posterior in ("fsq", "vq", "lfq", "concrete")  # whose gradient is that of a relaxation, or goes past one
    return of_codes and "sticking" in objective


@pytest.mark.slow
@pytest.mark.parametrize(("posterior", "prior", "likelihood", "objective"), cases())
def test_parts_of_one_space_work_from_fit_over_a_kill_to_samples(posterior, prior, likelihood, objective, tmp_path):
    parts = {"posterior": posterior, "prior": prior, "objective": objective}
    if refused(posterior, prior, objective):
        with pytest.raises(VaekitError):
            prepared(likelihood, **parts)
        return
    whole, killed = prepared(likelihood, **parts), prepared(likelihood, **parts)
    about = {"name": "rows", **{part: len(rows) for part, rows in whole.split.items()}}
    for _ in fit_and_save(Run.create(tmp_path / "whole", whole.settings, whole.schema, about), whole):
        pass
    run = Run.create(tmp_path / "killed", killed.settings, killed.schema, about)
    for _ in fit_and_save(run, killed, lambda: killed.state.step == 3):
        pass
    assert not killed.state.finished
    again = prepare(killed.settings, Source(LIKELIHOODS[likelihood]), killed.schema)
    run = Run.reopen(tmp_path / "killed")
    run.restore(again.state)
    for _ in fit_and_save(run, again):
        pass
    for name, tensor in whole.state.tensors().items():
        assert torch.equal(tensor, again.state.tensors()[name]), name

    model = Run.open(tmp_path / "killed").model(torch.device("cpu"))
    rows = again.rows["test"]
    found = evaluation.evaluate(model, rows, evaluation.ImportanceSampling(8), train=again.rows["train"])
    assert found.log_likelihood.value.isfinite().all()
    assert found.elbo <= found.log_likelihood.mean + 0.05  # of few draws
    assert all(part.isfinite().all() for part in inference.encode(model, rows))
    assert inference.sample(model, 7, generator(0, "sample")).isfinite().all()
    assert inference.reconstruct(model, rows, 2, generator(0, "again")).isfinite().all()


@pytest.mark.slow
def test_every_other_combination_is_refused_in_a_sentence():
    """A posterior with a prior of another space, before a step: the two densities cannot be compared."""
    fitting = set(pairs())
    tried = 0
    for posterior, prior in itertools.product(tables.POSTERIORS, tables.PRIORS):
        if (posterior, prior) in fitting:
            continue
        with pytest.raises(VaekitError) as error:
            prepared("gaussian", posterior=posterior, prior=prior)
        said = str(error.value)
        assert said.endswith("."), said
        assert len(said) < 240, said
        assert "\n" not in said, said
        tried += 1
    assert tried


@pytest.mark.parametrize(("posterior", "prior"), pairs())
def test_what_stands_in_the_tables_keeps_to_the_contracts(posterior, prior):
    if refused(posterior, prior, "elbo"):
        pytest.skip("refused: see above")
    model = prepared("gaussian", posterior=posterior, prior=prior).state.model
    assert isinstance(model.posterior, Posterior)
    assert isinstance(model.prior, Prior)
