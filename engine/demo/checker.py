"""Reads colour, shape, place, texture and background back off a picture of the world, blurred or not.

The picture is split from its background (estimated at the border); the colour is voted by the object's chromatic
core pixels; the shape is the best match among blurred masks of all shapes, normalised to the bounding box.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.demo import drawing, world
from engine.demo.drawing import Picture
from engine.demo.world import Scene

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_GRID = 24
"""Masks are compared at 24 x 24."""
_MINIMUM_PIXELS = 60
"""Anything smaller, in a 64-pixel picture, is not an object: the smallest shape covers 190."""
_PALETTE: Floats = np.array(list(world.COLOURS.values()), dtype=np.float32)


@dataclass(frozen=True)
class Reading:
    """What a picture shows. `colour` and `shape` are empty strings where no object was found."""

    colour: str
    shape: str
    position: str
    texture: str
    background: str
    confidence: float
    """0..1: the smaller of the shape's match and the colour's share of the vote."""

    def agrees(self, scene: Scene) -> dict[str, bool]:
        """Attribute by attribute, whether this is what the scene asks for."""
        names = ("colour", "shape", "position", "texture", "background")
        return {name: getattr(self, name) == getattr(scene, name) for name in names}


NOTHING = Reading("", "", "centre", "solid", "", 0.0)


def _at_64(picture: Picture) -> Picture:
    if picture.shape[:2] == (64, 64):
        return picture
    return np.asarray(Image.fromarray(picture).resize((64, 64), Image.Resampling.BOX))


def border_colour(picture: Picture) -> Floats:
    """The median colour of the outermost two pixels (RGB, 0..255)."""
    strips = (picture[:2], picture[-2:], picture[:, :2], picture[:, -2:])
    middle: Floats = np.median(np.concatenate([s.reshape(-1, 3) for s in strips]), axis=0).astype(np.float32)
    return middle


def neighbours(mask: Mask, keep_all: bool) -> Mask:
    """One step of erosion (keep_all) or dilation with the 3 x 3 square."""
    padded = np.pad(mask, 1, constant_values=keep_all)
    height, width = mask.shape
    views = [padded[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)]
    result: Mask = np.logical_and.reduce(views) if keep_all else np.logical_or.reduce(views)
    return result


def _largest_piece(mask: Mask) -> Mask:
    """The largest connected piece, after bridging gaps of two pixels; found by spreading labels."""
    joined = neighbours(mask, keep_all=False)
    labels = np.where(joined, np.arange(1, joined.size + 1).reshape(joined.shape), 0)
    while True:
        padded = np.pad(labels, 1)
        spread = np.maximum.reduce(
            [labels, padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
        )
        spread = np.where(joined, spread, 0)
        if np.array_equal(spread, labels):
            break
        labels = spread
    counts = np.bincount(labels[mask & (labels > 0)].ravel())
    return mask & (labels == int(counts.argmax())) if counts.size else mask


def object_mask(picture: Picture, ground: Floats) -> tuple[Floats, Mask]:
    """Soft coverage of the object (0..1) and its solid part, both 64 x 64."""
    distance = np.linalg.norm(picture.astype(np.float32) - ground, axis=-1)
    strong = float(np.percentile(distance, 97))
    level = min(max(34.0, 0.42 * strong), 48.0)  # 48: half the distance of pink on sand, the closest pair
    solid = distance > level
    piece = _largest_piece(solid) if solid.any() else solid
    reach = neighbours(neighbours(piece, False), False)
    soft = np.clip(distance / (2 * level), 0, 1) * reach
    return soft.astype(np.float32), piece


def _box(mask: Mask) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive) of a mask, ignoring rows and columns with a single pixel."""
    rows = np.flatnonzero(mask.sum(1) > 1)
    columns = np.flatnonzero(mask.sum(0) > 1)
    if not rows.size or not columns.size:
        return 0, 0, mask.shape[1], mask.shape[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _normalised(mask: Floats, box: tuple[int, int, int, int]) -> Floats:
    """The mask's box stretched to 24 x 24, minus its mean, with unit length."""
    image = Image.fromarray(mask).resize((_GRID, _GRID), Image.Resampling.BILINEAR, box=box)
    values: Floats = np.asarray(image, dtype=np.float32)
    values = values - values.mean()
    values /= max(float(np.linalg.norm(values)), 1e-6)
    return values


def _blurred(mask: Floats, times: int) -> Floats:
    for _ in range(times):
        padded = np.pad(mask, 1, mode="edge")
        height, width = mask.shape
        views = [padded[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)]
        mask = (sum(views[1:], views[0]) / 9).astype(np.float32)
    return mask


@cache
def _templates(outlined: bool) -> tuple[tuple[str, Floats], ...]:
    """Normalised masks of every shape at three sizes and two blurs; or of its 3.6-pixel outline."""
    found = []
    for shape in world.SHAPES:
        for radius in world.SIZES.values():
            for blur in (0, 1):
                mask = drawing.shape_mask(shape, 32, 32, radius)
                mask = _blurred(mask * (1 - drawing.shrunk(mask, 3.6)) if outlined else mask, blur)
                found.append((shape, _normalised(mask, _box(mask > 0.5))))
    return tuple(found)


def read_shape(soft: Floats, solid: Mask, outlined: bool = False) -> tuple[str, float]:
    """The best shape for a mask and its correlation with that shape's template (-1..1)."""
    found = _normalised(soft, _box(solid))
    scores = [(float((found * template).sum()), shape) for shape, template in _templates(outlined)]
    best, shape = max(scores)
    return shape, best


def read_colour(picture: Picture, solid: Mask) -> tuple[str, float]:
    """The palette colour most of the object's inner pixels are nearest to, and its share of the vote."""
    core = neighbours(solid, keep_all=True)
    pixels = picture[core if core.sum() >= 20 else solid].astype(np.float32)
    chroma = pixels.max(1) - pixels.min(1)
    if not chroma.size or float(np.percentile(chroma, 90)) < 45:
        return "", 0.0
    pixels = pixels[chroma >= 0.7 * float(np.percentile(chroma, 90))]
    distance = np.linalg.norm(pixels[:, None] - _PALETTE, axis=-1)
    votes = np.bincount(distance.argmin(1), minlength=len(_PALETTE))
    best = int(votes.argmax())
    return list(world.COLOURS)[best], float(votes[best] / votes.sum())


def _read_texture(picture: Picture, solid: Mask, colour: str) -> str:
    """Fold the object's inner pixels over the texture period and compare with where each texture has its ink."""
    core = neighbours(solid, keep_all=True)
    if core.sum() < 40 or not colour:
        return "solid"
    values = picture.astype(np.float32)
    ink = np.linalg.norm(values - np.median(values[core & ~_inked()], axis=0), axis=-1)
    bare = float(ink[core & ~_inked()].mean())
    contrast: dict[str, float] = {}
    for texture in ("striped", "dotted"):
        area = core & (drawing.ink_mask(texture) > 0.8)
        contrast[texture] = float(ink[area].mean()) - bare if area.any() else 0.0
    between = core & (drawing.ink_mask("striped") > 0.8) & (drawing.ink_mask("dotted") < 0.2)
    stripes = float(ink[between].mean()) - bare if between.any() else 0.0
    if max(contrast.values()) < 45:
        return "solid"
    return "striped" if stripes > 0.5 * contrast["dotted"] else "dotted"


@cache
def _inked() -> Mask:
    """Pixels that either texture may ink."""
    return (drawing.ink_mask("striped") > 0.05) | (drawing.ink_mask("dotted") > 0.05)


def _read_position(solid: Mask) -> str:
    left, top, right, bottom = _box(solid)
    dx, dy = (left + right) / 2 - 32, (top + bottom) / 2 - 32
    if math.hypot(dx, dy) < 5.5:
        return "centre"
    if abs(dx) > abs(dy):
        return "left" if dx < 0 else "right"
    return "top" if dy < 0 else "bottom"


def _read_background(ground: Floats) -> str:
    names = list(world.BACKGROUNDS)
    table = np.array([world.BACKGROUNDS[name] for name in names], dtype=np.float32)
    return names[int(np.linalg.norm(table - ground, axis=1).argmin())]


def read_picture(array: Picture) -> Reading:
    """Read an RGB picture (H x W x 3, 0..255, any size) as a scene of the world."""
    picture = _at_64(array)
    ground = border_colour(picture)
    soft, solid = object_mask(picture, ground)
    if solid.sum() < _MINIMUM_PIXELS:
        return NOTHING
    shape, match = read_shape(soft, solid)
    colour, share = read_colour(picture, solid)
    return Reading(
        colour=colour,
        shape=shape,
        position=_read_position(solid),
        texture=_read_texture(picture, solid, colour),
        background=_read_background(ground),
        confidence=max(0.0, min(match, share)),
    )
