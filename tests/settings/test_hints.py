"""What is said of data and of what a model draws, and what is not."""

from collections.abc import Callable
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from vaekit.data import Dataset, Schema, describe
from vaekit.data.columns import ColumnType
from vaekit.settings import coarse, extremes, hints, impossible, shortfall
from vaekit.settings.hints import Empty, empty

Draw = Callable[[np.random.Generator, int], np.ndarray]


def two_groups(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.4, 20.0, 28.0) + rng.normal(size=n) / 4


def three_groups(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.choice([0.0, 5.0, 10.0], n) + rng.normal(size=n) / 8


def heaped(rng: np.random.Generator, n: int) -> np.ndarray:
    """Mostly whole numbers, here and there something finer."""
    x = rng.normal(4, 1.2, n)
    return np.where(rng.random(n) < 0.1, np.round(x, 2), np.round(x))


HONEST: dict[str, Draw] = {
    "Gaussian": lambda rng, n: rng.normal(-4, 9, n),
    "uniform": lambda rng, n: rng.uniform(2, 3, n),
    "exponential": lambda rng, n: rng.exponential(7, n),
    "Poisson": lambda rng, n: rng.poisson(2.5, n),
    "rare counts": lambda rng, n: rng.poisson(0.1, n),
    "log-normal": lambda rng, n: rng.lognormal(3, 1.5, n),
    "wide counts": lambda rng, n: np.floor(rng.lognormal(7, 2, n)),
    "t(5)": lambda rng, n: rng.standard_t(5, n),
    "rounded": lambda rng, n: np.round(rng.normal(0, 2, n), 1),
    "heaped": heaped,
    "1 or 2": lambda rng, n: rng.integers(1, 3, n),
    "0 or 1": lambda rng, n: rng.integers(0, 2, n),
    "two groups": two_groups,
    "three groups": three_groups,
}


@pytest.mark.parametrize("n", [40, 200, 2000])
@pytest.mark.parametrize("name", HONEST)
def test_draws_of_the_data_s_own_distribution_fill_no_gap(name, n):
    for seed in range(60):
        rng = np.random.default_rng(seed)
        values, drawn = (HONEST[name](rng, count).astype(np.float64) for count in (n, 2000))
        assert empty(values, drawn) is None, seed


@pytest.mark.parametrize("name", ["uniform", "Poisson", "t(5)", "rounded", "heaped", "0 or 1", "1 or 2"])
def test_a_gaussian_s_draws_of_one_group_fill_no_gap(name):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        values = HONEST[name](rng, 500).astype(np.float64)
        assert empty(values, rng.normal(values.mean(), values.std(), 2000)) is None, seed


@pytest.mark.parametrize("n", [100, 200, 2000])
def test_a_gap_between_two_groups_is_seen(n):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        values = two_groups(rng, n)
        drawn = np.where(rng.random(2000) < 0.25, rng.uniform(21, 27, 2000), two_groups(rng, 2000))
        found = empty(values, drawn)
        assert found is not None
        assert found.gaps == 1
        assert 20 < found.low < 21.5 < 26.5 < found.high < 28
        assert found.share == pytest.approx(((drawn > found.low) & (drawn < found.high)).mean())


def test_a_lone_value_in_a_gap_hides_no_part_of_it():
    rng = np.random.default_rng(0)
    found = empty(np.array([*two_groups(rng, 900), 23.5]), rng.uniform(19, 29, 2000))
    assert found is not None
    assert found.gaps == 2
    assert found.share > 0.6
    assert found.place == f"between 23.5 and {found.high:.6g}, and in 1 more gap"


def test_the_values_of_a_code_have_nothing_between_them():
    rng = np.random.default_rng(0)
    for codes in ([0, 99], [0, 1, 99], [1, 2, 3, 777]):
        found = empty(rng.choice(codes, 300).astype(float), rng.integers(0, 99, 2000).astype(float))
        assert found is not None
        assert found.high == codes[-1]
        assert found.low == codes[-2]


def test_draws_far_beyond_the_range_are_seen_and_those_near_it_are_not():
    rng = np.random.default_rng(0)
    values = rng.uniform(10, 20, 400)
    assert empty(values, rng.uniform(8, 22, 2000)) is None
    found = empty(values, rng.uniform(10, 30, 2000))
    assert found is not None
    assert found.place == f"above {values.max():.6g}"
    found = empty(values, rng.uniform(0, 20, 2000))
    assert found is not None
    assert found.place == f"below {values.min():.6g}"


def test_one_value_has_no_gaps():
    assert empty(np.full(50, 3.0), np.linspace(0, 9, 2000)) is None
    assert Empty(0.5, -np.inf, 2.0, 3).place == "below 2, and in 2 more gaps"


def notes(monkeypatch, x: np.ndarray, drawn: np.ndarray, names: tuple[str, ...] | None = None) -> list[str]:
    """What is said of a model that gives these draws, trained on the rows x."""
    schema = describe(x, names)
    monkeypatch.setattr("vaekit.inference.sample", lambda *_: torch.from_numpy(schema.centred(drawn)))
    return impossible(Mock(), Dataset(x, schema, seed=0, hide_extremes=True), 0)


def test_what_a_model_draws_of_each_column_is_held_against_it(monkeypatch):
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=500), two_groups(rng, 500), rng.exponential(1, 500)])
    same = np.column_stack([rng.normal(size=2000), two_groups(rng, 2000), rng.exponential(1, 2000)])
    names = ("plain", "grouped", "positive")
    assert notes(monkeypatch, x, same, names) == []
    drawn = rng.normal(x.mean(0), x.std(0), (2000, 3))
    first, second = notes(monkeypatch, x, drawn, names)
    assert first.startswith("column 'positive' is never negative in the data, and 1")
    assert "of what the model draws of column 'grouped' lies between 20." in second
    assert "of column 1 lies between 1e+09" in notes(monkeypatch, x + 1e9, drawn + 1e9)[0]


