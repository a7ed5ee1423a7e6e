"""The page docs/events.md: the lines of a run's two files, generated from their declarations."""

from __future__ import annotations

from engine.run import control, events
from engine.run.control_commands import COMMANDS
from engine.run.event import Declared, Fields
from engine.run.kinds import KINDS

EVENTS = f"""# Events and commands

<!-- generated: sdtrain schema --events > docs/events.md -->

A run's folder is its protocol: the engine appends to `events.jsonl`, everybody else appends to `control.jsonl`, and
any program may read both. One line is one JSON object, written at once. Read whole lines only, and pass over kinds and
fields that you do not know: both may be added. JSON has no NaN, so numbers that are not finite are the texts `"nan"`,
`"inf"` and `"-inf"`. Times are unix seconds.

## events.jsonl

Each event begins with `v` (the version of this format, {events.VERSION}), `seq` (its number in the file, from 1),
`t` (when it was written) and `kind`. What follows depends on the kind; optional fields are left out where there is
nothing to say.
"""

CONTROL = f"""## control.jsonl

Each command begins with `v` (the version of this format, {control.VERSION}), `id` (a text that no other command has),
`t` (when it was written) and `cmd`. A running engine answers each with `command` events of the same `id`. A command
that nobody heard is refused when the engine next starts.
"""


def markdown() -> str:
    """The whole page: every kind of event, then every command."""
    parts = [EVENTS, *(_section(name, kind) for name, kind in KINDS.items())]
    parts += [CONTROL, *(_section(name, command) for name, command in COMMANDS.items())]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _section(name: str, declared: type[Fields]) -> str:
    rows = [f"### {name}", "", *_paragraphs(declared.__doc__ or ""), ""]
    fields = declared.declared()
    if fields:
        rows += ["| field | type | meaning |", "|---|---|---|", *(_row(field) for field in fields)]
    return "\n".join(rows)


def _paragraphs(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def _row(field: Declared) -> str:
    optional = ", optional" if field.optional else ""
    about, unit = field.about
    meaning = about + (f" ({unit})" if unit and unit not in about else "")
    return f"| `{field.name}` | {_TYPES[field.type]}{optional} | {meaning} |"


_TYPES = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "true or false",
    "dict": "numbers by name",
}
