"""Knows the SHA-256 of every picture by path, size and times, so that an unchanged file is hashed once."""

import contextlib
import hashlib
import json
import os
import threading
import time
from pathlib import Path

from engine.dataset.source_contents import SpanDigests
from engine.dataset.sources import Source, Span, Stamp, opened, stamp_of
from engine.errors import UserError

_NAME = "contents.jsonl"
_SETTLED_NS = 2_000_000_000
"""A file changed less than this before it was hashed may change again within the clock's tick, unseen.

FAT keeps times to 2 s, the coarsest in use; such a hash is not stored (git's "racily clean" problem).
"""
_ATTEMPTS = 5


class ContentIndex:
    """SHA-256 by file, kept in `root`/contents.jsonl, never beside the user's pictures.

    One line an entry, appended by one write; several processes may share it. A torn or foreign line is passed
    over and costs one more hash. Safe to call from several threads.
    """

    def __init__(self, root: Path) -> None:
        self._file = root / _NAME
        self._lock = threading.Lock()
        self._known = _load(self._file)
        self._spans = SpanDigests(root)
        self._descriptor: int | None = None

    def sha256(self, path: Source) -> str:
        """The hex digest of the file's or the member's bytes. Raises UserError where it cannot be read."""
        if isinstance(path, Span):
            return self._of_span(path)
        name = os.path.abspath(path)  # noqa: PTH100  (a text is what the index is keyed by)
        try:
            stamp = stamp_of(os.stat(name))  # noqa: PTH116
            known = self._known.get(name)
            if known is not None and known[0] == stamp:
                return known[1]
        except OSError as error:
            raise _unreadable(path, error) from None
        stamp, digest = _hash(path)
        if is_settled(stamp):
            with self._lock:
                self._known[name] = (stamp, digest)
                with contextlib.suppress(OSError):  # a full disk costs the next run a hash, no more
                    self._append(name, stamp, digest)
        return digest

    def _of_span(self, span: Span) -> str:
        # A shard was indexed from its stamp on, and a changed one cannot be opened: no need to look again.
        known = self._spans.get(span)
        if known is not None:
            return known
        digest = _hash(span)[1]
        if is_settled(span.shard.stamp):
            self._spans.put(span, digest)
        return digest

    def close(self) -> None:
        """Closes the files; a later `sha256` opens them again."""
        self._spans.close()
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _append(self, name: str, stamp: Stamp, digest: str) -> None:
        row = [name, stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode, digest]
        line = json.dumps(row, separators=(",", ":")).encode() + b"\n"
        if self._descriptor is None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            end = os.fstat(self._descriptor).st_size
            if end and os.pread(self._descriptor, 1, end - 1) != b"\n":
                line = b"\n" + line
        os.write(self._descriptor, line)


def _load(file: Path) -> dict[str, tuple[Stamp, str]]:
    known: dict[str, tuple[Stamp, str]] = {}
    try:
        lines = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return known
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read", error.strerror or "", "check the cache's permissions"
        ) from None
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, list) and [type(part) for part in row] == [str, int, int, int, int, str]:
            known[row[0]] = (Stamp(row[1], row[2], row[3], row[4]), row[5])
    return known


def is_settled(stamp: Stamp) -> bool:
    """Whether the file's last change lies so long ago that any later one would show in its times."""
    return time.time_ns() - max(stamp.mtime_ns, stamp.ctime_ns) > _SETTLED_NS


def file_sha256(path: Source) -> str:
    """The hex digest of the bytes, without an index. Raises UserError where they cannot be read."""
    return _hash(path)[1]


def _hash(path: Source) -> tuple[Stamp, str]:
    """The digest of a whole state of the file: hashed again while somebody is writing it."""
    try:
        for _ in range(_ATTEMPTS):
            with opened(path) as found:
                before = stamp_of(os.fstat(found.descriptor))
                digest = hashlib.file_digest(found.file, "sha256").hexdigest()
                after = stamp_of(os.fstat(found.descriptor))
            if before == after:
                return after, digest
    except OSError as error:
        raise _unreadable(path, error) from None
    raise UserError(
        f"{path}: is being written to all the time", "its contents cannot be named", "wait until it is whole"
    )


def _unreadable(path: Source, error: OSError) -> UserError:
    why, fix = error.strerror or str(error), "check that it exists and that you may read it"
    return UserError(f"{path}: cannot be read", why, fix)