def test_few_columns_are_named(monkeypatch):
    rng = np.random.default_rng(0)
    x = np.column_stack([two_groups(rng, 500) for _ in range(5)])
    lines = notes(monkeypatch, x, rng.uniform(20, 28, (2000, 5)))
    assert len(lines) == 4
    assert lines[-1] == "So it is with 2 more columns."


def test_cells_left_out_of_training_are_no_end_of_a_range(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    x[5, 0] = 1e5
    drawn = rng.normal(size=(2000, 2))
    assert notes(monkeypatch, x, drawn) == []
    drawn[:200, 0] = rng.uniform(20, 1e4, 200)
    (line,) = notes(monkeypatch, x, drawn)
    assert line.startswith("10% of what the model draws of column 0 lies above ")


# of the data


TABLE = ("length", "pieces", "reads")


def table(n: int = 300) -> np.ndarray:
    """A real column, whole numbers, and a real column over five decades."""
    rng = np.random.default_rng(0)
    return np.column_stack([rng.normal(9, 2, n), rng.poisson(3, n), rng.lognormal(5, 2, n)])


def test_whole_numbers_and_decades_beside_real_numbers_are_pointed_out():
    x = table()
    fractions, decades = hints(x, describe(x, TABLE), "gaussian")
    assert fractions.startswith("column 'pieces' holds whole numbers: beside real ones it is taken for real")
    assert decades.startswith("column 'reads' is very skewed, from ")
    assert "(np.log)" in decades
    logarithms = np.column_stack([x[:, 0], np.log(x[:, 2])])
    assert hints(logarithms, describe(logarithms), "gaussian") == []
    assert hints(x, describe(x, TABLE), "my_module:MyLikelihood") == []


def test_whole_numbers_are_said_once():
    x = np.column_stack([table(), np.random.default_rng(1).integers(0, 2, (300, 3)), np.full(300, 7)])
    first, second, _ = hints(x, describe(x), "gaussian")
    assert first.startswith("column 1 holds whole numbers")
    assert second == "So it is with 3 more columns."
    whole = np.round(x[:, 1:]) * 10**9  # too large to be held: all are real, and `coarse` says it
    assert not any("fractions" in line for line in hints(whole, describe(whole), "gaussian"))


SKEWED: dict[str, Draw] = {
    "log-normal": lambda rng, n: rng.lognormal(-9, 1.7, n),
    "reads": lambda rng, n: np.floor(rng.lognormal(7, 2, n)),
}
OTHERS: dict[str, Draw] = {
    "mild log-normal": lambda rng, n: rng.lognormal(3, 0.3, n),
    "gamma": lambda rng, n: rng.gamma(2, 5, n),
    "exponential": lambda rng, n: rng.exponential(1, n),
    "counts": lambda rng, n: rng.poisson(rng.gamma(0.5, 30, n)),
    "small counts": lambda rng, n: np.floor(rng.lognormal(1, 1.5, n)) + 1,
    "codes": lambda rng, n: np.where(rng.random(n) < 0.02, 999, rng.integers(1, 6, n)),
    "t(5)": lambda rng, n: 50 + rng.standard_t(5, n),
    "zeros": lambda rng, n: np.where(rng.random(n) < 0.3, 0, rng.lognormal(5, 1.5, n)),
    "constant": lambda rng, n: np.full(n, 7),
}


@pytest.mark.parametrize("name", SKEWED | OTHERS)
def test_a_logarithm_is_advised_where_it_evens_a_column_out(name):
    advised = 0
    for seed in range(40):
        x = (SKEWED | OTHERS)[name](np.random.default_rng(seed), 400)[:, None]
        schema = describe(x)
        lines = hints(x, schema, "gaussian" if schema.kind == "real" else "discretized-logistic")
        advised += any("its logarithm (np.log" in line for line in lines)
    assert advised == 0 if name in OTHERS else advised >= 38


def test_one_cell_left_out_of_training_makes_no_decades():
    x = np.random.default_rng(0).normal(100, 9, (400, 1))
    x[3] = 1e6
    assert hints(x, describe(x), "gaussian") == []


# columns of several kinds, and missing cells


def of_kinds(n: int = 400, hidden: float = 0.2) -> tuple[np.ndarray, Schema]:
    """Real, skewed real, skewed positive, count, binary and a skewed category, some cells missing."""
    rng = np.random.default_rng(0)
    skewed = [rng.lognormal(5, 2, n) for _ in range(2)]
    whole = [np.floor(rng.lognormal(6, 2, n)), rng.integers(0, 2, n)]
    codes = np.where(rng.random(n) < 0.02, 59, rng.integers(0, 3, n))
    x = np.column_stack([rng.normal(9, 2, n), *skewed, *whole, codes])
    x[rng.random(x.shape) < hidden] = np.nan
    types = [ColumnType()] * 6
    types[1] = ColumnType("real")
    types[2] = ColumnType("positive")
    types[3] = ColumnType("count")
    types[5] = ColumnType("category", tuple(f"level {j}" for j in range(60)))
    return x, describe(x, tuple("abcdef"), types=types)


def test_of_several_kinds_only_numbers_without_a_family_of_their_own_want_logarithms():
    x, schema = of_kinds()
    (line,) = hints(x, schema, "columns")
    assert line.startswith("column 'b' is very skewed, from ")


def test_missing_cells_hide_no_hint():
    x = table()
    x[np.random.default_rng(1).random(x.shape) < 0.2] = np.nan
    fractions, decades = hints(x, describe(x, TABLE), "gaussian")
    assert fractions.startswith("column 'pieces' holds whole numbers")
    assert decades.startswith("column 'reads' is very skewed")
    assert "nan" not in fractions + decades
    assert hints(x, describe(x, TABLE), "columns") == []  # each has a family of its own
    two = np.array([[0.0, 255.0], [np.nan, 0.0]])
    assert "every value is 0 or 255" in hints(two, describe(two), "discretized-logistic")[0]


def test_of_missing_cells_none_is_extreme():
    x = np.array([*range(30), 1e6, np.nan, np.nan])[:, None]
    assert extremes(x, describe(x)) == [
        "1 of 31 cells of column 0 lies outside 0 … 29, where the others are: it is left out of training."
    ]


def test_an_identifier_is_seen_beside_missing_cells_and_codes():
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.integers(0, 10**10, 50), rng.integers(0, 9, 50), rng.integers(0, 3, 50)]).astype(float)
    x[:5, 1] = np.nan
    types = [ColumnType(), ColumnType(), ColumnType("category", ("red", "green", "blue"))]
    for kinds in (None, types):
        (line,) = coarse(x, describe(x, ("id", "n", "colour"), types=kinds))
        assert line.startswith("column 'id' has whole numbers from ")
        assert "it is taken for real numbers, to within " in line
    x[:, 1] += 0.5
    assert coarse(x, describe(x, types=types)) == []


