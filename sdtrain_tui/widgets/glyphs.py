"""The characters that panes draw with: braille, plain blocks, or ASCII for a terminal without UTF-8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GlyphName = Literal["braille", "block", "ascii"]


@dataclass(frozen=True)
class Glyphs:
    """One set of drawing characters; each string holds single-width characters only.

    `corners` are top left, top right, bottom left, bottom right; `spark` runs from lowest to highest.
    `chart` names how charts draw: braille dots (2x4 a cell), eighth blocks, or one character a cell.
    """

    chart: GlyphName
    corners: str
    horizontal: str
    vertical: str
    tick: str
    origin: str
    step_tick: str
    bar_full: str
    bar_half: str
    bar_empty: str
    spark: str
    shades: str
    checkpoint: str
    crosshair: str
    separator: str
    ellipsis: str
    badge: dict[str, str]


_BADGES = {
    "queued": "◌",
    "preparing": "◔",
    "running": "●",
    "paused": "‖",
    "stalled": "!",
    "stopped": "■",
    "finished": "✓",
    "crashed": "✗",
    "failed": "✗",
    "out-of-memory": "✗",
    "disk-full": "✗",
}
_ASCII_BADGES = {
    "queued": ".",
    "preparing": "~",
    "running": ">",
    "paused": "=",
    "stalled": "!",
    "stopped": "#",
    "finished": "+",
    "crashed": "x",
    "failed": "x",
    "out-of-memory": "x",
    "disk-full": "x",
}

BRAILLE = Glyphs(
    chart="braille",
    corners="╭╮╰╯",
    horizontal="─",
    vertical="│",
    tick="┤",
    origin="└",
    step_tick="┴",
    bar_full="━",
    bar_half="╸",
    bar_empty="─",
    spark="▁▂▃▄▅▆▇█",
    shades=" ░▒▓█",
    checkpoint="▴",
    crosshair="│",
    separator="·",
    ellipsis="…",
    badge=_BADGES,
)
BLOCK = Glyphs(**{**BRAILLE.__dict__, "chart": "block"})
ASCII = Glyphs(
    chart="ascii",
    corners="++++",
    horizontal="-",
    vertical="|",
    tick="+",
    origin="+",
    step_tick="+",
    bar_full="#",
    bar_half="=",
    bar_empty=".",
    spark="_.-:=+*#",
    shades=" .:-=+*#%@",
    checkpoint="^",
    crosshair="|",
    separator="-",
    ellipsis="~",
    badge=_ASCII_BADGES,
)
SETS: dict[str, Glyphs] = {"braille": BRAILLE, "block": BLOCK, "ascii": ASCII}


def glyphs_of(app: object) -> Glyphs:
    """The set that the app chose through its attribute `glyph_set`; braille when it says nothing."""
    return SETS.get(getattr(app, "glyph_set", "braille"), BRAILLE)
