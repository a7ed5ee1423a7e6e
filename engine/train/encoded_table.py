"""Encoded samples for the batches: in memory where all of them fit, else read from the cache for each batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import psutil
from torch import Tensor

from engine.dataset.cached_encoder import CachedEncoder

RESIDENT_BYTES = 4 << 30
"""The most that one table keeps in memory; at 512 px that is 32,000 pictures."""
RESIDENT_SHARE = 0.25
"""... and the most of the memory that is free when the table is made."""
READERS = 4
# So many are looked for at once before progress is told: hashing 500,000 pictures takes many minutes.
TOGETHER = 256

Row = Mapping[str, Tensor]
T = TypeVar("T")


class EncodedTable(Generic[T]):
    """The results of an encoder for many items, by item."""

    def __init__(self, encoder: CachedEncoder[T], items: Sequence[T], limit: int | None = None) -> None:
        """`items` are encoded already; all of them lie in memory where that takes `limit` bytes at most."""
        self._encoder = encoder
        self._resident: dict[T, Row] | None = None
        self._pool: ThreadPoolExecutor | None = None
        most = _limit() if limit is None else limit
        if items and _bytes(encoder.get(items[0])) * len(items) > most:
            self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="rows")
        else:
            self._resident = {item: encoder.get(item) for item in items}

    @classmethod
    def build(
        cls, encoder: CachedEncoder[T], items: Sequence[T], progress: Callable[[int, int], None]
    ) -> EncodedTable[T]:
        """Encode what is not in the cache yet, in the order of the items; `progress` may raise to leave."""
        total = len(items)
        for start in range(0, total, TOGETHER):

            def told(done: int, _: int, start: int = start) -> None:
                progress(start + done, total)

            encoder.ensure(items[start : start + TOGETHER], told)
        return cls(encoder, items)

    @property
    def resident(self) -> bool:
        """Whether all rows lie in memory."""
        return self._resident is not None

    def peek(self, items: Sequence[T]) -> list[Row | None]:
        """The rows of these items, none for one whose file is gone or damaged; for any one thread."""
        if self._resident is not None:
            return [self._resident[item] for item in items]
        assert self._pool is not None
        return list(self._pool.map(self._encoder.peek, items))

    def filled(self, items: Sequence[T], rows: Sequence[Row | None]) -> list[Row]:
        """The rows, missing ones encoded again; for the thread that trains, as the model is not for several."""
        return [
            self._encoder.get(item) if row is None else row for item, row in zip(items, rows, strict=True)
        ]

    def many(self, items: Sequence[T]) -> list[Row]:
        """The rows of these items; one whose file is gone or damaged is encoded again."""
        return self.filled(items, self.peek(items))


def _limit() -> int:
    return min(RESIDENT_BYTES, int(psutil.virtual_memory().available * RESIDENT_SHARE))


def _bytes(row: Row) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in row.values())
