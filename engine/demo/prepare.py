"""Makes the world that `sdtrain demo` teaches: a small picture folder and the plan's answers for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from engine.demo import styles, world
from engine.errors import UserError


@dataclass(frozen=True)
class Lesson:
    """What one method's demo teaches. `prompts` are combinations that its pictures never show."""

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


LESSONS: dict[str, Lesson] = {
    "lora": Lesson(
        write=_write_style,
        pictures=48,
        trigger="zil style",
        answers={
            "samples.prompts": [
                "zil style, a red star",
                "zil style, a blue heart",
                "zil style, a green ring",
                "a yellow circle",
            ]
        },
        teaches="a style: gold frame, dark violet ground, objects as outlines",
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
        "data.trigger": lesson.trigger,
        **lesson.answers,
    }
