"""Follows a growing text file by whole lines, from near its end."""

from __future__ import annotations

import os
from pathlib import Path

from engine.files import opened_plain


class Tail:
    """Reads the last part of a file first, then what is added; a file that was replaced or cut starts anew."""

    def __init__(self, path: Path, first_bytes: int = 65_536) -> None:
        self._path = path
        self._first_bytes = first_bytes
        self._offset: int | None = None
        self._inode = 0

    def poll(self, max_bytes: int = 262_144) -> list[str]:
        """The whole lines that are new, at most about `max_bytes` of them; empty while there is no file."""
        try:
            with opened_plain(self._path) as file:
                return self._read(file.fileno(), max_bytes)
        except OSError:
            return []

    def _read(self, fd: int, max_bytes: int) -> list[str]:
        status = os.fstat(fd)
        if self._offset is None or status.st_ino != self._inode or status.st_size < self._offset:
            self._inode = status.st_ino
            self._offset = max(0, status.st_size - self._first_bytes)
            torn = self._offset > 0
        else:
            torn = False
        data = os.pread(fd, max_bytes, self._offset)
        end = data.rfind(b"\n") + 1
        if end == 0:
            if len(data) < max_bytes:
                return []
            end = len(data)  # a line longer than a read comes in pieces
        self._offset += end
        # Only a newline ends a line: splitlines would also break at \r, form feeds and Unicode's separators.
        lines = data[:end].decode("utf-8", "replace").removesuffix("\n").split("\n")
        return lines[1:] if torn else lines
