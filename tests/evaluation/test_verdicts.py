"""Sentences and the numbers at which they are said."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from vaekit import models, nets, parts
from vaekit.data import Dataset, describe
from vaekit.evaluation.baselines import Baseline, SimpleModels, Structure
from vaekit.evaluation.rate import rate_parts
from vaekit.evaluation.verdicts import (
    NamedRow,
    below_baselines,
    collapse,
    comparison,
    decisive,
    few_decide,
    overfitting,
    verdicts,
)

NAN = float("nan")


def baseline(name: str, nats: float | None) -> Baseline:
    return Baseline(name, nats, 0.1, None, "")


# few rows that decide


def with_wild_rows(n: int, wild: dict[int, float]) -> torch.Tensor:
    """Scores of n rows of a normal distribution, some of them replaced."""
    log_p = torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(n)) - 20
    for row, nats in wild.items():
        log_p[row] = nats
    return log_p


@pytest.mark.parametrize(("n", "wild"), [
    (8, {3: -4.8e12}),
    (8, {3: -500.0}),
    (60, {3: -1e6, 50: -1e6}),
    (60, {3: -1e12, 50: -1e6}),
    (60, {3: 1e6}),
    (900, dict.fromkeys(range(7), -1e5)),
])  # fmt: skip
def test_few_rows_that_decide_the_mean_are_found(n, wild):
    log_p = with_wild_rows(n, wild)
    assert sorted(decisive(log_p).tolist()) == sorted(wild)
    found = few_decide(log_p, lambda i, nats: NamedRow(i + 100, None, nats, "a", 7.0))
    rest = [i for i in range(n) if i not in wild]
    assert found.mean == pytest.approx(log_p[rest].mean().item())
    assert found.spread == pytest.approx(log_p[rest].std().item() / len(rest) ** 0.5)
    assert found.median == log_p.median().item()
    assert (found.n, {row.row - 100: row.log_p for row in found.rows}) == (len(rest), wild)


@pytest.mark.parametrize(("n", "wild"), [
    (8, {}),
    (900, {}),
    (7, {3: -4.8e12}),
    (60, {3: -30.0}),
    (60, dict.fromkeys(range(3), -1e6)),
    (900, {3: -40.0}),
])  # fmt: skip
def test_a_mean_that_is_everyone_s_is_left_alone(n, wild):
    assert few_decide(with_wild_rows(n, wild), NamedRow) is None
    assert few_decide(torch.full((n,), -3.0, dtype=torch.float64), NamedRow) is None


def test_rows_that_decide_are_named_with_their_file_and_cell():
    rows = [NamedRow(4, "b.csv", -1e6, "age", 9.5e9), NamedRow(17, None, -2e5)]
    log_p = with_wild_rows(60, {0: -1e6, 1: -2e5})
    said = str(few_decide(log_p, lambda i, _: rows[i]))
    assert said.startswith(
        "2 rows decide the mean log p(x): row 4 ('b.csv') of -1,000,000.00 nats, farthest out in age (9.5e+09); "
        "row 17 of -200,000.00 nats. Without them the mean is -19."
    )
    assert said.endswith(" nats over 58 rows.")
    many = with_wild_rows(900, dict.fromkeys(range(7), -1e5))
    assert "; and 4 more. Without" in str(few_decide(many, lambda i, nats: NamedRow(i, None, nats)))


# overfitting


@pytest.mark.parametrize(("train", "held_out", "gap_se", "said"), [
    (-80.0, -83.0, 1.0, True),
    (-80.0, -82.01, 1.0, True),
    (-80.0, -81.99, 1.0, False),
    (-80.0, -81.0, 1.0, False),
    (-80.0, -81.01, 0.1, True),
    (-80.0, -80.99, 0.1, False),
    (-83.0, -80.0, 0.1, False),
    (-80.0, -83.0, None, False),
    (NAN, -83.0, 0.1, False),
    (1.0, 1.0, 0.0, False),
])  # fmt: skip
def test_overfitting_is_a_gap_of_more_than_two_standard_errors_and_a_nat(train, held_out, gap_se, said):
    assert (overfitting(train, held_out, gap_se) is not None) == said


def test_overfitting_says_both_numbers_and_the_gap():
    assert overfitting(-1080.25, -1083.5, 0.5, "log p(x)") == (
        "Overfitting: the log p(x) is -1,080.25 nats on training rows and -1,083.50 on others, a gap of 3.25 ± 0.50."
    )


# collapse


@pytest.mark.parametrize(("rate", "structure", "said"), [
    (0.01, Structure(1.0, 0.1, 2), True),
    (0.01, Structure(0.21, 0.1, 2), True),
    (0.01, Structure(0.19, 0.1, 2), False),
    (0.01, Structure(-3.0, 0.1, 2), False),
    (0.01, Structure(0.0, 0.0, 2), False),
    (0.01, Structure(1.0, None, 2), False),
    (0.01, None, False),
    (0.099, Structure(1.0, 0.1, 2), True),
    (0.1, Structure(1.0, 0.1, 2), False),
    (9.0, Structure(1.0, 0.1, 2), False),
    (NAN, Structure(1.0, 0.1, 2), False),
])  # fmt: skip
def test_collapse_needs_a_rate_near_0_and_evidence(rate, structure, said):
    assert (collapse(rate, structure) is not None) == said


def test_collapse_says_what_there_was_to_gain():
    assert collapse(0.034, Structure(2.5, 0.126, 8)) == (
        "Posterior collapse: the rate is 0.03 nats, while probabilistic PCA with 8 latents gains 2.50 ± 0.13 nats a "
        "row over independent Gaussian columns: the latents carry nothing, and there is something to carry."
    )
    assert "the rate is 0.00 nats" in collapse(-1e-4, Structure(2.5, 0.1, 1))  # a sampled rate may be
    assert "with 1 latent gains" in collapse(0.0, Structure(2.5, 0.1, 1))


class Ignoring(nn.Module):
    """An encoder that gives every row the prior."""

    def forward(self, x):
        return torch.zeros(len(x), 4)


def collapsed(scale: float, shared: float):
    """A linear VAE with σ = 1 whose q(z|x) is p(z), and rows of six columns of variance scale² (1 + shared²)."""
    likelihood = parts.likelihoods.Gaussian((6,), sigma="unit")
    model = models.VAE(
        Ignoring(), parts.posteriors.Diagonal(2), parts.priors.StandardNormal(2), nets.MLP(2, (), 6), likelihood
    )
    rng = np.random.default_rng(0)
    x = scale * (shared * rng.normal(size=(2000, 1)) + rng.normal(size=(2000, 6)))
    train, held_out = (Dataset(part, describe(x), seed=0) for part in (x[:1000], x[1000:]))
    return rate_parts(model, held_out).rate, SimpleModels(train, held_out, 2)


def test_collapse_that_is_the_optimum_is_no_verdict():
    rate, simple = collapsed(scale=0.5, shared=0.0)  # every eigenvalue is ¼, below σ²: nothing is worth its rate
    assert rate == pytest.approx(0, abs=1e-3)
    assert collapse(rate, simple.structure) is None


def test_collapse_where_pca_gains_is_one():
    rate, simple = collapsed(scale=1.0, shared=2.0)
    assert collapse(rate, simple.structure).startswith("Posterior collapse: the rate is 0.00 nats, while")


# baselines


def rows(mean: float, sd: float = 1.0, n: int = 400) -> torch.Tensor:
    """n values of exactly this mean and standard deviation."""
    noise = torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return mean + sd * (noise - noise.mean()) / noise.std()


def scored(name: str, log_p: torch.Tensor) -> Baseline:
    return Baseline(name, log_p.mean().item(), 0.1, None, "", log_p)


def test_a_model_below_baselines_is_told_which_and_by_how_much():
    simple = [baseline("weak", -100.0), baseline("gzip", -88.5), baseline("lzma", -80.0), baseline("none", None)]
    assert below_baselines(rows(-90.0), simple) == (
        "The model is worse than simple ones: lzma is better by 10.00 ± 0.05, gzip is better by 1.50 ± 0.05 nats a row."
    )


@pytest.mark.parametrize(("behind", "said"), [(0.02, True), (0.005, False), (-0.02, False)])
def test_differences_are_of_the_same_rows(behind, said):
    """A hundredth of a nat in every row is known, however much rows differ."""
    log_p = rows(-80.0, sd=30.0)
    other = scored("Gaussian", log_p + behind + rows(0.0, sd=0.1).flip(0))
    assert (below_baselines(log_p, [other]) is not None) == said
    assert ("worse" in comparison(log_p, [other])) == said


@pytest.mark.parametrize(("gain", "said"), [(-0.02, "worse"), (-0.004, "told apart"), (0.004, "told apart")])
def test_a_difference_that_prints_as_nothing_is_none(gain, said):
    """However sure it is: of two models that are the same but for rounding, neither wins."""
    log_p = rows(-3.0)
    other = scored("independent columns", log_p - gain)
    assert said in comparison(log_p, [other])
    assert (below_baselines(log_p, [other]) is not None) == (said == "worse")


def test_a_model_above_all_of_them_is_not():
    assert below_baselines(rows(-79.0), [baseline("lzma", -80.0), baseline("none", None)]) is None
    assert below_baselines(rows(-79.0), []) is None
    assert below_baselines(rows(NAN), [baseline("lzma", -80.0)]) is not None


def test_one_sentence_says_who_wins():
    log_p = rows(-80.0)
    simple = [scored("weak", log_p - 9), scored("good", log_p - 2 + rows(0.0, 0.5).flip(0)), baseline("none", None)]
    assert comparison(log_p, simple) == (
        "The model is better than every simple one: than the best of them, good, by 2.00 ± 0.03 nats a row."
    )
    assert "cannot be told apart: +0.01 ± 0.07 nats a row." in comparison(log_p, [scored("same", rows(-80.01).flip(0))])
    assert comparison(log_p, [scored("better", log_p + 1 + rows(0, 0.5).flip(0))]).startswith("The model is worse")
    assert comparison(log_p, [baseline("none", None)]) is None


# all of them


def test_verdicts_are_those_that_apply():
    found, gap = SimpleNamespace(value=rows(-4.0)), SimpleNamespace(train=-3.0, gap=2.0, gap_se=0.5)
    simple = SimpleNamespace(structure=Structure(1.0, 0.1, 2), baselines=[baseline("gzip", -3.5)])
    said = verdicts(found, 0.0, gap, simple)
    assert [one.split(":")[0] for one in said] == [
        "The model is worse than simple ones",
        "Posterior collapse",
        "Overfitting",
    ]
    assert "-3.00 nats on training rows and -5.00 on others, a gap of 2.00 ± 0.50" in said[2]
    calm = SimpleNamespace(baselines=[baseline("gzip", -4.5)])  # no structure is asked for where nothing collapsed
    assert verdicts(found, 5.0, None, calm) == ()
