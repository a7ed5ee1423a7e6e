"""Sequences that grow at their end and are shared between views, without an older view changing.

A view of a run is a value, yet a run of a million steps must not be copied four times a second.
So every sequence here is a length over storage that only grows. Appending to the newest one writes
behind its end, which no older one can see. Appending to an older one (after a resume dropped the
later part, or when two readers go on from one view) copies the part that it sees first. Appends to
one storage must come from one thread at a time; reading needs no lock.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Generic, TypeVar, overload

T = TypeVar("T")


def _bounded(index: slice, length: int) -> slice:
    """`index` for storage that may be longer than the `length` which a view sees."""
    start, stop, stride = index.indices(length)
    # A backward slice that takes the first item has stop == -1, which storage would read as "last".
    return slice(start, None if stop < 0 else stop, stride)


class Grown(Sequence[T], Generic[T]):
    """An immutable list with cheap appending: `grown.added(item)` is a new one, this one stays."""

    __slots__ = ("_items", "_length")

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._items = list(items)
        self._length = len(self._items)

    @classmethod
    def _over(cls, items: list[T], length: int) -> Grown[T]:
        grown: Grown[T] = cls.__new__(cls)
        grown._items = items
        grown._length = length
        return grown

    def added(self, *more: T) -> Grown[T]:
        """This list with `more` at its end; O(len(more)) for the newest one."""
        items = self._items
        if len(items) != self._length:
            items = items[: self._length]
        items.extend(more)
        return self._over(items, self._length + len(more))

    def cut(self, length: int) -> Grown[T]:
        """The first `length` items."""
        return self._over(self._items, min(length, self._length))

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return self._items[_bounded(index, self._length)]
        position = index + self._length if index < 0 else index
        if not 0 <= position < self._length:
            raise IndexError(index)
        return self._items[position]

    def __iter__(self) -> Iterator[T]:
        return islice(self._items, self._length)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grown) and self[:] == other[:]

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Grown({self[:]!r})"


class Column(Sequence[float]):
    """One figure over the steps. A slice is an array('d') of its own, ready for numpy.frombuffer."""

    __slots__ = ("_length", "_values")

    def __init__(self, values: array[float], length: int) -> None:
        self._values = values
        self._length = length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> array[float]: ...
    def __getitem__(self, index: int | slice) -> float | array[float]:
        if isinstance(index, slice):
            return self._values[_bounded(index, self._length)]
        position = index + self._length if index < 0 else index
        if not 0 <= position < self._length:
            raise IndexError(index)
        return self._values[position]


NAMES = ("t", "loss", "lr", "grad_norm", "images_per_s")
"""The figures of a step, in the order of a row: unix time in s, loss, rate, norm, images a second."""

Row = tuple[float, float, float, float, float]


class StepSeries:
    """The finished updates in order: their numbers (1-based, strictly growing) and five figures each.

    `step` holds ints; `t`, `loss`, `lr`, `grad_norm` and `images_per_s` are columns of the same
    length. A figure that was not finite or not given is NaN (or inf).
    """

    __slots__ = ("_columns", "_length", "_steps")

    def __init__(self) -> None:
        self._steps: array[int] = array("q")
        self._columns: tuple[array[float], ...] = tuple(array("d") for _ in NAMES)
        self._length = 0

    def extended(self, steps: Sequence[int], rows: Sequence[Sequence[float]]) -> StepSeries:
        """This series with more steps at its end.

        `steps` grow strictly and begin after the last one here; `rows` holds one sequence for each
        of NAMES, each as long as `steps`. O(len(steps)) for the newest series.
        """
        grown = StepSeries.__new__(StepSeries)
        grown._steps, grown._columns = self._steps, self._columns
        if len(self._steps) != self._length:
            grown._steps = self._steps[: self._length]
            grown._columns = tuple(column[: self._length] for column in self._columns)
        for column, values in zip(grown._columns, rows, strict=True):
            column.extend(values)
        grown._steps.extend(steps)
        grown._length = self._length + len(steps)
        return grown

    def until(self, step: int) -> StepSeries:
        """The part up to and including the update number `step`."""
        kept = StepSeries.__new__(StepSeries)
        kept._steps, kept._columns = self._steps, self._columns
        kept._length = bisect_right(self._steps, step, 0, self._length)
        return kept

    def index_after(self, step: int) -> int:
        """The position of the first update after number `step`; the length when there is none."""
        return bisect_right(self._steps, step, 0, self._length)

    def __len__(self) -> int:
        return self._length

    @property
    def last_step(self) -> int:
        """The number of the last update; 0 before the first."""
        return self._steps[self._length - 1] if self._length else 0

    def steps(self, start: int = 0, stop: int | None = None) -> array[int]:
        """The update numbers at the positions start..stop, as an array('q') of its own."""
        return self._steps[_bounded(slice(start, stop), self._length)]

    @property
    def step(self) -> Sequence[int]:
        """All update numbers, as an array('q') of their own; O(length), so prefer `steps(start)`."""
        return self.steps()

    @property
    def t(self) -> Column:
        return Column(self._columns[0], self._length)

    @property
    def loss(self) -> Column:
        return Column(self._columns[1], self._length)

    @property
    def lr(self) -> Column:
        return Column(self._columns[2], self._length)

    @property
    def grad_norm(self) -> Column:
        return Column(self._columns[3], self._length)

    @property
    def images_per_s(self) -> Column:
        return Column(self._columns[4], self._length)

    def __eq__(self, other: object) -> bool:
        """Equal bit for bit, so that NaN equals NaN."""
        return isinstance(other, StepSeries) and self._bytes() == other._bytes()

    __hash__ = None  # type: ignore[assignment]

    def _bytes(self) -> list[bytes]:
        steps = self._steps[: self._length].tobytes()
        return [steps, *(column[: self._length].tobytes() for column in self._columns)]

    def __repr__(self) -> str:
        return f"StepSeries({self._length} steps, last {self.last_step})"
