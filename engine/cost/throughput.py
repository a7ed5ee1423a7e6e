"""How fast earlier runs went on this machine: what a forecast of time comes from."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Iterator, Sequence
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

# Two runs that agree in these compute at like speed, operation by operation.
DEVICE = ("train.precision", "hardware.device", "hardware.threads", "hardware.compile")
# A run's speed depends on these; two runs that agree in all of them go at the same speed.
SAME = (
    "method",
    "base.model",
    "data.resolution",
    "data.more_resolutions",
    "train.batch_size",
    "hardware.gradient_checkpointing",
    *DEVICE,
)
_HEAD, _TAIL = 64 << 10, 256 << 10
_ENOUGH = 5
_RUNS = 50


@dataclass(frozen=True)
class Run:
    """An earlier run: pictures a second, as it measured them on its last steps."""

    name: str
    plan: Plan
    images_per_s: float


def measured_throughput(plan: Plan, root: Path | None = None) -> Run | None:
    """The newest run on this machine that equals the plan in everything that sets the speed."""
    return next((run for run in runs_here(plan, SAME, root) if run.plan.options == plan.options), None)


def runs_here(plan: Plan, same: Sequence[str] = DEVICE, root: Path | None = None) -> Iterator[Run]:
    """Runs on this machine, newest first, that equal the plan in these keys and got far enough to tell a speed."""
    for run in list_runs(root)[:_RUNS]:
        earlier = _plan_of(run)
        if earlier is None or any(value_at(plan, key) != value_at(earlier, key) for key in same):
            continue
        speeds = _images_per_s(run)
        if len(speeds) >= _ENOUGH:
            yield Run(run.name, earlier, statistics.median(speeds))


def _plan_of(run: RunDir) -> Plan | None:
    """The plan of a run on this machine; none for another's, or one that cannot be read."""
    started = [event for event in head(run.events_file, _HEAD) if event.get("kind") == "started"]
    if not started or started[0].get("host") != platform.node():
        return None
    try:
        return from_dict(parse(read_text(run.plan_file)), stored=True)
    except UserError:
        return None


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
