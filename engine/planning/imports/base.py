"""What a reader of another tool's settings makes of them: a plan's values, and a line about each setting."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from engine.errors import UserError
from engine.plan import other_tools
from engine.plan.fields import PlanField
from engine.plan.methods import METHODS
from engine.plan.problems import shown
from engine.plan.schedules import SCHEDULES
from engine.plan.schema import plan_fields
from engine.planning.epochs import STEPS_OF

Status: TypeAlias = Literal["same", "renamed", "changed", "default", "left"]
_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Line:
    """One setting: `name = value` there, `key = given` in the plan; `why` says what is not plain about it.

    `status` is same or renamed for what was carried over as it is, changed for another value or unit, default for what
    the file does not say and the tool takes then, left for what the plan does not have.
    """

    name: str
    value: object
    status: Status
    key: str = ""
    given: object = None
    why: str = ""


@dataclass
class Reading:
    """Another tool's settings while they are read: `settings` by their own names, `defaults` what the tool takes where
    one is missing. Each setting is taken or left once; `rest` does that for those with a plain name in the table of
    `engine.plan.other_tools`."""

    tool: str
    settings: dict[str, Any]
    method: str
    beside: Path
    defaults: Mapping[str, Any] = field(default_factory=dict)
    answers: dict[str, object] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    done: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.answers["method"] = self.method
        self.fields: dict[str, PlanField] = {each.key: each for each in plan_fields(self.method)}

    def get(self, name: str) -> Any:
        """The setting, or else what the tool takes; none where neither is known."""
        return self.settings.get(name, self.defaults.get(name))

    def given(self, name: str) -> bool:
        """Does the file say it, and more than an empty text?"""
        return self.settings.get(name) not in (None, "")

    def take(self, name: str, key: str, value: object = None, why: str = "") -> None:
        """Carry a setting over as `key`, with another value where one is given. What no plan takes is left."""
        if name in self.done or (name not in self.settings and name not in self.defaults):
            return
        own = self.get(name)
        key = key.format(method=self.method)
        if key not in self.fields:
            self.leave(name, f"method {self.method} has nothing like it")
            return
        if value is None and own in (None, ""):
            self.leave(name, "it is empty there")
            return
        try:
            fitted, note = fit(self.fields[key], own if value is None else value)
        except ValueError as error:
            self.leave(name, str(error))
            return
        self.answers[key] = fitted
        self._say(Line(name, own, self._status(name, key, own, fitted), key, fitted, why or note))

    def leave(self, name: str, why: str) -> None:
        """Say that a setting is not carried over, and why; nothing of a default that the file does not say."""
        if name in self.settings and name not in self.done:
            self._say(Line(name, self.settings[name], "left", why=why))
        self.done.add(name)

    def add(self, key: str, value: object, why: str) -> None:
        """A value that follows from the tool and from no setting of its own."""
        if key in self.fields:
            self.answers[key] = value
            self.lines.append(Line("", None, "default", key, value, why))

    def rest(self) -> None:
        """Everything that nobody has read: by the table of other tools' names, or left as not known."""
        for name in [*self.settings, *self.defaults]:
            if name in self.done:
                continue
            plain = other_tools.plain_name(name.rpartition(".")[2])
            target = other_tools.KEYS.get(plain, "")
            if plain in other_tools.SWITCHES and self.get(name) is True:
                self.take(name, target, other_tools.SWITCHES[plain])
            elif plain in other_tools.SWITCHES:
                self.leave(name, "it is off or empty there")
            elif target and " " not in target:
                self.take(name, target)
            elif target:
                self.leave(name, target)
            elif self.settings.get(name) in (None, "", False, 0, [], {}, "0", "false"):
                self.leave(name, "it is off or empty there")
            else:
                self.leave(name, "nothing here is known to be like it")

    def finish(self) -> None:
        """Leave out what the plan's schedule does not read, and steps where epochs say the same."""
        schedule = SCHEDULES[str(self.answers.get("train.schedule", "constant"))]
        unread = {f"train.{name}" for row in SCHEDULES.values() for name in row.reads - schedule.reads}
        self._drop(unread, f"the schedule {schedule.name} does not read it")
        for epochs, steps in STEPS_OF.items():
            if self.answers.get(epochs):
                self._drop({steps}, f"{epochs} says it")

    def _drop(self, keys: set[str], why: str) -> None:
        """Take keys back; what the file said of them is left."""
        for key in keys & self.answers.keys():
            del self.answers[key]
        self.lines = [
            Line(line.name, line.value, "left", why=why) if line.key in keys else line
            for line in self.lines
            if line.key not in keys or line.status != "default"
        ]

    def _status(self, name: str, key: str, own: object, fitted: object) -> Status:
        if name not in self.settings:
            return "default"
        if not same(own, fitted):
            return "changed"
        return "same" if name.rpartition(".")[2] == key.rpartition(".")[2] else "renamed"

    def _say(self, line: Line) -> None:
        self.lines.append(line)
        self.done.add(line.name)


