"""The schema: what the data is, from the data."""

import json

import numpy as np
import pytest

from vaekit.data import Schema, describe
from vaekit.data.columns import ColumnType
from vaekit.data.layout import Layout
from vaekit.errors import VaekitError
from vaekit.parts.likelihoods import LogNormal, NegativeBinomial


def column(*values, dtype=np.float64) -> np.ndarray:
    return np.array(values, dtype)[:, None]


@pytest.mark.parametrize(
    ("x", "kind"),
    [
        (column(0, 1, 1), "binary"),
        (column(0, 1, dtype=bool), "binary"),
        (column(0, 0, dtype=np.uint8), "binary"),
        (column(1, 1), "binary"),
        (column(0, 2), "integer"),
        (column(-1, 1), "integer"),
        (column(-1, 0, dtype=np.int16), "integer"),
        (column(3.0, 1e6), "integer"),
        (column(0, 0.5, 1), "real"),
        (column(0, 1e-9), "real"),
        (np.array([[0, 0.5], [1, 1]]), "real"),  # the widest of the columns
        (np.array([[0, 7], [1, 1]]), "integer"),
        (np.zeros((2, 3, 3), np.uint8), "binary"),
    ],
)
def test_the_kind_is_the_narrowest_that_holds(x, kind):
    assert describe(x).kind == kind


def test_a_table_has_a_range_a_column():
    schema = describe(np.array([[1.5, -2.0], [0.5, 4.0], [1.0, 0.0]]))
    assert schema.low == (0.5, -2.0)
    assert schema.high == (1.5, 4.0)
    assert schema.low_high == "-2 to 4"
    assert not schema.is_image


def test_an_image_has_one_range_for_all_pixels():
    x = np.zeros((3, 9, 8), np.uint8)
    x[1, 0, 1], x[2, 1, 1] = 16, 5
    schema = describe(x)
    assert (schema.low, schema.high) == (0.0, 16.0)
    assert schema.shape == (9, 8)
    assert schema.features == 72
    assert schema.is_image
    assert describe(x / 20.0).high == 0.8


@pytest.mark.parametrize(("brightest", "high"), [(127, 127.0), (128, 255.0), (255, 255.0)])
def test_bytes_that_use_their_range_are_given_all_of_it(brightest, high):
    x = np.full((3, 8, 8), 9, np.uint8)
    x[0, 0, 0] = brightest
    schema = describe(x)
    assert schema.high == high
    assert schema.low == (0.0 if brightest > 127 else 9.0)


def test_the_resolution_is_the_smallest_step():
    x = np.array([[0.25, 10.0, 3.7], [0.75, 10.5, 3.7], [2.5, 14.0, 3.7]])
    schema = describe(x)
    assert schema.array("resolution") == pytest.approx([0.5, 0.5, 3.7])
    assert describe(np.array([[1], [7], [3]])).resolution == 1.0
    assert describe(np.array([[0.0], [0.0]])).resolution == 1.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_that_rounding_makes_are_no_resolution(dtype):
    values = np.array([0.1, 0.2, 0.3, 0.7], dtype)
    x = np.concatenate([values, (values + dtype(0.1)) - dtype(0.1), dtype(0.1) + dtype(0.2) + 0 * values])[:, None]
    assert len(np.unique(x)) > 4
    assert describe(x.astype(dtype)).resolution == pytest.approx(0.1, rel=1e-5)


def test_scaling_is_learned_from_the_training_rows_and_the_range_from_all():
    rng = np.random.default_rng(0)
    x = rng.normal(5, 2, (10_000, 3))
    train = np.arange(0, 10_000, 2)
    x[1] = 1e3
    schema = describe(x, train=train)
    assert schema.array("mean") == pytest.approx(x[train].mean(0), rel=1e-12)
    assert schema.array("scale") == pytest.approx(x[train].std(0), rel=1e-12)
    assert schema.high == 1e3


def test_small_types_do_not_overflow():
    x = np.full((9000, 2), 250, np.uint8)
    x[::2] = 200
    schema = describe(x)
    assert schema.mean == 225.0
    assert schema.scale == 25.0
    assert describe(np.array([[-128], [127]], np.int8)).high == 127.0


def test_far_from_zero_the_scale_is_still_right():
    x = 1e6 + np.random.default_rng(0).normal(0, 1000, (2000, 1))
    assert describe(x).scale == pytest.approx((x - 1e6).std(), rel=1e-9)


