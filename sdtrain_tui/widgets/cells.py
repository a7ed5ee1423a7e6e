"""Rows of styled cells: cleaning foreign text, cutting it to a width, and laying parts out on one line."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

StyledText = tuple[str, Style]

_DROPPED = {"Cc", "Cf", "Cs", "Co", "Me"}


def clean(text: str) -> str:
    """Text from a file or a user made safe to draw: one line, no control or format characters.

    Variation selectors go too: terminals disagree on the width of what they follow.
    """
    if text.isascii() and text.isprintable():
        return text
    kept: list[str] = []
    for char in unicodedata.normalize("NFC", text):
        if char in "\t\n\r\v\f":
            kept.append(" ")
        elif "\ufe00" <= char <= "\ufe0f" or char >= "\U000e0000":
            continue
        elif unicodedata.category(char) not in _DROPPED:
            kept.append(char)
    return "".join(kept)


def cut(text: str, width: int, ellipsis: str = "…") -> str:
    """`text` in at most `width` cells, the end replaced by an ellipsis where it did not fit."""
    if cell_len(text) <= width:
        return text
    if width <= 0:
        return ""
    return set_cell_size(text, width - 1).rstrip() + ellipsis


def parts_width(parts: Iterable[StyledText]) -> int:
    """Cells that the parts take."""
    return sum(cell_len(text) for text, _ in parts)


def cut_parts(parts: Iterable[StyledText], width: int, ellipsis: str = "…") -> list[StyledText]:
    """The parts that fit in `width` cells, the last one cut where needed."""
    kept: list[StyledText] = []
    left = width
    for text, style in parts:
        size = cell_len(text)
        if size <= left:
            if text:
                kept.append((text, style))
                left -= size
            continue
        if left > 0:
            kept.append((cut(text, left, ellipsis), style))
        break
    return kept


def row(parts: Iterable[StyledText], width: int, fill: Style) -> Strip:
    """One line of exactly `width` cells: the parts from the left, `fill` after them."""
    kept = cut_parts(parts, width)
    used = parts_width(kept)
    if used < width:
        kept.append((" " * (width - used), fill))
    return Strip(_joined(kept), width)


def spread(left: Sequence[StyledText], right: Sequence[StyledText], width: int, fill: Style) -> Strip:
    """One line with `left` at its start and `right` at its end; the left part gives way first."""
    right_kept = cut_parts(right, width)
    right_width = parts_width(right_kept)
    room = width - right_width - (1 if right_kept else 0)
    left_kept = cut_parts(left, max(0, room))
    gap = width - right_width - parts_width(left_kept)
    middle = [(" " * gap, fill)] if gap > 0 else []
    return Strip(_joined([*left_kept, *middle, *right_kept]), width)


def _joined(parts: Iterable[StyledText]) -> list[Segment]:
    """Segments with neighbours of equal style made one."""
    return [
        Segment("".join(text for text, _ in run), style)
        for style, run in groupby(parts, key=lambda part: part[1])
    ]


def split_cells(strip: Strip) -> list[tuple[str, Style | None]]:
    """The strip cell by cell; the second cell of a wide character is an empty string."""
    cells: list[tuple[str, Style | None]] = []
    for text, style, control in strip:
        if control:
            continue
        if text.isascii():
            cells.extend((char, style) for char in text)
            continue
        for char in text:
            size = cell_len(char)
            if size == 0 and cells:
                cells[-1] = (cells[-1][0] + char, cells[-1][1])
            elif size:
                cells.append((char, style))
                cells.extend([("", style)] * (size - 1))
    return cells


def changed_spans(old: Strip, new: Strip, gap: int = 6) -> list[tuple[int, int]]:
    """Column spans [start, end) in which two rows differ.

    Spans closer than `gap` cells are joined: moving the cursor costs 5 to 8 bytes, an unchanged cell 1 to 3.
    """
    if old is new or old == new:
        return []
    before, after = split_cells(old), split_cells(new)
    size = max(len(before), len(after))
    spans: list[tuple[int, int]] = []
    for x in range(size):
        a = before[x] if x < len(before) else None
        b = after[x] if x < len(after) else None
        if a is b or a == b:
            continue
        start = x
        while start > 0 and _splits(before, start, after):
            start -= 1
        end = x + 1
        while end < size and _splits(before, end, after):
            end += 1
        if spans and start - spans[-1][1] <= gap:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return spans


def _splits(before: list[tuple[str, Style | None]], x: int, after: list[tuple[str, Style | None]]) -> bool:
    """Whether a boundary at column x would cut a wide character in one of the rows."""
    return (x < len(before) and before[x][0] == "") or (x < len(after) and after[x][0] == "")
