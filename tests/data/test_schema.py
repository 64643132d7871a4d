"""The schema: what the data is, from the data."""

import json

import numpy as np
import pytest

from vaekit.data import Schema, describe
from vaekit.errors import VaekitError


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


def test_columns_whose_differences_are_lost_in_single_precision_are_refused():
    x = np.stack([np.arange(5.0), 1e9 + np.arange(5.0)], 1)
    with pytest.raises(VaekitError, match="column 1"):
        describe(x)
    with pytest.raises(VaekitError, match="column 'time'"):
        describe(x, ("a", "time"))


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


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
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