@pytest.mark.parametrize(
    "x",
    [
        column(20_000, 90_000, 1_000_000, dtype=np.int64),  # incomes
        column(20_000.0, 90_000.0, 1_000_000.0),
        column(1999, 2026, dtype=np.int16),
        column(100_001.0, 100_000.0),  # whole numbers below 2²⁴ are exact
        column(101.325, 101.2, 99.9),
        column(7e9, 7e9),  # constant
    ],
)
def test_ordinary_columns_are_taken(x):
    assert describe(x).high == x.max()


def given_back(x: np.ndarray, schema: Schema) -> np.ndarray:
    return schema.from_stored(schema.centred(x))


OFFSETS = {
    "pressures": 101_325 + 0.5 * np.arange(-5.0, 6.0),
    "seconds since 1970": 1_700_000_000 + np.arange(0, 10_000_000, 7_777),
    "whole numbers beyond 2^24": 2.0**24 + np.arange(40),
    "negative": -7e8 - np.arange(9.0),
    "up to three millions": np.arange(500, 3_000_000, 997),
    "beyond 2^40": 2**40 + np.arange(30),
}


@pytest.mark.parametrize("case", OFFSETS)
def test_small_differences_of_large_numbers_are_kept(case):
    x = OFFSETS[case]
    x = np.stack([x, np.arange(len(x))], 1)
    schema = describe(x)
    assert np.array_equal(given_back(x, schema), x)
    assert np.abs(np.diff(schema.centred(x)[:, 0])).min() == np.abs(np.diff(x[:, 0])).min()
    assert schema.kind == ("real" if case == "pressures" else "integer")
    assert schema.array("offset")[1] == 0  # the other column is as it was
    assert schema.array("low")[0] == x[:, 0].min()  # and people see their own numbers


@pytest.mark.parametrize(
    "x",
    [
        np.random.default_rng(0).normal(20, 3, (200, 3)),
        np.random.default_rng(0).integers(1900, 2030, (200, 2)),
        np.random.default_rng(0).integers(0, 256, (20, 4, 4)).astype(np.uint8),
        np.random.default_rng(0).lognormal(6, 1, (300, 2)),
    ],
)
def test_ordinary_data_is_held_as_it_was(x):
    schema = describe(x)
    assert schema.offset == 0
    assert schema.typical_low is schema.typical_high is None
    assert schema.centred(x).dtype == (np.uint8 if x.dtype == np.uint8 else np.float32)
    assert np.array_equal(schema.centred(x), x.astype(np.float32))
    assert given_back(x, schema).dtype == schema.centred(x).dtype


