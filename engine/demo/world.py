"""A generated world of captioned 64-pixel pictures: one coloured, textured shape on a plain background.

Everything is a pure function of its seed, so a training set never has to be stored or downloaded, and
every attribute that a caption names can be read back off the pixels by `engine.demo.checker`.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from engine.demo.drawing import Picture as Picture
from engine.demo.drawing import Rgb, blend, ink_mask, shape_mask, to_picture

COLOURS: dict[str, Rgb] = {
    "red": (222, 26, 30),
    "orange": (255, 138, 12),
    "yellow": (252, 226, 28),
    "green": (28, 158, 56),
    "cyan": (20, 202, 216),
    "blue": (34, 68, 222),
    "purple": (134, 36, 172),
    "pink": (255, 122, 186),
    "brown": (128, 72, 30),
}
BACKGROUNDS: dict[str, Rgb] = {
    "white": (246, 246, 246),
    "black": (18, 18, 20),
    "grey": (128, 128, 128),
    "sky": (176, 214, 244),
    "sand": (232, 212, 172),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "heart", "diamond", "ring")
POSITIONS: dict[str, tuple[int, int]] = {
    "centre": (0, 0),
    "left": (-1, 0),
    "right": (1, 0),
    "top": (0, -1),
    "bottom": (0, 1),
}
TEXTURES = ("solid", "striped", "dotted")
SIZES: dict[str, float] = {"small": 12.5, "medium": 16.5, "large": 21.0}
"""Half the width of the shape's bounding box, in pixels of a 64-pixel picture."""

DARK_INK: Rgb = (16, 16, 24)
LIGHT_INK: Rgb = (244, 244, 240)


@dataclass(frozen=True)
class Scene:
    """What one picture shows. Every field is one of the names in this module's tables."""

    shape: str
    colour: str
    background: str
    position: str = "centre"
    texture: str = "solid"
    size: str = "medium"


def keyed(*key: object) -> random.Random:
    """A generator that depends on nothing but the key; the same on every platform and Python version."""
    return random.Random("/".join(str(part) for part in key))


def locate(scene: Scene, rng_seed: int) -> tuple[float, float, float]:
    """Where the shape lies in a 64-pixel picture: centre x, centre y, half-width, with a small keyed jitter."""
    rng = keyed("place", rng_seed)
    radius = SIZES[scene.size] + rng.uniform(-1.0, 1.0)
    reach = min(14.0, 31.0 - radius)
    dx, dy = POSITIONS[scene.position]
    jitter = 1.5
    cx = 32 + dx * reach + rng.uniform(-jitter, jitter)
    cy = 32 + dy * reach + rng.uniform(-jitter, jitter)
    return cx, cy, radius


def ink_for(background: str) -> Rgb:
    """Ink that never has the background's colour, so that a textured shape keeps its outline."""
    return LIGHT_INK if background == "black" else DARK_INK


def render(scene: Scene, rng_seed: int = 0, size: int = 64) -> Picture:
    """Draw a scene. `rng_seed` moves only the small jitter of place, size and shade."""
    cx, cy, radius = locate(scene, rng_seed)
    scale = size / 64
    rng = keyed("shade", rng_seed)
    canvas = np.empty((size, size, 3), dtype=np.float32)
    canvas[:] = [v + rng.uniform(-5, 5) for v in BACKGROUNDS[scene.background]]
    mask = shape_mask(scene.shape, cx * scale, cy * scale, radius * scale, size)
    r, g, b = (round(v + rng.uniform(-8, 8)) for v in COLOURS[scene.colour])
    canvas = blend(canvas, (r, g, b), mask)
    canvas = blend(canvas, ink_for(scene.background), mask * ink_mask(scene.texture, size))
    return to_picture(canvas)


def scene_at(seed: int, index: int) -> Scene:
    """The index-th scene of a seed's endless list; held-out combinations are skipped."""
    rng = keyed("scene", seed, index)
    while True:
        scene = _draw_scene(rng)
        if not is_held_out(scene):
            return scene


def _draw_scene(rng: random.Random) -> Scene:
    return Scene(
        shape=rng.choice(SHAPES),
        colour=rng.choice(list(COLOURS)),
        background=rng.choice(list(BACKGROUNDS)),
        position=rng.choices(list(POSITIONS), weights=[2, 1, 1, 1, 1])[0],
        texture=rng.choices(TEXTURES, weights=[3, 1, 1])[0],
        size=rng.choices(list(SIZES), weights=[1, 2, 1])[0],
    )


