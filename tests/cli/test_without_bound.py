"""Autoencoders from the command line and in Python: nothing that is printed, kept or drawn calls anything a bound."""

import json
import re
import warnings

import numpy as np
import pytest

import vaekit
from vaekit import VAE
from vaekit.errors import VaekitError

from .conftest import call

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 2)) @ RNG.normal(size=(2, 4))
IMAGES = RNG.integers(0, 256, (60, 8, 8), dtype=np.uint8)
BOUND = re.compile(r"\bELBO\b|\bIWAE\b|\bbound|\bnats|log p\(x\)|\brate\b|simple models|prior is|likelihood of", re.I)
"""what a page says of a density of x; the learning rate apart"""
KINDS = {
    "ae": ("--objective", "ae"),
    "rae": ("--objective", "ae", "--penalty", "code-norm:weight=0.1", "--penalty", "jacobian:weight=0.01"),
    "wae": ("--objective", "ae", "--penalty", "mmd:weight=10"),
    "an ensemble": ("--objective", "ae", "--members", 2),
}


@pytest.fixture(scope="module", params=KINDS)
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param.replace(" ", "-"))
    np.save(folder / "x.npy", X)
    fitted = call("fit", folder / "x.npy", *KINDS[request.param], "--latent-dim", 2, "--epochs", 3, "--out",
                  folder / "run")  # fmt: skip
    assert fitted.code == 0, fitted.err
    return request.param, folder, fitted


def said(result) -> str:
    return (result.out + result.err).replace("learning_rate", "").replace("the rate comes down", "")


def test_fit_and_resume_print_and_keep_no_bound(run):
    _, folder, fitted = run
    assert not BOUND.search(said(fitted)), BOUND.search(said(fitted))
    assert "LOSS" in fitted.out
    assert "Best validation loss" in fitted.out
    assert "descends distortion" in fitted.out
    assert f"Next: vaekit reconstruct {folder / 'run'}" in fitted.out
    records = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    assert records
    assert all({"loss", "distortion", "validation_loss"} <= record.keys() for record in records)
    assert not any("elbo" in name or name in ("rate", "validation_rate")
                   for record in records for name in record)  # fmt: skip
    resumed = call("resume", folder / "run", "--epochs", 4)
    assert resumed.code == 0
    assert not BOUND.search(said(resumed))


@pytest.mark.parametrize("command", [
    ("evaluate",), ("score", "-o", "scores.csv"), ("impute", "x.npy", "-o", "filled.npy"),
])  # fmt: skip
def test_what_needs_a_density_is_refused_with_the_way_to_one(run, command, monkeypatch):
    _, folder, _ = run
    monkeypatch.chdir(folder)
    name, *rest = command
    refused = call(name, "run", *rest)
    assert refused.code == 2
    assert "no density" in refused.err
    assert "vaekit refit run --prior mixture" in refused.err
    assert not (folder / "scores.csv").exists()


def test_samples_are_of_a_prior_that_the_codes_were_drawn_to_and_of_no_other(run, monkeypatch):
    kind, folder, _ = run
    monkeypatch.chdir(folder)
    sampled = call("sample", "run", "-n", 3, "-o", "new.npy")
    pictures = {path.name for path in (folder / "run/pictures").iterdir()}
    if kind == "wae":
        assert sampled.code == 0
        assert "samples.png" in pictures
        return
    assert sampled.code == 2
    assert "codes follow no prior" in sampled.err
    assert "vaekit refit run --prior mixture" in sampled.err
    assert pictures == {"training.png"}


def test_what_it_is_for_works(run, monkeypatch):
    kind, folder, _ = run
    monkeypatch.chdir(folder)
    assert call("encode", "run", "x.npy", "-o", "z.npy", "--spread").code == 0
    codes = np.load(folder / "z.npy")
    assert codes.shape == (120, 2, 4 if kind == "an ensemble" else 2)
    assert np.abs(codes[:, 1]).max() == 0  # a point has no spread
    again = call("reconstruct", "run", "x.npy", "-n", 120, "-o", "again.npy")
    assert again.code == 0
    assert not BOUND.search(said(again))
    assert call("verify", "run").code == 0


def test_a_prior_fitted_to_its_codes_is_sampled_and_gives_rows_no_density(run, monkeypatch):
    _, folder, _ = run
    monkeypatch.chdir(folder)
    refitted = call("refit", "run", "--prior", "mixture:components=3", "--out", "again", "--overwrite")
    assert refitted.code == 0, refitted.err
    assert "log p(z) of the codes changes by" in refitted.out
    assert "Next: vaekit sample again -o new.npy" in refitted.out
    assert not BOUND.search(said(refitted).replace("nats per row", ""))
    assert call("sample", "again", "-n", 500, "-o", "new.npy").code == 0
    drawn = np.load(folder / "new.npy")
    assert np.abs(drawn.mean(0) - X.mean(0)).max() < X.std()
    assert "no density" in call("evaluate", "again").err


def test_images_show_reconstructions_alone(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    fit = ("fit", tmp_path / "x.npy", "--objective", "ae", "--latent-dim", 2, "--hidden", 8, "--epochs", 2)
    assert call(*fit, "--out", tmp_path / "run").code == 0
    assert {path.name for path in (tmp_path / "run/pictures").iterdir()} == {"training.png", "reconstructions.png"}


def test_in_python_it_is_refused_too_and_opened_again(tmp_path, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vae = VAE(objective="ae", penalty="weight-decay:weight=1e-6", latent_dim=2, max_epochs=3, verbose=1).fit(X)
    assert not BOUND.search(capsys.readouterr().out)
    assert vae.settings_.model.posterior == "point"
    assert not hasattr(vae, "lower_bound_")
    vae.save(tmp_path / "run")
    again = vaekit.load(tmp_path / "run", device="cpu")
    for one in (vae, again):
        for ask in (one.score_samples, one.score, one.impute):
            with pytest.raises(VaekitError, match=r"no density.*vaekit refit RUN --prior mixture"):
                ask(X)
        with pytest.raises(VaekitError, match=r"follow no prior.*vaekit refit RUN --prior mixture"):
            one.sample(3)
    assert not hasattr(again, "lower_bound_")
    assert np.array_equal(again.transform(X), vae.transform(X))
    assert again.inverse_transform(vae.transform(X)).shape == X.shape


def test_it_learns_what_principal_components_do():
    """Two latents of rows on a plane: nothing is left of them."""
    vae = VAE(objective="ae", latent_dim=2, hidden=(), likelihood="gaussian:sigma=unit", max_epochs=5).fit(X)
    again = vae.inverse_transform(vae.transform(X))
    assert np.abs(again - X).max() < 0.02 * np.abs(X).max()
