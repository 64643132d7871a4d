"""How often the rows are read before training starts: a file larger than memory comes from its disk each time."""

import numpy as np
import pytest

from vaekit.data import Source
from vaekit.settings import Settings, prepare

ROWS = 20_000


class Counted(np.memmap):
    """Rows on disk that count how many of them were asked for."""

    read = 0

    def __getitem__(self, key):
        rows = super().__getitem__(key)
        if self.ndim == 2 and len(self) == ROWS:
            Counted.read += len(rows)
        return rows


@pytest.mark.parametrize(
    ("dtype", "passes"),
    [
        ("float32", 5),  # finite? described, with its digest; the finest step, of a sample; and twice factor analysis
        ("uint8", 3),  # none of the first, and none of the third
    ],
)
def test_the_rows_are_read_a_few_times_before_the_first_step(tmp_path, monkeypatch, dtype, passes):
    x = np.random.default_rng(0).integers(0, 200, (ROWS, 6)) + (0.5 if dtype == "float32" else 0)
    np.save(tmp_path / "x.npy", x.astype(dtype))
    monkeypatch.setattr(Counted, "read", 0)
    source = Source(np.load(tmp_path / "x.npy", mmap_mode="r").view(Counted), name="x")
    prepare(Settings().changed(compile="off", device="cpu"), source)
    before = Counted.read
    assert before <= passes * ROWS
    assert source.digest == Source(x.astype(dtype), name="in memory").digest
    assert Counted.read == before  # known since it was described
