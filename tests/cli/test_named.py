"""Parts by their names, and parts that are not vaekit's: fitted, saved, opened, and never run unasked."""

import functools
import sys

import numpy as np
import own_parts
import pytest
from lanes import but_few_slow
from runs.conftest import named
from torch import nn

import vaekit
from vaekit import VAE
from vaekit.core import Penalty
from vaekit.errors import VaekitError
from vaekit.models.trial import check_networks
from vaekit.objectives import ELBO, ImportanceWeighted, Penalised
from vaekit.parts import likelihoods, posteriors, priors
from vaekit.runs import Run
from vaekit.settings import Settings
from vaekit.settings.named import Named, made, text_of

from .conftest import call

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 2)) @ RNG.normal(size=(2, 3))
OWN = {
    "prior": "own_parts:MyPrior:components=4",
    "posterior": "own_parts:MyPosterior:least=0.1",
    "likelihood": "own_parts:MyLikelihood",
    "objective": "own_parts:MyObjective:samples=3",
    "network": "own_parts:my_network:width=5",
    "penalty": ("own_parts:MyPenalty:weight=2.0,power=3.0",),
}


@pytest.mark.parametrize("text", [
    "elbo", "elbo:beta=0.5", "elbo:beta=0.5,warmup=0.1", "m:P", "a.b:P.Q", "m:P:x=1", "m:P:x=1,y=word",
])  # fmt: skip
def test_a_name_is_read_and_written_alike(text):
    assert str(Named.parse(text)) == text
    assert Named.parse(text).module == (text.split(":")[0] if text[:4] != "elbo" else None)


@pytest.mark.parametrize(("part", "text"), [
    ("elbo:beta=2", "elbo:beta=2"),
    (own_parts.MyPrior, "own_parts:MyPrior"),
    (functools.partial(own_parts.MyPrior, components=7), "own_parts:MyPrior:components=7"),
    (own_parts.MyPrior(2, components=5), "own_parts:MyPrior:components=5"),
    (own_parts.MyPrior(2), "own_parts:MyPrior"),
    (own_parts.my_network, "own_parts:my_network"),
    (ELBO(samples=3, beta=0.5), "vaekit.objectives.bounds:ELBO:samples=3,beta=0.5"),
    (ImportanceWeighted, "vaekit.objectives.bounds:ImportanceWeighted"),
    (priors.StandardNormal(9), "vaekit.parts.priors.standard:StandardNormal"),
    (own_parts.Unbounded(), "own_parts:Unbounded"),
])  # fmt: skip
def test_a_part_given_as_an_object_has_a_name(part, text):
    assert text_of(part) == text


@pytest.mark.parametrize(("part", "words"), [
    (functools.partial(own_parts.MyPrior, 2), "by name"),
    (functools.partial(own_parts.MyPrior, components="a,b"), "components"),
    (lambda: None, "made inside a function"),
    (3, "names no part"),
])  # fmt: skip
def test_what_could_not_be_made_again_is_refused(part, words):
    with pytest.raises(VaekitError, match=words):
        text_of(part)


def test_an_instance_that_forgets_an_argument_is_refused_with_a_remedy():
    class Forgetful(own_parts.MyPrior):
        def __init__(self, latent_dim, components=3):
            super().__init__(latent_dim, components)
            del self.components

    with pytest.raises(VaekitError, match=r"self\.components.*functools\.partial"):
        text_of(Forgetful(2))


def test_an_instance_with_what_no_text_can_say_is_refused():
    with pytest.raises(VaekitError, match="argument objective of a part"):
        text_of(Penalised(ELBO(), [Penalty()]))


def test_a_part_gets_what_it_asks_for():
    table = {"diagonal": posteriors.Diagonal, "logistic": likelihoods.DiscretizedLogistic}
    assert made("posterior", table, "diagonal", latent_dim=3, schema=None).latent_dim == 3
    assert made("prior", {}, OWN["prior"], trust=["own_parts"], latent_dim=2, schema=None).components == 4


def test_an_argument_may_have_the_name_of_a_setting_that_no_part_asks_for():
    def network(posterior, start: float = 0.5) -> float:
        return start

    known = {"posterior": None, "start": "random", "network": "mlp"}
    assert made("network", {"mine": network}, "mine:start=0.25", **known) == 0.25
    assert made("network", {"mine": network}, "mine", **known) == 0.5


