"""A run with several layers of latents through the commands."""

import json

import numpy as np
import polars
import pytest

FIT = ("--hidden", "8", "--batch-size", 32, "--exclude", "id", "--condition", "kind")
PARTS = ("--posterior", "ladder:sizes=1-2,width=4")


@pytest.fixture
def run(vaekit, table, tmp_path):
    folder = tmp_path / "run"
    result = vaekit("fit", table, "--out", folder, *FIT, *PARTS, "--epochs", 3)
    assert result.code == 0, result.err
    return folder


def test_a_run_of_several_rungs_goes_through_every_command(vaekit, run, table, tmp_path):
    assert vaekit("resume", run, "--epochs", 4).code == 0
    assert vaekit("verify", run).code == 0
    for command, *options in (("encode", "--spread"), ("score",), ("impute",), ("reconstruct",)):
        result = vaekit(command, run, table, "-o", tmp_path / f"{command}.csv", *options)
        assert result.code == 0, result.err
    encoded = polars.read_csv(tmp_path / "encode.csv")
    assert np.isfinite(encoded.select(f"z{j}" for j in range(3)).to_numpy()).all()
    kind = polars.read_csv(table)["kind"].drop_nulls()[0]
    sampled = vaekit("sample", run, "-n", 5, "--given", f"kind={kind}", "-o", tmp_path / "x.csv")
    assert sampled.code == 0, sampled.err


def test_the_rate_is_said_by_rungs_until_another_prior_has_none(vaekit, run, tmp_path):
    numbers = json.loads(vaekit("evaluate", run, "--json").out)
    assert sum(numbers["rungs"]) == pytest.approx(numbers["rate"], abs=1e-4)
    top, bottom = numbers["rungs"]
    (line,) = (line for line in vaekit("evaluate", run).out.splitlines() if "by rungs" in line)
    assert f"{top:.2f} + {bottom:.2f} nats" in line
    refitted = vaekit("refit", run, "--prior", "mixture:components=2", "--out", tmp_path / "refitted")
    assert refitted.code == 0, refitted.err
    assert json.loads(vaekit("evaluate", tmp_path / "refitted", "--json").out)["rungs"] is None
    assert "by rungs" not in vaekit("evaluate", tmp_path / "refitted").out
