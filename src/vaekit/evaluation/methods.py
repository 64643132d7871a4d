"""The ways of estimating log p(x), by name."""

from collections.abc import Callable

from vaekit.errors import VaekitError, unknown
from vaekit.evaluation.annealing import AnnealedImportance
from vaekit.evaluation.importance import ImportanceSampling
from vaekit.evaluation.quadrature import Quadrature
from vaekit.evaluation.scores import Method

METHODS: dict[str, Callable[..., Method]] = {
    "iwae": ImportanceSampling,
    "quadrature": Quadrature,
    "ais": AnnealedImportance,
}
SIZES = {"iwae": "samples", "ais": "chains"}
"""what a number of draws per row is called in each, where it has one"""


def build_method(name: str, samples: int | None = None) -> Method:
    """A method by its name, with so many draws per row, or by default as many as it thinks right.

    >>> build_method("iwae", 5000).samples
    5000
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    if samples is None:
        return METHODS[name]()
    if name not in SIZES:
        raise VaekitError(f"{name} makes no draws, it refines a grid until two agree: leave out samples.")
    return METHODS[name](**{SIZES[name]: samples})
