"""Long number series for charts: an append-only min/max pyramid, and the smoothing of TensorBoard."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise

FACTOR = 8
_BULK = 20_000  # from here on numpy is quicker, its 0.1 s import included


class MinMaxPyramid:
    """Values with the minimum and maximum of every aligned block of 8, 64, 512, ... of them.

    A value that is not finite is a gap: it counts for no extreme. Appending costs amortised 8/7 comparisons a
    value, memory 8 bytes a value plus 2/7 for the levels, and any range query a few dozen comparisons.
    """

    def __init__(self, values: Iterable[float] = ()) -> None:
        self.values = array("d")
        self._low: list[array[float]] = []
        self._high: list[array[float]] = []
        self.extend(values)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> float:
        return self.values[index]

    def append(self, value: float) -> None:
        """Add one value at the end."""
        self.values.append(value)
        size, level = len(self.values), 0
        while size % FACTOR == 0:
            self._close_block(level, size // FACTOR - 1)
            size //= FACTOR
            level += 1

    def extend(self, values: Iterable[float]) -> None:
        """Add many values at the end."""
        if isinstance(values, (Sequence, array)) and len(values) >= _BULK:
            self._extend_bulk(values)
            return
        for value in values:
            self.append(value)

    def truncate(self, size: int) -> None:
        """Keep the first `size` values."""
        if size >= len(self.values):
            return
        del self.values[max(0, size) :]
        for level in range(len(self._low)):
            size //= FACTOR
            del self._low[level][size:]
            del self._high[level][size:]

    def extremes(self, start: int, stop: int) -> tuple[float, float] | None:
        """Minimum and maximum of values[start:stop], or None where that holds no finite value."""
        low, high = math.inf, -math.inf
        start, stop = max(0, start), min(stop, len(self.values))
        level = -1
        while start < stop:
            # Eat the unaligned ends on this level, then go on with whole blocks one level up.
            inner_start = -(-start // FACTOR)
            inner_stop = stop // FACTOR
            if inner_start >= inner_stop or level + 1 >= len(self._low):
                pieces = [(start, stop)]
                start = stop
            else:
                pieces = [(start, inner_start * FACTOR), (inner_stop * FACTOR, stop)]
                start, stop = inner_start, inner_stop
            for a, b in pieces:
                if a < b:
                    low, high = self._scan(level, a, b, low, high)
            level += 1
        return (low, high) if low <= high else None

    def columns(self, start: float, width: float, count: int) -> list[tuple[float, float] | None]:
        """Extremes of `count` neighbouring ranges of `width` values each, the first one from `start`.

        A range narrower than one value holds the value that its left edge falls on. Edges of wide ranges are
        rounded down to whole blocks (an error below 1/64 of a column); no value is ever left out between two.
        """
        snap = 1
        while snap * FACTOR * 64 <= width:
            snap *= FACTOR
        edges = [math.floor((start + width * i) / snap) * snap for i in range(count + 1)]
        return [self.extremes(a, max(a + 1, b)) for a, b in pairwise(edges)]

    def _scan(self, level: int, start: int, stop: int, low: float, high: float) -> tuple[float, float]:
        if level >= 0:
            return min(low, min(self._low[level][start:stop])), max(high, max(self._high[level][start:stop]))
        for value in self.values[start:stop]:
            if math.isfinite(value):
                low = min(low, value)
                high = max(high, value)
        return low, high

    def _close_block(self, level: int, block: int) -> None:
        if level == len(self._low):
            self._low.append(array("d"))
            self._high.append(array("d"))
        start = block * FACTOR
        low, high = self._scan(level - 1, start, start + FACTOR, math.inf, -math.inf)
        self._low[level].append(low)
        self._high[level].append(high)

    def _extend_bulk(self, values: Sequence[float]) -> None:
        import numpy as np  # 0.1 s: only for a long history

        self.values.extend(values)
        data = np.frombuffer(self.values, dtype=np.float64)
        finite = np.isfinite(data)
        low, high = np.where(finite, data, np.inf), np.where(finite, data, -np.inf)
        self._low, self._high = [], []
        while len(low) >= FACTOR:
            whole = len(low) // FACTOR * FACTOR
            low = low[:whole].reshape(-1, FACTOR).min(axis=1)
            high = high[:whole].reshape(-1, FACTOR).max(axis=1)
            self._low.append(array("d", low.tobytes()))
            self._high.append(array("d", high.tobytes()))


class Smoother:
    """Exponential moving average without the bias of its start, as TensorBoard's scalar chart does it.

    Factor w in [0, 1): s = w*s + (1-w)*x, shown as s / (1 - w^n) with n the finite values so far. A value
    that is not finite passes through as a gap and leaves the average alone.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self._sum = 0.0
        self._weight = 1.0  # w^n

    def add(self, value: float) -> float:
        """The smoothed value after one more."""
        if not math.isfinite(value):
            return math.nan
        self._sum = self._sum * self.factor + (1.0 - self.factor) * value
        self._weight *= self.factor
        return self._sum / (1.0 - self._weight)

    def add_all(self, values: Iterable[float]) -> array[float]:
        """The smoothed value after each of the values."""
        factor, rest, total, weight = self.factor, 1.0 - self.factor, self._sum, self._weight
        isfinite, nan = math.isfinite, math.nan
        out = array("d")
        append = out.append
        for value in values:
            if isfinite(value):
                total = total * factor + rest * value
                weight *= factor
                append(total / (1.0 - weight))
            else:
                append(nan)
        self._sum, self._weight = total, weight
        return out


class SmoothedSeries:
    """A raw series and its smoothed twin, kept in step through appends, truncation and a new factor."""

    def __init__(self, factor: float = 0.9) -> None:
        self.raw = MinMaxPyramid()
        self.smooth = MinMaxPyramid()
        self._smoother = Smoother(factor)

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def factor(self) -> float:
        """The smoothing factor, 0 (none) to below 1."""
        return self._smoother.factor

    def extend(self, values: Sequence[float]) -> None:
        """Add values at the end."""
        self.raw.extend(values)
        self.smooth.extend(self._smoother.add_all(values))

    def truncate(self, size: int) -> None:
        """Keep the first `size` values; the average is worked out again, which takes 0.1 s for a million."""
        if size < len(self.raw):
            self.raw.truncate(size)
            self.set_factor(self.factor)

    def set_factor(self, factor: float) -> None:
        """Smooth the whole series again."""
        self._smoother = Smoother(min(max(factor, 0.0), 0.9999))
        self.smooth = MinMaxPyramid(self._smoother.add_all(self.raw.values))
