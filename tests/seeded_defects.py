"""Plant mistakes, most of which others made, one at a time, and show that the tests catch each.

    python tests/seeded_defects.py [NAME …]        all of them without a name; or `make defects`

Prints a line a mistake: the first test that went red, or NOT CAUGHT. Exits with the number that were not caught.

A mistake is a function put around one of vaekit's own, in a process of its own: this module is a plugin of the pytest
that runs there, and plants it before any test or fixture has imported what it changes.
"""

import dataclasses
import importlib
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parent.parent
PLANTED = "VAEKIT_SEEDED_DEFECT"
LOG_2PI = math.log(2 * math.pi)


class Defect(NamedTuple):
    """What is done wrong, and which tests have to notice."""

    place: str
    """module:function, or module:class.method"""
    wrong: Callable[[Callable], Callable]
    """the right function ↦ the wrong one"""
    tests: str
    """where it must be noticed, below tests/"""

    def plant(self, patch: pytest.MonkeyPatch) -> None:
        """Put the wrong function into the place of the right one."""
        module, _, path = self.place.partition(":")
        *within, name = path.split(".")
        home = importlib.import_module(module)
        for step in within:
            home = getattr(home, step)
        right = getattr(home, name)
        if hasattr(right, "function"):  # a property that is computed once
            wrong = type(right)(self.wrong(right.function))
            wrong.name = name
        else:
            wrong = self.wrong(right)
        patch.setattr(home, name, wrong)


def mean_over_features(right):
    def masked_sum(values, mask, dims):
        count = math.prod(values.shape[-dims:]) if dims else 1
        return right(values, mask, dims) / count

    return masked_sum


def weighted_mean(right):
    return lambda log_w, dim: (log_w.softmax(dim) * log_w).sum(dim)


def fresh_keys(right):
    def __init__(self, keys, *arguments, **options):
        right(self, np.random.default_rng().integers(0, 2**63, len(keys), np.uint64), *arguments, **options)

    return __init__


def beta_in_the_value(right):
    def forward(self, *arguments, **options):
        bound = right(self, *arguments, **options)
        return bound._replace(value=-(bound.terms["distortion"] + self.beta * bound.terms["rate"]))

    return forward


def debt_in_the_value(right):
    return lambda self, value, loss, draw: right(self, value - draw.q.owed, loss, draw)


def prior_of_the_data(right):
    from vaekit.core import Batch

    return lambda self, c=None: self.prior(c, posterior=lambda x: self.encode(Batch(x)))


def drawing(right):
    def forward(self, x, c=None):
        y = right(self, x, c)
        return y + 1e-3 * torch.randn_like(y)

    return forward


