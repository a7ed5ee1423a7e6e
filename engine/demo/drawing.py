"""Anti-aliased masks of the world's shapes and textures, and how they are painted over one another."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Picture = NDArray[np.uint8]
"""Height x width x 3, RGB, 0..255."""
Rgb = tuple[int, int, int]

PERIOD = 8
"""Stripes and dots repeat every 8 pixels: one period to a latent cell, so that 8x8x4 latents can carry them."""
_OVERSAMPLE = 4

Points = list[tuple[float, float]]


def _star(cx: float, cy: float, r: float) -> Points:
    points = []
    for i in range(10):
        angle, reach = math.radians(36 * i - 90), 1.06 * r * (1.0 if i % 2 == 0 else 0.42)
        points.append((cx + reach * math.cos(angle), cy + 0.05 * r + reach * math.sin(angle)))
    return points


def _cross(cx: float, cy: float, r: float) -> Points:
    b = 0.34 * r
    quarter = [(b, -r), (b, -b), (r, -b)]
    points = []
    for _ in range(4):
        points += [(cx + x, cy + y) for x, y in quarter]
        quarter = [(-y, x) for x, y in quarter]
    return points


def _heart(cx: float, cy: float, r: float) -> Points:
    points = []
    for i in range(72):
        t = 2 * math.pi * i / 72
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((cx + r * x / 16, cy - r * (y + 2.5) / 15.5))
    return points


def draw_shape(
    draw: ImageDraw.ImageDraw, shape: str, cx: float, cy: float, r: float, fill: int = 255
) -> None:
    """Fill one shape whose bounding box has its middle at (cx, cy) and half-width r, in the canvas's pixels."""
    box = (cx - r, cy - r, cx + r, cy + r)
    if shape == "circle":
        draw.ellipse(box, fill=fill)
    elif shape == "ring":
        draw.ellipse(box, fill=fill)
        hole = 0.52 * r
        draw.ellipse((cx - hole, cy - hole, cx + hole, cy + hole), fill=0)
    elif shape == "square":
        side = 0.9 * r
        draw.rectangle((cx - side, cy - side, cx + side, cy + side), fill=fill)
    elif shape == "triangle":
        draw.polygon([(cx, cy - r), (cx + r, cy + 0.9 * r), (cx - r, cy + 0.9 * r)], fill=fill)
    elif shape == "diamond":
        draw.polygon([(cx, cy - r), (cx + 0.8 * r, cy), (cx, cy + r), (cx - 0.8 * r, cy)], fill=fill)
    else:
        outline = {"star": _star, "cross": _cross, "heart": _heart}[shape]
        draw.polygon(outline(cx, cy, r), fill=fill)


def shape_mask(shape: str, cx: float, cy: float, r: float, size: int = 64) -> NDArray[np.float32]:
    """Anti-aliased coverage of a shape, size x size, 0..1; centre and half-width in pixels of that picture."""
    k = _OVERSAMPLE
    canvas = Image.new("L", (size * k, size * k), 0)
    draw_shape(ImageDraw.Draw(canvas), shape, cx * k, cy * k, r * k)
    small = canvas.resize((size, size), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / 255.0


def shrunk(mask: NDArray[np.float32], by: float) -> NDArray[np.float32]:
    """Erode a soft mask by a disc of the given radius in pixels."""
    reach = int(np.ceil(by))
    padded = np.pad(mask, reach)
    result = mask.copy()
    height, width = mask.shape
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if dx * dx + dy * dy <= by * by:
                shifted = padded[reach + dy : reach + dy + height, reach + dx : reach + dx + width]
                result = np.minimum(result, shifted)
    return result


def ink_mask(texture: str, size: int = 64) -> NDArray[np.float32]:
    """Where a texture puts its ink, size x size, 0..1; the pattern is fixed to the picture's grid."""
    period = PERIOD * size / 64
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) + 0.5
    down, across = (y % period) - period / 2, (x % period) - period / 2
    ink: NDArray[np.float32] = np.zeros((size, size), dtype=np.float32)
    if texture == "striped":
        ink = np.clip(1.5 * size / 64 - np.abs(down) + 0.5, 0, 1).astype(np.float32)
    elif texture == "dotted":
        ink = np.clip(2.3 * size / 64 - np.hypot(down, across) + 0.5, 0, 1).astype(np.float32)
    return ink


def blend(base: NDArray[np.float32], colour: Rgb, alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """Paint one colour over a float picture (height x width x 3) where alpha (height x width) is 1."""
    paint = np.array(colour, dtype=np.float32)
    return (base + (paint - base) * alpha[..., None]).astype(np.float32)


def to_picture(values: NDArray[np.float32]) -> Picture:
    """Round a float picture to 8 bits."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