def fit(entry: PlanField, value: object) -> tuple[object, str]:
    """The value as the field takes it, and what is to be said of it. ValueError where it takes none like it."""
    if entry.choices:
        return _choice(entry, value)
    if entry.kind == "bool":
        return truth(value), ""
    if entry.kind in ("int", "float"):
        found = number(value)
        if entry.kind == "int" and found != int(found):
            raise ValueError(f"{shown(value)} is no whole number")
        _within(entry, found)
        return int(found) if entry.kind == "int" else float(found), ""
    if entry.kind == "list":
        return (value if isinstance(value, list) else [value]), ""
    if entry.kind == "tables":
        return value, ""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is no text")
    return (_NAME.sub("-", value).strip("-.") or "imported") if entry.key == "name" else value, ""


def _choice(entry: PlanField, value: object) -> tuple[object, str]:
    text = other_tools.plain_name(str(value))
    if text in entry.choices:
        return (int(text) if entry.kind == "int" else text), ""
    found, note = other_tools.value_for(entry.key, text)
    if not found:
        raise ValueError(note or f"{shown(value)} is not offered: {entry.key} is {entry.bounds_text}")
    return found, note


def _within(entry: PlanField, value: float) -> None:
    low = entry.minimum is not None and (
        value < entry.minimum or (entry.exclusive_minimum and value == entry.minimum)
    )
    high = entry.maximum is not None and (
        value > entry.maximum or (entry.exclusive_maximum and value == entry.maximum)
    )
    if low or high:
        raise ValueError(f"{value:g} is out of range here: {entry.key} is {entry.bounds_text}")


def same(one: object, other: object) -> bool:
    """Are they the same value, whatever it is written as?"""
    if isinstance(other, list) and not isinstance(one, list):
        return len(other) == 1 and same(one, other[0])
    try:
        if isinstance(other, bool):
            return truth(one) is other
        if isinstance(other, int | float):
            return math.isclose(number(one), float(other), rel_tol=1e-12)
    except ValueError:
        return False
    return one == other or other_tools.plain_name(str(one)) == str(other)


def number(value: object) -> float:
    """A number, or a text that is one; ValueError for another value."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{shown(value)} is no number")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{shown(value)} is no number") from None
    if not math.isfinite(found):
        raise ValueError(f"{shown(value)} is no finite number")
    return found


def truth(value: object) -> bool:
    """A truth value, or what tools write for one; ValueError for another value."""
    text = str(value).strip().lower()
    if isinstance(value, bool | int | float | str) and text in ("true", "1", "yes", "on"):
        return True
    if isinstance(value, bool | int | float | str) and text in ("false", "0", "no", "off", ""):
        return False
    raise ValueError(f"{shown(value)} is neither true nor false")


def side(value: object) -> int:
    """A number of pixels, "512", "768,512" or a list: the side of the square of the same area, a multiple of 8."""
    parts = value if isinstance(value, list) else str(value).replace("x", ",").split(",")
    sides = [number(part) for part in parts if str(part).strip()]
    if len(sides) not in (1, 2) or any(not 32 <= each <= 8192 for each in sides):
        raise ValueError(f"{shown(value)} is no size in pixels")
    return max(32, round(math.sqrt(sides[0] * sides[-1]) / 8) * 8)


def place(value: object, beside: Path) -> str:
    """A path as a file says it: in its own folder where it lies there, else as it stands, as a name of the hub."""
    text = str(value)
    near = beside / Path(text).expanduser()
    return str(near.resolve()) if not Path(text).is_absolute() and near.exists() else text


@dataclass(frozen=True)
class Tool:
    """A tool whose settings can be read. `of(content, path, method)` reads what the file, or the command, holds; none
    for what is not this tool's. `content` is what JSON, TOML or YAML gives, or the `Command` of a shell's line;
    `method` is the one that was asked for, or empty."""

    name: str
    title: str
    of: Callable[[Any, Path, str], Reading | None]


def methods() -> str:
    """The methods, for a message."""
    return ", ".join(METHODS)


def unknown_method(path: Path, why: str) -> UserError:
    return UserError(f"{path} does not say what is trained", why, f"say it: --set method=... ({methods()})")
