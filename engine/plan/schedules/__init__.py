"""Each learning rate schedule; a new one is its file and one line here."""

from typing import TYPE_CHECKING, Literal

from engine.plan.schedules import constant, cosine, linear
from engine.plan.schedules.base import Schedule

_FILES = (constant, linear, cosine)
SCHEDULES: dict[str, Schedule] = {file.SCHEDULE.name: file.SCHEDULE for file in _FILES}

if TYPE_CHECKING:
    ScheduleName = str
else:
    ScheduleName = Literal[tuple(SCHEDULES)]

__all__ = ["SCHEDULES", "Schedule", "ScheduleName"]
