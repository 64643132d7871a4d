"""The ways of estimating log p(x), by name."""

from vaekit.errors import VaekitError, unknown
from vaekit.evaluation.annealing import AnnealedImportance
from vaekit.evaluation.importance import ImportanceSampling
from vaekit.evaluation.quadrature import Quadrature
from vaekit.evaluation.scores import Method

METHODS: dict[str, type[Method]] = {
    method.name: method for method in (ImportanceSampling, Quadrature, AnnealedImportance)
}


def build_method(name: str, samples: int | None = None) -> Method:
    """A method by its name, with so many draws per row, or by default as many as it thinks right.

    >>> build_method("iwae", 5000).samples
    5000
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    method = METHODS[name]()
    if samples is None:
        return method
    if not method.size:
        raise VaekitError(f"{name} makes no draws, it refines a grid until two agree: leave out samples.")
    return METHODS[name](**{method.size: samples})
