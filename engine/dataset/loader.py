"""Says which pictures make up batch number n, without state."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from engine.keys import permutation

Indices = npt.NDArray[np.int64]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BucketPlan:
    """One bucket's share of an epoch: `draws` are images times repeats, `filled` those drawn once more."""

    size: tuple[int, int]
    images: int
    draws: int
    batches: int
    filled: int


class BatchPlan:
    """The order of all batches, a pure function of the sizes, the repeats, the batch size and the seed.

    An epoch draws every item `repeats` times. Within a bucket the draws are permuted by (seed, "order",
    epoch, width, height) and cut into batches; the last one is filled up from the start of the same
    permutation, so no picture is dropped and every batch is whole. The epoch's batches are then permuted by
    (seed, "batches", epoch). Adding a bucket does not change which pictures another bucket puts together.
    Only the current epoch's order is kept: 8 MB in all at 500,000 items.
    """

    def __init__(
        self,
        sizes: Sequence[tuple[int, int]] | npt.NDArray[np.integer],
        batch_size: int,
        seed: int,
        repeats: int | Sequence[int] | npt.NDArray[np.integer] = 1,
    ) -> None:
        """`sizes`: each item's (width, height), shape (n, 2); `repeats`: for all, or one number an item.

        An item of 0 repeats is not drawn. ValueError where nothing is left to draw.
        """
        table = np.asarray(sizes, dtype=np.int64).reshape(-1, 2)
        times = np.broadcast_to(np.asarray(repeats, dtype=np.int64), len(table))
        if batch_size < 1 or not len(table) or times.min() < 0 or not times.any():
            raise ValueError("a batch plan needs a batch size and something to draw")
        self.batch_size = batch_size
        self.seed = seed
        self._members: list[tuple[tuple[int, int], Indices]] = []
        plans: list[BucketPlan] = []
        for size, items in _by_size(table):
            draws = np.repeat(items, times[items])
            if len(draws):
                self._members.append((size, draws))
                batches = -(-len(draws) // batch_size)
                images = int(np.count_nonzero(times[items]))
                plans.append(BucketPlan(size, images, len(draws), batches, batches * batch_size - len(draws)))
        self.buckets = tuple(plans)
        self.batches_per_epoch = sum(plan.batches for plan in plans)
        self._current: tuple[int, Indices] = (-1, np.zeros((0, batch_size), dtype=np.int64))

    def __len__(self) -> int:
        """Batches an epoch."""
        return self.batches_per_epoch

    @property
    def draws_per_epoch(self) -> int:
        """Pictures an epoch, repeats counted, fillings not."""
        return sum(plan.draws for plan in self.buckets)

    @property
    def filled_per_epoch(self) -> int:
        """How many draws an epoch are there only to fill up the last batches of buckets."""
        return sum(plan.filled for plan in self.buckets)

    def epoch(self, number: int) -> int:
        """The epoch, from 0, that batch `number`, from 0, belongs to."""
        return number // self.batches_per_epoch

    def batch(self, number: int) -> Indices:
        """The item indices of batch `number` from 0 on, over all epochs; shape (batch_size,), one bucket.

        Any order of calls is right; calls within one epoch are fast. In a bucket smaller than the batch an
        item comes several times; draw `j` of batch `n` has a number of its own, n * batch_size + j.
        """
        if number < 0:
            raise ValueError(f"batch {number} is before the first")
        epoch, at = divmod(number, self.batches_per_epoch)
        current, order = self._current
        if current != epoch:
            order = self._order(epoch)
            self._current = (epoch, order)
        chosen: Indices = order[at].copy()
        return chosen

    def _order(self, epoch: int) -> Indices:
        parts: list[Indices] = []
        for (width, height), draws in self._members:
            order = draws[permutation(len(draws), self.seed, "order", epoch, width, height)]
            batches = -(-len(order) // self.batch_size)
            parts.append(np.resize(order, (batches, self.batch_size)))
        everything = np.concatenate(parts)
        return everything[permutation(len(everything), self.seed, "batches", epoch)]


def _by_size(table: Indices) -> Iterator[tuple[tuple[int, int], Indices]]:
    """Each size and the indices of its items, both in rising order."""
    joined = (table[:, 0] << 32) | table[:, 1]
    order = np.argsort(joined, kind="stable")
    ordered = joined[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    for size, items in zip(ordered[starts].tolist(), np.split(order, starts[1:]), strict=True):
        yield (size >> 32, size & 0xFFFFFFFF), items
