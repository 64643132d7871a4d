"""Training: the state, the step, the loop. Receives model, objective and data as values; knows no file."""

from vaekit.training.loop import Record, fit
from vaekit.training.recipe import Recipe
from vaekit.training.state import State, TrainingError, trained_tensors
from vaekit.training.step import Descended

__all__ = ["Descended", "Recipe", "Record", "State", "TrainingError", "fit", "trained_tensors"]
