"""Data: a file, a name or an array → schema and rows → batches."""

from vaekit.data.dataset import BINARIZE, Dataset
from vaekit.data.schema import Schema
from vaekit.data.source import Source, load
from vaekit.data.survey import describe

__all__ = ["BINARIZE", "Dataset", "Schema", "Source", "describe", "load"]
