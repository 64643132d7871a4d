"""Plain functions of tensors: stable sums and smooth bounds."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

LOG_2PI = math.log(2 * math.pi)
BEYOND = 40.0
"""where softplus is the identity in float64"""


def log_mean_exp(x: Tensor, dim: int = 0) -> Tensor:
    """The logarithm of a mean, log (1/K) Σ_k exp x_k along `dim`, without overflow.

    >>> log_mean_exp(torch.tensor([1000.0, 1000.0])).item()
    1000.0
    """
    return torch.logsumexp(x, dim) - math.log(x.shape[dim])


def common_shape(*tensors: Tensor) -> torch.Size:
    """The shape of tensors that are broadcast against each other.

    `torch.broadcast_shapes` says it too, and first imports a symbolic algebra, which takes half a second.

    >>> common_shape(torch.zeros(3, 1), torch.zeros(4))
    torch.Size([3, 4])
    """
    return torch.broadcast_tensors(*tensors)[0].shape


def standard_error(values: Tensor) -> float | None:
    """The standard error of the mean of values (n,), sd/√n; None for one.

    >>> round(standard_error(torch.tensor([1.0, 3.0])), 3), standard_error(torch.ones(1))
    (1.0, None)
    """
    if len(values) < 2:
        return None
    return values.std().item() / math.sqrt(len(values))


def masked_sum(values: Tensor, mask: Tensor | None, dims: int) -> Tensor:
    """The sum over the last `dims` axes, of the cells where `mask` is True (all of them without a mask).

    Hidden cells are replaced, never multiplied by zero: 0 · NaN is NaN.

    >>> masked_sum(torch.tensor([1.0, float("nan")]), torch.tensor([True, False]), 1).item()
    1.0
    """
    if mask is not None:
        values = torch.where(mask, values, torch.zeros((), dtype=values.dtype, device=values.device))
    if not dims:
        return values
    return values.flatten(-dims).sum(-1)


def joined(blocks: Iterable[dict[str, Tensor]], n: int = 0) -> dict[str, Tensor]:
    """Blocks of rows one after another, of each name; `n`, if known, says how many rows there will be.

    Each is copied to its place as it comes and let go: small tensors that are kept from between the large ones of a
    computation leave its memory in pieces too small for the next.

    >>> joined({"x": torch.full((2,), i)} for i in range(3))["x"].tolist()
    [0, 0, 1, 1, 2, 2]
    """
    whole: dict[str, Tensor] = {}
    end = 0
    for block in blocks:
        start = end
        end = start + len(next(iter(block.values())))
        other_names = start > 0 and block.keys() != whole.keys()
        if other_names or any(len(rows) != end - start for rows in block.values()):
            raise ValueError(f"blocks that do not go together: {sorted(whole)} and {sorted(block)}")
        for name, rows in block.items():
            if end > len(whole.get(name, ())):
                larger = rows.new_empty(max(n, end, 2 * start), *rows.shape[1:])
                if start:
                    larger[:start] = whole[name][:start]
                whole[name] = larger
            whole[name][start:end] = rows
    if not whole:
        raise ValueError("there are no rows")
    return {name: rows[:end] for name, rows in whole.items()}


def soft_clamp(x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """A smooth, increasing map of ℝ onto (low, high) that is the identity well inside it.

        low + softplus(x − low) − softplus(x − high)

    >>> [round(soft_clamp(torch.tensor(v), -10.0, 10.0).item(), 3) for v in (-1e4, 0.0, 1e4)]
    [-10.0, 0.0, 10.0]
    """
    within = x.clamp(max=high + BEYOND)  # the difference of two large numbers would be lost
    return low + (F.softplus(within - low) - F.softplus(within - high))


def soft_unclamp(y: Tensor, low: float, high: float) -> Tensor:
    """The inverse of `soft_clamp`: the x whose clamped value is y, strictly between `low` and `high`.

        r = e^(y − low) − 1,    x = log r − log( e^(−low) − (1 + r) e^(−high) )

    >>> round(soft_clamp(soft_unclamp(torch.tensor(3.9), -8.0, 4.0), -8.0, 4.0).item(), 4)
    3.9
    """
    ratio = torch.expm1(y - low)
    return ratio.log() - (math.exp(-low) - (1 + ratio) * math.exp(-high)).log()


def log1p_square(u: Tensor) -> Tensor:
    """The logarithm log(1 + u²), however large u is.

    >>> [round(v, 3) for v in log1p_square(torch.tensor([0.0, 1.0, -1e30])).tolist()]
    [0.0, 0.693, 138.155]
    """
    return 2 * torch.hypot(u, u.new_ones(())).log()


def log_cauchy(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """The log-density −log(π s (1 + ((x − m)/s)²)) of a Cauchy variable of location m and scale s.

    >>> round(log_cauchy(torch.tensor(1e30), torch.tensor(0.0), torch.tensor(1.0)).item(), 2)
    -139.3
    """
    return -math.log(math.pi) - scale.log() - log1p_square((x - loc) / scale)


def log1mexp(x: Tensor) -> Tensor:
    """The logarithm log(1 − e^(−x)) for x > 0, to a relative rounding where x is small, and an absolute one elsewhere.

    >>> round(log1mexp(torch.tensor(1e-6)).item(), 4)
    -13.8155
    """
    return torch.log(-torch.expm1(-x))
