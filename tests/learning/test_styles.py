"""Every method that learns a style teaches it to the built-in model, on combinations that its pictures never show."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from engine.demo import styles, world
from engine.demo.score import mean_score
from tests.learning.conftest import Record
from tests.learning.lessons import drawn, lesson
from tests.support.sessions import run_steps

PROMPTS = 24
# Least style score and shares of colour and shape after training; before it the style score is below 0.1. Chance is 1/9
# for a colour and 1/8 for a shape. docs/learning.md has what was measured.
MARGINS = {
    "lora": (0.8, 0.6, 0.4),
    "style_lora": (0.8, 0.5, 0.3),
    "full": (0.8, 0.5, 0.3),
    "hypernetwork": (0.3, 0.4, 0.0),
}


def _unseen(captions: list[str]) -> list[tuple[str, str]]:
    """Colour and shape of things that no caption names, spread over all colours."""
    all_of_them = [(colour, shape) for shape, colour in product(world.SHAPES, world.COLOURS)]
    return [pair for pair in all_of_them if not any(" ".join(pair) in text for text in captions)][:PROMPTS]


@pytest.mark.parametrize("method", MARGINS)
def test_a_style_is_learnt_for_things_that_were_never_shown(
    method: str, home: Path, tmp_path: Path, record: Record
) -> None:
    made = lesson(method, tmp_path)
    asked = _unseen([item.caption for item in made.report.items])
    assert len(asked) == PROMPTS
    prompts = [f"zil style, a {colour} {shape}" for colour, shape in asked]
    before = drawn(made, prompts)
    assert not any(report.skipped for report in run_steps(made))
    after = drawn(made, prompts)
    read = [styles.read_zil(picture) for picture in after]
    colours = sum(colour == want for (colour, _), (want, _) in zip(read, asked, strict=True)) / PROMPTS
    shapes = sum(shape == want for (_, shape), (_, want) in zip(read, asked, strict=True)) / PROMPTS
    was, now = mean_score(before, styles.zil_score), mean_score(after, styles.zil_score)
    record(method, [before, after], before=was, after=now, colour=colours, shape=shapes)
    least, least_colour, least_shape = MARGINS[method]
    assert was < 0.1
    assert now > least
    assert colours > least_colour, "the style must not swallow what the prompt says"
    assert shapes >= least_shape
