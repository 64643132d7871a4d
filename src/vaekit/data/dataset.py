"""Dataset → Batches: shuffled and keyed for training, in order and keyed by row content for scoring."""

import copy
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vaekit.core import Batch, Likelihood, at_once, lazy
from vaekit.data.ondisk import Rows, in_memory
from vaekit.data.schema import Schema
from vaekit.data.survey import row_blocks
from vaekit.errors import VaekitError
from vaekit.noise import bytes_below, derive_seed, generator, keyed_uniform, row_keys

DEVICE_SHARE = 0.5
"""of an accelerator's free memory, which rows kept there may take"""
TOGETHER = 16
"""training batches that an accelerator makes at once: each operation it is asked for takes longer to ask than to do"""
TOGETHER_CELLS = 2**24
"""numbers in them at most"""
BINARIZE = ("none", "dynamic", "threshold", "expected")


class Dataset:
    """Rows as stored; a Batch of them in the model's units, on the device, whenever it is asked for.

    x                (n, *X); on disk (a `numpy.memmap`) it is read batch by batch, in memory kept on the device, or off
                     it where it would take more than half of what is free there
    index            the numbers of the rows meant, by default all
    c                the conditions of the rows meant, (n, C), as networks see them (`parts.Conditions`)
    hide_extremes    give batches a mask that hides cells outside the schema's typical range, if it has one: for
                     training, which one such cell would ruin

    Cells that are NaN are missing: batches hide them too, and hold 0 there.

    Any training batch can be made from (seed, step) alone, so a run resumes from a step number. On an accelerator some
    batches, one after another in an epoch, are made at once.

    >>> schema = Schema((2,), "binary", None, 0.0, 1.0, 1.0, 0.5, 0.5)
    >>> Dataset(np.eye(2, dtype=np.uint8), schema, seed=0).train_batch(0, 2).x.shape
    torch.Size([2, 2])
    """

    def __init__(
        self,
        x: Rows,
        schema: Schema,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        index: np.ndarray | None = None,
        hide_extremes: bool = False,
        c: Tensor | None = None,
    ) -> None:
        self.schema = schema
        self.seed = seed
        self.device = torch.device(device)
        self.typical: tuple[Tensor, Tensor] | None = None
        if hide_extremes and schema.typical_low is not None:
            self.typical = self._end("typical_low"), self._end("typical_high")
        self.mapped = not in_memory(x)
        self.has_missing = x.dtype.kind == "f" and not schema.is_image
        """whether any cell is missing; of rows on disk, whether one may be"""
        if in_memory(x):
            chosen = x if index is None else x[index]
            stored = torch.from_numpy(schema.centred(chosen))
            self.has_missing = self.has_missing and bool(stored.isnan().any())
            self._memory = _placed(stored, self.device)
        else:
            self._file = x
            self._index = np.arange(len(x)) if index is None else index
        self.c = c
        """(n, C) the rows' conditions, where the rows are; None without any"""
        if c is not None:
            self.c = c.to(self.device) if self.resident else c
        self._order: tuple[int, Tensor] | None = None
        self._made: tuple[tuple[int, int, int], tuple[Batch, ...]] | None = None

    def _end(self, name: str) -> Tensor:
        """One end of the typical range as a batch's rows are compared with it, (*X) float32."""
        return torch.from_numpy(self.schema.shifted(name)).to(self.device, torch.float32)

    def __len__(self) -> int:
        if self.mapped:
            return len(self._index)
        return len(self._memory)

    @property
    def stored(self) -> Tensor:
        """Every row as the schema centres it, (n, *X) on the device: for few rows, where they come from a mapped
        file."""
        if self.mapped:
            return self.take(torch.arange(len(self)))
        return self._memory.to(self.device)

    @property
    def resident(self) -> bool:
        """Whether the rows lie in the device's memory."""
        return not self.mapped and self._memory.device.type == self.device.type

    def take(self, rows: Tensor) -> Tensor:
        """The rows of these numbers as stored, (len(rows), *X) on the device."""
        if not self.mapped:
            return self._memory.index_select(0, rows.to(self._memory.device)).to(self.device)
        index = self._index[rows.cpu().numpy()]
        order = np.argsort(index, kind="stable")  # the disk is read in its own order
        taken = self.schema.centred(self._file[index[order]])
        return torch.from_numpy(taken[np.argsort(order)]).to(self.device)

    def first(self, count: int) -> "Dataset":
        """The first `count` rows."""
        return self.subset(np.arange(min(count, len(self))))

    def some(self, count: int) -> "Dataset":
        """`count` rows drawn by the seed, in order; all of them where there are no more."""
        return self.subset(self.drawn(count))

    def drawn(self, count: int) -> np.ndarray:
        """The numbers of the rows that `some` takes."""
        return np.sort(self.unordered(count))

    def unordered(self, count: int) -> np.ndarray:
        """The same numbers in the order in which they were drawn: the first few are rows of any kind."""
        return np.random.default_rng(derive_seed(self.seed, "some")).permutation(len(self))[:count]

    def subset(self, numbers: np.ndarray) -> "Dataset":
        """The rows of these numbers."""
        fewer = copy.copy(self)
        for of_all_rows in ("keys", "_keyed_binary"):
            vars(fewer).pop(of_all_rows, None)
        fewer._order = None
        if self.mapped:
            fewer._index = self._index[numbers]
        else:
            fewer._memory = self._memory[torch.from_numpy(numbers).to(self.device)]
        if self.c is not None:
            fewer.c = self.c[torch.from_numpy(numbers).to(self.c.device)]
        return fewer

    def conditions(self, rows: Tensor) -> Tensor | None:
        """The conditions of the rows of these numbers, (len(rows), C) on the device; None where there are none."""
        if self.c is None:
            return None
        return self.c.index_select(0, rows.to(self.c.device)).to(self.device)

    @lazy
    def keys(self) -> np.ndarray:
        """(n,) one key a row, from its content as stored."""
        found = [np.empty(0, np.uint64)]
        for block in row_blocks((len(self), *self.schema.shape)):
            rows = torch.arange(block.start, min(block.stop, len(self)), device=self.device)
            found.append(row_keys(self._filled(self.take(rows)).cpu().numpy()))
        return np.concatenate(found)

    def batches_per_epoch(self, size: int) -> int:
        """Full batches only: the few rows left over differ from epoch to epoch."""
        return max(1, len(self) // size)

    def train_batch(self, step: int, size: int) -> Batch:
        """The batch of training step `step`: order keyed by (seed, epoch), binarisation by (seed, step)."""
        if self.device.type == "cpu":
            numbers = self.numbers(step, size)
            x = self.take(numbers)
            return Batch(self._units(x, step), self._mask(x), self.conditions(numbers))
        epoch, index = divmod(step, self.batches_per_epoch(size))
        together = max(1, min(TOGETHER, TOGETHER_CELLS // (size * self.schema.features)))
        block, place = divmod(index, together)
        if self._made is None or self._made[0] != (epoch, block, size):
            last = min((block + 1) * together, self.batches_per_epoch(size))
            numbers = self._permutation(epoch)[block * together * size : last * size]
            self._made = (epoch, block, size), self._batches(numbers, size, epoch, block)
        return self._made[1][place]

    def _batches(self, numbers: Tensor, size: int, *counters: int) -> tuple[Batch, ...]:
        """Training batches of `size` rows, of the rows of these numbers: what is drawn for them is keyed by the
        counters."""
        size = min(size, len(numbers))
        x = self.take(numbers)
        whole = Batch(self._units(x, *counters), self._mask(x), self.conditions(numbers))
        return tuple(whole.rows(start, start + size) for start in range(0, len(numbers), size))

    def _mask(self, x: Tensor) -> Tensor | None:
        """Which cells of rows as stored are not missing, and typical where the others are to be hidden."""
        if self.typical is not None:
            low, high = self.typical
            return (x >= low) & (x <= high)  # a missing cell is neither
        if self.has_missing:
            return ~x.isnan()
        return None

    def _filled(self, x: Tensor) -> Tensor:
        """Rows as stored with 0 for what is missing: so nothing depends on how that is held."""
        if not self.has_missing:
            return x
        return torch.where(x.isnan(), torch.zeros_like(x), x)

    def numbers(self, step: int, size: int) -> Tensor:
        """Which rows make the batch of training step `step`, (size,)."""
        epoch, index = divmod(step, self.batches_per_epoch(size))
        return self._permutation(epoch)[index * size : (index + 1) * size]

    def require(self, likelihood: Likelihood) -> None:
        """Refuse rows to which a likelihood gives no density, naming the first cell: grey values are never scored
        silently.

        Raises VaekitError.
        """
        size = at_once(self.schema.features)
        for start in range(0, len(self), size):
            rows = torch.arange(start, min(start + size, len(self)), device=self.device)
            stored = self.take(rows)
            for x in self._possible(stored):
                right = likelihood.supports(x)
                if self.has_missing:
                    right = right | stored.isnan()
                if not right.all():
                    raise VaekitError(
                        f"{self._first_cell(x, ~right, start)}: the likelihood takes {likelihood.support}."
                    )

    def _first_cell(self, x: Tensor, marked: Tensor, start: int) -> str:
        """The first marked cell of rows as a batch holds them, those from number `start` on: where it is, and what."""
        row, column = (int(i[0]) for i in torch.nonzero(marked.flatten(1), as_tuple=True))
        value = self.schema.uncentred(x[row : row + 1].cpu().numpy()).flat[column]
        return f"row {start + row} (counted from 0), {self.schema.column(column)} is {value:g}"

    def blocks(self, size: int | None = None) -> Iterator[tuple[int, Batch]]:
        """(rows that count, Batch of exactly `size` rows) in order; the last is filled up with its first row.

        By default 256 rows, or fewer where they are large: blocks of one size repeat a row's arithmetic up to rounding.
        """
        size = size or at_once(self.schema.features)
        for start in range(0, len(self), size):
            rows = torch.arange(start, start + size, device=self.device)
            count = min(size, len(self) - start)
            rows[count:] = start
            yield count, self.scoring_batch(rows)

    def scoring_batch(self, rows: Tensor) -> Batch:
        """These rows, with randomness that depends on their content alone."""
        key = self.keys[rows.cpu().numpy()]
        c = self.conditions(rows)
        if self.schema.binarized != "dynamic":
            x = self.take(rows)
            return Batch(self._plain(x), self._mask(x), c, key)
        if self.resident:
            return Batch(self._keyed_binary.index_select(0, rows).float(), None, c, key)
        return Batch(self._binarised(self.take(rows), key).float(), None, c, key)

    @lazy
    def _keyed_binary(self) -> Tensor:
        """Every row binarised once, by its own key: what is scored, (n, *X) bool."""
        size = at_once(self.schema.features)
        starts = range(0, len(self), size)
        blocks = ((self._memory[i : i + size], self.keys[i : i + size]) for i in starts)
        return torch.cat([self._binarised(x, key) for x, key in blocks])

    def _binarised(self, x: Tensor, key: np.ndarray) -> Tensor:
        u = keyed_uniform(key, self.seed, "binarize", x[0].numel())
        return torch.from_numpy(u).reshape(x.shape).to(self.device) < x / self.schema.grey

    def _units(self, x: Tensor, *counters: int) -> Tensor:
        """Rows as stored in the model's units, for training: what is drawn for them is keyed by the counters."""
        if self.schema.binarized == "dynamic":
            return self._drawn(x, *counters)
        return self._plain(x)

    def _drawn(self, x: Tensor, *counters: int) -> Tensor:
        """Rows binarised at random, P(1) = x / grey exactly: black and white are certain."""
        grey = self.schema.grey
        if x.device.type == "cpu" and x.dtype == torch.uint8 and grey in range(1, 256):
            seed = derive_seed(self.seed, "binarize", *counters)
            bits = np.random.Generator(np.random.SFC64(seed))
            below = torch.from_numpy(bytes_below(int(grey), x.shape, bits))  # quicker than of reals
            return (below.to(self.device) < x).view(torch.uint8).float()
        source = generator(self.seed, "binarize", *counters, device=self.device)
        u = torch.rand(x.shape, generator=source, device=self.device)
        return (u < x / grey).float()

    def _permutation(self, epoch: int) -> Tensor:
        if self._order is None or self._order[0] != epoch:
            order = torch.randperm(len(self), generator=generator(self.seed, "order", epoch))
            if self.resident:
                order = order.to(self.device)
            self._order = (epoch, order)
        return self._order[1]

    def _possible(self, x: Tensor) -> tuple[Tensor, ...]:
        """What a batch may hold of these rows: binarised at random, a grey cell can be either."""
        if self.schema.binarized == "dynamic":
            return (x > 0).float(), (x >= self.schema.grey).float()
        return (self._plain(x),)

    def _plain(self, x: Tensor) -> Tensor:
        x = self._filled(x)
        grey = self.schema.grey
        if self.schema.binarized == "threshold" and x.dtype == torch.uint8 and grey < 256:
            least = torch.full_like(x, math.ceil(grey / 2))
            return (x >= least).view(torch.uint8).float()  # against one number it takes five times as long
        if grey == 1:
            shade = x.float()
        elif x.dtype == torch.uint8:
            shade = x.float().div_(grey)
        else:
            shade = x / grey
        if self.schema.binarized == "threshold":
            return (shade >= 0.5).float()
        return shade


def _placed(rows: Tensor, device: torch.device) -> Tensor:
    """Rows on the device, unless they would crowd it."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if rows.nbytes > DEVICE_SHARE * free:
            return rows
    return rows.to(device)
