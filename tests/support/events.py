"""Events of any kind with any fields, as another version or another program might write them."""

from __future__ import annotations

from engine.run.event import Event


def raw(kind: str, /, **fields: object) -> Event:
    """An event that is written with exactly these fields."""
    made: Event = type("Raw", (Event,), {"kind": kind, "written": lambda self: fields})()
    return made
