"""What networks see of the columns that x is given, in p(x|c)."""

import numpy as np
import torch
from torch import Tensor

from vaekit.data import Schema
from vaekit.parts.likelihoods.columns import Columns


class Conditions:
    """Cells (n, columns) ↦ c (n, C): of numbers one code each, standardised, and of a category one per level.

    They are the codes that an encoder sees of such columns as x. What is unknown is 0; where cells were unknown among
    the training rows, indicators stand beside the codes, so that networks learn what follows when nothing is known. A
    column that has one value says nothing, and has no codes.

    schema    of these columns, which knows the training rows; None where there are none

    >>> from vaekit.data import describe
    >>> cells = np.array([[1.0, 7.0], [3.0, 7.0]])
    >>> Conditions(describe(cells)).codes(cells).tolist()
    [[-1.0], [1.0]]
    """

    def __init__(self, schema: Schema | None) -> None:
        self.columns: list[int] = []
        """those that say something"""
        self.size = 0
        """C"""
        if schema is None:
            return
        says = ~schema.array("constant") | schema.array("missing")
        self.columns = np.flatnonzero(says).tolist()
        if not self.columns:
            return
        self.schema = schema.select(self.columns)
        self.encoder = Columns.of(self.schema, binary="gaussian", integer="gaussian")  # 0 is neither of two levels
        self.encoder.indicates = self.schema.has_missing
        self.size = self.encoder.inputs

    @torch.no_grad()
    def codes(self, cells: np.ndarray, *, hide_extremes: bool = False) -> Tensor | None:
        """The conditions c (n, C) of cells (n, columns), NaN where they are unknown; None where C is 0.

        hide_extremes    take cells outside the schema's typical range for unknown: for training
        """
        if not self.size:
            return None
        own = cells[:, self.columns]
        known = ~np.isnan(own)
        if hide_extremes:
            known &= ~self.schema.extreme(own)
        centred = self.schema.centred(np.where(known, own, self.schema.array("mean")))
        return self.encoder.encode(torch.from_numpy(centred).float(), torch.from_numpy(known))
