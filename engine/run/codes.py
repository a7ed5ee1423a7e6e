"""The exit codes by which a worker tells its supervisor how it ended."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
FAILED: Final = 1
BAD_INPUT: Final = 2
STOPPED: Final = 3
OUT_OF_MEMORY: Final = 4
DISK_FULL: Final = 5
ALREADY_RUNNING: Final = 6
"""Only a supervisor returns this one: another engine holds the run's lock."""

_STATES: Final = {OUT_OF_MEMORY: "out-of-memory", DISK_FULL: "disk-full"}


def failed_state(code: int) -> str:
    """The `state` field of a `failed` event for a worker that left with `code`."""
    return _STATES.get(code, "failed")