@pytest.mark.parametrize(("wrong", "words"), [
    ("takes", "the encoder fails on 2 rows, (2, 3): RuntimeError, mat1 and mat2 shapes cannot be multiplied"),
    ("gives", "the encoder makes (2, 5) of 2 rows, (2, 3), and has to make (2, 4) of them: posterior.features is 4."),
    ("decoder", "the decoder makes (2, 2) of 2 rows, (2, 2), and has to make (2, 3) of them: likelihood.features is 3"),
    ("tuple", "the decoder makes a tuple of 2 rows, (2, 2): it has to give one tensor, row by row."),
    ("alone", "makes no pair of modules: return (encoder, decoder)."),
])  # fmt: skip
def test_a_network_of_the_wrong_shape_is_refused_with_the_right_one(wrong, words):
    vae = VAE(network=f"own_parts:crooked:wrong={wrong}", latent_dim=2, likelihood="gaussian", max_epochs=1)
    with pytest.raises(VaekitError) as error:
        vae.fit(X)
    assert str(error.value).startswith("network own_parts:crooked")
    assert words in str(error.value)
    assert isinstance(error.value.__cause__, RuntimeError) == (wrong == "takes")


def test_a_network_is_as_it_was_after_its_trial():
    frozen = nn.BatchNorm1d(3).eval()
    encoder = nn.Sequential(nn.BatchNorm1d(3), frozen, nn.Linear(3, 4))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    check_networks(encoder, posteriors.Diagonal(2), nn.Linear(2, 3), likelihoods.Bernoulli((3,)), (3,))
    assert all(bool((before[name] == value).all()) for name, value in encoder.state_dict().items())
    assert encoder[0].training
    assert not frozen.training


def test_an_objective_without_a_bound_is_fitted_and_nothing_is_called_one(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.round(4 * X).astype(int))  # whole numbers, of which a bound could fall short
    fit = ("fit", tmp_path / "x.npy", "--objective", "own_parts:Unbounded", "--latent-dim", 2, "--epochs", 2)
    found = call(*fit, "--out", tmp_path / "run")
    assert found.code == 0, found.err
    assert "LOSS" in found.out
    assert "Best validation loss" in found.out
    assert not any(word in found.out for word in ("ELBO", "SQUARED", "nats", "simple"))
    assert (tmp_path / "run/pictures/training.png").exists()
    vae = VAE(objective=own_parts.Unbounded(), latent_dim=2, max_epochs=2, verbose=1, device="cpu").fit(X)
    assert "LOSS" in capsys.readouterr().out
    assert "loss" in vae.history_[-1]


# strangers


@pytest.mark.parametrize("kind", but_few_slow(OWN))
def test_each_kind_of_part_may_be_of_ones_own(kind, tmp_path):
    vae = VAE(**{kind: OWN[kind]}, latent_dim=2, hidden=(4,), max_epochs=2, device="cpu").fit(X)
    vae.save(tmp_path / "run")
    with pytest.raises(VaekitError, match=f"its {kind} is own_parts:.*not vaekit's"):
        vaekit.load(tmp_path / "run")
    again = vaekit.load(tmp_path / "run", device="cpu", trust=["own_parts"])
    assert np.array_equal(again.score_samples(X), vae.score_samples(X))
    assert np.array_equal(again.sample(9, random_state=0), vae.sample(9, random_state=0))
    assert again.get_params()[kind] == OWN[kind]


@pytest.mark.parametrize("name", ["wary:width=8", "in_functions"])
def test_networks_that_look_at_their_numbers_or_are_functions_are_opened_again(name, tmp_path):
    vae = VAE(network=f"own_parts:{name}", latent_dim=2, hidden=(4,), max_epochs=2, device="cpu").fit(X)
    vae.save(tmp_path / "run")
    again = vaekit.load(tmp_path / "run", device="cpu", trust=["own_parts"])
    assert np.array_equal(again.score_samples(X), vae.score_samples(X))


