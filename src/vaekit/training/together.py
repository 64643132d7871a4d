"""What a step does to all of its tensors at once: a small network has more tensors than arithmetic.

PyTorch has such calls under names that are not promised to stay. Where one is gone, a loop does the same.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """(): the length of all of them as one vector."""
    at_once = _of_torch("_foreach_norm")
    if at_once is None:
        return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors]))
    return torch.linalg.vector_norm(torch.stack(at_once(tensors)))


def scale(tensors: Sequence[Tensor], factor: float) -> None:
    """Multiply each by a number."""
    at_once = _of_torch("_foreach_mul_")
    if at_once is not None:
        at_once(tensors, factor)
        return
    for tensor in tensors:
        tensor.mul_(factor)


def follow(averages: Sequence[Tensor], tensors: Sequence[Tensor], weight: float) -> None:
    """Move each average this part of the way to its tensor."""
    at_once = _of_torch("_foreach_lerp_")
    if at_once is not None:
        at_once(averages, tensors, weight)
        return
    for average, tensor in zip(averages, tensors, strict=True):
        average.lerp_(tensor, weight)


def follow_on_device(averages: Sequence[Tensor], tensors: Sequence[Tensor], weight: Tensor) -> None:
    """The same by a number () that does not leave the accelerator."""
    subtract = _of_torch("_foreach_sub")
    multiply = _of_torch("_foreach_mul_")
    add = _of_torch("_foreach_add_")
    if subtract is not None and multiply is not None and add is not None:
        moved = subtract(tensors, averages)
        multiply(moved, weight)
        add(averages, moved)
        return
    for average, tensor in zip(averages, tensors, strict=True):
        average.add_((tensor - average) * weight)


def copy(targets: Sequence[Tensor], tensors: Sequence[Tensor]) -> None:
    """Give each the numbers of its tensor."""
    at_once = _of_torch("_foreach_copy_")
    if at_once is not None:
        at_once(targets, tensors)
        return
    for target, tensor in zip(targets, tensors, strict=True):
        target.copy_(tensor)


def _of_torch(name: str) -> Callable | None:
    return getattr(torch, name, None)
