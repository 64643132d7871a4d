"""Near misses: data that would have been served better in another form, pointed out and left as it is."""

import numpy as np

from vaekit.data import Schema

LOOK = 1000
"""rows looked at"""


def hints(x: np.ndarray, schema: Schema, likelihood: str) -> list[str]:
    """One line for each thing about the rows x (n, *X) that their owner may not have meant.

    >>> from vaekit.data import describe
    >>> x = np.array([[[0, 255], [255, 0]]], np.uint8)
    >>> hints(x, describe(x), "discretized-logistic")
    ['every value is 0 or 255: as 0 and 1 (--binarize threshold) this is binary data.']
    """
    if schema.binarized != "none":
        return []
    low, high = float(np.min(schema.low)), float(np.max(schema.high))
    values = np.unique(x[:LOOK])
    if schema.kind == "integer" and len(values) == 2:
        return [
            f"every value is {values[0]:g} or {values[1]:g}: as 0 and 1 (--binarize threshold) this is binary data."
        ]
    if schema.kind == "real" and schema.is_image and high > low and _on_a_grid(values, low, (high - low) / 255):
        return [
            f"these look like 8-bit images scaled to {low:g} … {high:g}: the original whole numbers can be given a "
            f"probability (discretized-logistic), and bits per dimension."
        ]
    if schema.kind == "integer" and likelihood.startswith("gaussian"):
        return [
            "every value is a whole number, and a density says little about those: discretized-logistic gives them "
            "probabilities."
        ]
    return []


def _on_a_grid(values: np.ndarray, origin: float, step: float) -> bool:
    index = (values - origin) / step
    return bool(np.abs(index - index.round()).max() < 1e-2)