def test_a_bound_below_equal_chances_is_told_of_probabilities_alone():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, (50, 2)).astype(float)
    codes[:9, 1] = np.nan
    types = [ColumnType("category", tuple("abcdefgh")), ColumnType()]
    assert "below the -3.18 of values" in shortfall(-9.0, describe(codes, types=types))[0]  # log 8 · 3
    assert shortfall(-3.0, describe(codes, types=types)) == []
    beside = np.column_stack([codes, rng.normal(size=50)])
    assert shortfall(-900.0, describe(beside, types=[*types, ColumnType()])) == []
    assert shortfall(-900.0, of_kinds()[1]) == []


def test_what_a_model_draws_of_codes_is_no_fault(monkeypatch):
    x, schema = of_kinds()
    rng = np.random.default_rng(1)
    drawn = np.nan_to_num(x[rng.integers(0, len(x), 2000)], nan=20.0)  # of the category, between its codes
    drawn[:, 5] = rng.integers(0, 60, 2000)
    drawn[:, 1] *= np.where(rng.random(2000) < 0.3, -1, 1)
    monkeypatch.setattr("vaekit.inference.sample", lambda *_: torch.from_numpy(schema.centred(drawn)))
    lines = impossible(Mock(), Dataset(x, schema, seed=0, hide_extremes=True), 0)
    assert any(line.startswith("column 'b' is never negative in the data") for line in lines)
    assert not any("'f'" in line or "nan" in line for line in lines)


def test_hints_name_the_cell_of_a_table_of_several_axes():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(60, 3, 4))
    x[:, 1, 2] = np.exp(2 * rng.normal(size=60))
    assert [line.split(" is")[0] for line in hints(x, describe(x, layout="table"), "gaussian")] == ["cell (1, 2)"]
