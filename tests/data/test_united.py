"""Files of one table, each of which says a little of its columns."""

import numpy as np
import pytest

from vaekit.data.columns import parse_types
from vaekit.data.readers import read
from vaekit.data.tables import Columns
from vaekit.data.united import united
from vaekit.errors import VaekitError


def found(folder, *texts: str, **options) -> list:
    """What files of one column beside another say of it, united."""
    files = [f"{j}.csv" for j in range(len(texts))]
    for name, text in zip(files, texts, strict=True):
        cells = text.split("|")
        (folder / name).write_text("b,a\n" + "".join(f"{cell},{i}.5\n" for i, cell in enumerate(cells)))
    return united([read(folder / name, Columns(**options)) for name in files], files)


@pytest.mark.parametrize(
    ("texts", "kind", "values"),
    [
        (("x|y", "z||x"), ("category", ("x", "y", "z"), "text", None), [0, 1, 2, np.nan, 0]),
        (("x|x", "y|x"), ("binary", ("x", "y"), "text", None), [0, 0, 1, 0]),
        (("yes|no", "YES|YES"), ("binary", ("no", "yes"), "text", None), [1, 0, 1, 1]),
        (("1|2", "1.25|"), ("auto", (), "number", 2), [1, 2, 1.25, np.nan]),
        (("1|2", "3|4"), ("auto", (), "integer", None), [1, 2, 3, 4]),
        (("1970-01-02", "1970-01-02 12:00"), ("auto", (), "datetime", None), [86400, 129600]),
    ],
)
def test_a_column_is_one_in_all_files(tmp_path, texts, kind, values):
    tables = found(tmp_path, *texts)
    for table in tables:
        own = table["types"][0]
        assert (own.kind, own.levels, own.written, own.decimals) == kind
    together = np.concatenate([table["x"][:, 0] for table in tables])
    assert np.array_equal(together, values, equal_nan=True)


def test_numbers_in_one_and_levels_in_another_are_refused_with_what_helps(tmp_path):
    texts = ("1|2|3", "low|high|low")
    with pytest.raises(VaekitError, match=r"'b' has integers in 0\.csv and levels in 1\.csv: .* columns='b=category'"):
        found(tmp_path, *texts)
    one, other = found(tmp_path, *texts, declared=parse_types("b=category"))
    assert one["types"] == other["types"]
    assert one["types"][0].levels == ("1", "2", "3", "high", "low")


def test_an_order_that_is_not_one_in_all_files_is_refused(tmp_path):
    (low, high) = found(tmp_path, "1|3", "2|3", declared=parse_types("b=ordinal"))
    assert low["types"][0].levels == high["types"][0].levels == ("1", "2", "3")
    assert low["x"][:, 0].tolist() == [0, 2]


def test_tables_of_other_columns_are_left_to_be_compared(tmp_path):
    (tmp_path / "x.csv").write_text("a\n1\n")
    (tmp_path / "y.csv").write_text("b\n1\n")
    tables = [read(tmp_path / name) for name in ("x.csv", "y.csv")]
    assert united(tables, ["x.csv", "y.csv"]) == tables