def test_all_of_them_at_once_go_through_every_command(tmp_path):
    np.save(tmp_path / "x.npy", X)
    run, trust = tmp_path / "run", ("--trust", "own_parts")
    each = [(kind, text) for kind, texts in OWN.items() for text in ([texts] if isinstance(texts, str) else texts)]
    named = [word for kind, text in each for word in (f"--{kind}", text)]
    fit = ("fit", tmp_path / "x.npy", *named, "--latent-dim", 2, "--epochs", 2, "--out", run)
    assert call(*fit).code == 0
    assert {path.name for path in (run / "pictures").iterdir()} >= {"training.png", "samples.png"}
    assert call("resume", run, "--epochs", 3, *trust).code == 0
    for command in (
        ("evaluate", run, "--samples", 5), ("score", run, "-o", tmp_path / "s.csv"), ("verify", run),
        ("sample", run, "-n", 3, "-o", tmp_path / "n.npy"),
        ("encode", run, tmp_path / "x.npy", "-o", tmp_path / "z.npy"),
        ("reconstruct", run, "-n", 3, "-o", tmp_path / "r.npy"),
    ):  # fmt: skip
        found = call(*command, *(trust if command[0] != "verify" else ()))
        assert found.code == 0, found.err
    refused = call("evaluate", run)
    assert refused.code == 2
    assert "--trust own_parts" in refused.err
    again = ("fit", "--config", run / "run.toml", "--out", tmp_path / "again")
    assert "--trust own_parts" in call(*again).err
    assert call(*again, *trust).code == 0


def test_a_strangers_folder_runs_nothing(tmp_path, monkeypatch):
    vae = VAE(prior=OWN["prior"], latent_dim=2, hidden=(4,), max_epochs=1, device="cpu").fit(X)
    vae.save(tmp_path / "run")
    for name in ("run.toml", "model.safetensors", "checkpoint"):
        assert b"own_parts" in named(tmp_path / "run", name).read_bytes()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_parts.py").write_text("raise SystemExit('a stranger ran')")
    monkeypatch.delitem(sys.modules, "own_parts")
    for command in ("evaluate", "resume", "sample", "verify"):
        call(command, tmp_path / "run", *(("-o", "x.npy") if command == "sample" else ()))
        assert "own_parts" not in sys.modules
    for ask in (lambda: vaekit.load("run"), lambda: Run.reopen("run").state(None)):
        with pytest.raises(VaekitError, match="trust own_parts"):
            ask()
    assert "own_parts" not in sys.modules


@pytest.mark.parametrize(("text", "words"), [
    ("no_such_module:Part", "no module no_such_module"),
    ("own_parts:Nothing", "own_parts has no Nothing"),
    ("own_parts:math.pi", "has no math.pi that makes a part"),
    ("own_parts:MyPrior:components=0", "components of prior own_parts:MyPrior is '0'"),
    ("own_parts:MyPrior:component=2", "did you mean 'components'"),
    ("own_parts:MyPrior:latent_dim=2", "'latent_dim'"),
])  # fmt: skip
def test_a_wrong_name_is_refused_with_what_was_found(text, words):
    with pytest.raises(VaekitError, match=words):
        Settings().changed(prior=text).made("prior", latent_dim=2)


@pytest.mark.parametrize(
    "name",
    [
        "vaekit.runs.storage:os.getcwd", "vaekit.__main__:main", "vaekit.parts.priors:torch.nn.Identity",
        "vaekit.parts.priors:nn.Identity", "vaekit.parts.likelihoods.base:math.exp", "vaekit.cli:main", "os:getcwd",
    ],
)  # fmt: skip
def test_what_vaekit_s_modules_have_imported_is_code_that_nobody_trusted(vaekit, tmp_path, name):
    """A configuration names parts of vaekit freely, and nothing else that its modules happen to know."""
    with pytest.raises(VaekitError, match=r"code that is not vaekit.s|has no"):
        made("prior", {}, name)
    config = tmp_path / "run.toml"
    config.write_text(f"[data]\nsource = 'digits'\n[model]\nprior = '{name}'\n")
    refused = vaekit("fit", "--config", config, "--out", tmp_path / "run")
    assert refused.code == 2
    assert "prior" in refused.err
    assert not (tmp_path / "run").exists()