def is_held_out(scene: Scene) -> bool:
    """True for the sixth of all (colour, shape, background) combinations that no training picture shows."""
    colour = list(COLOURS).index(scene.colour)
    shape = SHAPES.index(scene.shape)
    background = list(BACKGROUNDS).index(scene.background)
    return (colour + 3 * shape + 2 * background) % 6 == 0


_LEADS = ("", "", "", "a picture of ", "a drawing of ", "an image of ")
_PLACES: dict[str, tuple[str, ...]] = {
    "centre": (" in the centre", " in the middle"),
    "left": (" on the left", " at the left"),
    "right": (" on the right", " at the right"),
    "top": (" at the top", " on top"),
    "bottom": (" at the bottom",),
}
_GROUNDS = (
    " on a {} background",
    " on a {} background",
    " on {}",
    " with a {} background",
    " in front of {}",
)


def _with_article(words: list[str]) -> str:
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article, *words])


def caption(scene: Scene, seed: int) -> str:
    """Say what a scene shows, in one of many wordings; place, background, texture and size may go unsaid."""
    rng = keyed("caption", seed)
    words: list[str] = []
    if scene.size != "medium" and rng.random() < 0.8:
        words.append(scene.size)
    words_texture = scene.texture if scene.texture != "solid" else rng.choice(("solid", "plain"))
    if rng.random() < (0.9 if scene.texture != "solid" else 0.2):
        words.append(words_texture)
    omit = rng.random()
    if omit > 0.03:
        words.append(scene.colour)
    words.append("shape" if omit > 0.97 else scene.shape)
    where = rng.choice(_PLACES[scene.position]) if rng.random() < 0.65 else ""
    ground = rng.choice(_GROUNDS).format(scene.background) if rng.random() < 0.75 else ""
    return rng.choice(_LEADS) + _with_article(words) + _joined(where, ground, rng)


def _joined(where: str, ground: str, rng: random.Random) -> str:
    if where and ground and rng.random() < 0.4:
        return f"{ground}{where}"
    return f"{where},{ground}" if where and ground and rng.random() < 0.5 else where + ground


def training_scenes(count: int, seed: int = 0) -> Iterator[tuple[Scene, str]]:
    """The first `count` scenes of a seed with one caption each."""
    for index in range(count):
        scene = scene_at(seed, index)
        yield scene, caption(scene, _picture_seed(seed, index))


def _picture_seed(seed: int, index: int) -> int:
    return seed * 1_000_003 + index


def training_picture(seed: int, index: int) -> tuple[Picture, str, Scene]:
    """The index-th training example of a seed: picture, caption, and the truth behind both."""
    scene = scene_at(seed, index)
    key = _picture_seed(seed, index)
    return render(scene, key), caption(scene, key), scene


def held_out_prompts(n: int = 200, seed: int = 0) -> list[tuple[str, Scene]]:
    """Prompts that name combinations never shown in training, each with the scene it asks for.

    Colour, shape, place and background are always said; texture and size where they are not the plain ones.
    """
    found: list[tuple[str, Scene]] = []
    rng = keyed("held-out", seed)
    while len(found) < n:
        scene = _draw_scene(rng)
        if is_held_out(scene):
            found.append((full_caption(scene), scene))
    return found


def full_caption(scene: Scene) -> str:
    """The plain wording that names a scene's colour, shape, place and background, and any unusual size or texture."""
    words = [w for w, usual in ((scene.size, "medium"), (scene.texture, "solid")) if w != usual]
    ground = f" on a {scene.background} background"
    return _with_article([*words, scene.colour, scene.shape]) + _PLACES[scene.position][0] + ground


def place_words(scene: Scene) -> str:
    """Words like " on the left"; nothing for the centre."""
    return "" if scene.position == "centre" else _PLACES[scene.position][0]


def write_pair(folder: Path, stem: str, picture: Picture, text: str) -> None:
    """Write one training example: STEM.png and its caption STEM.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / f"{stem}.png")
    (folder / f"{stem}.txt").write_text(text + "\n", encoding="utf-8")


def write_world(folder: Path, count: int, seed: int = 0) -> list[Scene]:
    """Write `count` training examples as PNG and same-name .txt; returns what each shows, in file order."""
    scenes = []
    for index in range(count):
        picture, text, scene = training_picture(seed, index)
        write_pair(folder, f"{index:05d}", picture, text)
        scenes.append(scene)
    return scenes
