"""Data: a file, a name or an array → schema and rows → batches."""

from vaekit.data.schema import Schema, describe
from vaekit.data.source import Source, load
from vaekit.data.stream import BINARIZE, Rows

__all__ = ["BINARIZE", "Rows", "Schema", "Source", "describe", "load"]
