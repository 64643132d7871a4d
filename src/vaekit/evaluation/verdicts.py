"""What the numbers say, in sentences that carry their evidence; None where they do not say it.

A verdict is about something to act on. It is given only where the evidence exceeds twice its standard error.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vaekit.core import LatentModel
from vaekit.data import Dataset
from vaekit.errors import counted
from vaekit.evaluation.baselines import Baseline, SimpleModels, Structure
from vaekit.evaluation.likelihood import LogLikelihood
from vaekit.evaluation.tables import any_missing
from vaekit.maths import standard_error

SURE = 2.0
"""standard errors"""
SHOWN = 0.005
"""nats per row: a smaller difference is printed as 0.00, and nobody is better by that"""
WORTH = 1.0
"""nats per row: a smaller gap between training and other rows is every model's, and no fault to mend"""
COLLAPSED = 0.1
"""nats: a smaller rate is near 0"""
FAR = 10.0
"""standard deviations of the other rows' log p(x): a row nearer to their median is one of them"""
FEW_SHARE = 0.01
"""the part of many rows that is few; two of a hundred or less"""
LEAST = 8
"""rows: among fewer nothing is usual"""
NAMED = 3
"""rows in one sentence"""


@dataclass(frozen=True)
class NamedRow:
    """A row that a verdict names."""

    row: int
    """its number in its file, from 0"""
    file: str | None
    """the file, where there are several"""
    log_p: float
    """nats"""
    column: str | None = None
    """the one whose cell is farthest from its mean, in standard deviations; None where no cell is a number"""
    value: float | None = None
    """that cell, in the data's own units"""

    def __str__(self) -> str:
        name = f"row {self.row}"
        if self.file is not None:
            name += f" ('{self.file}')"
        name += f" of {self.log_p:,.2f} nats"
        if self.column is None:
            return name
        return f"{name}, farthest out in {self.column} ({self.value:g})"


@dataclass(frozen=True)
class Decisive:
    """The few rows that decide the mean log p(x), and what all others say: nats per row."""

    rows: tuple[NamedRow, ...]
    """the farthest out first"""
    median: float
    """of all rows"""
    mean: float
    """of the others, and their number and standard error"""
    spread: float | None
    n: int

    def __str__(self) -> str:
        count = len(self.rows)
        named = "; ".join(map(str, self.rows[:NAMED]))
        if count > NAMED:
            named += f"; and {count - NAMED:,} more"
        verb, them = ("decides", "it") if count == 1 else ("decide", "them")
        return (
            f"{counted(count)} {verb} the mean log p(x): {named}. Without {them} the mean is "
            f"{self.mean:,.3f}{_plus_minus(self.spread)} nats over {counted(self.n)}."
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it ready for JSON."""
        return asdict(self)


def decisive(log_p: Tensor) -> Tensor:
    """The numbers of the few rows that decide a mean, the farthest from the median first; none where it is everyone's.

    They make up more than half of the squared distances from the median, as do the farthest of those that are left once
    they are gone, until few do not; and each is more than ten standard deviations of the others away.

    log_p    (n,) nats

    >>> decisive(torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 7, -1e9, 9])).tolist()
    [8]
    """
    distance = (log_p - log_p.median()).abs()
    order = distance.argsort(descending=True)
    squares = distance[order].square()
    few = max(2, int(FEW_SHARE * len(log_p)))
    taken = 0
    while len(log_p) >= LEAST and squares[taken:].any():
        sums = squares[taken:].cumsum(0)
        more = taken + 1 + int((sums > sums[-1] / 2).int().argmax())
        others = log_p[order[more:]]
        if more > few or not distance[order[more - 1]] > FAR * others.std():
            break
        taken = more
    return order[:taken]


def few_decide(log_p: Tensor, named: Callable[[int, float], NamedRow]) -> Decisive | None:
    """What a mean is without the few rows that decide it; None where none do.

    log_p    (n,) nats of all rows
    named    a row by its number among these and its log p(x)
    """
    log_p = log_p.cpu()
    few = decisive(log_p)
    if not len(few):
        return None
    others = torch.ones(len(log_p), dtype=torch.bool)
    others[few] = False
    rest = log_p[others]
    rows = tuple(named(number, log_p[number].item()) for number in few.tolist())
    return Decisive(rows, log_p.median().item(), rest.mean().item(), standard_error(rest), len(rest))


@dataclass(frozen=True)
class Gap:
    """The same number on rows that were trained on and on rows that were not, nats."""

    train: float
    """mean ELBO over training rows, as many as were evaluated"""
    gap: float
    """how much lower the evaluated rows' is"""
    gap_se: float | None
    """standard error of the gap"""


def verdicts(found: LogLikelihood, rate: float, gap: Gap | None, simple: SimpleModels) -> tuple[str, ...]:
    """All that apply to a model.

    found     log p(x) of the rows
    rate      mean KL(q(z|x) ‖ p(z)) of the rows, nats
    gap       between training rows and these
    simple    simple models of the same rows
    """
    said = [below_baselines(found.value, simple.baselines)]
    if rate < COLLAPSED:
        said.append(collapse(rate, simple.structure))
    if gap is not None:
        said.append(overfitting(gap.train, gap.train - gap.gap, gap.gap_se))
    return tuple(verdict for verdict in said if verdict is not None)


def unforeseen_holes(model: LatentModel, rows: Dataset) -> str | None:
    """What is to be said where cells are missing in rows, and in none of those that a model was fitted to."""
    if rows.schema.has_missing or getattr(model.likelihood, "indicates", True):
        return None
    if not any_missing(rows):
        return None
    return (
        "cells are missing, as in none of the rows that the model was fitted to: its q(z|x) knows nothing of them, and "
        "what is said of log p(x) may be far too low. A model fitted with --posterior=experts knows."
    )


