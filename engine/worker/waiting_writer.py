"""Events and log lines that a full disk neither loses nor turns into an end."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

from engine.run.event import Event
from engine.run.events import EventWriteError, EventWriter
from engine.run.jsonl import Record

POLL_S = 1.0


class WaitingWriter(EventWriter):
    """An event writer that waits while the disk is full, unless `leaving` says that the engine must go."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.leaving: Callable[[], bool] = lambda: False

    def emit(self, event: Event) -> Record:
        told = False
        while True:
            try:
                return super().emit(event)
            except EventWriteError as error:
                if not error.disk_full or self.leaving():
                    raise
                if not told:
                    log(f"the disk is full; waiting to write {self.path.absolute()}")
                    told = True
            time.sleep(POLL_S)


def log(text: str) -> None:
    """A line for engine.log, which may lie on the full disk itself."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)
