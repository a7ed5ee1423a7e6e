"""All runs, looked at again and again: only what changed is read."""

from __future__ import annotations

from engine.run.listing import RunSummary, summary
from engine.run.lock import is_alive
from engine.run.paths import RunDir, list_runs

Key = tuple[int, int, bool]


class RunList:
    """Summaries of all runs, newest first. A run whose events did not grow and that is not alive is not read."""

    def __init__(self) -> None:
        self._known: dict[RunDir, tuple[Key, RunSummary]] = {}

    def look(self) -> list[RunSummary]:
        """The runs at this moment; one that may not be read is left out."""
        known: dict[RunDir, tuple[Key, RunSummary]] = {}
        for run in list_runs():
            try:
                key = _key(run)
                before = self._known.get(run)
                same = before is not None and before[0] == key and not key[2]
                known[run] = before if before is not None and same else (key, summary(run))
            except (PermissionError, FileNotFoundError):
                continue
        self._known = known
        return [found for _, found in known.values()]


def _key(run: RunDir) -> Key:
    try:
        status = run.events_file.stat()
    except FileNotFoundError:
        return 0, 0, is_alive(run)
    return status.st_size, status.st_mtime_ns, is_alive(run)
