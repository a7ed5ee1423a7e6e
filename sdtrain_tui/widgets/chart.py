"""Drawing of curves into cells: 2x4 dots a cell, half blocks, or single characters; axes with round ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.style import Style

from sdtrain_tui.widgets.cells import StyledText
from sdtrain_tui.widgets.glyphs import GlyphName

Extremes = tuple[float, float] | None

_BRAILLE = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # bit of the dot at row, column of a cell
_HALVES = " ▀▄█"
DOTS: dict[GlyphName, tuple[int, int]] = {"braille": (2, 4), "block": (1, 2), "ascii": (1, 1)}


def _masks(kind: GlyphName) -> list[list[list[int]]]:
    """Bits of a cell's dots by dot column, first and last dot row."""
    across, down = DOTS[kind]
    dots = [[_BRAILLE[y][x] if kind == "braille" else 1 << y for y in range(down)] for x in range(across)]
    return [[[sum(column[a : b + 1]) for b in range(down)] for a in range(down)] for column in dots]


_MASKS = {kind: _masks(kind) for kind in DOTS}


@dataclass(frozen=True)
class Scale:
    """The values at the bottom and the top of a chart; in powers of ten where `log`."""

    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float | None:
        """0 at the bottom to 1 at the top, outside of that beyond; None for what a log axis cannot show."""
        if self.log:
            if value <= 0:
                return None
            value = math.log10(value)
        return (value - self.low) / (self.high - self.low)

    def holds(self, low: float, high: float) -> bool:
        """Whether a range (in axis units) fits inside and still fills at least half of the axis."""
        return self.low <= low and high <= self.high and high - low >= 0.5 * (self.high - self.low) / 1.2


def fit_scale(low: float, high: float, log: bool, old: Scale | None) -> Scale:
    """A scale for values low..high: the old one while it serves, else one with 10 % slack on each side.

    The slack and the memory keep the axis still while a run goes on, so that old columns are not sent again.
    """
    if log:
        low = math.log10(max(low, 1e-12))
        high = math.log10(max(high, 1e-12))
    if old is not None and old.log == log and old.holds(low, high):
        return old
    reach = high - low
    if reach <= 0:
        reach = 0.5 if log else abs(high) or 1.0
    bottom = low - 0.1 * reach
    if not log and low >= 0:
        bottom = max(0.0, bottom)
    return Scale(bottom, high + 0.1 * reach, log)


def typical_range(raw: Sequence[Extremes], smooth: Sequence[Extremes]) -> tuple[float, float] | None:
    """The range that the axis should show: all of the smooth curve, and the raw one without its rare spikes.

    With many columns the highest 3 % may leave the chart at its top, as one spike would flatten all the rest.
    """
    tops = sorted(pair[1] for pair in raw if pair)
    lows = [pair[0] for pair in (*raw, *smooth) if pair]
    if not lows:
        return None
    highs = [pair[1] for pair in smooth if pair]
    if tops:
        highs.append(tops[int((len(tops) - 1) * (0.97 if len(tops) >= 40 else 1.0))])
    return min(lows), max(highs)


