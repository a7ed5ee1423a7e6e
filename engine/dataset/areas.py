"""Which sizes a picture is trained at: one of each area that it fills."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.dataset import buckets

if TYPE_CHECKING:
    from engine.dataset.report import Item

FILLS = 1.1
"""So far a picture may be enlarged for an area that is one of several; what is enlarged further teaches its blur."""
Limits = tuple[int, int]
"""The shortest and the longest side of a bucket in pixels; 0 is half and twice the resolution."""
FREE: Limits = (0, 0)


@dataclass(frozen=True, slots=True)
class Areas:
    """The resolutions that pictures are trained at, the first being that of previews; with `bucket` off as squares.
    `step` is the sizes' step in pixels (default: by the resolution)."""

    resolutions: tuple[int, ...]
    bucket: bool = True
    limits: Limits = FREE
    step: int | None = None

    def sizes_of(self, width: int, height: int) -> tuple[buckets.Size, ...]:
        """The sizes of a width x height picture, the first being its main one; at least one.

        One of each area that it fills; of an area that it does not fill only where it fills none, which is then the
        smallest. A single area takes every picture.
        """
        if len(self.resolutions) == 1:
            return (self.at(width, height, self.resolutions[0]),)
        sizes = {side: self.at(width, height, side) for side in self.resolutions}
        filled = [size for size in sizes.values() if buckets.upscale(width, height, size) <= FILLS]
        return tuple(dict.fromkeys(filled)) or (sizes[min(sizes)],)

    def at(self, width: int, height: int, resolution: int) -> buckets.Size:
        """The picture's size at one of the resolutions."""
        if not self.bucket:
            return resolution, resolution
        smallest, largest = (limit or None for limit in self.limits)
        return buckets.assign(width, height, resolution, self.step, smallest, largest)


def at_each_size(items: Iterable[Item]) -> tuple[Item, ...]:
    """The pictures at their main sizes, in their order, and behind them those that have more sizes at these."""
    items = tuple(items)

    def again() -> Iterator[Item]:
        for item in items:
            for size in item.more_sizes:
                yield replace(item, size=size, more_sizes=(), again=True)

    return (*items, *again())
