"""Dataset, their digest, and how they are parted."""

import numpy as np
import pytest

from vaekit.data import Source, load
from vaekit.errors import VaekitError


def parts(source, seed=0, validation=0.2, test=0.1):
    return source.split(seed, validation, test)


def table(n: int, columns: int = 2) -> Source:
    return Source(np.arange(n * columns, dtype=np.float64).reshape(n, columns))


@pytest.mark.parametrize("n", [9, 10, 101, 1000])
@pytest.mark.parametrize(("validation", "test"), [(0.2, 0.1), (0, 0), (0.45, 0.45), (0, 0.5)])
def test_a_split_is_disjoint_and_complete(n, validation, test):
    split = parts(table(n), 0, validation, test)
    assert list(split) == ["train", "validation", "test"]
    together = np.concatenate(list(split.values()))
    assert sorted(together) == list(range(n))
    assert len(split["validation"]) == round(validation * n)
    assert len(split["test"]) == round(test * n)
    for rows in split.values():
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()


def test_a_split_is_a_function_of_seed_and_number_alone():
    one, other = table(100), Source(np.random.default_rng(0).normal(size=(100, 7)))
    np.random.seed(5)
    state = np.random.get_state()[1].copy()
    first, second = parts(one), parts(other)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert np.array_equal(np.random.get_state()[1], state)
    assert not np.array_equal(first["test"], parts(one, seed=1)["test"])


def test_a_split_mixes_the_rows():
    split = parts(table(1000), 0, 0.5, 0)
    assert abs(split["validation"].mean() - 499.5) < 5 * 1000 / np.sqrt(12 * 500)
    assert len(np.unique(split["validation"] // 100)) == 10


def test_a_part_keeps_its_rows_when_another_is_left_out():
    full, without = parts(table(100), 0, 0.2, 0.1), parts(table(100), 0, 0.2, 0.0)
    assert np.array_equal(full["validation"], without["validation"])


def test_the_parts_that_a_data_set_fixes_are_kept():
    fixed = {"train": np.arange(60), "test": np.arange(60, 100)}
    source = Source(table(100).x, parts=fixed)
    split = parts(source, 3, 0.25, 0.9)
    assert np.array_equal(split["test"], fixed["test"])
    assert len(split["validation"]) == 15  # of the 60
    assert sorted([*split["train"], *split["validation"]]) == list(range(60))
    all_three = Source(
        table(9).x, parts={"train": np.arange(5), "validation": np.array([5, 6]), "test": np.array([7, 8])}
    )
    split = parts(all_three, 1, 0.5, 0.5)
    assert {name: rows.tolist() for name, rows in split.items()} == {
        "train": [0, 1, 2, 3, 4], "validation": [5, 6], "test": [7, 8],
    }  # fmt: skip


@pytest.mark.parametrize(("validation", "test"), [(-0.1, 0), (1.0, 0), (0, 1.5), (0.6, 0.6), (float("nan"), 0)])
def test_fractions_that_leave_nothing_are_refused(validation, test):
    with pytest.raises(VaekitError, match=r"fraction|no rows"):
        parts(table(10), 0, validation, test)


def test_one_row_is_enough_to_train_on():
    assert parts(table(1), 0, 0.1, 0.1)["train"].tolist() == [0]


def test_the_digest_changes_with_any_bit():
    x = np.random.default_rng(0).normal(size=(5000, 3))
    digest = Source(x).digest
    for row, bit in ((0, 0), (4095, 7), (4096, 63), (4999, 31)):
        changed = x.copy()
        changed.view(np.uint64)[row, 1] ^= np.uint64(1 << bit) if bit < 52 else np.uint64(1 << 63)
        assert Source(changed).digest != digest
    assert Source(x.copy()).digest == digest
    assert Source(x[::-1]).digest != digest


def test_the_digest_is_of_type_and_shape_too():
    x = np.zeros((4, 4), np.uint8)
    digests = {Source(a).digest for a in (x, x.astype(np.int8), x.reshape(2, 8), x.reshape(4, 2, 2))}
    assert len(digests) == 4


def test_the_digest_does_not_depend_on_how_the_array_lies_in_memory():
    x = np.random.default_rng(0).normal(size=(10, 4))
    wide = np.zeros((20, 8))
    wide[::2, ::2] = x
    for same in (np.asfortranarray(x), x.astype(">f8"), wide[::2, ::2]):
        assert Source(same).digest == Source(x).digest


def test_rows_are_checked_when_they_come_in():
    with pytest.raises(VaekitError, match="row 1, column 'b'"):
        Source(np.array([[1, 2], [3, np.inf]]), ("a", "b"))
    with pytest.raises(VaekitError, match=r"\(0, 2\)"):
        Source(np.zeros((0, 2)))


def test_bytes_stay_bytes():
    x = np.zeros((3, 2, 2), np.uint8)
    assert Source(x).x.dtype == np.uint8
    assert np.shares_memory(Source(x).x, x)  # not copied


def test_joined_rows_become_a_fixed_part():
    one, other = table(8), Source(-table(3).x, labels=np.arange(3))
    joined = one.joined(other, "validation")
    split = parts(joined, 0, 0.5, 0.25)
    assert np.array_equal(joined.x[split["validation"]], other.x)
    assert len(split["test"]) == 2  # of the eight
    assert len(split["train"]) == 6
    assert joined.digest != one.digest
    both = joined.joined(Source(table(2).x + 100), "test")
    split = parts(both)
    assert (both.x[split["test"]] >= 100).all()
    assert np.array_equal(both.x[split["validation"]], other.x)
    assert sorted(split["train"]) == list(range(8))


def test_labels_are_joined_where_both_have_them():
    one, other = Source(table(2).x, labels=np.array([0, 1])), Source(table(2).x, labels=np.array([2, 3]))
    assert one.joined(other, "test").labels.tolist() == [0, 1, 2, 3]
    assert one.joined(table(2), "test").labels is None


def test_only_rows_of_the_same_columns_are_joined():
    with pytest.raises(VaekitError, match=r"\(3,\).*\(2,\)"):
        table(4).joined(table(4, columns=3), "validation")
    named = Source(table(4).x, ("a", "b"), name="one.csv")
    with pytest.raises(VaekitError, match=r"two\.csv lacks 'b' and it has 'c' more"):  # the names are what differs
        named.joined(Source(table(4).x, ("c", "a"), name="two.csv"), "validation")


def test_columns_of_another_order_are_put_right():
    one = Source(table(4).x, ("a", "b"), name="one.csv")
    joined = one.joined(Source(table(3).x[:, ::-1], ("b", "a"), name="two.csv"), "validation")
    assert joined.names == ("a", "b")
    assert np.array_equal(joined.x[4:], table(3).x)


@pytest.mark.parametrize(
    ("text", "word"), [("digtis", "digits"), ("fashion_mnist", "fashion-mnist"), ("MNIST", "mnist")]
)
def test_a_misspelt_data_set_is_guessed(tmp_path, monkeypatch, text, word):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VaekitError, match=f"'{word}'"):
        load(text)


def test_a_name_like_no_data_set_lists_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VaekitError, match="digits, mnist, fashion-mnist, static-mnist"):
        load("qqqqq.csv")
