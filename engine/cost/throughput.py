"""How fast earlier runs went on this machine: the only source of a time forecast."""

from __future__ import annotations

import platform
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.plan.files import from_dict
from engine.plan.reading import parse, read_text
from engine.plan.schema import Plan
from engine.run.event import as_float
from engine.run.jsonl import head, tail
from engine.run.paths import RunDir, list_runs

# A run's speed depends on these; two runs that agree in all of them go at the same speed.
SAME = (
    "method",
    "base.model",
    "data.resolution",
    "train.batch_size",
    "train.precision",
    "hardware.device",
    "hardware.gradient_checkpointing",
    "hardware.threads",
    "hardware.compile",
)
_HEAD, _TAIL = 64 << 10, 256 << 10
_ENOUGH = 5
_RUNS = 50


@dataclass(frozen=True)
class Throughput:
    """Pictures a second, as the named run measured it on its last steps."""

    images_per_s: float
    run: str


def measured_throughput(plan: Plan, root: Path | None = None) -> Throughput | None:
    """The speed of the newest run on this machine that equals the plan in everything that sets the speed."""
    for run in list_runs(root)[:_RUNS]:
        if not _alike(plan, run):
            continue
        speeds = _images_per_s(run)
        if len(speeds) >= _ENOUGH:
            return Throughput(statistics.median(speeds), run.name)
    return None


def _alike(plan: Plan, run: RunDir) -> bool:
    started = [event for event in head(run.events_file, _HEAD) if event.get("kind") == "started"]
    if not started or started[0].get("host") != platform.node():
        return False
    try:
        data = parse(read_text(run.plan_file))
        earlier = from_dict(data, stored=True)
    except UserError:
        return False
    return (
        all(value_at(plan, key) == value_at(earlier, key) for key in SAME) and plan.options == earlier.options
    )


def value_at(plan: Plan, key: str) -> Any:
    """The value of a dotted key."""
    value: Any = plan
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _images_per_s(run: RunDir) -> list[float]:
    steps = [event for event in tail(run.events_file, _TAIL) if event.get("kind") == "step"]
    # The first steps of a run also pay for warming up, so only the later half of what is there counts.
    speeds = [as_float(event.get("images_per_s")) for event in steps[len(steps) // 2 :]]
    return [speed for speed in speeds if speed > 0 and speed != float("inf")]
