"""Each learning rate schedule; a new one is its file and one line here."""

from typing import TYPE_CHECKING, Literal

from engine.plan.schedules import (
    constant,
    cosine,
    cosine_with_restarts,
    inverse_sqrt,
    linear,
    piecewise_constant,
    polynomial,
    rex,
    warmup_stable_decay,
)
from engine.plan.schedules.base import Schedule

_FILES = (
    constant,
    linear,
    cosine,
    cosine_with_restarts,
    polynomial,
    rex,
    inverse_sqrt,
    warmup_stable_decay,
    piecewise_constant,
)
SCHEDULES: dict[str, Schedule] = {file.SCHEDULE.name: file.SCHEDULE for file in _FILES}
SCHEDULE_TEXT = ", ".join(f"{row.name} ({row.help})" for row in SCHEDULES.values())

if TYPE_CHECKING:
    ScheduleName = str
else:
    ScheduleName = Literal[tuple(SCHEDULES)]

__all__ = ["SCHEDULES", "SCHEDULE_TEXT", "Schedule", "ScheduleName"]