@pytest.mark.parametrize("spread", [2**26, 2**40])
def test_whole_numbers_of_a_range_that_32_bits_cannot_hold_are_real_numbers(spread):
    x = np.stack([np.arange(20) * (spread // 20) + 1, np.arange(20)], 1)
    schema = describe(x)
    assert schema.kind == "real"
    spacing = np.finfo(np.float32).eps * spread / 2
    assert schema.array("resolution")[0] >= spacing / 2
    assert schema.array("resolution")[1] == 1
    assert np.abs(given_back(x, schema) - x)[:, 0].max() <= spacing


def test_whole_numbers_that_64_bits_cannot_hold_are_taken_as_well():
    signed = np.array([[2**53 + i, i] for i in range(40)])
    for x in (signed, np.array([[2**64 - 1 - i, i] for i in range(40)], np.uint64)):
        schema = describe(x)
        assert schema.kind == "real"
        assert schema.array("resolution")[0] >= 2
        assert np.array_equal(given_back(x, schema)[:, 1], x[:, 1].astype(np.float64))


@pytest.mark.parametrize("value", [0.1, 250.0, 1e20 / 3, -1e9 - 0.25, 0.0, 1e-6])
def test_a_constant_is_held_and_given_back_exactly(value):
    noise = np.random.default_rng(0).normal(size=50)
    x = np.stack([noise, np.full(50, value)], 1)
    schema = describe(x)
    assert schema.constant == (False, True)
    assert schema.array("mean")[1] == value
    assert (given_back(x, schema)[:, 1] == value).all()


def test_a_constant_is_one_of_the_rows_trained_on():
    x = np.stack([np.arange(6.0), [3, 3, 3, 3, 3, 4]], 1)
    assert describe(x, train=np.arange(5)).constant == (False, True)
    assert describe(x).constant is False
    image = np.zeros((4, 2, 2))
    image[:, 0, 1] = [0.5, 1, 1.5, 2]
    assert describe(image, layout=Layout("image")).array("constant").tolist() == [[True, False], [True, True]]


EXTREMES = {
    "one large cell": (1e6, 1), "an enormous one": (1e20, 1), "a negative one": (-3e4, 1), "some": (500.0, 7),
}  # fmt: skip


@pytest.mark.parametrize("rows", [40, 1500])
@pytest.mark.parametrize("case", EXTREMES)
def test_extreme_cells_do_not_change_what_a_column_is(case, rows):
    value, count = EXTREMES[case]
    count = min(count, max(1, rows // 200))
    clean = np.random.default_rng(1).normal(5, 2, (rows, 3))
    x = clean.copy()
    x[:count, 1] = value
    schema, rest = describe(x), describe(clean[count:])
    for name in ("mean", "scale", "resolution"):
        assert getattr(schema, name)[1] == pytest.approx(getattr(rest, name)[1], rel=1e-9)
    assert schema.array("mean")[0] == pytest.approx(clean[:, 0].mean())
    extreme = schema.extreme(x)
    assert extreme[:count, 1].all()
    assert extreme.sum() == count
    assert (schema.array("low") == x.min(0)).all()  # the range is that of every cell
    assert (schema.array("high") == x.max(0)).all()


COUNTS = np.random.default_rng(0).poisson(np.random.default_rng(1).gamma(0.3, 3, (1000, 1))).astype(np.float64)
RARE = (np.random.default_rng(0).random((1000, 1)) < 0.003) * 70.0
TAILS = {
    "counts, many of them 0": (COUNTS, 0),
    "with one of 1,200": (np.concatenate([COUNTS, [[1200]]]), 1),
    "mostly one value": (RARE, 0),
    "one value but for one cell": (np.eye(1000)[:, :1] * 1e6, 0),
    "lognormal": (np.random.default_rng(0).lognormal(5, 1, (3000, 1)), 0),
    "uniform": (np.random.default_rng(0).random((3000, 1)), 0),
    "3 of 5 rows": (np.array([[0.0], [0.1], [0.2], [50], [60]]), 0),
}


@pytest.mark.parametrize("case", TAILS)
def test_tails_are_no_extremes(case):
    x, count = TAILS[case]
    assert describe(x).extreme(x).sum() == count


def test_at_most_one_cell_in_two_hundred_is_extreme():
    x = np.random.default_rng(0).standard_cauchy((4000, 2)) ** 3
    assert 0 < describe(x).extreme(x).sum(0).max() <= 20


def test_pixels_have_no_extremes():
    x = np.random.default_rng(0).normal(size=(300, 4, 4))
    x[0, 0, 0] = 1e5
    assert describe(x, layout=Layout("image")).typical_low is None


def test_what_lies_too_far_for_32_bits_is_held_within_them():
    schema = describe(np.random.default_rng(0).normal(size=(100, 2)))
    far = schema.centred(np.array([[1e25, -1e25], [1.0, 2.0]]))
    assert np.isfinite(np.square(far / 1e-6)).all()
    assert far[1].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("value", "scale"), [(0.0, 1.0), (3.0, 3.0), (-0.5, 0.5)])
def test_a_constant_column_has_its_own_size_for_a_scale(value, scale):
    assert describe(column(value, value, value)).scale == scale
    assert describe(column(value, value, 9.0), train=np.array([0, 1])).scale == scale


@pytest.mark.parametrize(
    ("x", "names"),
    [
        (np.array([[0.1, 2.0], [0.3, 5.0]]), ("größe", "b")),
        (np.zeros((2, 3, 3), np.uint8), None),
        (np.array([[1 / 3]]), None),
        (np.array([[1e9 + 0.5, 1.0], [1e9, 1.0]]), None),
        (np.array([[v] for v in (*range(30), 1e6)]), None),
    ],
)
def test_a_trip_through_json_changes_nothing(x, names):
    for schema in (describe(x, names), describe(np.clip(x, 0, 1), names).as_binary("expected")):
        again = Schema.from_dict(json.loads(json.dumps(schema.to_dict())))
        assert again == schema
        assert isinstance(again.shape, tuple)


def test_keys_of_another_version_are_refused():
    values = describe(np.eye(2)).to_dict()
    with pytest.raises(VaekitError, match="flavour"):
        Schema.from_dict(values | {"flavour": 1})
    with pytest.raises(VaekitError, match="grey"):
        Schema.from_dict({key: value for key, value in values.items() if key != "grey"})


@pytest.mark.parametrize(
    "wrong", [{"layout": "cube"}, {"layout": "image"}, {"channels_axis": "last"}, {"dtype": "object"}, {"dtype": 3}]
)
def test_a_table_is_no_image_of_objects(wrong):
    with pytest.raises(VaekitError, match=next(iter(wrong))):
        Schema.from_dict(describe(np.eye(2)).to_dict() | wrong)


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 4095, 4096, 5000])
def test_a_cell_that_is_not_finite_is_named(bad, row):
    x = np.zeros((5001, 3))
    x[row, 1] = bad
    with pytest.raises(VaekitError, match=rf"row {row}, column 1 is {bad}"):
        describe(x)
    with pytest.raises(VaekitError, match=rf"row {row}, column 'b' is {bad}"):
        describe(x, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.array([["a", "b"]]), "numbers"),
        (np.array([[None, 1.0]], object), "object"),
        (np.array([[1 + 2j]]), "complex"),
        (np.array([["2020-01-01"]], "M8[D]"), "datetime"),
        (np.arange(3.0), r"\(3,\).*\(n, 1\)"),
        (np.array(1.0), r"\(\)"),
        (np.zeros((0, 3)), r"\(0, 3\)"),
        (np.zeros((3, 0)), r"\(3, 0\)"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(x, words):
    with pytest.raises(VaekitError, match=words):
        describe(x)


def test_numbers_too_large_for_single_precision_are_named():
    with pytest.raises(VaekitError, match=r"row 1, column 0"):
        describe(np.array([[1.0], [1e300], [2.0]]))


def test_a_column_too_small_for_single_precision_is_named_and_another_unit_helps():
    x = np.column_stack([np.arange(9) % 4, 5e-38 * np.arange(9)])
    with pytest.raises(VaekitError, match=r"column 'charge' has a standard deviation of 1\.3e-37.*smaller unit"):
        describe(x, ("n", "charge"))
    assert describe(x * [1, 1e9], ("n", "charge")).scale[1] == pytest.approx(1.29e-28, rel=1e-2)


@pytest.mark.parametrize("value", [6.6e-34, -3e-39, 4e-310])
def test_a_constant_next_to_nothing_has_a_scale_that_single_precision_holds(value):
    x = np.column_stack([np.arange(9.0) / 2, np.full(9, value)])
    schema = describe(x)
    assert schema.constant == (False, True)
    assert np.float32(schema.scale[1]) >= 1e-36
    assert schema.from_stored(schema.centred(x))[0, 1] == value


def test_columns_of_very_different_size_are_held_without_an_overflow():
    x = np.column_stack([np.arange(9) / 8, 3e27 * np.arange(-4, 5)])
    assert np.array_equal(describe(x).centred(x), x.astype(np.float32))


def test_cells_have_names_that_a_person_can_find():
    assert describe(np.eye(2), ("a", "b")).column(1) == "column 'b'"
    assert describe(np.eye(2)).column(1) == "column 1"


def test_values_are_spread_over_the_features():
    schema = describe(np.zeros((2, 3, 4), np.uint8))
    assert schema.array("high").shape == (3, 4)
    assert describe(np.array([[0.0, 1.0], [2.0, 5.0]])).array("mean").tolist() == [1.0, 3.0]


@pytest.mark.parametrize("how", ["dynamic", "threshold", "expected"])
def test_grey_values_become_binary_ones(how):
    x = np.array([[[0, 4], [8, 16]]], np.uint8)
    schema = describe(x).as_binary(how)
    assert (schema.low, schema.high, schema.grey, schema.binarized) == (0.0, 1.0, 16.0, how)
    assert schema.kind == ("real" if how == "expected" else "binary")
    assert schema.array("mean").tolist() == [[0.0, 0.25], [0.5, 1.0]]
    assert describe(x / 16.0).as_binary(how).grey == 1.0  # already from 0 to 1
    assert describe(x / 32.0).as_binary(how).grey == 1.0


@pytest.mark.parametrize("x", [np.array([[-1, 3]]), np.array([[0.5, 1.5]]), np.array([[-0.5, 0.5]])])
def test_other_values_are_not_binarised(x):
    with pytest.raises(VaekitError, match="cannot binarise"):
        describe(x).as_binary("dynamic")


def test_the_order_in_which_training_rows_are_named_does_not_matter():
    x = np.random.default_rng(4).normal(size=(9000, 2))
    train = np.random.default_rng(5).permutation(9000)[:7000]
    found = describe(x, train=train)
    assert found == describe(x, train=np.sort(train))
    assert found.array("mean") == pytest.approx(x[train].mean(0))
    assert found.array("scale") == pytest.approx(x[train].std(0))


def test_a_pixel_that_varies_by_too_little_is_named_by_its_place():
    x = np.random.default_rng(0).normal(size=(40, 8, 9))
    x[:, 2, 5] = np.arange(40) * 1e-38
    with pytest.raises(VaekitError, match=r"pixel \(2, 5\) has a standard deviation"):
        describe(x, layout="image")


@pytest.mark.parametrize(("deviation", "zeros"), [(2.9, 0.0), (3.4, 0.0), (3.1, 0.3)])
def test_the_tail_of_positive_numbers_is_judged_by_their_logarithms(deviation, zeros):
    rng = np.random.default_rng(6)
    x = np.exp(rng.normal(2, deviation, (3000, 1)))
    x[rng.random(3000) < zeros] = 0
    assert not describe(x).extreme(x).any()
    narrow = np.exp(rng.normal(2, 0.4, (3000, 1)))
    narrow[40] = 1e9
    assert np.flatnonzero(describe(narrow).extreme(narrow)).tolist() == [40]
    even = 60 + 7 * rng.normal(size=(3000, 1))
    even[9] = 9000
    assert np.flatnonzero(describe(even).extreme(even)).tolist() == [9]


@pytest.mark.parametrize("far", [1e12, 5e13, 2e15])
def test_whole_numbers_however_far_from_0_vary_by_what_they_vary(far):
    x = np.random.default_rng(4).integers(0, 40, (300, 2))
    near = describe(x)
    found = describe(x + int(far))
    assert found.kind == "integer"
    assert found.scale == pytest.approx(near.scale, rel=1e-12)
    assert np.subtract(found.mean, far) == pytest.approx(near.mean, abs=np.spacing(far))
    assert np.array_equal(found.centred(x + int(far)), found.centred(x + int(far)).round())


def test_what_rounding_leaves_of_a_constant_is_no_spread():
    thirds = np.array([[1 / 3], [1 / 3 + 1e-16], [1 / 3 - 6e-17]])
    assert describe(thirds).scale == pytest.approx(1 / 3)


def test_skewed_whole_numbers_of_any_range_are_positive():
    """Their law is one of logarithms, which need no more digits than 32 bits have."""
    rng = np.random.default_rng(8)
    sizes = np.column_stack([np.exp(rng.normal(13, 1.4, 400)).astype(int), rng.normal(size=400)])
    schema = describe(sizes)
    assert sizes[:, 0].max() > 2**24
    assert schema.kind_of(0) == "positive"
    assert schema.array("offset")[0] == 0
    assert LogNormal.misfit(schema.select([0])) is None
    level = describe(np.column_stack([10**9 + rng.integers(0, 9, 400), rng.normal(size=400)]))
    assert level.array("offset")[0] != 0


def test_counts_are_refused_from_where_they_are_not_themselves():
    for largest, fits in ((2**24, True), (2**24 + 2, False)):
        x = np.array([[3.0], [largest], [7.0], [9.0]])
        schema = describe(x, types=(ColumnType("count"),))
        assert (NegativeBinomial.misfit(schema) is None) == fits


def test_whole_numbers_with_a_step_have_a_grid_of_it():
    """Minutes as seconds, salaries in thousands: chance is not lost on what never occurs."""
    random = np.random.default_rng(2)
    n = 200
    minutes = 60 * random.integers(0, 1440, n)
    levels = 5 * random.integers(0, 5, n) + 3
    lone = np.where(np.arange(n) < 4, 700, 0)
    x = np.stack([minutes, levels, random.integers(0, 30, n), lone, random.normal(size=n)], 1)
    x[7, 0] = np.nan
    schema = describe(x)
    assert schema.resolution[:4] == (60, 5, 1, 1)  # of four cells of 200 nothing follows
    assert describe(np.random.default_rng(0).integers(0, 9, (40, 8, 8)).astype(np.uint8) * 20).resolution == 1
