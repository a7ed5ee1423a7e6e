"""What a training tells, written into the run's events; its progress is where people are listened to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.train.watch import Watch

if TYPE_CHECKING:
    from engine.worker.states import State


class RunWatch(Watch):
    """Writes what a training tells into the run's events. Progress is where people are listened to, by the state
    that the worker is in: resolution stages are cached while the training goes on."""

    def __init__(self, state: State) -> None:
        self.state = state

    def phase(self, phase: str, text: str = "") -> None:
        self.state.telling.phase(phase, text)

    def progress(self, text: str, done: int, total: int) -> None:
        self.state.progress(text, done, total)

    def trainables(self, table: Mapping[str, tuple[int, int]]) -> None:
        self.state.telling.trainables(table)

    def warning(self, code: str, text: str) -> None:
        self.state.telling.warning(code, text)
