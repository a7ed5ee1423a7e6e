"""Waiting out a full disk: nothing learned is lost while somebody frees space."""

from __future__ import annotations

import shutil
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
                    print(f"the disk is full; waiting to write {self.path}", file=sys.stderr, flush=True)
                    told = True
            time.sleep(POLL_S)


def free_bytes(path: Path) -> int:
    """What a user may still write where `path` lies."""
    return shutil.disk_usage(path).free


def wait_for_space(path: Path, needed: int, go_on: Callable[[], bool]) -> None:
    """Return once `needed` bytes are free at `path`, or `go_on` says that waiting is over."""
    while free_bytes(path) < needed and not go_on():
        time.sleep(POLL_S)
