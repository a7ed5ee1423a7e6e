"""Keeps what was found in a shard below the cache root, so that a second look reads one small file a shard."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

from engine import keys
from engine.dataset.contents import is_settled
from engine.dataset.findings import Finding
from engine.dataset.images import Header
from engine.dataset.shards import Sample, ShardContents, read_shard
from engine.dataset.source_contents import FOLDER
from engine.dataset.sources import Shard, Span, Stamp, stamp_of
from engine.files import write_atomic

VERSION = 4
"""Raise it when the same shard would be read differently: other samples, captions or findings."""


def shard_contents(root: Path, rel: str, cache: Path) -> ShardContents:
    """What the shard `root`/`rel` holds, from `cache` where it is unchanged by path, size and times.

    `root` is absolute. A cache that cannot be written to costs the next look a whole pass over the headers.
    """
    file = cache / FOLDER / f"{_name(root, rel)}.json"
    try:
        stamp = stamp_of(os.stat(root / rel))  # noqa: PTH116  (a stamp is made of its times)
    except OSError:
        return read_shard(root, rel)  # which says why
    shard = Shard(str(root), rel, stamp)
    if (known := _load(file, shard)) is not None:
        return known
    found = read_shard(root, rel)
    own = found.samples[0].picture.shard if found.samples else shard
    if is_settled(own.stamp):
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, json.dumps(_rows(own, found), separators=(",", ":")))
    return found


def _name(root: Path, rel: str) -> str:
    return hashlib.sha256(keys.encode((str(root), rel))).hexdigest()[:32]


def _rows(shard: Shard, found: ShardContents) -> dict[str, Any]:
    """Columns, which take half of what rows would, and tables of what repeats."""
    samples, skip = found.samples, len(shard.rel) + 1
    headers = list(dict.fromkeys(sample.header for sample in samples))
    sources = list(dict.fromkeys(sample.source for sample in samples))
    header_at = {header: at for at, header in enumerate(headers)}
    source_at = {source: at for at, source in enumerate(sources)}
    return {
        "version": VERSION,
        "shard": [shard.root, shard.rel],
        "stamp": list(astuple(shard.stamp)),
        "pictures": found.pictures,
        "problems": [asdict(problem) for problem in found.problems],
        "header_table": [astuple(header) for header in headers],
        "source_table": sources,
        "names": [sample.picture.name[skip:] for sample in samples],
        "offsets": [sample.picture.offset for sample in samples],
        "lengths": [sample.picture.length for sample in samples],
        "headers": [header_at[sample.header] for sample in samples],
        "captions": [sample.caption for sample in samples],
        "sources": [source_at[sample.source] for sample in samples],
        "conditions": [_place(sample.condition, skip) for sample in samples],
        "masks": [_place(sample.mask, skip) for sample in samples],
    }


def _place(span: Span | None, skip: int) -> list[int | str] | None:
    return None if span is None else [span.offset, span.length, span.name[skip:]]


def _load(file: Path, shard: Shard) -> ShardContents | None:
    """What the file says of exactly this shard; none where it is missing, damaged, or of an older state."""
    try:
        rows = json.loads(file.read_bytes())
        if rows["version"] != VERSION or rows["shard"] != [shard.root, shard.rel]:
            return None
        if Stamp(*rows["stamp"]) != shard.stamp:
            return None
        return ShardContents(
            _samples(rows, shard), rows["pictures"], [Finding(**problem) for problem in rows["problems"]]
        )
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _samples(rows: dict[str, Any], shard: Shard) -> list[Sample]:
    headers = [Header(*row) for row in rows["header_table"]]
    sources: list[str] = rows["source_table"]

    def span(offset: int, length: int, name: str) -> Span:
        return Span(shard, offset, length, f"{shard.rel}/{name}")

    columns = ("offsets", "lengths", "names", "headers", "captions", "sources", "conditions", "masks")
    return [
        Sample(
            span(offset, length, name),
            headers[header],
            caption,
            sources[source],
            None if condition is None else span(*condition),
            None if mask is None else span(*mask),
        )
        for offset, length, name, header, caption, source, condition, mask in zip(
            *(rows[column] for column in columns), strict=True
        )
    ]
