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


def shortfall(bound: float, schema: Schema) -> list[str]:
    """A line where a model of whole numbers says less of a row than all values being equally likely would.

    >>> from vaekit.data import describe
    >>> schema = describe(np.array([[0, 1], [1, 0]]))
    >>> shortfall(-1.0, schema), shortfall(-9.5, schema)[0][:40]
    ([], 'a bound of -9.50 nats is below the -1.39')
    """
    if schema.kind == "real":
        return []
    uniform = -float(np.log(schema.array("high") - schema.array("low") + 1).sum())
    if bound >= uniform:
        return []
    return [
        f"a bound of {bound:.2f} nats is below the {uniform:.2f} of values that are all equally likely. Train longer "
        f"(--epochs), with a smaller --learning-rate, on more rows, or choose another --likelihood."
    ]


def _on_a_grid(values: np.ndarray, origin: float, step: float) -> bool:
    index = (values - origin) / step
    return bool(np.abs(index - index.round()).max() < 1e-2)
