"""Which pictures are held out of a training: chosen by their names under a key, whatever order they are found in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine import keys
from engine.dataset.names import nfc
from engine.dataset.report import Item


def name_of(item: Item) -> str:
    """What a picture is known by where its draws must not change: its path in its folder or shard."""
    return nfc(item.rel)


def ranked(items: Sequence[Item], seed: int) -> list[Item]:
    """The pictures in the order of their keys, which follow from seed and name alone."""
    return sorted(
        items, key=lambda item: (keys.key(seed, "held-out", name_of(item)), item.rel, str(item.folder))
    )


def apart(
    items: Sequence[Item], share: float, most: int, seed: int
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """The pictures to train on, in their order, and those held out, in the order of their keys.

    Of each set its share is held out, rounded, but never its last picture; of all of them `most` at most.
    """
    sets: dict[tuple[Path, object], list[Item]] = {}
    for item in items:
        sets.setdefault((item.folder, item.treatment), []).append(item)
    taken = [
        item
        for own in sets.values()
        for item in ranked(own, seed)[: min(len(own) - 1, int(len(own) * share + 0.5))]
    ]
    held = tuple(ranked(taken, seed)[:most])
    gone = {id(item) for item in held}
    return tuple(item for item in items if id(item) not in gone), held