class Canvas:
    """Cells that curves are drawn into; where two meet in a cell the last one drawn wins."""

    def __init__(self, width: int, height: int, kind: GlyphName) -> None:
        self.width, self.height, self.kind = width, height, kind
        self.across, self.down = DOTS[kind]
        self._cells: list[list[tuple[int, int]]] = [[(0, -1)] * width for _ in range(height)]

    @property
    def columns(self) -> int:
        """Dot columns from left to right."""
        return self.width * self.across

    def curve(self, values: Sequence[Extremes], scale: Scale, layer: int, *, sparse: bool = False) -> None:
        """Draw a value range for each dot column, joined to its left neighbour; None is a gap.

        `sparse` draws only the ends of each range: without colours a filled area would hide the other curve.
        """
        rows = self.height * self.down
        before: tuple[int, int] | None = None
        for x, pair in enumerate(values[: self.columns]):
            span = _dots(pair, scale, rows)
            if span is None:
                before = None
                continue
            low, high = span
            if before is not None and not sparse:
                low = min(low, before[1] + 1) if low > before[1] else low
                high = max(high, before[0] - 1) if high < before[0] else high
            before = span
            if sparse:
                self._bar(x, low, low, layer)
                self._bar(x, high, high, layer)
            else:
                self._bar(x, low, high, layer)

    def row(
        self, y: int, styles: Sequence[Style], blank: Style, cross: int | None, cross_part: StyledText
    ) -> list[StyledText]:
        """One row as runs of equal style; column `cross` shows the crosshair where no curve is."""
        parts: list[StyledText] = []
        looks = [*styles, blank]  # layer -1 is an empty cell
        for layer, run in groupby(enumerate(self._cells[y]), key=lambda cell: cell[1][1]):
            if layer >= 0:
                parts.append(("".join([self._char(bits, layer) for _, (bits, _) in run]), looks[layer]))
                continue
            columns = [x for x, _ in run]
            if cross is not None and columns[0] <= cross <= columns[-1]:
                before, after = cross - columns[0], columns[-1] - cross
                parts += [(" " * before, blank), cross_part, (" " * after, blank)]
            else:
                parts.append((" " * len(columns), blank))
        return [part for part in parts if part[0]]

    def _bar(self, x: int, low: int, high: int, layer: int) -> None:
        """Dots from row `low` to row `high`, both counted from the bottom, in one dot column."""
        down, masks = self.down, _MASKS[self.kind][x % self.across]
        top, bottom = self.height * down - 1 - high, self.height * down - 1 - low
        cell_x = x // self.across
        for cell_y in range(top // down, bottom // down + 1):
            first = max(0, top - cell_y * down)
            last = min(down - 1, bottom - cell_y * down)
            mask = masks[first][last]
            bits, owner = self._cells[cell_y][cell_x]
            self._cells[cell_y][cell_x] = (bits | mask if owner == layer else mask, layer)

    def _char(self, bits: int, layer: int) -> str:
        if self.kind == "braille":
            return chr(0x2800 + bits)
        return _HALVES[bits] if self.kind == "block" else ":*o"[min(layer, 2)]


def _dots(pair: Extremes, scale: Scale, rows: int) -> tuple[int, int] | None:
    """The dot rows, counted from the bottom, that a value range covers."""
    if pair is None:
        return None
    low, high = scale.place(pair[0]), scale.place(pair[1])
    if high is None:
        return None
    bottom, top = (_clamp((place or 0.0) * (rows - 1), rows) for place in (low, high))
    return bottom, top


def _clamp(value: float, rows: int) -> int:
    return max(0, min(rows - 1, round(value)))


def round_ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round values (1, 2, 2.5 or 5 times a power of ten apart) inside low..high."""
    if most < 1 or not high > low:
        return []
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1.0, 2.0, 2.5, 5.0, 10.0, 20.0, 25.0, 50.0, 100.0):
        step = factor * power
        first = math.ceil(low / step - 1e-9)
        last = math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            return [index * step for index in range(first, last + 1)]
    return []


def value_ticks(scale: Scale, most: int) -> list[tuple[float, str]]:
    """Places (0 to 1) and labels for the value axis."""
    if not scale.log:
        ticks = round_ticks(scale.low, scale.high, most)
        step = ticks[1] - ticks[0] if len(ticks) > 1 else (ticks[0] if ticks and ticks[0] else 1.0)
        digits = max(0, min(6, -math.floor(math.log10(abs(step)) + 1e-9)))
        if any(abs(round(tick, digits) - tick) > abs(step) / 100 for tick in ticks):
            digits += 1
        return [((tick - scale.low) / (scale.high - scale.low), f"{tick:.{digits}f}") for tick in ticks]
    values = [
        (exponent + math.log10(lead), lead * 10.0**exponent, lead)
        for exponent in range(math.floor(scale.low), math.ceil(scale.high) + 1)
        for lead in (1, 2, 5)
    ]
    inside = [value for value in values if scale.low <= value[0] <= scale.high]
    if len(inside) > most and sum(value[2] == 1 for value in inside) >= 2:
        inside = [value for value in inside if value[2] == 1]
    inside = inside[:: max(1, -(-len(inside) // max(1, most)))]
    return [((place - scale.low) / (scale.high - scale.low), f"{value:.3g}") for place, value, _ in inside]


def step_label(step: float) -> str:
    """A step number on the axis: 0, 500, 1,000, 20k, 1.5M."""
    if step < 10_000:
        return f"{step:,.0f}"
    value, unit = (step / 1e3, "k") if step < 1e6 else (step / 1e6, "M")
    return f"{value:.3f}".rstrip("0").rstrip(".") + unit
