"""Another plan for a run that nobody works in: its file is replaced whole, and its events say what changed."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import UserError
from engine.files import write_atomic
from engine.run.events import EventWriter
from engine.run.kinds import Replanned
from engine.run.lock import RunLock
from engine.run.paths import RunDir, handle


def replan(run: RunDir, plan_toml: str, changes: Sequence[Replanned]) -> None:
    """Write the plan and tell the changes; the plan as it was is kept below `plans`.

    UserError where an engine holds the run.
    """
    lock = RunLock(run.lock_file)
    if not lock.acquire():
        raise UserError(
            f"{run.name} is in use",
            "its plan is read when it starts",
            f"stop it first: sdtrain stop {handle(run)}",
        )
    try:
        run.earlier_plans.mkdir(exist_ok=True)
        number = sum(1 for _ in run.earlier_plans.iterdir()) + 1
        write_atomic(run.earlier_plans / f"{number:04d}.toml", run.plan_file.read_bytes())
        write_atomic(run.plan_file, plan_toml)
        with EventWriter(run.events_file) as events:
            for change in changes:
                events.emit(change)
    finally:
        lock.release()
