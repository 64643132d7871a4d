"""A safetensors file that carries a manifest in its header, and whose sizes are checked before memory is taken."""

import hashlib
import json
import math
import re
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from vaekit.data import Schema
from vaekit.errors import VaekitError
from vaekit.runs.storage import CONTAINERS, DamagedError
from vaekit.settings import Settings, build_model, build_objective
from vaekit.settings.declared import chosen
from vaekit.settings.named import Named
from vaekit.training import Descended

HEADER = 2**21
"""bytes of a header at most: a manifest, and some ten thousand tensors"""
MANIFEST = "manifest"
"""its one key: of several, the order would differ from file to file"""
SMALL = 2**26
"""weights that may be made before they are known to fit"""
SEAL = "sha256"
UNSEALED = "0" * 64
"""in the place of a seal while it is computed"""

Shapes = dict[str, tuple[int, ...]]


def pack(tensors: dict[str, Tensor], manifest: dict) -> bytes:
    """Tensors and their manifest as the bytes of a safetensors file; the same bytes for the same content."""
    contiguous = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    return safetensors.torch.save(contiguous, metadata={MANIFEST: json.dumps(manifest)})


def seal(tensors: dict[str, Tensor], manifest: dict) -> bytes:
    """The same, with the SHA-256 of the whole file within it, computed while zeros stand in its place."""
    content = pack(tensors, {SEAL: UNSEALED, **manifest})
    digest = hashlib.sha256(content).hexdigest()
    return content.replace(UNSEALED.encode(), digest.encode(), 1)


def is_sealed(content: bytes, manifest: dict) -> bool:
    """Whether a file is, to the last bit, what was sealed."""
    digest = manifest.get(SEAL)
    if not isinstance(digest, str) or len(digest) != len(UNSEALED):
        return False
    return hashlib.sha256(content.replace(digest.encode(), UNSEALED.encode(), 1)).hexdigest() == digest


def unpack(content: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors in the bytes of a file by name."""
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise DamagedError(f"{path} is no safetensors file: {error}.") from error


def header(content: bytes, path: Path) -> tuple[dict, Shapes]:
    """The manifest, and the shape of every tensor, from the header alone."""
    length = int.from_bytes(content[:8], "little")
    try:
        if length > min(HEADER, len(content)):
            raise ValueError(f"a header of {length:,} bytes")
        found = json.loads(content[8 : 8 + length])
        text = found.pop("__metadata__", {}).get(MANIFEST, "null")
        if text.count("[") + text.count("{") > CONTAINERS:
            raise ValueError("made to take memory")
        shapes = {name: tuple(map(int, about["shape"])) for name, about in found.items()}
        manifest = json.loads(text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise DamagedError(f"{path} is damaged or no safetensors file: its header cannot be read.") from error
    if not isinstance(manifest, dict):
        raise DamagedError(f"{path} is damaged: its header holds no manifest.")
    return manifest, shapes


def check_state(shapes: Shapes, path: Path, settings: Settings, schema: Schema, rows: int) -> None:
    """Refuse tensors that are not those of a training of these settings, before memory is taken for either."""
    last, misfit = _described(shapes, path, settings, schema, rows)
    expected = {name: tuple(tensor.shape) for name, tensor in last.state_dict().items()}
    groups: dict[str, Shapes] = {"last": {}, "averaged": {}}
    for full_name, shape in shapes.items():
        group, _, name = full_name.partition("/")
        groups.setdefault(group, {})[name] = shape
    if not groups["last"] == groups["averaged"] == expected:
        raise misfit
    for found in groups.values():
        for name, shape in found.items():
            if name not in expected or shape not in ((), expected[name]):
                raise misfit


def check_model(shapes: Shapes, path: Path, settings: Settings, schema: Schema, rows: int) -> None:
    """Refuse tensors that are not those of the model of these settings, before memory is taken for either."""
    last, misfit = _described(shapes, path, settings, schema, rows)
    ours = "model."
    expected = {
        name.removeprefix(ours): tuple(tensor.shape)
        for name, tensor in last.state_dict().items()
        if name.startswith(ours)
    }
    if shapes != expected:
        raise misfit


def _described(
    shapes: Shapes, path: Path, settings: Settings, schema: Schema, rows: int
) -> tuple[Descended, VaekitError]:
    """What the settings describe, for its shapes, and the error for a file that holds something else."""
    misfit = VaekitError(f"{path}: the weights do not fit the model that run.toml describes.")
    numbers = sum(math.prod(shape) for shape in shapes.values())
    try:  # every layer has a tensor, every unit and every feature a number
        widths = chosen(settings.model.hidden)
        widest = max(schema.features, chosen(settings.model.latent_dim), *widths)
        if len(widths) > len(shapes) or widest > numbers:
            raise misfit
        with torch.device("cpu" if _is_small(settings, widest, len(widths)) else "meta"):
            return Descended(build_model(settings, schema), build_objective(settings, schema, rows)), misfit
    except VaekitError:
        raise
    except Exception as error:  # whatever a stranger's sizes make it stumble over
        raise misfit from error


def _is_small(settings: Settings, widest: int, layers: int) -> bool:
    """Whether a model surely takes little memory. Then it is made as it is, which is quicker than without content:
    PyTorch imports its compiler for the arithmetic of tensors that have none.

    A number among the arguments of a part may be a size.
    """
    parts = [getattr(settings.model, name) for name in ("likelihood", "posterior", "prior", "network")]
    parts.append(settings.training.objective)
    parts += [name for name in settings.training.penalty if Named.parse(name).module is not None]  # ours have no sizes
    if any(re.search(r"=\s*\d", part) for part in parts):
        return False
    return settings.model.members * (layers + 2) * widest**2 <= SMALL
