"""Fewer bytes to the terminal: an encoder that sends only changed cells and only changed colours.

Textual 8.2's `ChopsUpdate` sends a dirty span from the widget's left edge, and each segment with its whole
style and a reset. Over SSH that is most of a live monitor's traffic. `SparseApp` swaps the two updates for ones
that start at the span's own column and emit the difference between neighbouring styles.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TypeVar

from rich.color import ColorSystem
from rich.console import Console, RenderableType
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.app import App
from textual.screen import Screen
from textual.strip import Strip

ReturnType = TypeVar("ReturnType")
Look = tuple[frozenset[str], str, str]  # attribute codes, foreground codes, background codes

_PLAIN: Look = (frozenset(), "", "")
_INVISIBLE_ON_SPACE = frozenset({"1", "2", "3"})
_ATTRIBUTES = (
    ("bold", "1"),
    ("dim", "2"),
    ("italic", "3"),
    ("underline", "4"),
    ("blink", "5"),
    ("blink2", "6"),
    ("reverse", "7"),
    ("conceal", "8"),
    ("strike", "9"),
    ("underline2", "21"),
    ("frame", "51"),
    ("encircle", "52"),
    ("overline", "53"),
)


@lru_cache(maxsize=8192)
def look_of(style: Style, system: ColorSystem) -> Look:
    """The SGR codes of a style, taken apart."""
    attributes = frozenset(code for name, code in _ATTRIBUTES if getattr(style, name))
    front = ";".join(style.color.downgrade(system).get_ansi_codes()) if style.color else ""
    back = ";".join(style.bgcolor.downgrade(system).get_ansi_codes(False)) if style.bgcolor else ""
    return attributes, front, back


class Encoder:
    """Collects terminal text; remembers the style in force, so that only differences are written."""

    def __init__(self, system: ColorSystem) -> None:
        self._system = system
        self._look = _PLAIN
        self._out: list[str] = []
        self._row = -1

    def strip(self, x: int, y: int, strip: Strip) -> None:
        """A strip at a screen position in cells."""
        self._out.append(f"\x1b[{x + 1}G" if y == self._row else f"\x1b[{y + 1};{x + 1}H")
        self._row = y
        for segment in strip:
            self._segment(segment)

    def text(self) -> str:
        """Everything so far, ended with the plain style."""
        if self._look != _PLAIN:
            self._out.append("\x1b[0m")
            self._look = _PLAIN
        return "".join(self._out)

    def _segment(self, segment: Segment) -> None:
        text, style, control = segment
        if control or not text:
            self._out.append(text)
            return
        self._to(look_of(style, self._system) if style else _PLAIN, text)
        link = style.link if style else None
        self._out.append(f"\x1b]8;;{link}\x1b\\{text}\x1b]8;;\x1b\\" if link else text)

    def _to(self, look: Look, text: str) -> None:
        attributes, front, back = self._look
        if look == self._look:
            return
        if not text.strip(" ") and attributes | look[0] <= _INVISIBLE_ON_SPACE:
            look = (attributes, front, look[2])
        codes: list[str] = []
        if attributes - look[0]:
            codes = ["0"]
            attributes, front, back = _PLAIN
        codes.extend(sorted(look[0] - attributes))
        if look[1] != front:
            codes.append(look[1] or "39")
        if look[2] != back:
            codes.append(look[2] or "49")
        if codes:
            self._out.append(f"\x1b[{';'.join(codes)}m")
        self._look = look


def _system(console: Console) -> ColorSystem:
    return console._color_system or ColorSystem.TRUECOLOR


class LeanChops(ChopsUpdate):
    """A partial update that sends exactly the dirty spans."""

    def render_segments(self, console: Console) -> str:
        """Terminal text of the dirty spans."""
        encoder = Encoder(_system(console))
        for y, x1, x2 in self.spans:
            for end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                if strip is None or x >= x2 or end <= x1:
                    continue
                start = max(x, x1)
                encoder.strip(start, y, strip.crop(start - x, min(end, x2) - x))
        return encoder.text()


class LeanLayout(LayoutUpdate):
    """A full repaint without repeated styles."""

    def render_segments(self, console: Console) -> str:
        """Terminal text of the whole region."""
        encoder = Encoder(_system(console))
        for y, line in enumerate(self.strips, self.region.y):
            x = self.region.x
            for strip in _whole(line):
                encoder.strip(x, y, strip)
                x += strip.cell_length
        return encoder.text()


def _whole(line: Iterable[Strip | None]) -> Iterable[Strip]:
    return (strip for strip in line if strip is not None)


def lean(renderable: RenderableType | None) -> RenderableType | None:
    """The lean twin of a compositor update; anything else as it is."""
    if type(renderable) is ChopsUpdate:
        return LeanChops(renderable.chops, renderable.spans, renderable.chop_ends)
    if type(renderable) is LayoutUpdate:
        return LeanLayout(renderable.strips, renderable.region)
    return renderable


class SparseApp(App[ReturnType]):
    """An app whose screen updates are sent lean; base the real app on it."""

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        super()._display(screen, lean(renderable))
