"""A run as others see it: the fold's view, the state that follows from it, and the time that is left."""

from __future__ import annotations

import math
from typing import Final

from engine.run.fold import fold
from engine.run.run_view import (
    CheckpointInfo,
    ExportInfo,
    Failure,
    Finish,
    LogLine,
    Pause,
    PreviewInfo,
    RunView,
    Stop,
    TrainableInfo,
    ValidationInfo,
    WarningInfo,
)
from engine.run.series import Column, Grown, StepSeries

__all__ = [
    "ENDED",
    "STATES",
    "CheckpointInfo",
    "Column",
    "ExportInfo",
    "Failure",
    "Finish",
    "Grown",
    "LogLine",
    "Pause",
    "PreviewInfo",
    "RunView",
    "StepSeries",
    "Stop",
    "TrainableInfo",
    "ValidationInfo",
    "WarningInfo",
    "eta_s",
    "fold",
    "seconds_per_step",
    "state",
]

STATES: Final = (
    "queued",
    "preparing",
    "running",
    "paused",
    "stalled",
    "stopped",
    "crashed",
    "out-of-memory",
    "disk-full",
    "failed",
    "finished",
)
ENDED: Final = frozenset({"stopped", "crashed", "out-of-memory", "disk-full", "failed", "finished"})
"""States that need a resume to go on; "disk-full" is also the state of a live run that waits for space."""

_PREPARING: Final = frozenset({"downloading", "loading", "caching"})
_STALLED_S: Final = 60.0
_PACE_WINDOW: Final = 500
_PREVIEWS_WINDOW: Final = 64


def state(view: RunView, alive: bool, now: float) -> str:
    """One of STATES. `alive` is whether the run's lock is held, `now` unix seconds.

    Look at the lock before reading the last events: the other way round, an engine that ends in
    between would look crashed.

    Stalled is: alive, neither paused nor ended, and silent for 60 s, or for five steps where one
    step takes longer than 12 s.
    """
    if view.finished is not None:
        return "finished"
    if view.failed is not None:
        return view.failed.state
    if view.stopped is not None:
        return "stopped"
    if view.last_event_at is None:
        return "preparing" if alive else "queued"
    if not alive:
        return "crashed"
    if view.paused is not None:
        return "disk-full" if view.paused.reason == "disk-full" else "paused"
    if now - view.last_event_at > max(_STALLED_S, 5 * (seconds_per_step(view) or 0.0)):
        return "stalled"
    return "preparing" if view.phase in _PREPARING or not view.phase else "running"


def seconds_per_step(view: RunView) -> float | None:
    """The mean time of an update over the last 500 since the last pause or restart; None before two of them.

    Sampling and saving in between are part of it, as they are part of the time that is left.
    """
    times = view.steps.t[max(view.pace_from, len(view.steps) - _PACE_WINDOW) :]
    if len(times) < 2:
        return None
    pace = (times[-1] - times[0]) / (len(times) - 1)
    return pace if math.isfinite(pace) and pace >= 0 else None


def eta_s(view: RunView, now: float) -> float | None:
    """Seconds until the last step and its previews, at the pace of the last ones; None while it cannot be known."""
    left = view.total_steps - view.step
    last = 0.0 if view.finished is not None else _previews_s(view)
    if view.total_steps and left <= 0:
        return max(0.0, last - max(now - view.steps.t[-1], 0.0)) if last and len(view.steps) else 0.0
    pace = seconds_per_step(view)
    if pace is None or left < 0 or not view.total_steps:
        return None
    since = min(max(now - view.steps.t[-1], 0.0), pace)
    return left * pace - since + last


def _previews_s(view: RunView) -> float:
    """Seconds that a round of previews takes, the mean of the last ones; 0 before the first after a step."""
    ends: dict[int, float] = {}
    for preview in view.previews[-_PREVIEWS_WINDOW:]:
        ends[preview.step] = max(preview.t, ends.get(preview.step, preview.t))
    took = []
    for step, end in ends.items():
        at = view.steps.index_after(step) - 1
        if at >= 0 and view.steps.step[at] == step:
            took.append(end - view.steps.t[at])
    mean = sum(took) / len(took) if took else 0.0
    return mean if math.isfinite(mean) and mean > 0 else 0.0
