"""fit → evaluate → score → sample → reconstruct → encode, on images and on a table."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars
import pytest
import safetensors.torch
import torch
from lanes import but_few_slow
from PIL import Image
from rich.console import Console
from runs.conftest import newest

from vaekit import VAE
from vaekit import load as load_estimator
from vaekit.cli import app, common
from vaekit.cli.common import training_source, whole_numbers
from vaekit.cli.evaluate import _beside
from vaekit.cli.fit import claimed
from vaekit.data import describe, load
from vaekit.errors import VaekitError
from vaekit.evaluation import Baseline
from vaekit.runs import DiskError, Run
from vaekit.settings import Settings
from vaekit.settings.declared import options as declared_options

from .conftest import write_table

TINY = ("--latent-dim", 2, "--hidden", "16", "--batch-size", 64)
KEYS = (
    "run", "data", "seed", "draws", "versions", "elbo", "rate", "distortion", "bits_per_dim", "active_units",
    "latent_dim", "n", "observed", "features", "log_likelihood", "rate_parts", "generalisation", "baselines",
    "comparison", "verdicts", "two_sided", "decisive", "codes", "clusters", "rungs",
)  # fmt: skip


def strict(text: str) -> dict:
    """JSON as other languages read it: no NaN, no Infinity."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON: {text}")

    return json.loads(text, parse_constant=refuse)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Those of the newest checkpoint."""
    return safetensors.torch.load_file(newest(folder))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def assert_picture(path: Path) -> tuple[int, int]:
    """A readable PNG in which there is something to see; its size."""
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with Image.open(path) as image:
        image.load()
        assert np.asarray(image.convert("L")).std() > 0
        return image.size


# fit


def test_a_run_folder_holds_what_re_creates_the_run(digits_run):
    names = {p.name for p in digits_run.iterdir()}
    assert {"run.toml", "schema.json", "model.safetensors", "metrics.jsonl", "times.jsonl", "pictures"} <= names
    assert not [name for name in names if name.endswith((".part", ".pt", ".pkl"))]
    assert len(list(digits_run.glob("checkpoint-*.safetensors"))) == 2
    run = Run.open(digits_run)
    assert run.finished
    assert run.data["train"], run.data["validation"] == (1437, 180)
    assert run.settings.data.digest == run.data["digest"] == load("digits").digest


def test_nothing_is_left_to_auto_in_the_specification_but_the_device(digits_run):
    values = Run.open(digits_run).settings.to_dict()
    left = [key for section in values.values() for key, value in section.items() if value == "auto"]
    assert left == ["device"]


def test_every_picture_is_written(digits_run):
    names = {p.name for p in (digits_run / "pictures").iterdir()}
    assert names == {"training.png", "samples.png", "draws.png", "reconstructions.png", "manifold.png", "plane.png"}
    for name in names:
        width, height = assert_picture(digits_run / "pictures" / name)
        assert width > 100
        assert height > 100


def test_a_table_has_its_pictures(table_run):
    names = {p.name for p in (table_run / "pictures").iterdir()}
    assert names == {"training.png", "samples.png"}
    for name in names:
        assert_picture(table_run / "pictures" / name)


def test_fit_says_what_it_chose_and_where_it_put_things(digits_run):
    text = (digits_run.parent / "fit.txt").read_text()
    for word in ("discretized-logistic", "1,437", "180", "ELBO", "validation", "rate", "distortion", "samples.png"):
        assert word in text
    assert f"vaekit evaluate {digits_run}" in text


def test_training_and_validation_bounds_stand_side_by_side(digits_run):
    for line in (digits_run / "metrics.jsonl").read_text().splitlines():
        record = strict(line)
        for name in ("step", "elbo", "rate", "distortion", "active_units", "learning_rate"):
            assert name in record
        for prefix in ("", "validation_"):
            elbo, rate, distortion = (record[prefix + name] for name in ("elbo", "rate", "distortion"))
            assert elbo == pytest.approx(-rate - distortion, rel=1e-5)


def test_json_is_one_object_a_line(vaekit, tmp_path):
    result = vaekit("fit", "digits", "--out", tmp_path / "run", *TINY, "--epochs", 3, "--json")
    assert result.code == 0
    *records, last = [strict(line) for line in result.out.splitlines()]
    assert last["run"] == str(tmp_path / "run")
    assert records == Run.open(tmp_path / "run").metrics
    assert records


@pytest.mark.parametrize(("test", "next_step"), [(0.2, "vaekit evaluate {}"), (0.0, "vaekit evaluate {} DATA")])
def test_the_next_step_is_one_that_works(vaekit, table, tmp_path, test, next_step):
    folder = tmp_path / "run"
    last = vaekit("fit", table, "--test", test, "--epochs", 1, "--out", folder).out.splitlines()[-1]
    shown = last.split("Next: ")[1].split("  (")[0]
    assert shown == next_step.format(folder)
    step = shown.replace("DATA", str(table)).split()[1:]
    assert vaekit(*step).code == 0


def test_without_out_runs_are_numbered(vaekit, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("table", "table-2"):
        assert vaekit("fit", "table.csv", "--exclude", "id,kind", "--hidden", "none", "--epochs", 1).code == 0
        assert Run.open(tmp_path / "runs" / name).finished


def test_a_configuration_repeats_the_run_to_the_bit(vaekit, digits_run, tmp_path):
    again = tmp_path / "again"
    torch.manual_seed(999)
    assert vaekit("fit", "--config", digits_run / "run.toml", "--out", again).code == 0
    for name in ("run.toml", "schema.json", "metrics.jsonl"):
        assert (again / name).read_bytes() == (digits_run / name).read_bytes()
    assert same(tensors(again), tensors(digits_run))


def test_options_beside_a_configuration_win(vaekit, table_run, tmp_path):
    options = ("--epochs", 2, "--seed", 5)
    assert vaekit("fit", "--config", table_run / "run.toml", "--out", tmp_path / "run", *options).code == 0
    old, new = Run.open(table_run).settings, Run.open(tmp_path / "run").settings
    assert (new.training.epochs, new.training.seed) == (2, 5)
    assert new == old.changed(epochs=2, seed=5)
    assert not same(tensors(tmp_path / "run"), tensors(table_run))


def test_overwriting_must_be_asked_for_and_leaves_nothing_of_the_old_run(vaekit, table, tmp_path):
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 17, (60, 8, 8), dtype=np.uint8))
    folder = tmp_path / "run"
    fit = ("fit", tmp_path / "images.npy", "--out", folder, "--hidden", "8", "--epochs", 1)
    assert vaekit(*fit, "--latent-dim", 2).code == 0
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    refused = vaekit(*fit, "--latent-dim", 3)
    assert refused.code == 2
    assert "--overwrite" in refused.err
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert vaekit(*fit, "--latent-dim", 3, "--overwrite").code == 0
    assert Run.open(folder).settings.model.latent_dim == 3
    assert not (folder / "pictures" / "manifold.png").exists()  # of the run with two latents


def test_a_validation_file_of_ones_own(vaekit, table, tmp_path):
    lines = table.read_text().splitlines()
    (tmp_path / "held.csv").write_text("\n".join([lines[0], *lines[1:11]]) + "\n")
    options = ("--exclude", "id,kind", "--hidden", "none", "--epochs", 2, "--test", 0)
    folder = tmp_path / "run"
    assert vaekit("fit", table, "--out", folder, *options, "--validation", tmp_path / "held.csv").code == 0
    assert Run.open(folder).data["validation"] == 10
    assert Run.open(folder).data["train"] == 80
    assert vaekit("evaluate", folder, tmp_path / "held.csv", "--samples", 2).code == 0


def test_binarised_digits_are_bernoulli(vaekit, tmp_path):
    folder = tmp_path / "run"
    assert vaekit("fit", "digits", "--out", folder, *TINY, "--epochs", 1, "--binarize", "expected").code == 0
    assert Run.open(folder).settings.model.likelihood == "bernoulli"
    numbers = strict(vaekit("evaluate", folder, "--samples", 2, "--json").out)
    assert numbers["bits_per_dim"] is None  # a bound on the mean over binarised images is no code length
    assert "binarised image" in vaekit("evaluate", folder, "--samples", 2).out


# evaluate


def test_evaluate_gives_exactly_the_promised_keys(vaekit, digits_run):
    result = vaekit("evaluate", digits_run, "--samples", 20, "--json")
    numbers = strict(result.out)
    assert result.code == 0
    assert tuple(numbers) == KEYS
    estimate = numbers["log_likelihood"]
    assert (numbers["run"], numbers["data"]) == (str(digits_run), "digits, test rows")
    assert (numbers["seed"], numbers["draws"]) == (0, 20)
    assert numbers["versions"]["torch"] == torch.__version__
    assert (estimate["method"], list(estimate["curve"]), numbers["latent_dim"]) == ("iwae", ["1", "10", "20"], 2)
    assert numbers["n"] == estimate["n"] == 180
    assert numbers["elbo"] == pytest.approx(-numbers["rate"] - numbers["distortion"], abs=1e-3)
    assert estimate["mean"] == pytest.approx(estimate["curve"]["20"], rel=1e-12)
    assert estimate["mean"] > numbers["elbo"]
    assert numbers["bits_per_dim"] == pytest.approx(-estimate["mean"] / 64 / math.log(2), rel=1e-6)
    assert 0 < estimate["error"] < estimate["spread"] < 10
    assert 0 <= numbers["active_units"] <= 2
    assert vaekit("evaluate", digits_run, "--samples", 20, "--json").out == result.out


def test_evaluate_prints_the_same_numbers_as_a_table(vaekit, digits_run):
    numbers = strict(vaekit("evaluate", digits_run, "--samples", 5, "--json").out)
    text = vaekit("evaluate", digits_run, "--samples", 5).out
    estimate, parts = numbers["log_likelihood"], numbers["rate_parts"]
    shown = [numbers[name] for name in ("elbo", "rate", "distortion")] + [estimate["mean"], estimate["spread"]]
    for value in [*shown, parts["information"], parts["marginal_kl"], numbers["generalisation"]["gap"]]:
        assert f"{value:.3f}" in text
    assert f"{estimate['error']:.4f}" in text
    assert f"{numbers['bits_per_dim']:.4f}" in text
    assert f"{numbers['active_units']} of 2" in text
    for one in numbers["baselines"]:
        assert one["name"] in text
        assert f"{one['nats']:.3f}" in text
        assert one["gain"] == pytest.approx(estimate["mean"] - one["nats"])
        assert f"{'better' if one['gain'] > 0 else 'worse'} by {abs(one['gain']):.2f} ± {one['gain_se']:.2f}" in text
    said = " ".join(text.split())
    assert all(said.count(sentence) == 1 for sentence in (numbers["comparison"], *numbers["verdicts"]))


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_evaluate_fits_80_columns_and_breaks_no_word(vaekit, digits_run, table_run, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    for run, method in ((digits_run, "iwae"), (digits_run, "quadrature"), (table_run, "iwae")):
        text = vaekit("evaluate", run, "--method", method, "--rows", 25).out
        assert max(map(len, text.splitlines())) <= 80
        wide = vaekit("evaluate", run, "--method", method, "--rows", 25, "--json").out
        assert strict(wide)["comparison"] in " ".join(text.split())


@pytest.mark.slow
def test_the_number_is_bold_on_a_terminal_alone(vaekit, digits_run, monkeypatch):
    command = ("evaluate", digits_run, "--samples", 2, "--rows", 25)
    plain = vaekit(*command).out
    assert "\x1b" not in plain
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes this for a terminal
    monkeypatch.setenv("TERM", "xterm")
    (bold,) = (line for line in vaekit(*command).out.splitlines() if "\x1b[1m" in line)
    assert "log p(x)" in bold
    monkeypatch.setenv("NO_COLOR", "1")
    assert vaekit(*command).out == plain


def test_numbers_of_any_size_do_not_run_into_each_other():
    for nats, error in ((-595827545461.766, 12345.678), (-1e-9, 0.0), (71063.96, None)):
        rows = torch.full((4,), nats, dtype=torch.float64)
        lines = _beside(Baseline("full-covariance Gaussian", nats, error, None, "9 rows", rows), rows + 1.5)
        assert max(map(len, lines)) <= 80
        assert f"{nats:,.3f}" in lines[0]
        assert " better by 1.50 ± 0.00" in "".join(lines)


def test_few_rows_are_pointed_out(vaekit, digits_run, tmp_path):
    for count, said in ((1, "1 row says"), (5, "5 rows say")):
        np.save(tmp_path / "few.npy", load("digits").x[:count])
        text = vaekit("evaluate", digits_run, tmp_path / "few.npy", "--samples", 2).out
        assert f"Note: {said} little of others" in text
    np.save(tmp_path / "few.npy", np.random.default_rng(0).normal(size=(5, 3)))
    options = ("--epochs", 2, "--hidden", "none", "--validation", 0, "--test", 0, "--out", tmp_path / "run")
    assert "5 training rows: what is learned from so few" in vaekit("fit", tmp_path / "few.npy", *options).out


def test_evaluate_says_where_a_model_is_no_better_than_simple_ones(vaekit, tmp_path):
    settings = ("--epochs", 1, "--learning-rate", 1e-6, "--latent-dim", 1, "--hidden", "2")
    assert vaekit("fit", "digits", "--out", tmp_path / "run", *settings).code == 0
    numbers = strict(vaekit("evaluate", tmp_path / "run", "--samples", 2, "--json").out)
    marginals = next(one for one in numbers["baselines"] if one["name"] == "independent columns")
    assert marginals["nats"] > numbers["log_likelihood"]["mean"]
    assert any("independent columns" in verdict for verdict in numbers["verdicts"])


@pytest.mark.slow
def test_evaluate_takes_other_rows(vaekit, digits_run, tmp_path):
    images = load("digits").x[:30]
    np.save(tmp_path / "few.npy", images)
    assert strict(vaekit("evaluate", digits_run, tmp_path / "few.npy", "--samples", 3, "--json").out)["n"] == 30
    two = vaekit("evaluate", digits_run, *[tmp_path / "few.npy"] * 2, "--samples", 3, "--json")
    assert strict(two.out)["n"] == 60
    np.save(tmp_path / "one.npy", images[:1])
    numbers = strict(vaekit("evaluate", digits_run, tmp_path / "one.npy", "--samples", 3, "--json").out)
    assert numbers["log_likelihood"]["spread"] is None  # one row says nothing about the spread
    assert numbers["generalisation"]["gap_se"] is None
    one = strict(vaekit("evaluate", digits_run, tmp_path / "few.npy", "--samples", 1, "--json").out)
    assert one["log_likelihood"]["error"] is None  # nor one draw about the error


def test_evaluate_takes_some_of_the_rows(vaekit, digits_run):
    few, again = (strict(vaekit("evaluate", digits_run, "--rows", 7, "--json").out) for _ in range(2))
    assert few["n"] == 7
    assert few == again
    assert strict(vaekit("evaluate", digits_run, "--rows", 1000, "--samples", 2, "--json").out)["n"] == 180
    assert vaekit("evaluate", digits_run, "--rows", 0).code == 2


@pytest.mark.parametrize("rows", but_few_slow([("--rows", 79), ()]))
def test_a_wild_cell_that_decides_the_mean_is_named(vaekit, table_run, tmp_path, rows):
    header, *lines = (table_run.parent / "table.csv").read_text().splitlines()
    number, length, _, kind = lines[33].split(",")
    wild = [*lines[:33], f"{number},{length},8.25e6,{kind}", *lines[34:]]
    for name, content in (("sound.csv", lines), ("wild.csv", wild), ("few.csv", wild[30:40])):
        (tmp_path / name).write_text("\n".join([header, *content]) + "\n")
    sound, found, both = (
        strict(vaekit("evaluate", table_run, *(tmp_path / name for name in names), "--json", *rows).out)
        for names in (["sound.csv"], ["wild.csv"], ["sound.csv", "few.csv"])
    )
    assert sound["decisive"] is None
    few = found["decisive"]
    (row,) = few["rows"]
    assert (row["row"], row["file"], row["column"], row["value"]) == (33, None, "width", 8.25e6)
    assert row["log_p"] < -1e9
    assert few["mean"] == pytest.approx(sound["log_likelihood"]["mean"], abs=0.2)
    (row,) = both["decisive"]["rows"]
    assert (row["row"], row["file"]) == (3, "few.csv")
    text = vaekit("evaluate", table_run, tmp_path / "wild.csv", *rows).out
    assert f"median      {few['median']:.3f} nats" in text
    assert "row 33 of" in " ".join(text.split())
    assert "farthest out in width (8.25e+06)" in " ".join(text.split())


@pytest.mark.slow
def test_every_method_agrees_on_two_latents(vaekit, digits_run):
    found = {
        method: strict(vaekit("evaluate", digits_run, "--method", method, *options, "--rows", 4, "--json").out)
        for method, options in (("quadrature", ()), ("iwae", ("--samples", 5000)), ("ais", ("--samples", 8)))
    }
    estimates = {method: numbers["log_likelihood"] for method, numbers in found.items()}
    exact = estimates["quadrature"]
    assert exact["error"] < 1e-3
    for method in ("iwae", "ais"):
        assert abs(estimates[method]["mean"] - exact["mean"]) < 4 * estimates[method]["error"] + 1e-3, method
    assert exact["mean"] > found["iwae"]["elbo"]
    assert found["iwae"]["two_sided"] is None
    sides = found["ais"]["two_sided"]
    assert abs(sides["gap"]) < 4 * sides["gap_se"] + 0.05
    text = vaekit("evaluate", digits_run, "--method", "ais", "--samples", 2, "--rows", 1).out
    assert "two-sided gap" in text


def test_methods_that_are_none_are_refused(vaekit, digits_run):
    for options, word in ((("--method", "mcmc"), "quadrature"), (("--method", "quadrature", "--samples", 9), "grid")):
        refused = vaekit("evaluate", digits_run, *options)
        assert refused.code == 2
        assert word in refused.err


def test_evaluate_on_a_table_uses_its_own_test_rows(vaekit, table_run):
    numbers = strict(vaekit("evaluate", table_run, "--samples", 50, "--json").out)
    assert numbers["n"] == 20  # a quarter of 80
    assert numbers["bits_per_dim"] is None  # a density has no code length
    assert math.isfinite(numbers["log_likelihood"]["mean"])
    assert all(one["bits_per_dim"] is None for one in numbers["baselines"])


def test_the_averages_are_over_rows(vaekit, table_run, tmp_path):
    header, *lines = (table_run.parent / "table.csv").read_text().splitlines()
    whole, parts = None, []
    for name, part in (("all", lines[:9]), ("first", lines[:3]), ("rest", lines[3:9])):
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *part]) + "\n")
        numbers = strict(vaekit("evaluate", table_run, tmp_path / f"{name}.csv", "--samples", 10, "--json").out)
        whole, parts = (numbers, parts) if name == "all" else (whole, [*parts, numbers])
    joined = sum(p["log_likelihood"]["mean"] * p["n"] for p in parts) / 9
    assert whole["log_likelihood"]["mean"] == pytest.approx(joined, abs=1e-9)


# score


def test_score_gives_log_p_and_its_error_a_row(vaekit, table_run, tmp_path):
    table = table_run.parent / "table.csv"
    assert vaekit("score", table_run, table, "-o", tmp_path / "s.csv").code == 0
    scores = polars.read_csv(tmp_path / "s.csv")
    assert scores.columns == ["row", "kind", "part", "log_p", "error", "ess", "pareto_k"]
    assert scores["row"].to_list() == list(range(80))
    assert len(scores) == 80
    assert scores["error"].min() >= 0
    assert vaekit("score", table_run, table, "-o", tmp_path / "s.npy").code == 0
    about = strict(vaekit("score", table_run, table, "-o", tmp_path / "s.npy", "--json").out)
    assert (about["run"], about["output"]) == (str(table_run), str(tmp_path / "s.npy"))
    assert (about["n"], about["mean"]) == (80, pytest.approx(scores["log_p"].mean()))
    array = np.load(tmp_path / "s.npy")
    assert np.allclose(array, scores.select("log_p", "error").to_numpy(), rtol=1e-12)
    vae = load_estimator(table_run).set_params(importance_samples=100)
    rows = polars.read_csv(table).select("length", "width")
    assert np.array_equal(vae.score_samples(rows), array[:, 0])


def parts_of(path: Path) -> list[str] | None:
    """The column `part` of a table of scores."""
    scores = polars.read_csv(path)
    return scores["part"].to_list() if "part" in scores.columns else None


def test_scores_of_the_run_s_own_rows_say_whether_it_was_trained_on_them(vaekit, table, tmp_path):
    held, output, run = write_table(tmp_path / "held.csv", 9, seed=3), tmp_path / "s.csv", tmp_path / "run"
    more = write_table(tmp_path / "more.csv", 20, seed=4)
    options = ("--exclude", "id,kind", "--latent-dim", 1, "--hidden", "none", "--epochs", 2, "--test", held)
    assert vaekit("fit", table, more, "--out", run, *options).code == 0
    settings = Run.open(run).settings
    own = training_source(settings)
    split = own.split(settings.training.seed, settings.data.validation, settings.data.test)
    wanted = np.full(109, "", dtype="U10")
    for part, rows in split.items():
        wanted[rows] = part
    lines = table.read_text().splitlines()
    (tmp_path / "part.csv").write_text("\n".join(lines[:11]) + "\n")
    (tmp_path / "changed.csv").write_text("\n".join([*lines[:-1], "79,1.5,2.5,odd"]) + "\n")
    for data, parts in (
        ([table, more], wanted[:100].tolist()),
        ([table], wanted[:80].tolist()),
        ([more], wanted[80:100].tolist()),
        ([held], ["test"] * 9),
        ([], ["test"] * 9),
        (["part.csv"], None),
        (["changed.csv"], None),
    ):
        places = [tmp_path / place for place in data]
        assert vaekit("score", run, *places, "-o", output, "--samples", 2).code == 0
        assert parts_of(output) == parts
    assert vaekit("score", run, *[more], "-o", tmp_path / "s.npy", "--samples", 2).code == 0
    more.unlink()
    assert vaekit("score", run, table, "-o", output, "--samples", 2).code == 0
    assert parts_of(output) is None


def test_a_column_of_ones_own_named_part_stays(vaekit, tmp_path):
    lines = [f"{i % 7}.5,{i % 5},{'left' if i % 2 else 'right'}" for i in range(40)]
    (tmp_path / "x.csv").write_text("\n".join(["a,b,part", *lines]) + "\n")
    options = ("--label", "part", "--latent-dim", 1, "--hidden", "none", "--epochs", 2)
    assert vaekit("fit", tmp_path / "x.csv", "--out", tmp_path / "run", *options).code == 0
    assert vaekit("score", tmp_path / "run", tmp_path / "x.csv", "-o", tmp_path / "s.csv").code == 0
    scores = polars.read_csv(tmp_path / "s.csv")
    assert scores.columns[:3] == ["row", "part (data)", "part"]
    assert set(scores["part (data)"]) == {"left", "right"}
    assert set(scores["part"]) == {"train", "validation", "test"}


def test_annealing_says_what_it_is_about_to_do_before_it_tries_a_row(vaekit, digits_run, monkeypatch):
    def nothing(*arguments):
        raise VaekitError("tried")

    monkeypatch.setattr(common, "log_likelihood", nothing)
    said = vaekit("evaluate", digits_run, "--method", "ais", "--samples", 5).err
    work = "log p(x) by ais: 180 rows × 300 temperatures × 5 chains; one row is tried first. --rows N takes N of them."
    assert said.splitlines()[0] == work
    assert "--rows N" not in vaekit("evaluate", digits_run, "--method", "ais", "--rows", 3).err
    assert vaekit("evaluate", digits_run).err.startswith("vaekit: tried")


def test_what_takes_long_is_announced(vaekit, digits_run, tmp_path, monkeypatch):
    monkeypatch.setattr(common, "LONG", -1.0)  # whatever the machine, everything takes longer
    found = vaekit("score", digits_run, "-o", tmp_path / "s.csv", "--samples", 30)
    assert "log p(x) of 180 rows by iwae will take about" in found.err
    assert "Fewer --samples take less" in found.err
    assert "--rows" not in found.err
    found = vaekit("evaluate", digits_run, "--samples", 30)
    assert "Fewer --samples take less. --rows N takes N of them." in found.err


def test_scores_that_cannot_be_trusted_are_pointed_out_in_the_words_of_evaluate(vaekit, digits_run, tmp_path):
    np.save(tmp_path / "odd.npy", np.tile(np.array([0, 16], np.uint8), (12, 8, 4)))
    rows = (digits_run, tmp_path / "odd.npy", "--samples", 50)
    found = vaekit("score", *rows, "-o", tmp_path / "s.csv")
    most = 1 - 1 / math.log10(50)
    share = np.mean(polars.read_csv(tmp_path / "s.csv")["pareto_k"].to_numpy() > most)
    assert share > 0
    words = f"k̂ > {most:.2g} in {share:.0%} of the rows: more draws may raise them"
    assert found.err.strip() == f"vaekit: log p(x): {words}."
    assert words in " ".join(vaekit("evaluate", *rows).out.split())
    one = vaekit("score", *rows[:2], "--samples", 1, "-o", tmp_path / "s.csv")
    assert "how far it may be off is not known" in one.err
    exact = vaekit("score", *rows[:2], "--method", "quadrature", "-o", tmp_path / "s.csv")
    assert exact.err == ""


def test_without_data_the_run_s_own_test_rows_are_scored_with_their_labels(vaekit, digits_run, tmp_path):
    result = vaekit("score", digits_run, "--samples", 10, "-o", tmp_path / "s.csv")
    assert result.code == 0
    scores, source = polars.read_csv(tmp_path / "s.csv"), load("digits")
    settings = Run.open(digits_run).settings
    test = source.split(settings.training.seed, settings.data.validation, settings.data.test)["test"]
    assert scores["label"].to_list() == source.labels[test].tolist()
    np.save(tmp_path / "test.npy", source.x[test])
    assert vaekit("score", digits_run, tmp_path / "test.npy", "--samples", 10, "-o", tmp_path / "t.npy").code == 0
    assert np.array_equal(np.load(tmp_path / "t.npy")[:, 0], scores["log_p"].to_numpy())


def test_a_row_s_score_is_its_own(vaekit, table_run, tmp_path):
    header, *lines = (table_run.parent / "table.csv").read_text().splitlines()
    (tmp_path / "turned.csv").write_text("\n".join([header, *lines[::-1]]) + "\n")
    (tmp_path / "one.csv").write_text("\n".join([header, lines[5]]) + "\n")
    found = {}
    for name, path in (("all", table_run.parent / "table.csv"), ("turned", tmp_path / "turned.csv"),
                       ("one", tmp_path / "one.csv")):  # fmt: skip
        assert vaekit("score", table_run, path, "-o", tmp_path / "s.npy").code == 0
        found[name] = np.load(tmp_path / "s.npy")
    assert np.array_equal(found["turned"][::-1], found["all"])
    assert np.array_equal(found["one"][0], found["all"][5])


# sample


def test_samples_of_images(vaekit, digits_run, tmp_path):
    def draw(name, *options):
        assert vaekit("sample", digits_run, "-n", 300, "-o", tmp_path / name, *options).code == 0
        return np.load(tmp_path / name)

    x = draw("x.npy")
    assert x.shape == (300, 8, 8)
    assert ((x == x.round()) & (x >= 0) & (x <= 16)).all()
    assert np.array_equal(draw("again.npy"), x)
    assert not np.array_equal(draw("other.npy", "--seed", 1), x)
    mean = draw("mean.npy", "--mean")
    assert not np.array_equal(mean, mean.round())
    assert mean.min() >= 0
    assert mean.max() <= 16


@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_picture_of_samples(vaekit, digits_run, tmp_path, n):
    assert vaekit("sample", digits_run, "-n", n, "-o", tmp_path / "x.png").code == 0
    assert_picture(tmp_path / "x.png")


def test_samples_of_a_table_keep_its_columns(vaekit, table_run, tmp_path):
    assert vaekit("sample", table_run, "-n", 5, "-o", tmp_path / "x.csv").code == 0
    frame = polars.read_csv(tmp_path / "x.csv")
    assert frame.columns == ["length", "width"]
    assert frame.shape == (5, 2)
    assert vaekit("sample", table_run, "-n", 5, "-o", tmp_path / "x.parquet").code == 0
    assert np.allclose(polars.read_parquet(tmp_path / "x.parquet").to_numpy(), frame.to_numpy(), rtol=1e-5)


@pytest.mark.parametrize("most", but_few_slow([900, 1]))
def test_samples_of_whole_numbers_are_whole_numbers(vaekit, tmp_path, most):
    x = np.random.default_rng(1).integers(0, most + 1, (90, 4))
    np.savetxt(tmp_path / "x.csv", x, fmt="%d", delimiter=",", header="a,b,c,d", comments="")
    assert vaekit("fit", tmp_path / "x.csv", "--out", tmp_path / "table", *TINY, "--epochs", 1).code == 0
    for name in ("s.csv", "s.parquet"):
        assert vaekit("sample", tmp_path / "table", "-n", 30, "-o", tmp_path / name).code == 0
        read = polars.read_csv if name.endswith("csv") else polars.read_parquet
        assert set(read(tmp_path / name).dtypes) == {polars.Int64}
    for dtype in (np.int16, np.float64):
        np.save(tmp_path / "x.npy", x.astype(dtype))
        run = tmp_path / np.dtype(dtype).name
        assert vaekit("fit", tmp_path / "x.npy", "--out", run, *TINY, "--epochs", 1).code == 0
        assert vaekit("sample", run, "-n", 30, "-o", tmp_path / "s.npy").code == 0
        assert np.load(tmp_path / "s.npy").dtype == dtype
        assert vaekit("sample", run, "--mean", "-o", tmp_path / "m.npy").code == 0
        mean = np.load(tmp_path / "m.npy")
        assert not np.array_equal(mean, mean.round())


def test_whole_numbers_beyond_the_type_they_came_in_are_kept():
    schema = describe(np.array([[3], [250]], np.uint8), layout="table")
    found = whole_numbers(np.array([[7.0], [256.0]]), schema, Path("x.npy"))
    assert found.tolist() == [[7], [256]]


@pytest.mark.parametrize("command", ["sample", "encode", "reconstruct"])
def test_what_was_written_is_said_as_json(vaekit, table_run, tmp_path, command):
    data = [] if command == "sample" else [table_run.parent / "table.csv"]
    output = tmp_path / "x.csv"
    about = strict(vaekit(command, table_run, *data, "-o", output, "--json").out)
    assert (about["run"], about["output"], about["seed"]) == (str(table_run), str(output), 0)
    assert about["versions"]["torch"] == torch.__version__
    assert about["n"] == len(polars.read_csv(output))
    assert about.get("data", "table.csv") == "table.csv"


# reconstruct


def test_reconstructions_of_images(vaekit, digits_run, tmp_path):
    np.save(tmp_path / "few.npy", load("digits").x[:12])
    call = ("reconstruct", digits_run, tmp_path / "few.npy")
    assert vaekit(*call, "-o", tmp_path / "x.npy").code == 0
    assert np.load(tmp_path / "x.npy").shape == (12, 8, 8)
    assert vaekit(*call, "-o", tmp_path / "m.npy", "--samples", 3, "-n", 4).code == 0
    different = np.load(tmp_path / "m.npy")
    assert different.shape == (3, 4, 8, 8)
    assert (different[0] != different[1]).any()  # m draws give m pictures
    assert vaekit(*call, "-o", tmp_path / "x.png", "--samples", 2).code == 0
    width, height = assert_picture(tmp_path / "x.png")
    assert height / width == pytest.approx(10 / 3, rel=0.02)  # ten rows of an image and its two reconstructions


def test_without_data_the_test_rows_are_reconstructed(vaekit, digits_run, tmp_path):
    assert vaekit("reconstruct", digits_run, "-o", tmp_path / "x.npy").code == 0
    assert np.load(tmp_path / "x.npy").shape == (180, 8, 8)


def test_the_picture_shows_each_row_before_its_reconstructions(vaekit, digits_run, tmp_path):
    images = load("digits").x[:3]
    np.save(tmp_path / "few.npy", images)
    assert vaekit("reconstruct", digits_run, tmp_path / "few.npy", "-o", tmp_path / "x.png").code == 0
    with Image.open(tmp_path / "x.png") as picture:
        page = np.asarray(picture)
    cell = (page.shape[1] - 2) // 2 - 2  # two columns with gaps of two pixels
    first = [page[2 + i * (cell + 2) :, 2:][:cell, :cell] for i in range(3)]
    for seen, image in zip(first, images, strict=True):
        zoom = cell // 8
        assert np.array_equal(seen[::zoom, ::zoom], (image / 16 * 255).round().astype(np.uint8))


def test_reconstructions_of_a_table_come_in_the_rows_order(vaekit, table_run, tmp_path):
    path = table_run.parent / "table.csv"
    assert vaekit("reconstruct", table_run, path, "-o", tmp_path / "x.csv", "--samples", 40).code == 0
    frame = polars.read_csv(tmp_path / "x.csv")
    assert frame.columns == ["row", "kind", "draw", "length", "width"]
    assert frame["row"].to_list() == np.repeat(range(80), 40).tolist()
    assert frame["draw"].to_list() == 80 * list(range(40))
    each = frame.select("length", "width").to_numpy().reshape(80, 40, 2)
    x = load(path, exclude=("id", "kind")).x
    assert np.corrcoef(each.mean(1)[:, 0], x[:, 0])[0, 1] > 0.8


# encode


def test_latents_of_images(vaekit, digits_run, tmp_path):
    assert vaekit("encode", digits_run, "digits", "-o", tmp_path / "z.npy").code == 0
    z = np.load(tmp_path / "z.npy")
    assert z.shape == (1797, 2)
    assert vaekit("encode", digits_run, "digits", "-o", tmp_path / "s.npy", "--spread").code == 0
    both = np.load(tmp_path / "s.npy")
    assert both.shape == (1797, 2, 2)
    assert np.array_equal(both[:, 0], z)
    assert (both[:, 1] > 0).all()
    assert (both[:, 1] < 2).all()


def test_latents_of_a_table_keep_the_label(vaekit, table_run, tmp_path):
    path = table_run.parent / "table.csv"
    assert vaekit("encode", table_run, path, "-o", tmp_path / "z.csv", "--spread").code == 0
    frame = polars.read_csv(tmp_path / "z.csv")
    assert frame.columns == ["row", "kind", "z0", "sd0"]
    assert frame["kind"].to_list() == ["even", "odd"] * 40
    assert vaekit("encode", table_run, path, "-o", tmp_path / "z.parquet").code == 0
    assert polars.read_parquet(tmp_path / "z.parquet")["z0"].to_numpy() == pytest.approx(
        frame["z0"].to_numpy(), rel=1e-5
    )


def test_rows_without_the_columns_set_aside_can_be_encoded(vaekit, table_run, tmp_path):
    lines = (table_run.parent / "table.csv").read_text().splitlines()
    (tmp_path / "bare.csv").write_text("\n".join(",".join(line.split(",")[1:3]) for line in lines) + "\n")
    assert vaekit("encode", table_run, tmp_path / "bare.csv", "-o", tmp_path / "z.npy").code == 0
    assert vaekit("encode", table_run, table_run.parent / "table.csv", "-o", tmp_path / "y.npy").code == 0
    assert np.array_equal(np.load(tmp_path / "z.npy"), np.load(tmp_path / "y.npy"))


# resume


def test_a_run_that_could_not_compile_says_that_it_still_does_not(vaekit, table, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError("no compiler")

    monkeypatch.setattr("torch.compile", lambda function, **options: refuse)
    monkeypatch.setattr("vaekit.training.compiled.EAGERLY", 0)
    folder = tmp_path / "run"
    fit = ("fit", table, "--out", folder, "--exclude", "id,kind", *TINY, "--epochs", 2, "--compile", "on")
    with pytest.warns(UserWarning, match="goes on without compiling, as that failed: no compiler"):
        fitted = vaekit(*fit)
    assert fitted.code == 0
    assert fitted.err.count("compiling the step") == 1
    result = vaekit("resume", folder, "--epochs", 4)
    assert result.code == 0
    assert "from step 2 of 4" in result.err
    assert "compiling the step" not in result.err
    assert "could not be compiled before, so they are not now" in result.err


def test_a_finished_run_is_not_resumed_unless_for_longer(vaekit, table, tmp_path):
    folder = tmp_path / "run"
    fit = ("fit", table, "--out", folder, "--exclude", "id,kind", "--hidden", "none", "--patience", 0)
    assert vaekit(*fit, "--epochs", 4).code == 0
    before = {p: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    done = vaekit("resume", folder)
    assert done.code == 0
    assert "finished" in done.out
    assert "--epochs above 4" in done.out
    assert vaekit("resume", folder, "--json").out == ""
    assert {p: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before
    for options in (("--epochs", 4), ("--epochs", 3)):
        refused = vaekit("resume", folder, *options)
        assert refused.code == 2
        assert "--epochs" in refused.err
        assert {p: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before
    old = Run.open(folder).metrics
    assert vaekit("resume", folder, "--epochs", 6).code == 0
    run = Run.open(folder)
    assert run.finished
    assert run.settings.training.epochs == 6
    assert run.metrics[: len(old)] == old
    assert run.metrics[-1]["step"] * 2 == old[-1]["step"] * 3
    assert vaekit("fit", "--config", folder / "run.toml", "--out", tmp_path / "other").code == 0


def test_changed_data_are_noticed(vaekit, table, tmp_path):
    folder = tmp_path / "run"
    options = ("--exclude", "id,kind", "--hidden", "none", "--epochs", 2)
    assert vaekit("fit", table, "--out", folder, *options).code == 0
    text = table.read_text()
    table.write_text(text.replace("1", "2", 1) if "id,length" not in text[:9] else text[:-12] + "9" + text[-11:])
    assert table.read_text() != text
    before = {p: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    for command in (("resume", folder, "--epochs", 5), ("evaluate", folder), ("fit", "--config", folder / "run.toml")):
        refused = vaekit(*command)
        assert refused.code == 2
        assert "changed" in refused.err
        assert str(table) in refused.err
    assert {p: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


MOVED = {
    "one file": (("data",), ("--data",), ()),
    "two files": (("one", "two"), ("--data", "--data"), ()),
    "a test file of its own": (("data", "test"), ("--data", "--test"), ("--test",)),
    "a validation file of its own": (("data", "part"), ("--data", "--validation"), ("--validation",)),
}


@pytest.mark.parametrize("name", but_few_slow(MOVED, quick=2))
@pytest.mark.parametrize("epochs", but_few_slow([None, 5]))
def test_moved_data_are_named_once(vaekit, tmp_path, name, epochs):
    files, options, own = MOVED[name]
    for seed, file in enumerate(files):
        np.save(tmp_path / f"{file}.npy", np.random.default_rng(seed).normal(size=(40, 2)))
    data = [tmp_path / f"{file}.npy" for file in files]
    given = data[: len(data) - len(own)] + [word for pair in zip(own, data[-1:], strict=False) for word in pair]
    folder = tmp_path / "run"
    assert vaekit("fit", *given, "--out", folder, "--hidden", "none", "--epochs", 2, "--patience", 0).code == 0
    steps = Run.open(folder).metrics[-1]["step"]
    (tmp_path / "elsewhere").mkdir()
    moved = [path.rename(tmp_path / "elsewhere" / path.name) for path in data]
    for command in (
        ("resume", folder, "--epochs", 5),
        ("evaluate", folder),
        ("score", folder, "-o", tmp_path / "s.csv"),
    ):
        refused = vaekit(*command)
        assert refused.code == 2
        assert f"{folder} was fitted to {data[0]}" in refused.err
        assert f"`vaekit resume {folder} --data PATH`" in refused.err
    where = [word for pair in zip(options, moved, strict=True) for word in pair]
    wrong = [word for pair in zip(options, reversed(moved), strict=True) for word in pair]
    if len(files) > 1:
        before = {p: p.read_bytes() for p in folder.iterdir() if p.is_file()}
        refused = vaekit("resume", folder, *wrong)
        assert refused.code == 2
        assert "not the data of this run" in refused.err
        assert {p: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before
    found = vaekit("resume", folder, *where, *(() if epochs is None else ("--epochs", epochs)))
    assert found.code == 0, found.err
    assert Run.open(folder).metrics[-1]["step"] * 2 == steps * (epochs or 2)
    assert vaekit("evaluate", folder, "--samples", 2).code == 0
    assert vaekit("verify", folder).code == 0


def test_parts_that_were_no_files_cannot_be_moved(vaekit, table_run):
    refused = vaekit("resume", table_run, "--test", table_run / "run.toml")
    assert refused.code == 2
    assert "took its test rows from its data" in refused.err


def test_a_first_checkpoint_that_did_not_fit_leaves_no_run(vaekit, table, tmp_path, monkeypatch):
    folder, options = tmp_path / "run", ("--exclude", "id,kind", "--hidden", "none", "--epochs", 2)

    def full(*arguments, **names):
        raise DiskError("the disk is full.")

    with monkeypatch.context() as broken:
        broken.setattr(Run, "save", full)
        assert vaekit("fit", table, "--out", folder, *options).code == 2
    assert "no run folder" in vaekit("resume", folder).err
    assert vaekit("fit", table, "--out", folder, *options).code == 0
    assert Run.open(folder).finished
    assert "already holds a run" in vaekit("fit", table, "--out", folder, *options).err


def test_runs_that_begin_at_once_have_each_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(claimed, [Path("runs/towns")] * 16))
    assert {str(folder) for folder in folders} == {"runs/towns", *(f"runs/towns-{i}" for i in range(2, 17))}


# Python and the command line share their folders


def test_a_run_of_the_command_line_opens_in_python(vaekit, digits_run, tmp_path):
    vae = load_estimator(digits_run)
    assert vaekit("encode", digits_run, "digits", "-o", tmp_path / "z.npy").code == 0
    assert np.array_equal(vae.transform(load("digits").x), np.load(tmp_path / "z.npy"))
    assert vae.history_ == Run.open(digits_run).metrics


def test_a_run_of_python_opens_on_the_command_line(vaekit, tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 3))
    vae = VAE(latent_dim=1, hidden=(4,), max_epochs=2, importance_samples=20, device="cpu").fit(x)
    vae.save(tmp_path / "run")
    np.save(tmp_path / "x.npy", x)
    assert vaekit("encode", tmp_path / "run", tmp_path / "x.npy", "-o", tmp_path / "z.npy").code == 0
    assert np.array_equal(np.load(tmp_path / "z.npy"), vae.transform(x))
    numbers = strict(vaekit("evaluate", tmp_path / "run", tmp_path / "x.npy", "--samples", 20, "--json").out)
    assert numbers["log_likelihood"]["mean"] == pytest.approx(vae.score(x), rel=1e-6)
    assert (numbers["generalisation"], numbers["baselines"]) == (None, [])  # the training rows stayed in Python
    assert "not at hand" in vaekit("evaluate", tmp_path / "run", tmp_path / "x.npy", "--samples", 2).out
    assert vaekit("sample", tmp_path / "run", "-o", tmp_path / "new.csv").code == 0
    for command in (("evaluate", tmp_path / "run"), ("resume", tmp_path / "run", "--epochs", 9)):
        refused = vaekit(*command)  # the rows stayed in Python
        assert refused.code == 2
        assert "array" in refused.err


# the rest


def test_datasets_are_listed(vaekit, tmp_path, monkeypatch):
    monkeypatch.setenv("VAEKIT_DATA", str(tmp_path / "elsewhere"))
    result = vaekit("datasets")
    assert result.code == 0
    for word in ("digits", "mnist", "fashion-mnist", "static-mnist", "scikit-learn", str(tmp_path / "elsewhere")):
        assert word in result.out
    listed = strict(vaekit("datasets", "--json").out)
    assert str(tmp_path / "elsewhere") in listed["looked_in"]
    found = {one["name"]: one for one in listed["datasets"]}
    assert found["digits"]["found"] == "scikit-learn"
    assert not found["digits"]["download"]
    assert found["mnist"]["download"]


def test_verify_as_json(vaekit, table, tmp_path):
    folder = tmp_path / "run"
    assert vaekit("fit", table, "--out", folder, "--exclude", "id,kind", "--hidden", "none", "--epochs", 1).code == 0
    result = vaekit("verify", folder, "--json")
    whole = strict(result.out)
    assert (result.code, whole["run"], whole["whole"]) == (0, str(folder), True)
    assert set(whole["files"].values()) == {""}
    (folder / "metrics.jsonl").write_text("{}\n")
    result = vaekit("verify", folder, "--json")
    assert (result.code, strict(result.out)["whole"]) == (2, False)
    assert "damaged" in strict(result.out)["files"]["metrics.jsonl"]


@pytest.mark.parametrize(
    "command", ["fit", "resume", "verify", "evaluate", "score", "sample", "reconstruct", "encode", "datasets"]
)
def test_every_command_explains_itself(vaekit, command):
    assert command in vaekit("--help").out
    result = vaekit(command, "--help")
    assert result.code == 0
    assert f"vaekit {command}" in result.out


def test_the_help_of_fit_names_every_setting(vaekit):
    text = vaekit("fit", "--help").out
    for section in Settings().to_dict().values():
        for key in section:
            option = "--" + key.replace("_", "-")
            assert option in text or key in ("source", "digest", "refitted")


def test_the_help_of_fit_gives_choices_and_defaults(vaekit, monkeypatch):
    monkeypatch.setattr(app, "console", Console(width=1000))
    lines = {words[1]: line for line in vaekit("fit", "--help").out.splitlines() if len(words := line.split()) > 2}
    for setting in declared_options():
        line = lines.get("--" + setting.name.replace("_", "-"), "")
        for choice in setting.metadata.get("choices") or setting.metadata.get("table", ()):
            assert choice in line.replace("[default", ""), (choice, line)
        default = setting.default
        assert (f"[default: {default}]" if default not in ("", ()) else "[default: ") in line, line


def test_what_was_asked_for_stands_in_the_header(vaekit, table, tmp_path):
    options = (
        "--exclude",
        "id,kind",
        "--hidden",
        "none",
        "--objective",
        "elbo:beta=1.0",
        "--test",
        0.2,
        "--lr",
        0.01,
        "--compile",
        "on",
    )
    header = vaekit("fit", table, "--out", tmp_path / "run", *options, "--epochs", 1).out
    for line in (
        "exclude = id,kind",
        "hidden = none",
        "objective = elbo:beta=1.0",
        "test = 0.2",
        "learning_rate = 0.01",
        "epochs = 1",
    ):
        assert f"  {line}  (asked for)\n" in header
    assert header.count("(asked for)") == len(options) // 2 + 1
    assert "compiling takes longer than it saves" in header
    for name in ("latent_dim", "likelihood", "batch_size"):
        assert f"  {name} = " in header
    again = vaekit("fit", "--config", tmp_path / "run" / "run.toml", "--out", tmp_path / "again", "--seed", 0).out
    for line in ("exclude = id,kind", "test = 0.2", "learning_rate = 0.01", "seed = 0"):
        assert f"  {line}  (asked for)\n" in again


def test_one_of_a_thing_is_no_plural(vaekit, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(30, 2)))
    one = ("--latent-dim", 1, "--epochs", 1, "--batch-size", 64)
    fit = ("fit", tmp_path / "x.npy", "--out", tmp_path / "run", "--hidden", "none", *one)
    assert ", 1 latent, 1 step\n" in vaekit(*fit).out
    np.save(tmp_path / "one.npy", np.load(tmp_path / "x.npy")[:1])
    encoded = vaekit("encode", tmp_path / "run", tmp_path / "one.npy", "-o", tmp_path / "z.npy").out
    assert encoded == f"1 row, 1 latent, in {tmp_path / 'z.npy'}\n"


def test_a_bound_below_chance_is_pointed_out(vaekit, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 4, 4)).astype(np.uint8)
    np.save(tmp_path / "noise.npy", noise)
    result = vaekit("fit", tmp_path / "noise.npy", "--out", tmp_path / "run", *TINY, "--epochs", 3)
    assert result.code == 0
    assert "all equally likely. Train longer" in result.out


def test_fit_says_when_simple_models_are_better(vaekit, tmp_path):
    rng = np.random.default_rng(8)
    table = polars.DataFrame(rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5)))
    table.write_csv(tmp_path / "correlated.csv")
    fit = ("fit", tmp_path / "correlated.csv", "--epochs", 1, "--latent-dim", 4, "--likelihood", "gaussian")
    found = vaekit(*fit, "--start", "random", "--out", tmp_path / "random")
    assert "Note: On the validation rows, the model is worse than simple ones: " in found.out
    assert "worse than simple" not in vaekit(*fit, "--out", tmp_path / "started").out


# refit


def test_refit_keeps_a_model_with_a_better_prior_as_a_run_of_its_own(vaekit, digits_run, tmp_path):
    result = vaekit("refit", digits_run, "--prior", "mixture:components=4", "--out", tmp_path / "again")
    assert result.code == 0
    assert "prior mixture:components=4" in result.out
    assert "training rows" in result.out
    assert f"vaekit evaluate {tmp_path / 'again'}" in result.out
    assert vaekit("verify", tmp_path / "again").code == 0
    numbers = json.loads(vaekit("evaluate", tmp_path / "again", "--samples", 5, "--json").out)
    before = json.loads(vaekit("evaluate", digits_run, "--samples", 5, "--json").out)
    assert numbers["distortion"] == pytest.approx(before["distortion"], abs=1e-4)
    assert numbers["rate"] != before["rate"]
    assert 'prior = "mixture:components=4"' in (tmp_path / "again" / "run.toml").read_text()
    more = vaekit("resume", tmp_path / "again", "--epochs", 10)  # trains the new prior with all else
    assert more.code == 0, more.err


def test_refit_says_in_json_what_it_tried(vaekit, digits_run, tmp_path):
    result = vaekit("refit", digits_run, "--prior", "gaussian", "--out", tmp_path / "again", "--json")
    found = json.loads(result.out)
    assert found["prior"] == "gaussian"
    assert set(found["tried"]) == {"gaussian"}
    assert found["gains"]["train"]["rows"] > 0


def test_refit_leaves_its_run_alone(vaekit, digits_run):
    result = vaekit("refit", digits_run, "--out", digits_run)
    assert result.code == 2
    assert "stays as it is" in result.err


def test_a_refitted_run_is_not_repeated_as_a_training(vaekit, digits_run, tmp_path):
    vaekit("refit", digits_run, "--prior", "gaussian", "--out", tmp_path / "again")
    result = vaekit("fit", "--config", tmp_path / "again" / "run.toml", "--out", tmp_path / "more")
    assert result.code == 2
    assert "vaekit refit RUN --prior gaussian" in result.err


def test_the_components_of_a_mixture_are_clusters_of_the_rows(vaekit, digits_run, tmp_path):
    vaekit("refit", digits_run, "--prior", "mixture:components=10,covariance=full", "--out", tmp_path / "again")
    result = vaekit("encode", tmp_path / "again", "digits", "-o", tmp_path / "clusters.csv", "--clusters")
    assert "10 clusters" in result.out
    table = polars.read_csv(tmp_path / "clusters.csv")
    each = table.select(polars.selectors.starts_with("cluster")).to_numpy()
    assert each.shape == (1797, 10)
    assert np.allclose(each.sum(1), 1, atol=1e-4)
    page = vaekit("evaluate", tmp_path / "again", "--samples", 5).out
    assert "components" in page
    assert "adjusted Rand index" in page
    numbers = json.loads(vaekit("evaluate", tmp_path / "again", "--samples", 5, "--json").out)["clusters"]
    assert numbers["components"] == 10
    assert 0 < numbers["ari"] < numbers["nmi"] < 1
    refused = vaekit("encode", digits_run, "digits", "-o", tmp_path / "none.csv", "--clusters")
    assert refused.code == 2
    assert "vaekit refit RUN --prior mixture" in refused.err