def half_of_the_draws(right):
    def log_weights(self, *arguments):
        log_w = right(self, *arguments)
        half = log_w[: -(-len(log_w) // 2)]
        return torch.cat([half, half])[: len(log_w)]

    return log_weights


def grey_value_over_256(right):
    def as_binary(self, how):
        schema = right(self, how)
        return dataclasses.replace(schema, grey=schema.grey + 1) if schema.grey > 1 else schema

    return as_binary


def negated(right):
    def __call__(self, *arguments):
        scores = right(self, *arguments)
        return dataclasses.replace(scores, value=-scores.value)

    return __call__


def volume_of_the_other_way(right):
    def pulled(self, z, c):
        z, log_det = right(self, z, c)
        return z, -log_det

    return pulled


def looking_at_itself(right):
    def __init__(self, *arguments, **options):
        right(self, *arguments, **options)
        self.conditioner.first.mask.fill_(1)


def no_gradient(right):
    return lambda value, h: right(value, h.detach())


def mean_over_latents(right):
    def forward(self, h):
        q = right(self, h)
        q.owed = q.owed / self.latent_dim
        return q

    return forward


def without_the_shift(right):
    return lambda self, h: right(self, h - self.shift)


def codes_for_nothing(right):
    return lambda self, z, mask=None: 0 * right(self, z)


def sees_itself(right):
    def __init__(self, *arguments, **options):
        right(self, *arguments, **options)
        self.last.mask = torch.ones_like(self.last.mask)

    return __init__


def angle_without_its_gradient(right):
    def angles(noise, kappa, dims):
        found = right(noise, kappa, dims)
        return torch.cat([found[:1], 0 * found[1:2], found[2:]])

    return angles


def minibatch_weights(right):
    from vaekit.objectives.correlation import Aggregate

    def aggregate(draw, rows):
        found = right(draw, draw.z.shape[1])
        return Aggregate(*(log_q - math.log(rows) for log_q in found))

    return aggregate


def both_into_one(right):
    def partially(self, model, draw, log_w, weight):
        return right(self, model, draw, log_w, weight) - log_w.logsumexp(1).mean()

    return partially


def at_the_rung_above(right):
    """Each rung's density below the top at what the draw has one latent earlier."""

    def each(self, z):
        return zip([q for q, _ in right(self, z)], z.roll(1, -1).split(self.rungs, -1), strict=True)

    return each


BOUNDS, NORMAL = "vaekit.objectives.bounds:", "vaekit.distributions.normal:Normal."
IMPORTANCE = "vaekit.evaluation.importance:ImportanceSampling."
DEFECTS = {
    "what a part is owed in the value": Defect(BOUNDS + "BoundObjective.bound", debt_in_the_value, "models"),
    "a prior of posteriors in the data's space": Defect(
        "vaekit.models.vae:VAE.pz", prior_of_the_data, "models objectives"
    ),
    "a part that draws by itself": Defect("vaekit.nets.mlp:MLP.forward", drawing, "models training/test_compiled.py"),
    "mean over features for their sum": Defect(
        "vaekit.maths:masked_sum", mean_over_features, "distributions objectives"
    ),
    "KL clamped to zero": Defect(
        "vaekit.core:Draw.rate", lambda right: lambda draw: right(draw).clamp(max=0), "objectives"
    ),
    "weights over the wrong axis": Defect(
        BOUNDS + "log_mean_exp", lambda right: lambda log_w, dim: right(log_w, 0), "objectives"
    ),
    "Σ w̃ log w reported as the bound": Defect(BOUNDS + "log_mean_exp", weighted_mean, "objectives"),
    "constant dropped": Defect(
        NORMAL + "log_prob_each", lambda right: lambda self, x: right(self, x) + 0.5 * LOG_2PI,
        "distributions objectives",
    ),
    "sign flipped": Defect(
        IMPORTANCE + "__call__", negated, "evaluation/test_importance.py evaluation/test_likelihood.py"
    ),
    "fresh noise at scoring": Defect(
        "vaekit.noise:RowNoise.__init__", fresh_keys, "test_noise.py evaluation/test_likelihood.py"
    ),
    "β in the reported value": Defect(BOUNDS + "ELBO.forward", beta_in_the_value, "objectives"),
    "fewer samples than asked": Defect(IMPORTANCE + "log_weights", half_of_the_draws, "evaluation/test_importance.py"),
    "grey value over 256": Defect("vaekit.data.schema:Schema.as_binary", grey_value_over_256, "data"),
    "Jacobian left out": Defect(
        NORMAL + "log_prob_each", lambda right: lambda self, x: right(self, x) + self.log_scale, "distributions parts"
    ),
    "a flow's volume counted the other way": Defect(
        "vaekit.parts.flows:Coupling.pulled", volume_of_the_other_way, "parts/test_flows.py"
    ),
    "an autoregressive latent that leans on itself": Defect(
        "vaekit.parts.flows:Autoregressive.__init__", looking_at_itself, "parts/test_flows.py"
    ),
    "an angle that does not follow κ": Defect(
        "vaekit.distributions.sphere:_angles", angle_without_its_gradient, "distributions/test_sphere.py"
    ),
    "rounding without a gradient": Defect(
        "vaekit.parts.posteriors.codes:straight_through", no_gradient, "parts/test_codes.py"
    ),
    "commitment a mean over latents": Defect(
        "vaekit.parts.posteriors.codes:VQ.forward", mean_over_latents, "parts/test_codes.py"
    ),
    "fsq off its middle": Defect("vaekit.parts.posteriors.codes:FSQ.bound", without_the_shift, "parts/test_codes.py"),
    "a rung at another rung's sample": Defect(
        "vaekit.distributions.ladder:Ladder._each", at_the_rung_above, "parts/test_ladder.py"
    ),
    "codes that cost nothing": Defect(
        "vaekit.distributions.codes:Codes.log_prob", codes_for_nothing, "parts/test_codes.py"
    ),
    "a code that is told itself": Defect(
        "vaekit.parts.priors.codes:AutoregressiveCodes.__init__", sees_itself, "parts/test_codes.py"
    ),
    "MMD with each row beside itself": Defect(
        "vaekit.objectives.divergences:_of_others", lambda right: lambda k: k.mean((-2, -1)),
        "objectives/test_penalties.py",
    ),
    "weights of a batch that sum to 1/N": Defect(
        "vaekit.objectives.correlation:aggregate", minibatch_weights, "objectives/test_penalties.py"
    ),
    "both bounds' gradients in one network": Defect(
        BOUNDS + "ImportanceWeighted._partially", both_into_one, "objectives/test_bounds.py"
    ),
    "z = mean reported as an ELBO": Defect(
        BOUNDS + "ELBO.forward",
        lambda right: lambda self, model, batch, noise, **options: right(self, model, batch, 0 * noise, **options),
        "objectives",
    ),
}  # fmt: skip

if PLANTED in os.environ:
    DEFECTS[os.environ[PLANTED]].plant(pytest.MonkeyPatch())


def caught_by(name: str) -> str | None:
    """The first test that fails with the mistake in place; None where all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-rfE", "-p", "no:cacheprovider"]
    tests = [str(ROOT / "tests" / place) for place in DEFECTS[name].tests.split()]
    paths = os.pathsep.join(filter(None, (str(ROOT / "tests"), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, PLANTED: name, "PYTHONPATH": paths}
    done = subprocess.run(
        [*command, "-p", "seeded_defects", *tests], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode == 0:
        return None
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    if done.returncode != 1 or not failed:
        sys.exit(f"the tests could not be run:\n{done.stdout}\n{done.stderr}")
    return failed[0].removeprefix("FAILED ").split(" - ")[0]


def main(names: list[str]) -> int:
    missed = 0
    for name in names or DEFECTS:
        test = caught_by(name)
        missed += test is None
        print(f"{name:<36}{test or 'NOT CAUGHT'}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
