"""One line about each run, from the two ends of its events: as fast for a million steps as for ten."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.files import read_plain
from engine.run.jsonl import head, select, tail
from engine.run.kinds import Resumed, Started, Validation
from engine.run.lock import is_alive
from engine.run.paths import RunDir, list_runs
from engine.run.view import Failure, RunView, fold, state

_HEAD = 16 << 10
_TAIL = 48 << 10
_FAR = 1 << 20
"""How far back a validation is looked for: some 7,000 steps."""
_VALIDATIONS = frozenset({Validation.kind, Resumed.kind, Started.kind})
LARGEST_PLAN = 1_000_000
MOST_DOTS = 200


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in a list; `loss` is None before the first step, `updated` the unix time of its last event.

    `best_step` is the one with the lowest loss of held-out pictures, `best_loss`; none where nothing was validated.
    """

    name: str
    path: Path
    state: str
    method: str
    step: int
    total: int
    loss: float | None
    updated: float
    best_step: int | None = None
    best_loss: float | None = None


def summaries(root: Path | None = None) -> list[RunSummary]:
    """All runs below `root` (default: runs_root()) that may be read, the newest activity first."""
    found = []
    now = time.time()
    for run in list_runs(root):
        with contextlib.suppress(PermissionError):
            found.append(summary(run, now))
    return found


def summary(run: RunDir, now: float | None = None) -> RunSummary:
    """The summary of one run; reads 64 KiB of its events, and looks for validations in the last MiB."""
    alive = is_alive(run)  # before reading: see `state`
    view, whole = _ends(run.events_file)
    plan = _plan(run)
    steps = plan.get("train")
    planned = steps.get("steps") if isinstance(steps, dict) else None
    total = view.total_steps
    # The last `started` may lie in the part that was not read, and a resume may have changed the plan.
    if isinstance(planned, int) and (not total or not whole):
        total = planned
    loss = view.loss if view.loss is None or not math.isnan(view.loss) else None
    return RunSummary(
        name=run.name,
        path=run.path,
        state=state(view, alive, time.time() if now is None else now),
        method=view.method or str(plan.get("method", "")),
        step=view.step,
        total=total,
        loss=loss,
        updated=view.last_event_at or _changed(run.plan_file),
        best_step=None if view.best is None else view.best[0],
        best_loss=None if view.best is None else view.best[1],
    )


def _ends(path: Path) -> tuple[RunView, bool]:
    """The view after both ends of the file, and whether that was all of it."""
    try:
        return _read_ends(path)
    except PermissionError:
        raise
    except FileNotFoundError:
        return RunView(), True
    except OSError:  # a folder, a link to itself, a disk that fails
        return RunView(failed=Failure(0.0, f"{path.name} cannot be read")), True


def _read_ends(path: Path) -> tuple[RunView, bool]:
    size = path.stat().st_size
    if size <= _HEAD + _TAIL:
        return fold(tail(path, size)), True
    view = fold(head(path, _HEAD))
    view.pace_from = len(view.steps)  # the speed must not be measured across what was left out
    # So must the best step: what the head says of it may be long out of date.
    view.validations = fold(select(path, _VALIDATIONS, start=max(0, size - _FAR))).validations
    return fold(tail(path, _TAIL), view), False


def _plan(run: RunDir) -> Mapping[str, object]:
    import tomllib  # 3 ms, which a list without runs does not need

    try:
        text = read_plain(run.plan_file, LARGEST_PLAN).decode()
        # A key of thousands of parts takes time and memory by the square of them.
        long = any(line.partition("=")[0].count(".") > MOST_DOTS for line in text.splitlines())
        return {} if long else tomllib.loads(text)
    except PermissionError:
        raise
    except (OSError, ValueError, RecursionError):
        return {}


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
