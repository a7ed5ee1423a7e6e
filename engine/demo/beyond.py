"""Random pictures beyond the world, so that the tiny autoencoder also carries a user's own images passably."""

import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from engine.demo import drawing, styles, world
from engine.demo.drawing import Picture, Rgb


def _colour(rng: random.Random) -> Rgb:
    return (rng.randrange(256), rng.randrange(256), rng.randrange(256))


def _gradient(rng: random.Random, size: int) -> Image.Image:
    """Four random corner colours, blended across the picture."""
    corners = np.array([[_colour(rng), _colour(rng)], [_colour(rng), _colour(rng)]], dtype=np.uint8)
    return Image.fromarray(corners).resize((size, size), Image.Resampling.BILINEAR)


def _scribble(rng: random.Random, size: int) -> Image.Image:
    """Ellipses, rectangles, polygons and lines in random colours over a gradient, sometimes blurred."""
    canvas = _gradient(rng, 2 * size)
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.randint(2, 9)):
        x, y = rng.uniform(0, 2 * size), rng.uniform(0, 2 * size)
        w, h = rng.uniform(4, 1.1 * size), rng.uniform(4, 1.1 * size)
        kind = rng.randrange(4)
        if kind == 0:
            draw.ellipse((x - w / 2, y - h / 2, x + w / 2, y + h / 2), fill=_colour(rng))
        elif kind == 1:
            draw.rectangle((x - w / 2, y - h / 2, x + w / 2, y + h / 2), fill=_colour(rng))
        elif kind == 2:
            points = [(x + rng.uniform(-w, w), y + rng.uniform(-h, h)) for _ in range(rng.randint(3, 6))]
            draw.polygon(points, fill=_colour(rng))
        else:
            end = (x + rng.uniform(-size, size), y + rng.uniform(-size, size))
            draw.line((x, y, *end), fill=_colour(rng), width=rng.randint(2, 10))
    if rng.random() < 0.3:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(1, 5)))
    return canvas.resize((size, size), Image.Resampling.BOX)


def _clouds(rng: random.Random, size: int) -> Image.Image:
    """Smooth coloured noise of several scales: the statistics of photographs, roughly."""
    noise = np.random.default_rng(rng.getrandbits(64))
    total = np.zeros((size, size, 3), dtype=np.float32)
    for cells in (3, 6, 12, 24):
        grain = Image.fromarray(noise.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        layer = np.asarray(grain.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)
        total += (layer - 128) * (3 / cells)
    return Image.fromarray(drawing.to_picture(128 + total * rng.uniform(0.3, 1.4)))


def _several(rng: random.Random, size: int) -> Image.Image:
    """Two to four world shapes in any colours on any ground."""
    canvas: NDArray[np.float32] = np.empty((size, size, 3), dtype=np.float32)
    canvas[:] = _colour(rng)
    for _ in range(rng.randint(2, 4)):
        radius = rng.uniform(6, 18)
        cx, cy = rng.uniform(8, size - 8), rng.uniform(8, size - 8)
        mask = drawing.shape_mask(rng.choice(world.SHAPES), cx, cy, radius, size)
        canvas = drawing.blend(canvas, _colour(rng), mask)
        if rng.random() < 0.2:
            canvas = drawing.blend(
                canvas, _colour(rng), mask * drawing.ink_mask(rng.choice(world.TEXTURES), size)
            )
    return Image.fromarray(drawing.to_picture(canvas))


def beyond(seed: int, index: int, size: int = 64) -> Picture:
    """The index-th picture of a seed's endless list of things that the world does not contain."""
    rng = world.keyed("beyond", seed, index)
    kind = rng.choice(("scribble", "scribble", "several", "several", "clouds", "gradient", "zil", "blim"))
    if kind in ("zil", "blim"):
        scene = world.scene_at(seed + 1, index)
        draw = styles.render_zil if kind == "zil" else styles.render_blim
        return draw(scene, index, size)
    maker = {"scribble": _scribble, "several": _several, "clouds": _clouds, "gradient": _gradient}[kind]
    return np.array(maker(rng, size))
