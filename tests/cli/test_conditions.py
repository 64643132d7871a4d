"""p(x|c) at the command line: columns and labels that rows are given, from fit to everything that reads them."""

import json

import numpy as np
import polars
import pytest

TINY = ("--latent-dim", 2, "--hidden", "8", "--batch-size", 32, "--epochs", 4)
GIVEN = ("--condition", "sex,site", "--condition", "age")


def people(rows: int = 160) -> polars.DataFrame:
    """Three numbers that go by sex, site and age, which stand between them; some of these are unknown."""
    rng = np.random.default_rng(3)
    sex = rng.choice(["f", "m"], rows)
    site = rng.integers(1, 4, rows)
    age = rng.uniform(20, 70, rows).round(1)
    factor = rng.normal(size=rows)
    tall = np.where(sex == "f", 165, 178) + 6 * factor
    names = np.array(["north", "south, old", "west"])[site - 1]
    return polars.DataFrame(
        {
            "tall": tall.round(1),
            "sex": [None if row % 20 == 5 else one for row, one in enumerate(sex)],
            "weight": (tall - 100 + 3 * site + rng.normal(0, 4, rows)).round(1),
            "site": names,
            "age": age,
            "pressure": (100 + 0.5 * age + 3 * factor).round(1),
        }
    )


@pytest.fixture(scope="module")
def run(vaekit, tmp_path_factory):
    """A finished run on people.csv beside it. Only to be read."""
    folder = tmp_path_factory.mktemp("people") / "run"
    path = folder.parent / "people.csv"
    people().write_csv(path)
    result = vaekit("fit", path, *GIVEN, "--out", folder, *TINY)
    assert result.code == 0, result.err
    (folder.parent / "fit.txt").write_text(result.out)
    return folder


def test_fit_says_what_is_given_and_what_is_learned(run):
    said = (run.parent / "fit.txt").read_text()
    assert "table of 3 columns" in said
    assert "given sex: binary, f, m" in said
    assert "given site: category" in said


def test_samples_have_what_they_are_given(vaekit, run, tmp_path):
    output = tmp_path / "some.csv"
    assert vaekit("sample", run, "--given", "sex=f,site=south, old", "-n", 40, "-o", output).code == 0
    table = polars.read_csv(output)
    assert table.columns == people().columns
    assert set(table["sex"]) == {"f"}
    assert set(table["site"]) == {"south, old"}
    ages = people().filter(polars.col("sex") == "f", polars.col("site") == "south, old")["age"]
    assert set(table["age"]) <= set(ages)  # of those who are alike
    assert table["age"].n_unique() > 1
    heights = {}
    for sex in "fm":
        vaekit("sample", run, "--given", f"sex={sex}", "-n", 200, "-o", output)
        heights[sex] = polars.read_csv(output)["tall"].mean()
    assert heights["m"] > heights["f"] + 5


def test_a_number_given_beyond_those_trained_on_is_noted(vaekit, run, tmp_path):
    ages = people()["age"]
    done = vaekit("sample", run, "--given", "age=95.25,sex=f", "-n", 2, "-o", tmp_path / "old.csv")
    assert done.code == 0
    assert done.err.startswith("vaekit: age is 95.25, and the rows trained on have 2")
    assert float(done.err.split(" … ")[1].split(":")[0]) <= ages.max()
    for inside in ("age=45,sex=m", "age=", "site=west"):
        assert not vaekit("sample", run, "--given", inside, "-n", 2, "-o", tmp_path / "some.csv").err


def test_samples_may_be_given_nothing_or_that_nothing_is_known(vaekit, run, tmp_path):
    output = tmp_path / "some.parquet"
    assert vaekit("sample", run, "-n", 60, "-o", output).code == 0
    assert set(polars.read_parquet(output)["sex"].drop_nulls()) == {"f", "m"}
    assert vaekit("sample", run, "--given", "sex=", "--given", "age=33.3", "-n", 5, "-o", output).code == 0
    table = polars.read_parquet(output)
    assert table["sex"].null_count() == 5
    assert set(table["age"]) == {33.3}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("sex=x", "sex is 'x', which fitting never saw: give 'f' or 'm'."),
        ("sxe=f", "unknown condition 'sxe'; did you mean 'sex'? Choose from: sex, site, age."),
        ("age=old", "age is 'old', and the column is one of numbers"),
        ("f", "--given is 'f': give NAME=VALUE"),
        ("sex=f,sex=m", "sex is given twice, 'f' and 'm': give one of them."),
    ],
)
def test_what_cannot_be_given_is_refused(vaekit, run, tmp_path, given, said):
    result = vaekit("sample", run, "--given", given, "-o", tmp_path / "some.csv")
    assert result.code == 2
    assert said in " ".join(result.err.split())
    assert not (tmp_path / "some.csv").exists()


def test_nothing_is_given_to_a_model_without_conditions(vaekit, table_run, tmp_path):
    result = vaekit("sample", table_run, "--given", "kind=odd", "-o", tmp_path / "some.csv")
    assert result.code == 2
    assert "fit with --condition" in result.err


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("sexx", "did you mean 'sex'"),
        ("tall,sex,weight,site,age,pressure", "none is left to learn"),
    ],
)
def test_columns_that_cannot_be_conditions_are_refused(vaekit, run, tmp_path, condition, said):
    result = vaekit("fit", run.parent / "people.csv", "--condition", condition, "--out", tmp_path / "run", *TINY)
    assert result.code == 2
    assert said in result.err
    assert not (tmp_path / "run").exists()


