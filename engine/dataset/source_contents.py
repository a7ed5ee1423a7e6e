"""Keeps the SHA-256 of shards' members on disk, one small file a shard, so that each member is hashed once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from pathlib import Path

from engine import keys
from engine.dataset.sources import Shard, Span

FOLDER = "shards"
_LINE = re.compile(rb"(\d{1,15}) (\d{1,15}) ([0-9a-f]{64})")


def shard_key(shard: Shard) -> str:
    """A name for this state of this shard: a changed one has another."""
    stamp = shard.stamp
    facts = (shard.path, stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode)
    return hashlib.sha256(keys.encode(facts)).hexdigest()[:32]


class SpanDigests:
    """Digests by shard, offset and length in `root`/shards/KEY.sha256.

    One line a member, appended by one write; several processes may share it, and a torn line costs one more
    hash. 32 bytes a digest are held in memory, 0.1 kB with the dict. Safe to call from several threads.
    """

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER
        self._lock = threading.Lock()
        self._known: dict[Shard, dict[tuple[int, int], bytes]] = {}
        self._open: dict[Shard, int] = {}

    def get(self, span: Span) -> str | None:
        """The hex digest, where it is known."""
        with self._lock:
            known = self._known.get(span.shard)
            if known is None:
                known = self._known[span.shard] = _load(self._file(span.shard))
        found = known.get((span.offset, span.length))
        return None if found is None else found.hex()

    def put(self, span: Span, digest: str) -> None:
        """Remember a digest; a full disk costs the next run a hash, no more."""
        line = f"{span.offset} {span.length} {digest}\n".encode()
        with self._lock:
            self._known.setdefault(span.shard, {})[span.offset, span.length] = bytes.fromhex(digest)
            with contextlib.suppress(OSError):
                os.write(self._descriptor(span.shard), line)

    def close(self) -> None:
        """Closes the files."""
        with self._lock:
            for descriptor in self._open.values():
                os.close(descriptor)
            self._open.clear()

    def _file(self, shard: Shard) -> Path:
        return self._folder / f"{shard_key(shard)}.sha256"

    def _descriptor(self, shard: Shard) -> int:
        """The shard's file for appending; only one is open at a time, as members are hashed in order."""
        if shard not in self._open:
            for descriptor in self._open.values():
                os.close(descriptor)
            self._open.clear()
            file = self._file(shard)
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._open[shard] = descriptor
            end = os.fstat(descriptor).st_size
            if end and os.pread(descriptor, 1, end - 1) != b"\n":
                os.write(descriptor, b"\n")
        return self._open[shard]


def _load(file: Path) -> dict[tuple[int, int], bytes]:
    known: dict[tuple[int, int], bytes] = {}
    try:
        raw = file.read_bytes()
    except OSError:
        return known
    for line in raw.split(b"\n"):
        if found := _LINE.fullmatch(line):
            known[int(found[1]), int(found[2])] = bytes.fromhex(found[3].decode())
    return known
