"""The run's story: one JSON object a line, written by the engine alone and read by everyone."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import Final, Self

from engine.files import is_disk_full
from engine.run.event import Event
from engine.run.jsonl import CHUNK, JsonLineReader, Record, decode_line, encode
from engine.run.kinds import LAST_WORDS

VERSION: Final = 1
_OWN: Final = frozenset({"v", "seq", "t", "kind"})
_SEARCH_LIMIT: Final = 64 << 20


class EventWriteError(OSError):
    """An event could not be written whole; the file stays readable and a later event may succeed."""

    @property
    def disk_full(self) -> bool:
        return is_disk_full(self)


class EventWriter:
    """Appends events with one `os.write` each; numbers go on from the last event in the file.

    The caller holds the run's lock: there is one writer at a time. Threads may share a writer. Do
    not call it from a signal handler, which could interrupt a write of its own thread.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o666)
        self._lock = threading.Lock()
        self._seq, self._torn = _last_seq(self._fd)

    @property
    def seq(self) -> int:
        """The number of the last event; 0 before the first."""
        return self._seq

    def emit(self, event: Event) -> Record:
        """Write one event and return it as readers will see it.

        Raises EventWriteError; `disk_full` tells a full disk from other failures. The last event of
        a run (finished, stopped, failed) is also brought to the disk by fsync, 4 ms on a plain SSD.
        """
        fields = event.written()
        assert not _OWN & fields.keys(), f"an event has its own {sorted(_OWN)}"
        with self._lock:
            head: Record = {
                "v": VERSION,
                "seq": self._seq + 1,
                "t": round(time.time(), 4),
                "kind": event.kind,
            }
            line, written = encode(head | fields)
            self._append(line)
            self._seq += 1
        if event.kind in LAST_WORDS:
            self.sync()
        return written

    def _append(self, line: bytes) -> None:
        # A torn line of an earlier writer is closed first, in the same write.
        data = b"\n" + line if self._torn else line
        try:
            done = os.write(self._fd, data)
        except OSError as error:
            raise EventWriteError(error.errno, error.strerror, str(self.path)) from error
        if done == len(data):
            self._torn = False
            return
        if done:
            self._torn = data[done - 1] != 0x0A
            # Only the newline is missing: closing the line will make this event whole.
            self._seq += done == len(data) - 1
        raise EventWriteError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def sync(self) -> None:
        """Bring everything written so far to the disk."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some file systems have no fsync
                raise EventWriteError(error.errno, error.strerror, str(self.path)) from error

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_event(record: Record) -> bool:
    return type(record.get("kind")) is str


def _last_seq(fd: int) -> tuple[int, bool]:
    """The number of the last readable event (0 without one), and whether the last line lacks its newline."""
    size = os.fstat(fd).st_size
    block = 1 << 16
    torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
    while True:
        start = max(0, size - block)
        lines = os.pread(fd, size - start, start).split(b"\n")
        for line in reversed(lines[1:] if start else lines):
            record = decode_line(line) if line else None
            if record is not None and _is_event(record) and type(record.get("seq")) is int:
                return record["seq"], torn
        if not start or block >= _SEARCH_LIMIT:
            return 0, torn
        block *= 4


class EventReader:
    """Reads the events that were added since the last call; see JsonLineReader for what is skipped."""

    def __init__(self, path: Path, *, offset: int = 0) -> None:
        self._lines = JsonLineReader(path, offset=offset)

    @property
    def generation(self) -> int:
        """Grows when the file was replaced or cut: fold from an empty view again."""
        return self._lines.generation

    @property
    def skipped(self) -> int:
        """How many lines were no event so far."""
        return self._lines.skipped

    @property
    def offset(self) -> int:
        """The byte after the last whole line that was read."""
        return self._lines.offset

    def poll(self, max_bytes: int = CHUNK) -> list[Record]:
        """The next events, from about `max_bytes` at most; an empty list means nothing new by now."""
        while records := self._lines.poll(max_bytes):
            events = [record for record in records if _is_event(record)]
            self._lines.skipped += len(records) - len(events)
            if events:
                return events
        return []