def test_conditions_are_read_by_name(vaekit, run, tmp_path):
    frame = people()
    shuffled = tmp_path / "shuffled.csv"
    frame.select(frame.columns[::-1]).write_csv(shuffled)
    tables = []
    for number, path in enumerate([run.parent / "people.csv", shuffled]):
        output = tmp_path / f"{number}.csv"
        said = vaekit("score", run, path, "-o", output)
        assert "mean log p(x | c)" in said.out
        tables.append(polars.read_csv(output))
    assert tables[0].equals(tables[1])
    assert tables[0]["site"].to_list() == frame["site"].to_list()
    lacking = tmp_path / "lacking.csv"
    frame.drop("site").write_csv(lacking)
    refused = vaekit("score", run, lacking, "-o", tmp_path / "none.csv")
    assert refused.code == 2
    assert "lacks 'site'" in refused.err


def test_levels_never_seen_are_refused_or_unknown(vaekit, run, tmp_path):
    path = tmp_path / "new.csv"
    people().with_columns(site=polars.lit("east")).write_csv(path)
    output = tmp_path / "scores.csv"
    refused = vaekit("score", run, path, "-o", output)
    assert refused.code == 2
    assert "'east'" in refused.err
    assert vaekit("score", run, path, "-o", output, "--unseen", "missing").code == 0
    empty = tmp_path / "empty.csv"
    people().with_columns(site=polars.lit(None)).write_csv(empty)
    other = tmp_path / "others.csv"
    assert vaekit("score", run, empty, "-o", other).code == 0
    assert polars.read_csv(output)["log_p"].equals(polars.read_csv(other)["log_p"])


def test_what_is_made_of_rows_stands_in_their_columns(vaekit, run, tmp_path):
    path = tmp_path / "holes.csv"
    holes = people().with_columns(
        weight=polars.when(polars.int_range(polars.len()) % 3 == 0).then(None).otherwise("weight")
    )
    holes.write_csv(path)
    for command, options in (("impute", ()), ("reconstruct", ())):
        output = tmp_path / f"{command}.csv"
        result = vaekit(command, run, path, "-o", output, *options)
        assert result.code == 0, result.err
        table = polars.read_csv(output)
        assert table.columns == ["row", *people().columns]
        assert table["sex"].to_list() == people()["sex"].to_list()
        assert table["age"].to_list() == people()["age"].to_list()
        assert not table["weight"].null_count()
    output = tmp_path / "z.csv"
    assert vaekit("encode", run, path, "-o", output).code == 0
    assert polars.read_csv(output).columns == ["row", "sex", "site", "age", "z0", "z1"]


def test_evaluate_says_what_all_is_given(vaekit, run):
    page = vaekit("evaluate", run)
    assert page.code == 0, page.err
    assert "log p(x|c)" in page.out
    assert "given 'sex', 'site' and 'age'" in page.out
    assert json.loads(vaekit("evaluate", run, "--json").out)["given"] == ["sex", "site", "age"]


def test_a_resumed_run_is_the_one_never_left_off(vaekit, run, tmp_path):
    path = run.parent / "people.csv"
    scores = []
    for name, epochs in (("whole", (6,)), ("parts", (3, 6))):
        folder = tmp_path / name
        options = (*TINY[:-2], "--schedule", "plateau")
        assert vaekit("fit", path, *GIVEN, "--out", folder, *options, "--epochs", epochs[0]).code == 0
        for more in epochs[1:]:
            assert vaekit("resume", folder, "--epochs", more).code == 0
        output = tmp_path / f"{name}.csv"
        assert vaekit("score", folder, path, "-o", output).code == 0
        scores.append(output.read_bytes())
    assert scores[0] == scores[1]


def test_labels_of_images_and_of_tables(vaekit, run, tmp_path):
    folder = tmp_path / "digits"
    assert vaekit("fit", "digits", "--condition", "label", "--out", folder, *TINY).code == 0
    output = tmp_path / "three.csv"
    assert vaekit("sample", folder, "--given", "label=3", "-n", 5, "-o", output).code == 0
    assert polars.read_csv(output)["label"].to_list() == [3] * 5
    assert vaekit("sample", folder, "--given", "label=3", "-n", 5, "-o", tmp_path / "three.png").code == 0
    refused = vaekit("sample", folder, "--given", "label=11", "-o", output)
    assert "'0', '1', '2'" in refused.err
    assert vaekit("score", folder, "digits", "-o", output).code == 0
    archive = tmp_path / "coloured.npz"
    rng = np.random.default_rng(1)
    np.savez(archive, x=rng.integers(0, 256, (90, 6, 6), np.uint8), y=rng.integers(0, 4, 90))
    for name in ("label", "y"):
        assert vaekit("fit", archive, "--condition", name, "--out", tmp_path / name, *TINY).code == 0
        assert vaekit("sample", tmp_path / name, "--given", f"{name}=2", "-n", 3, "-o", tmp_path / "2.npy").code == 0
        assert vaekit("evaluate", tmp_path / name).code == 0
    folder = tmp_path / "labelled"
    path = run.parent / "people.csv"
    said = vaekit("fit", path, "--label", "site", "--condition", "site,age", "--out", folder, *TINY)
    assert said.code == 0, said.err
    for command in ("score", "encode", "reconstruct"):
        said = vaekit(command, folder, path, "-o", output)
        assert said.code == 0, said.err
        assert polars.read_csv(output)["site"].to_list() == people()["site"].to_list()
    assert vaekit("sample", folder, "--given", "site=west", "-n", 5, "-o", output).code == 0
    assert set(polars.read_csv(output)["site"]) == {"west"}
