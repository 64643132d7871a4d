"""A run with codes through the commands."""

import json

import numpy as np
import polars
import pytest

FIT = ("--latent-dim", 4, "--hidden", "8", "--batch-size", 32, "--exclude", "id", "--label", "kind")
PARTS = ("--posterior", "vq:codes=6,size=2", "--prior", "codes:kind=independent")


@pytest.fixture
def run(vaekit, table, tmp_path):
    folder = tmp_path / "run"
    result = vaekit("fit", table, "--out", folder, *FIT, *PARTS, "--epochs", 3)
    assert result.code == 0, result.err
    return folder


def test_codes_are_written_as_integers_and_make_up_the_latents(vaekit, run, table, tmp_path):
    for name, options in (("codes.csv", ["--codes"]), ("z.csv", [])):
        result = vaekit("encode", run, table, "-o", tmp_path / name, *options)
        assert result.code == 0, result.err
    codes = polars.read_csv(tmp_path / "codes.csv").select("code0", "code1").to_numpy()
    z = polars.read_csv(tmp_path / "z.csv").select(f"z{j}" for j in range(4)).to_numpy()
    assert codes.dtype == np.int64
    assert codes.min() >= 0
    assert codes.max() < 6
    pairs = dict(zip(codes[:, 0].tolist(), z[:, [0, 2]].tolist(), strict=True))
    assert len(set(map(tuple, pairs.values()))) == len(pairs)
    for code, vector in zip(codes[:, 0].tolist(), z[:, [0, 2]].tolist(), strict=True):
        assert pairs[code] == vector
    assert "give one of them" in vaekit("encode", run, table, "-o", "x.csv", "--codes", "--spread").err


def test_a_run_with_codes_is_resumed_and_evaluated_as_the_bound_that_it_has(vaekit, run):
    assert vaekit("resume", run, "--epochs", 4).code == 0
    numbers = json.loads(vaekit("evaluate", run, "--json").out)
    assert numbers["log_likelihood"]["method"] == "bound"
    assert numbers["log_likelihood"]["error"] is None
    assert numbers["log_likelihood"]["mean"] == pytest.approx(numbers["elbo"], abs=1e-3)
    assert numbers["codes"]["sizes"] == [6]
    page = vaekit("evaluate", run).out
    for words in ("the bound itself", "codes used", "perplexity", "of the codebook of 6 codes"):
        assert words in page
    assert "k̂" not in page
    assert "low by" not in page
