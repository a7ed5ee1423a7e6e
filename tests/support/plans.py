"""Machines and plans of the plan tests; nothing here needs torch or a GPU."""

from __future__ import annotations

from pathlib import Path

from engine.cost.machine import Gpu, Machine
from engine.plan.files import from_dict
from engine.plan.overrides import put
from engine.plan.schema import Plan

GIB = 2**30


def card(gigabytes: float, capability: tuple[int, int] = (9, 0)) -> Machine:
    """A machine with one card of that size."""
    memory = int(gigabytes * GIB)
    return Machine((Gpu(0, "Test Card", "GPU-1", memory, memory, capability),), "", "1.0", 8, 64 * GIB)


def make_plan(pictures: Path, **changes: object) -> Plan:
    """A plan without problems on the tiny model; `changes` name fields with `__` for the dot."""
    values: dict[str, object] = {
        "name": "test",
        "base.model": "builtin:tiny",
        "data.path": str(pictures),
        "data.resolution": 64,
        "train.steps": 100,
        "train.batch_size": 2,
        "samples.every": 25,
        "checkpoints.every": 50,
    }
    values |= {key.replace("__", "."): value for key, value in changes.items()}
    tables: dict[str, object] = {}
    for key, value in values.items():
        put(tables, key, value)
    return from_dict(tables)
