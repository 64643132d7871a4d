"""Near misses: data that would have been served better in another form, pointed out and left as it is; and what a
trained model says that its owner should know."""

import numpy as np

from vaekit import inference
from vaekit.data import Schema
from vaekit.data.cells import quoted
from vaekit.data.schema import EXACT, row_blocks
from vaekit.noise import generator

LOOK = 1000
"""rows looked at"""
MOST_LINES = 3
"""columns named in a note of one kind"""
DRAWN, DRAWN_CELLS = 2000, 2**22
"""rows drawn to see what a model gives: at most so many, and so many cells"""


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


def extremes(x: np.ndarray, schema: Schema) -> list[str]:
    """What is left out of training of the rows x (n, *X), a line for each of the first columns concerned.

    >>> from vaekit.data import describe
    >>> x = np.array([*range(30), 1e6])[:, None]
    >>> extremes(x, describe(x))
    ['1 of 31 cells of column 0 lies outside 0 … 29, where the others are: it is left out of training.']
    """
    if schema.typical_low is None:
        return []
    count = sum(schema.extreme(x[rows]).reshape(-1, schema.features).sum(0) for rows in row_blocks(x.shape))
    low, high = schema.array("typical_low").flatten(), schema.array("typical_high").flatten()
    columns = np.flatnonzero(count)
    lines = []
    for j in columns[:MOST_LINES]:
        lie, they = ("lies", "it is") if count[j] == 1 else ("lie", "they are")
        lines.append(
            f"{count[j]:,} of {len(x):,} cells of {schema.column(j)} {lie} outside {low[j]:.6g} … {high[j]:.6g}, where "
            f"the others are: {they} left out of training."
        )
    return lines + _more(columns)


def impossible(model, schema: Schema, seed: int, most: float = 0.05) -> list[str]:
    """A line for each of the first columns of a table that are never negative in the data while more than the part
    `most` of what the model draws is, by rows drawn with noise of this seed."""
    low = schema.array("low").flatten()
    if schema.is_image or not (low >= 0).any():
        return []
    count = max(1, min(DRAWN, DRAWN_CELLS // schema.features))
    source = generator(seed, "impossible", device=next(model.buffers()).device)
    drawn = schema.uncentred(inference.sample(model, count, source).cpu().numpy()).reshape(count, -1)
    negative = (drawn < -0.5 * schema.array("resolution").flatten()).mean(0)  # what does not round to 0
    columns = np.flatnonzero((low >= 0) & (negative > most))
    lines = [
        f"{schema.column(j)} is never negative in the data, and {negative[j]:.0%} of what the model draws is."
        for j in columns[:MOST_LINES]
    ]
    return lines + _more(columns)


def _more(columns: np.ndarray) -> list[str]:
    beyond = len(columns) - MOST_LINES
    return [f"So it is with {beyond:,} more column{'s' * (beyond != 1)}."] if beyond > 0 else []


def coarse(x: np.ndarray, schema: Schema) -> list[str]:
    """A line where the rows x (n, *X) are whole numbers and taken for real ones, since 32 bits cannot hold them.

    >>> from vaekit.data import describe
    >>> x = np.array([[7], [7 * 10**9]])
    >>> coarse(x, describe(x))[0].split(',')[0]
    'column 0 has whole numbers from 7 to 7000000000'
    """
    some = x[:LOOK]
    if schema.kind != "real" or schema.binarized != "none" or (some != np.round(some)).any():
        return []
    reach = np.maximum(np.abs(schema.shifted("low")), np.abs(schema.shifted("high"))).flatten()
    columns = np.flatnonzero(reach > EXACT)
    if not len(columns):
        return []
    j = int(columns[reach[columns].argmax()])
    low, high, step = (schema.array(name).flatten()[j] for name in ("low", "high", "resolution"))
    remedy = f" (--exclude {quoted(schema.names[j])})" if schema.names else ""
    return [
        f"{schema.column(j)} has whole numbers from {low:.0f} to {high:.0f}, a wider range than 32 bits hold: all "
        f"columns are taken for real numbers, this one to within {step:.0f}. An identifier is better left out{remedy}."
    ]


def shortfall(bound: float, schema: Schema, error: float = 0.0) -> list[str]:
    """A line where a model of whole numbers says less of a row than all values being equally likely would, by more than
    a nat and twice the standard error of the bound.

    >>> from vaekit.data import describe
    >>> schema = describe(np.array([[0, 1], [1, 0]]))
    >>> shortfall(-1.5, schema), shortfall(-9.5, schema)[0][:40]
    ([], 'a bound of -9.50 nats is below the -1.39')
    """
    if schema.kind == "real":
        return []
    uniform = -float(np.log(schema.array("high") - schema.array("low") + 1).sum())
    if bound >= uniform - 1 - 2 * error:
        return []
    return [
        f"a bound of {bound:.2f} nats is below the {uniform:.2f} of values that are all equally likely. Train longer "
        f"(--epochs), with a smaller --learning-rate, on more rows, or choose another --likelihood."
    ]


def _on_a_grid(values: np.ndarray, origin: float, step: float) -> bool:
    index = (values - origin) / step
    return bool(np.abs(index - index.round()).max() < 1e-2)
