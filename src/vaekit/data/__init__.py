"""Data: a file, a name or an array → schema and rows → batches."""

from vaekit.data.dataset import BINARIZE, Dataset
from vaekit.data.schema import Schema, describe
from vaekit.data.source import Source, load

__all__ = ["BINARIZE", "Dataset", "Schema", "Source", "describe", "load"]
