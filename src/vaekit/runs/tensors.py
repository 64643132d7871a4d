"""The file of a checkpoint's tensors, whose sizes are checked before memory is taken for them."""

import json
import math
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from vaekit.data import Schema
from vaekit.errors import VaekitError
from vaekit.runs.storage import DamagedError
from vaekit.settings import Settings, build_model, build_objective
from vaekit.training import Descended

HEADER = 2**20
"""bytes of a header at most: some ten thousand tensors"""


def pack(tensors: dict[str, Tensor]) -> bytes:
    """Tensors as the bytes of a safetensors file."""
    return safetensors.torch.save(
        {name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    )


def unpack(content: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors in the bytes of a file by name."""
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise DamagedError(f"{path} is no safetensors file: {error}.") from error


def shapes(content: bytes, path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor, from the header alone."""
    length = int.from_bytes(content[:8], "little")
    try:
        if length > min(HEADER, len(content)):
            raise ValueError(f"a header of {length:,} bytes")
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        return {name: tuple(map(int, about["shape"])) for name, about in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise DamagedError(f"{path} is damaged or no safetensors file: its header cannot be read.") from error


def check_fits(content: bytes, path: Path, settings: Settings, schema: Schema) -> None:
    """Refuse tensors that are not those of the model that the settings describe, before memory is taken for either."""
    found = shapes(content, path)
    misfit = VaekitError(f"{path}: the weights do not fit the model that run.toml describes.")
    widths = settings.model.hidden
    numbers = sum(math.prod(shape) for shape in found.values())
    try:  # every layer has a tensor, every unit and every feature a number
        if len(widths) > len(found) or max(schema.features, settings.model.latent_dim, *widths, 0) > numbers:
            raise misfit
        with torch.device("meta"):  # shapes without content
            last = Descended(build_model(settings, schema), build_objective(settings))
    except VaekitError:
        raise
    except Exception as error:  # whatever a stranger's sizes make it stumble over
        raise misfit from error
    expected = {name: tuple(tensor.shape) for name, tensor in last.state_dict().items()}
    groups: dict[str, dict[str, tuple[int, ...]]] = {"last": {}, "averaged": {}}
    for name, shape in found.items():
        group, _, name = name.partition("/")
        groups.setdefault(group, {})[name] = shape
    whole = groups["last"] == groups["averaged"] == expected
    named = [(name, shape) for group in groups.values() for name, shape in group.items()]
    if not whole or any(name not in expected or shape not in ((), expected[name]) for name, shape in named):
        raise misfit
