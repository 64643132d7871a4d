"""That the mistakes of `seeded_defects` can still be planted: running them all takes minutes (`make defects`)."""

import pytest
from seeded_defects import DEFECTS, ROOT


@pytest.mark.parametrize("name", DEFECTS)
def test_the_mistake_can_be_planted(name):
    defect = DEFECTS[name]
    with pytest.MonkeyPatch.context() as patch:
        defect.plant(patch)
    assert all((ROOT / "tests" / place).exists() for place in defect.tests.split())
