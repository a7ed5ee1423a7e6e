"""Themes as data: the packaged ones and the user's own, all TOML files of one form."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textual.color import Color, ColorParseError
from textual.theme import Theme

from engine.errors import UserError
from engine.files import read_plain
from engine.plan.reading import parse
from sdtrain_tui.palette import ROLES

DEFAULT = "sdtrain-dark"
MAX_BYTES = 65_536
COLORS = frozenset(
    {"primary", "secondary", "accent", "success", "warning", "error"}
    | {"foreground", "background", "surface", "panel", "boost"}
)


@dataclass(frozen=True)
class ThemeSet:
    """The themes by name, and a line for each file that could not be used."""

    themes: dict[str, Theme] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def packaged_folder() -> Path:
    """The themes that come with the app: beside the package in a checkout, inside of it in a wheel."""
    inside = Path(__file__).parent / "_themes"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "themes"


def user_folder() -> Path:
    """Where a user's own themes lie."""
    base = os.environ.get("XDG_CONFIG_HOME") or ""
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".config"
    return root / "sdtrain" / "themes"


def load_themes(folders: Iterable[Path] | None = None) -> ThemeSet:
    """All themes; a later folder's theme replaces one of the same name, a bad file is told and left out."""
    found = ThemeSet()
    for folder in (packaged_folder(), user_folder()) if folders is None else folders:
        try:
            files = sorted(folder.glob("*.toml")) if folder.is_dir() else []
        except OSError as error:
            found.warnings.append(f"themes in {folder} cannot be read: {error.strerror}")
            continue
        for file in files:
            try:
                theme = read_theme(file)
            except ValueError as error:
                found.warnings.append(f"theme {file} left out: {error}")
            else:
                found.themes[theme.name] = theme
    return found


def read_theme(file: Path) -> Theme:
    """One theme file. Raises ValueError that says what is wrong with it.

    `name`, optional `dark`, `[colors]` with at least primary, and optional `[roles]` for what panes draw
    (see `sdtrain_tui.palette`); a role that is missing follows from the colours.
    """
    try:
        text = read_plain(file, MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    if len(text) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES} bytes")
    try:
        data = parse(text.decode(), str(file))
    except (UnicodeDecodeError, UserError) as error:
        why = error.why if isinstance(error, UserError) else str(error)
        raise ValueError(f"not valid TOML ({why})") from None
    _only(data, {"name", "dark", "colors", "roles"}, "key")
    name, dark = data.get("name", file.stem), data.get("dark", True)
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ValueError("name must be a text")
    if not isinstance(dark, bool):
        raise ValueError("dark must be true or false")
    colors = _colors(data.get("colors", {}), COLORS, "colors")
    roles = _colors(data.get("roles", {}), frozenset(ROLES), "roles")
    if "primary" not in colors:
        raise ValueError("colors.primary is missing")
    variables = {ROLES[role][0]: value for role, value in roles.items()}
    given: dict[str, Any] = dict(colors)
    return Theme(name=name, dark=dark, variables=variables, **given)


def _colors(table: object, known: frozenset[str], where: str) -> dict[str, str]:
    if not isinstance(table, Mapping):
        raise ValueError(f"{where} must be a table")
    _only(table, known, f"{where} key")
    colors: dict[str, str] = {}
    for key, value in table.items():
        try:
            Color.parse(value if isinstance(value, str) else "")
        except ColorParseError:
            raise ValueError(f"{where}.{key} is no colour: {value!r}") from None
        colors[key] = value
    return colors


def _only(table: Mapping[str, object], known: Iterable[str], what: str) -> None:
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise ValueError(f"unknown {what} {unknown[0]!r}; known are {', '.join(sorted(known))}")