def idle_rungs(rates: Sequence[float]) -> str | None:
    """Which layers of latents carry nothing, where others do.

    rates    mean rate of each, the top one first, nats per row

    >>> idle_rungs([0.02, 9.1, 3.0])
    'Rung 1 of 3, from the top, carries next to nothing (0.02 nats): fewer rungs would do.'
    >>> idle_rungs([4.0, 9.1])
    """
    idle = [number for number, rate in enumerate(rates) if rate < COLLAPSED]
    if not idle or len(idle) == len(rates):
        return None
    numbers = " and ".join(str(number + 1) for number in idle)
    nats = " and ".join(f"{rates[number]:.2f}" for number in idle)
    who = f"Rung {numbers} of {len(rates)}, from the top, carries"
    if len(idle) > 1:
        who = f"Rungs {numbers} of {len(rates)}, from the top, carry"
    return f"{who} next to nothing ({nats} nats): fewer rungs would do."


def overfitting(train: float, held_out: float, gap_se: float | None, measure: str = "ELBO") -> str | None:
    """Whether rows trained on score higher than rows held out, by a nat or more.

    train, held_out    mean ELBO or log p(x), nats per row
    gap_se             standard error of their difference; None where it is not known

    >>> overfitting(-80.0, -83.0, 0.5)
    'Overfitting: the ELBO is -80.00 nats on training rows and -83.00 on others, a gap of 3.00 ± 0.50.'
    >>> overfitting(-80.0, -80.9, 0.5)
    """
    gap = train - held_out
    if gap_se is None or not gap > max(SURE * gap_se, WORTH):
        return None
    return (
        f"Overfitting: the {measure} is {train:,.2f} nats on training rows and {held_out:,.2f} on others, "
        f"a gap of {gap:,.2f} ± {gap_se:,.2f}."
    )


def collapse(rate: float, structure: Structure | None) -> str | None:
    """Whether the latents carry nothing although there is something to carry.

    That is a rate near 0 where probabilistic PCA of the same latent size gains over independent columns on the same
    rows; where columns are of several kinds or cells are missing, where a mixture of independent columns does. Without
    such a gain a rate of 0 may be the optimum: a linear β-VAE of fixed σ rightly drops every component whose eigenvalue
    is below βσ² (Lucas et al. 2019, arXiv:1911.02469).

    rate         mean KL(q(z|x) ‖ p(z)), nats per row
    structure    None where it is not known

    >>> print(collapse(0.01, Structure(gain=2.5, gain_se=0.1, latent_dim=8)))   # doctest: +ELLIPSIS
    Posterior collapse: the rate is 0.01 nats, while probabilistic PCA with 8 latents gains 2.50 ± 0.10 nats a row ...
    >>> collapse(0.01, Structure(gain=0.1, gain_se=0.1, latent_dim=8))
    """
    if structure is None or structure.gain_se is None or not rate < COLLAPSED:
        return None
    if not structure.gain > max(SURE * structure.gain_se, COLLAPSED):
        return None
    model = f"probabilistic PCA with {counted(structure.latent_dim, 'latent')}"
    others = "independent Gaussian columns"
    if structure.classes is not None:
        model = f"a mixture of {structure.classes} classes"
        others = "independent columns"
    return (
        f"Posterior collapse: the rate is {max(rate, 0.0):.2f} nats, while {model} gains "
        f"{structure.gain:,.2f} ± {structure.gain_se:,.2f} nats a row over {others}: "
        "the latents carry nothing, and there is something to carry."
    )


def below_baselines(log_p: Tensor, baselines: Iterable[Baseline]) -> str | None:
    """Which simple models are better, and by how much.

    They are better by more than twice the standard error of the rows' differences, and by what can be seen in two
    decimals.

    log_p     (n,) estimated from below, nats

    >>> import torch
    >>> below_baselines(torch.full((9,), -90.0), [Baseline("lzma", -88.0, None, 0.16, "")])
    'The model is worse than simple ones: lzma is better by 2.00 nats a row.'
    """
    worse = []
    for one in baselines:
        if one.nats is None:
            continue
        gain, error = one.gain(log_p)
        if not gain > -_told_from(error):
            worse.append((gain, error, one.name))
    if not worse:
        return None
    named = [f"{name} is better by {-gain:,.2f}{_plus_minus(error)}" for gain, error, name in sorted(worse)]
    return f"The model is worse than simple ones: {', '.join(named)} nats a row."


def _told_from(error: float | None) -> float:
    """The difference in nats per row from which on one model is better than another."""
    return max(SURE * (error or 0.0), SHOWN)


def _plus_minus(error: float | None) -> str:
    if not error:
        return ""
    return f" ± {error:,.2f}"


def comparison(log_p: Tensor, baselines: Iterable[Baseline]) -> str | None:
    """One sentence on whether a model wins against the best simple one; None where there is none.

    log_p     (n,) nats

    >>> import torch
    >>> comparison(torch.full((9,), -80.0), [Baseline("lzma", -88.0, None, 0.16, "")])
    'The model is better than every simple one: than the best of them, lzma, by 8.00 nats a row.'
    """
    known = [(one.nats, one) for one in baselines if one.nats is not None]
    if not known:
        return None
    worse = below_baselines(log_p, [one for _, one in known])
    if worse is not None:
        return worse
    _, best = max(known, key=lambda pair: pair[0])
    gain, error = best.gain(log_p)
    if gain > _told_from(error):
        size = f"{gain:,.2f}{_plus_minus(error)} nats a row"
        return f"The model is better than every simple one: than the best of them, {best.name}, by {size}."
    between = f"{gain:+,.2f}{_plus_minus(error)} nats a row"
    return f"The model and the best simple one, {best.name}, cannot be told apart: {between}."
