"""Makes the world that `sdtrain demo` teaches: a small picture folder and the plan's answers for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PIL import Image

from engine.demo import styles, world
from engine.errors import UserError
from engine.plan.methods import DEFAULT_METHOD, METHODS


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


WORLDS: dict[str, Callable[[Path, int], None]] = {
    "style": _write_style,
    "subject": _write_subject,
    "small world": _write_small_world,
    "outlines": _write_outlines,
    "word": _write_word,
}
"""What a method's lesson is taught with: each writes so many pictures into a folder."""


def prepare(folder: Path, method: str) -> dict[str, object]:
    """Write the pictures below `folder` (which must not hold other files) and return the answers for a plan."""
    lesson = METHODS[method].lesson if method in METHODS else None
    if lesson is None:
        taught = [name for name, spec in METHODS.items() if spec.lesson is not None]
        why = f"there are demos for {', '.join(taught)}"
        raise UserError(f"there is no demo for {method!r}", why, f"sdtrain demo {DEFAULT_METHOD}")
    pictures = folder / "pictures"
    mark = folder / "demo.json"
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise UserError(
            f"{folder} holds other files",
            "the demo writes into a folder of its own",
            "give --dir a new folder",
        )
    pictures.mkdir(parents=True, exist_ok=True)
    WORLDS[lesson.world](pictures, lesson.pictures)
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
