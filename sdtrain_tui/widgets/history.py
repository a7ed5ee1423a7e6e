"""The loss of a run as the chart needs it: kept in step with the fold's series, column values remembered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.run.view import StepSeries
from sdtrain_tui.widgets.chart import Extremes
from sdtrain_tui.widgets.series import MinMaxPyramid, SmoothedSeries
from sdtrain_tui.widgets.window import Window


@dataclass
class _Kept:
    """Columns of one window that hold all their values and can no longer change."""

    window: tuple[float, float, int] | None = None
    raw: list[Extremes] = field(default_factory=list)
    smooth: list[Extremes] = field(default_factory=list)


class LossHistory:
    """Raw and smoothed loss of the finished updates, by their position in the series."""

    def __init__(self, factor: float) -> None:
        self._series = SmoothedSeries(factor)
        self._source = StepSeries()
        self._kept = _Kept()

    def __len__(self) -> int:
        return len(self._series)

    @property
    def factor(self) -> float:
        """The smoothing factor."""
        return self._series.factor

    @property
    def last_smooth(self) -> float | None:
        """The newest smoothed value that is finite."""
        for index in range(len(self._series) - 1, max(-1, len(self._series) - 1000), -1):
            value = self._series.smooth[index]
            if math.isfinite(value):
                return value
        return None

    def follow(self, steps: StepSeries) -> bool:
        """Take over what is new in the fold's series; True when steps were dropped by a resume."""
        kept = self._common(steps)
        dropped = kept < len(self._series)
        if dropped:
            self._series.truncate(kept)
            self._kept = _Kept()
        if len(steps) > kept:
            self._series.extend(steps.loss[kept:])
        self._source = steps
        return dropped

    def set_factor(self, factor: float) -> None:
        """Smooth everything again."""
        self._series.set_factor(factor)
        self._kept = _Kept()

    def columns(self, window: Window) -> tuple[list[Extremes], list[Extremes]]:
        """Raw and smoothed value range of each column of the window; between two values a straight line."""
        key = (window.start, window.per_column, window.columns)
        if self._kept.window != key:
            self._kept = _Kept(key)
        kept = self._kept
        raw = kept.raw + self._read(self._series.raw, window, len(kept.raw))
        smooth = kept.smooth + self._read(self._series.smooth, window, len(kept.smooth))
        whole = max(0, min(window.columns, math.floor((len(self) - 1 - window.start) / window.per_column)))
        kept.raw, kept.smooth = raw[:whole], smooth[:whole]
        return raw, smooth

    def values(self, index: int) -> tuple[int, float, float, float]:
        """Step number, loss, smoothed loss and learning rate at a position."""
        source = self._source
        return (
            self.step(index),
            self._series.raw[index],
            self._series.smooth[index],
            source.lr[index],
        )

    def step(self, index: int) -> int:
        """The number of the update at a position."""
        return self._source.steps(index, index + 1)[0]

    def index_of(self, step: int) -> int | None:
        """The position of an update number, or of the last one before it."""
        position = self._source.index_after(step) - 1
        return position if position >= 0 else None

    def reach(self, position: float) -> float:
        """The step number at a position that may lie between two updates or beyond the last one."""
        size = len(self._source)
        if size < 2:
            return position + (self.step(0) if size else 1)
        index = max(0, min(size - 2, math.floor(position)))
        first, second = self._source.steps(index, index + 2)
        stride: float = second - first
        if position > size - 1:
            stride = (self._source.last_step - self.step(0)) / (size - 1)
        return first + (position - index) * stride

    def _read(self, pyramid: MinMaxPyramid, window: Window, start: int) -> list[Extremes]:
        first = window.start + start * window.per_column
        count = window.columns - start
        if window.per_column >= 1:
            return list(pyramid.columns(first, window.per_column, count))
        return [_between(pyramid.values, first + i * window.per_column) for i in range(count)]

    def _common(self, steps: StepSeries) -> int:
        """How many of our updates the other series still has, told by number and time."""
        old = self._source

        def same(index: int) -> bool:
            a, b = old.t[index], steps.t[index]
            return old.steps(index, index + 1) == steps.steps(index, index + 1) and (a == b or a != a)

        low, high = 0, min(len(old), len(steps))
        if high and same(high - 1):
            return high
        while low < high:
            middle = (low + high) // 2
            if same(middle):
                low = middle + 1
            else:
                high = middle
        return low


def _between(values: Sequence[float], position: float) -> Extremes:
    """The value on the straight line between two neighbours; None beyond the last value or at a gap."""
    index = math.floor(position + 1e-9)
    if index >= len(values) or index < 0:
        return None
    value = values[index]
    share = position - index
    if share > 1e-9:
        if index + 1 >= len(values):
            return None
        value += (values[index + 1] - value) * share
    return (value, value) if math.isfinite(value) else None
