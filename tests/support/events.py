"""Events of any kind with any fields, as another version or another program might write them."""

from __future__ import annotations

from engine.run.event import Event
from engine.run.jsonl import Record


def raw(kind: str, /, **fields: object) -> Event:
    """An event that is written with exactly these fields."""
    made: Event = type("Raw", (Event,), {"kind": kind, "written": lambda self: fields})()
    return made


def event(kind: str, t: float = 100.0, **fields: object) -> Record:
    """An event as a reader gets it."""
    return {"v": 1, "seq": 1, "t": t, "kind": kind, **fields}


def step(number: int, t: float | None = None, **fields: object) -> Record:
    """Update `number`, a second after the one before it, with a loss of 1 / number."""
    return event("step", 100.0 + number if t is None else t, step=number, **{"loss": 1 / number} | fields)
