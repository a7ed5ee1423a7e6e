"""Finds out what a data path is: a folder of pictures, a folder of tar shards, one shard, or a brace pattern."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from engine.dataset import advice
from engine.dataset.beside import MASKS
from engine.dataset.findings import Finding
from engine.dataset.walk import Listing, compressed_shard, is_shard, walk

MAX_SHARDS = 100_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")


@dataclass(frozen=True, slots=True)
class DataLocation:
    """What was found: names in the listing are relative to `root`."""

    root: Path
    listing: Listing
    problems: list[Finding]


def look(path: Path, recursive: bool, without: Collection[Path] = (), masks: bool = False) -> DataLocation:
    """The pictures, captions and shards that `path` stands for, with what is wrong with it.

    `without` are folders that are passed over where they lie inside. With `masks` those that lie there are used, so
    that nothing is said of them.
    """
    if path.is_dir():
        listing = walk(path, recursive, without)
        if masks:
            listing.left_out = [one for one in listing.left_out if one.kind is not MASKS]
        if listing.shards and not listing.pictures:
            _leave_notes_out(listing)
        return DataLocation(path, listing, [*listing.problems, *advice.about_listing(path, listing)])
    if path.is_file() and is_shard(path.name):
        return DataLocation(path.parent, Listing(shards=[path.name]), [])
    if not path.exists() and (_BRACES.search(str(path)) is not None):
        return _pattern(path)
    return DataLocation(path, Listing(), advice.about_path(path))


def _leave_notes_out(listing: Listing) -> None:
    """Beside shards lie tables and notes about them (img2dataset writes a .parquet each); captions are inside."""
    listing.captions.clear()
    listing.problems[:] = [
        problem
        for problem in listing.problems
        if problem.code != "unsupported" or compressed_shard(problem.file)
    ]


def _pattern(path: Path) -> DataLocation:
    """The shards of a pattern, in its order; those that are not there are named."""
    parts = path.absolute().parts
    first = next(number for number, part in enumerate(parts) if _BRACES.search(part))
    root = Path(*parts[:first])
    names = expand("/".join(parts[first:]))
    if names is None:
        why, fix = f"it stands for more than {MAX_SHARDS:,} files", "correct the range"
        return DataLocation(
            root, Listing(), [advice.say("error", "pattern", ".", "the pattern is too long", why, fix)]
        )
    listing, problems = Listing(), list[Finding]()
    missing: list[str] = []
    for name in names:
        if not is_shard(name):
            problems += [advice.no_shard(name)]
        elif (root / name).is_file():
            listing.shards.append(name)
        else:
            missing.append(name)
    if missing:
        problems.append(advice.shards_missing(missing, len(names)))
    return DataLocation(root, listing, problems)


def expand(pattern: str) -> list[str] | None:
    """The texts that a pattern stands for: {00..09} counts with its zeros, {a,b} names each; none: too many."""
    pieces: list[list[str]] = []
    count, at = 1, 0
    for found in _BRACES.finditer(pattern):
        choices = _choices(found[1])
        count *= len(choices)
        if count > MAX_SHARDS:
            return None
        pieces += [[pattern[at : found.start()]], choices]
        at = found.end()
    pieces.append([pattern[at:]])
    return list(dict.fromkeys("".join(parts) for parts in itertools.product(*pieces)))


def _choices(inside: str) -> list[str]:
    """What one pair of braces stands for; at most one more than MAX_SHARDS."""
    ends = _RANGE.fullmatch(inside)
    if ends is None:
        return inside.split(",") if "," in inside else [f"{{{inside}}}"]
    low, high = int(ends[1]), int(ends[2])
    padded = any(end.startswith("0") and len(end) > 1 for end in ends.groups())
    width = max(map(len, ends.groups())) if padded else 0
    step = 1 if low <= high else -1
    numbers = itertools.islice(range(low, high + step, step), MAX_SHARDS + 1)
    return [f"{number:0{width}}" for number in numbers]
