"""Opens a picture wherever it lies, a file of its own or a stretch of a tar shard, and reads it by offset."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.files import open_plain

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


@dataclass(frozen=True, slots=True)
class Stamp:
    """What of a file's status changes with its contents; no tool that keeps mtime can keep ctime too."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Shard:
    """The tar file `root`/`rel` as it was when indexed: offsets into it hold only while its stamp does."""

    root: str
    rel: str
    stamp: Stamp

    @property
    def path(self) -> str:
        """Where it lies."""
        return f"{self.root}/{self.rel}"


@dataclass(frozen=True, slots=True)
class Span:
    """`length` bytes of a shard from `offset` on: one member. `name` is the shard's `rel`, "/", its own."""

    shard: Shard
    offset: int
    length: int
    name: str

    def __str__(self) -> str:
        return f"{self.shard.root}/{self.name}"


Source = Path | str | Span


@dataclass(frozen=True, slots=True)
class Stretch:
    """An open source: as a file, and by offset. Offsets count from the source's own first byte."""

    file: io.BufferedReader[Any]
    size: int
    descriptor: int
    offset: int

    def pread(self, count: int, at: int) -> bytes:
        """At most `count` bytes from `at` on, less only at the end."""
        return os.pread(self.descriptor, max(0, min(count, self.size - at)), self.offset + at)


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp in a file's status."""
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@contextmanager
def opened(source: Source) -> Iterator[Stretch]:
    """The source, open for reading. Raises OSError; also where a shard is no more what it was when indexed."""
    if not isinstance(source, Span):
        with os.fdopen(open_plain(source), "rb") as file:
            yield Stretch(file, os.fstat(file.fileno()).st_size, file.fileno(), 0)
        return
    descriptor = open_plain(source.shard.path)
    try:
        now, then = os.fstat(descriptor), source.shard.stamp
        # Not ctime: a chmod or a hard link in the middle of a run changes no byte.
        if (now.st_size, now.st_mtime_ns) != (then.size, then.mtime_ns):
            raise OSError(0, "the shard was changed after it was indexed")
        window = io.BufferedReader(_Window(descriptor, source.offset, source.length))
        yield Stretch(window, source.length, descriptor, source.offset)
    finally:
        os.close(descriptor)


class _Window(io.RawIOBase):
    """A stretch of an open file as a file; it has no descriptor of its own, so no library reads beyond it."""

    def __init__(self, descriptor: int, offset: int, length: int) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._length = length
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = (0, self._at, self._length)[whence]
        if base + offset < 0:
            raise OSError(22, "a place before the start")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        count = max(0, min(len(view), self._length - self._at))
        read = os.preadv(self._descriptor, [view[:count]], self._offset + self._at) if count else 0
        self._at += read
        return read
