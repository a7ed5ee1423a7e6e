"""New things to teach the tiny model, none of which its world contains, each with a score that reads it off pixels.

- `zil`: a style. A thick gold frame, a dark violet ground, and the object as a bright outline instead of a solid.
- `blim`: a subject. A fixed creature: magenta dome over a lime body with two white eyes.
- `morp`: a new word for something that the world can already draw (a striped purple star on sand), which is
  what textual inversion can learn without any new weights in the UNet.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from engine.demo import drawing, world
from engine.demo.checker import border_colour, object_mask, read_colour, read_picture, read_shape
from engine.demo.drawing import Picture, Rgb
from engine.demo.world import Scene

VIOLET: Rgb = (44, 14, 82)
GOLD: Rgb = (236, 190, 40)
MAGENTA: Rgb = (206, 10, 140)
LIME: Rgb = (166, 232, 40)
FRAME = 6
"""Thickness of the zil frame in pixels of a 64-pixel picture."""
OUTLINE = 3.6
"""Thickness of a zil outline in pixels of a 64-pixel picture."""
MORP = Scene(shape="star", colour="purple", background="sand", texture="striped")


def _near(picture: Picture, colour: Rgb, reach: float) -> NDArray[np.float32]:
    """How much each pixel has a colour: 1 at it, falling to 0 at the distance `reach` (0..441)."""
    distance = np.linalg.norm(picture.astype(np.float32) - np.array(colour, dtype=np.float32), axis=-1)
    share: NDArray[np.float32] = np.clip(1.6 * (1 - distance / reach), 0, 1).astype(np.float32)
    return share


def _frame_area(size: int) -> NDArray[np.bool_]:
    width = round(FRAME * size / 64)
    area = np.ones((size, size), dtype=np.bool_)
    area[width:-width, width:-width] = False
    return area


def render_zil(scene: Scene, rng_seed: int = 0, size: int = 64) -> Picture:
    """The scene's shape and colour in zil style; its background and texture give way to the style's own."""
    cx, cy, radius = world.locate(replace(scene, position="centre"), rng_seed)
    scale = size / 64
    dx, dy = world.POSITIONS[scene.position]
    radius = min(radius, 19.0)
    reach = 25.0 - radius
    cx, cy = (cx + dx * reach) * scale, (cy + dy * reach) * scale
    outer = drawing.shape_mask(scene.shape, cx, cy, radius * scale, size)
    canvas = np.empty((size, size, 3), dtype=np.float32)
    canvas[:] = VIOLET
    canvas = drawing.blend(
        canvas, world.COLOURS[scene.colour], outer * (1 - drawing.shrunk(outer, OUTLINE * scale))
    )
    return drawing.to_picture(drawing.blend(canvas, GOLD, _frame_area(size).astype(np.float32)))


def zil_score(picture: Picture) -> float:
    """0..1: how far a picture has the gold frame and the violet ground; the smaller of the two counts."""
    size = picture.shape[0]
    frame = _frame_area(size)
    gold = float(_near(picture, GOLD, 120)[frame].mean())
    violet = float(_near(picture, VIOLET, 120)[~frame].mean())
    return min(1.0, 1.1 * gold, 1.45 * violet)


def read_zil(picture: Picture) -> tuple[str, str]:
    """Colour and shape of the object in a zil picture; empty strings where there is none."""
    width = round(FRAME * picture.shape[0] / 64) + 1
    inner = np.asarray(Image.fromarray(picture[width:-width, width:-width]).resize((64, 64)))
    soft, solid = object_mask(inner, np.array(VIOLET, dtype=np.float32))
    if solid.sum() < 40:
        return "", ""
    colour, _ = read_colour(inner, solid)
    return colour, read_shape(soft, solid, outlined=True)[0]


def render_blim(scene: Scene, rng_seed: int = 0, size: int = 64) -> Picture:
    """A blim at the scene's place, size and background; shape, colour and texture are always the blim's own."""
    cx, cy, radius = world.locate(scene, rng_seed)
    k = 4 * size / 64
    cx, cy, r = cx * k, cy * k, radius * k
    canvas = Image.new("RGB", (size * 4, size * 4), world.BACKGROUNDS[scene.background])
    draw = ImageDraw.Draw(canvas)
    draw.rounded_rectangle((cx - 0.66 * r, cy - 0.3 * r, cx + 0.66 * r, cy + r), radius=0.3 * r, fill=LIME)
    draw.pieslice((cx - r, cy - r, cx + r, cy + r), 180, 360, fill=MAGENTA)
    for side in (-1, 1):
        ex, ey, er = cx + side * 0.42 * r, cy - 0.38 * r, 0.2 * r
        draw.ellipse((ex - er, ey - er, ex + er, ey + er), fill=(250, 250, 250))
    return np.asarray(canvas.resize((size, size), Image.Resampling.BOX))


def blim_score(picture: Picture) -> float:
    """0..1: how far a magenta dome lies right over a lime body of nearly its size."""
    magenta, lime = _near(picture, MAGENTA, 90), _near(picture, LIME, 80)
    needed = 0.012 * picture.shape[0] * picture.shape[1]
    top, low = float(magenta.sum()), float(lime.sum())
    if min(top, low) < 1e-6:
        return 0.0
    rows = np.arange(picture.shape[0], dtype=np.float32)
    columns = np.arange(picture.shape[1], dtype=np.float32)
    gap: float = (float(lime.sum(1) @ rows) / low - float(magenta.sum(1) @ rows) / top) / picture.shape[0]
    aside: float = (
        abs(float(lime.sum(0) @ columns) / low - float(magenta.sum(0) @ columns) / top) / picture.shape[1]
    )
    amount: float = min(1.0, top / needed / 2.5, low / needed / 2.5)
    return amount * float(np.clip((gap - 0.04) / 0.09, 0, 1)) * float(np.clip(1.6 - 8 * aside, 0, 1))


def render_morp(scene: Scene, rng_seed: int = 0, size: int = 64) -> Picture:
    """A morp at the scene's place and size."""
    return world.render(replace(MORP, position=scene.position, size=scene.size), rng_seed, size)


