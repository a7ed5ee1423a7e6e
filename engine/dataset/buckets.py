"""Chooses for each picture the training size, of about equal area, that cuts away least of it."""

import math
from bisect import bisect_left
from functools import lru_cache

from engine.errors import UserError

Size = tuple[int, int]

FINE_RESOLUTION = 128
"""Up to this resolution sizes go in steps of 8 pixels, because steps of 64 would leave only squares."""


def default_step(resolution: int) -> int:
    """The step of the sizes in pixels: 64, or less where the resolution is small or no multiple of 64.

    Raises UserError where the resolution is no multiple of 8, which the VAE of every family here needs.
    """
    if resolution < 8 or resolution % 8:
        raise UserError(
            f"data.resolution: {resolution} is not a multiple of 8",
            why="the VAE makes one latent pixel out of 8 x 8 picture pixels",
            fix=f"use {max(8, round(resolution / 8) * 8)}",
        )
    if resolution <= FINE_RESOLUTION:
        return 8
    return next(step for step in (64, 32, 16, 8) if resolution % step == 0)


@lru_cache(maxsize=64)
def sizes(
    resolution: int, step: int | None = None, smallest: int | None = None, largest: int | None = None
) -> tuple[Size, ...]:
    """All (width, height) by rising aspect ratio: multiples of `step`, area at most resolution squared.

    Sides go from `smallest` (default: half the resolution) to `largest` (default: twice the resolution).
    For each width only the greatest height that fits is kept, and the other way round.
    """
    step = default_step(resolution) if step is None else step
    smallest = max(step, (resolution // 2 if smallest is None else smallest) // step * step)
    largest = max(smallest, (resolution * 2 if largest is None else largest) // step * step)
    area = resolution * resolution
    found: set[Size] = set()
    for side in range(smallest, largest + 1, step):
        other = min(area // side // step * step, largest)
        if other >= smallest:
            found |= {(side, other), (other, side)}
    if not found:
        found.add((max(step, resolution // step * step),) * 2)
    return tuple(sorted(found, key=lambda size: (size[0] / size[1], size[0])))


@lru_cache(maxsize=64)
def _ratios(table: tuple[Size, ...]) -> list[float]:
    return [math.log(width / height) for width, height in table]


@lru_cache(maxsize=16384)
def assign(
    width: int,
    height: int,
    resolution: int,
    step: int | None = None,
    smallest: int | None = None,
    largest: int | None = None,
) -> Size:
    """The size of `sizes(...)` whose aspect ratio is nearest to width / height on a logarithmic scale.

    Of two that are equally near the one of greater area, then of greater width, is taken.
    `width` and `height` are those of the upright picture, in pixels.
    """
    table = sizes(resolution, step, smallest, largest)
    ratios = _ratios(table)
    ratio = math.log(width / height)
    at = bisect_left(ratios, ratio)
    near = table[max(0, at - 2) : at + 2]

    def badness(size: Size) -> tuple[float, int, int]:
        return (round(abs(math.log(size[0] / size[1]) - ratio), 12), -size[0] * size[1], -size[0])

    return min(near, key=badness)


def upscale(width: int, height: int, size: Size) -> float:
    """How many times a width x height picture is enlarged to cover `size`; 1 or less: it is large enough."""
    return max(size[0] / width, size[1] / height)


def cut(width: int, height: int, size: Size) -> float:
    """The part of the picture's area, 0 to 1, that lies outside `size` once the picture covers it."""
    scale = upscale(width, height, size)
    return max(0.0, 1.0 - (size[0] * size[1]) / (width * scale * height * scale))
