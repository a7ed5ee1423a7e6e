"""Makes the world that `sdtrain demo` teaches: a small picture folder and the plan's answers for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from engine.demo import styles, world
from engine.errors import UserError


@dataclass(frozen=True)
class Lesson:
    """What one method's demo teaches. `prompts` are combinations that its pictures never show; in `answers`
    {folder} is the demo's own folder, which holds `pictures`."""

    write: Callable[[Path, int], None]
    pictures: int
    trigger: str
    answers: dict[str, object]
    teaches: str


def _write_style(folder: Path, count: int) -> None:
    # Combinations that the plain world shows too, drawn in the new style: only the style is new.
    for index in range(count):
        scene = replace(world.scene_at(7, index), position="centre", texture="solid", size="medium")
        name = f"{index:03d}-{scene.colour}-{scene.shape}"
        world.write_pair(
            folder, name, styles.render_zil(scene, index), f"zil style, a {scene.colour} {scene.shape}"
        )


def _write_subject(folder: Path, count: int) -> None:
    # The subject is called a circle, so that the class it could overwrite is one that the world knows. Its captions
    # differ from the class prompt by the trigger alone: what else they said would count as the subject's too.
    for index, scene in enumerate(world.scene_at(11, number) for number in range(count)):
        world.write_pair(folder, f"{index:03d}", styles.render_blim(scene, index), "a blim circle")


def _write_small_world(folder: Path, count: int) -> None:
    # One thing in the middle, on white: the beginning of the world, whose colours come first.
    for index in range(count):
        scene = replace(
            world.scene_at(13, index), position="centre", texture="solid", size="large", background="white"
        )
        name = f"{index:03d}-{scene.colour}-{scene.shape}"
        world.write_pair(folder, name, world.render(scene, index), f"a {scene.colour} {scene.shape}")


def _write_outlines(folder: Path, count: int) -> None:
    # Captions say colour and shape only: place and size are the outlines' to say.
    for index, scene in enumerate(world.scene_at(17, number) for number in range(count)):
        name, words = f"{index:03d}", f"a {scene.colour} {scene.shape}"
        world.write_pair(folder, name, world.render(scene, index), words)
        outlines = folder.parent / "outlines"
        outlines.mkdir(exist_ok=True)
        Image.fromarray(styles.outline_map(scene, index)).save(outlines / f"{name}.png")


def _write_word(folder: Path, count: int) -> None:
    # A morp is a striped purple star on sand: all of it is in the world, only the word for it is not.
    for index, scene in enumerate(world.scene_at(19, number) for number in range(count)):
        words = f"a <morp>{world.place_words(scene)}"
        world.write_pair(folder, f"{index:03d}", styles.render_morp(scene, index), words)


def _style(pictures: int, teaches: str) -> Lesson:
    """A style lesson; the last prompt does not call for the style."""
    asked = ["zil style, a red star", "zil style, a blue heart", "zil style, a green ring", "a yellow circle"]
    return Lesson(_write_style, pictures, "zil style", {"samples.prompts": asked}, teaches)


def _outlines(method: str, teaches: str) -> Lesson:
    return Lesson(_write_outlines, 320, "", {f"{method}.condition_path": "{folder}/outlines"}, teaches)


LESSONS: dict[str, Lesson] = {
    "lora": _style(48, "a style: gold frame, dark violet ground, objects as outlines"),
    "style_lora": _style(24, "a style, in the decoder's blocks alone"),
    "hypernetwork": _style(24, "a style, with small networks before the keys and values of every attention"),
    "full": _style(48, "a style, with every weight of the UNet and the text encoder"),
    "textual_inversion": Lesson(
        _write_word,
        16,
        "<morp>",
        {"samples.prompts": ["a <morp>", "a <morp> at the top", "a <morp> on the left", "a yellow circle"]},
        "a word for a striped purple star on sand, with no new weights in the model",
    ),
    "dreambooth": Lesson(
        _write_subject,
        8,
        "blim",
        {
            "data.class_prompt": "a circle",
            "data.class_count": 32,
            "samples.prompts": [
                "a blim circle",
                "a blim circle on a black background",
                "a circle",
                "a red circle on a white background",
            ],
        },
        "a subject, the blim, while plain circles stay circles (prior preservation)",
    ),
    "scratch": Lesson(
        _write_small_world,
        160,
        "",
        {"samples.prompts": ["a red circle", "a green square", "a blue heart", "a yellow star"]},
        "the first of a world, its colours and shapes, to a UNet with fresh weights",
    ),
    "controlnet": _outlines(
        "controlnet", "to draw the thing where a white outline on black says, and in its shape"
    ),
    "t2i_adapter": _outlines(
        "t2i_adapter", "to draw the thing where a white outline on black says, with a smaller network"
    ),
}


def prepare(folder: Path, method: str = "lora") -> dict[str, object]:
    """Write the pictures below `folder` (which must not hold other files) and return the answers for a plan."""
    if method not in LESSONS:
        raise UserError(
            f"there is no demo for {method!r}",
            f"there are demos for {', '.join(LESSONS)}",
            "sdtrain demo lora",
        )
    lesson = LESSONS[method]
    pictures = folder / "pictures"
    mark = folder / "demo.json"
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise UserError(
            f"{folder} holds other files",
            "the demo writes into a folder of its own",
            "give --dir a new folder",
        )
    pictures.mkdir(parents=True, exist_ok=True)
    lesson.write(pictures, lesson.pictures)
    mark.write_text(json.dumps({"method": method, "teaches": lesson.teaches}))
    return {
        "name": f"demo-{method.replace('_', '-')}",
        "method": method,
        "base.model": "builtin:tiny",
        "data.path": str(pictures.resolve()),
        **({"data.trigger": lesson.trigger} if lesson.trigger else {}),
        **{key: _placed(value, folder) for key, value in lesson.answers.items()},
    }


def _placed(value: object, folder: Path) -> object:
    """An answer with the demo's own folder where it says {folder}."""
    return value.replace("{folder}", str(folder.resolve())) if isinstance(value, str) else value
