"""A UNet with fresh weights learns the beginning of a small world: its colours and shapes."""

from __future__ import annotations

from pathlib import Path

from engine.demo import world
from engine.demo.score import agreement
from tests.learning.conftest import Record
from tests.learning.lessons import drawn, lesson
from tests.support.sessions import run_steps

ASKED = [(colour, shape) for shape in ("circle", "square", "heart", "star") for colour in world.COLOURS]
PROMPTS = [f"a {colour} {shape}" for colour, shape in ASKED]
SCENES = [world.Scene(shape=shape, colour=colour, background="white") for colour, shape in ASKED]


def test_colours_and_shapes_are_learnt_from_nothing(home: Path, tmp_path: Path, record: Record) -> None:
    made = lesson("scratch", tmp_path)
    before = drawn(made, PROMPTS)
    run_steps(made)
    after = drawn(made, PROMPTS)
    was, now = agreement(before, SCENES), agreement(after, SCENES)
    record(
        "scratch",
        [before[::3], after[::3]],
        before=was["colour"],
        after=now["colour"],
        shape_before=was["shape"],
        shape=now["shape"],
    )
    assert was["colour"] < 0.35, "nine colours: chance is 0.11"
    assert now["colour"] > 0.6
    assert was["shape"] < 0.3, "eight shapes: chance is 0.13"
    assert now["shape"] > 0.35