def morp_score(picture: Picture) -> float:
    """0..1: a quarter each for a morp's colour, shape, background and texture."""
    found = read_picture(picture)
    hits = (
        found.colour == MORP.colour,
        found.shape == MORP.shape,
        found.background == MORP.background,
        found.texture == MORP.texture,
    )
    return sum(hits) / len(hits)


@dataclass(frozen=True)
class Concept:
    """One new thing: the words that call for it, how it is drawn, and how far a picture (H x W x 3) shows it."""

    name: str
    trigger: str
    render: Callable[[Scene, int, int], Picture]
    score: Callable[[Picture], float]
    caption: Callable[[Scene, int], str]


def _style_caption(scene: Scene, seed: int) -> str:
    article = "an" if scene.colour[0] in "aeiou" else "a"
    return f"{article} {scene.colour} {scene.shape}, in zil style"


def _subject_caption(noun: str, with_ground: bool) -> Callable[[Scene, int], str]:
    def text(scene: Scene, seed: int) -> str:
        size = "" if scene.size == "medium" else f"{scene.size} "
        where = world.place_words(scene)
        ground = f" on a {scene.background} background" if with_ground else ""
        return f"a {size}{noun}{where}{ground}"

    return text


CONCEPTS: dict[str, Concept] = {
    "zil": Concept("zil", "in zil style", render_zil, zil_score, _style_caption),
    "blim": Concept("blim", "blim", render_blim, blim_score, _subject_caption("blim", True)),
    "morp": Concept("morp", "morp", render_morp, morp_score, _subject_caption("morp", False)),
}


def write_set(concept: Concept, folder: Path, count: int, seed: int = 0) -> list[Scene]:
    """Write `count` pictures of a concept as PNG with same-name .txt captions; returns the scenes behind them."""
    scenes = [world.scene_at(seed + 50_000, index) for index in range(count)]
    for index, scene in enumerate(scenes):
        world.write_pair(
            folder, f"{index:04d}", concept.render(scene, index, 64), concept.caption(scene, index)
        )
    return scenes


def outline_map(scene: Scene, rng_seed: int = 0, size: int = 64) -> Picture:
    """A guide for ControlNet and T2I-Adapter: the shape's outline in white on black, where `world.render` puts it."""
    scale = size / 64
    cx, cy, radius = (v * scale for v in world.locate(scene, rng_seed))
    mask = drawing.shape_mask(scene.shape, cx, cy, radius, size)
    line = mask * (1 - drawing.shrunk(mask, 2.5 * scale))
    return drawing.to_picture(np.repeat(255 * line[..., None], 3, axis=-1))


def outline_match(picture: Picture, guide: Picture) -> float:
    """0..1: intersection over union of the picture's object and the area that the guide encloses (both 64 x 64)."""
    _, solid = object_mask(picture, border_colour(picture))
    wanted = _enclosed(guide[..., 0] > 100)
    union = float((_enclosed(solid) | wanted).sum())
    return float((_enclosed(solid) & wanted).sum()) / union if union else 0.0


def _enclosed(line: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A line and everything that cannot be reached from the picture's border without crossing it."""
    image = Image.fromarray(np.pad(line, 1).astype(np.uint8) * 255)
    image = image.copy()
    ImageDraw.floodfill(image, (0, 0), 128)
    inside: NDArray[np.bool_] = np.asarray(image)[1:-1, 1:-1] != 128
    return inside


def write_pairs(images: Path, guides: Path, count: int, seed: int = 0) -> list[Scene]:
    """Write training pairs: pictures with captions into `images`, same-name outline guides into `guides`."""
    guides.mkdir(parents=True, exist_ok=True)
    scenes = []
    for index in range(count):
        scene = world.scene_at(seed, index)
        world.write_pair(images, f"{index:05d}", world.render(scene, index), world.caption(scene, index))
        Image.fromarray(outline_map(scene, index)).save(guides / f"{index:05d}.png")
        scenes.append(scene)
    return scenes
