"""The colours that panes draw with, taken from the app's current theme."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from rich.style import Style
from textual.color import Color, ColorParseError
from textual.widget import Widget

# Role -> (variable that our themes set, variable that every theme has, share of background mixed into it).
ROLES: dict[str, tuple[str, str, float]] = {
    "text": ("sd-text", "foreground", 0.0),
    "quiet": ("sd-quiet", "foreground", 0.38),
    "faint": ("sd-faint", "foreground", 0.68),
    "focus": ("sd-focus", "primary", 0.0),
    "accent": ("sd-accent", "accent", 0.0),
    "line": ("sd-line", "primary", 0.0),
    "ghost": ("sd-ghost", "primary", 0.55),
    "util": ("sd-util", "success", 0.0),
    "memory": ("sd-memory", "primary", 0.0),
    "ok": ("sd-ok", "success", 0.0),
    "warn": ("sd-warn", "warning", 0.0),
    "error": ("sd-error", "error", 0.0),
}

# With 16 colours the nearest one to a soft colour is grey, so the roles that differ by hue take full ones:
# (on a dark, on a light background), from the standard palette.
SIXTEEN: dict[str, tuple[str, str]] = {
    "focus": ("#55ffff", "#0000aa"),
    "accent": ("#ffff55", "#aa5500"),
    "line": ("#55ffff", "#0000aa"),
    "ghost": ("#555555", "#aaaaaa"),
    "util": ("#55ff55", "#00aa00"),
    "memory": ("#ff55ff", "#aa00aa"),
    "ok": ("#55ff55", "#00aa00"),
    "warn": ("#ffff55", "#aa5500"),
    "error": ("#ff5555", "#aa0000"),
}


@dataclass(frozen=True)
class Palette:
    """Ready styles, one a role, all over one background.

    `text` body, `strong` bold text, `quiet` labels, `faint` frames and axes, `focus` the focused frame,
    `line` and `ghost` the smoothed and the raw curve, `util` and `memory` bars, `mark` a match (reversed).
    """

    text: Style
    strong: Style
    quiet: Style
    faint: Style
    focus: Style
    accent: Style
    line: Style
    ghost: Style
    util: Style
    memory: Style
    ok: Style
    warn: Style
    error: Style
    mark: Style


def palette_of(widget: Widget) -> Palette:
    """The palette of the theme in force over the widget's own background."""
    variables = widget.app.theme_variables
    wanted = tuple((variables.get(own, ""), variables.get(other, "")) for own, other, _ in ROLES.values())
    few = widget.app.console.color_system in ("standard", "windows")
    return _build(wanted, widget.background_colors[1], few)


@lru_cache(maxsize=64)
def _build(wanted: tuple[tuple[str, str], ...], background: Color, few: bool) -> Palette:
    styles: dict[str, Style] = {}
    bgcolor = background.rich_color
    for (role, (_, _, share)), (own, other) in zip(ROLES.items(), wanted, strict=True):
        color = _parse(own)
        if few and role in SIXTEEN:
            color = Color.parse(SIXTEEN[role][background.brightness > 0.5])
        if color is None:
            base = _parse(other) or Color.parse("white")
            color = base if base.ansi is not None else background.blend(base, 1 - share, 1.0)
        styles[role] = Style(color=color.rich_color, bgcolor=bgcolor)
    styles["strong"] = styles["text"] + Style(bold=True)
    styles["mark"] = styles["accent"] + Style(reverse=True)
    return Palette(**styles)


def _parse(text: str) -> Color | None:
    try:
        return Color.parse(text) if text else None
    except ColorParseError:
        return None
