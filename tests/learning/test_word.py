"""Textual inversion teaches the built-in model a word, and leaves all other prompts as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.demo import styles, world
from engine.demo.prepare import prepare
from engine.demo.score import mean_score
from engine.planning.build import build, gather
from tests.learning.conftest import Record
from tests.learning.lessons import drawn, lesson
from tests.support.sessions import prepared, run_steps

PLACES = ("", " at the top", " on the left", " on the right")
# The first twelve say things about the word that no caption of its pictures says.
PROMPTS = [
    *(f"a small <morp>{place}" for place in PLACES),
    *(f"a drawing of a <morp>{place}" for place in PLACES),
    *(f"a large <morp>{place}" for place in PLACES),
    *(f"a <morp>{place}" for place in PLACES),
]
PLAIN = [f"a {colour} heart" for colour in world.COLOURS]


def test_a_word_is_learnt_and_other_prompts_stay(home: Path, tmp_path: Path, record: Record) -> None:
    made = lesson("textual_inversion", tmp_path)
    plain, before = drawn(made, PLAIN), drawn(made, PROMPTS)
    run_steps(made)
    after = drawn(made, PROMPTS)
    was, now = mean_score(before, styles.morp_score), mean_score(after, styles.morp_score)
    record("textual_inversion", [before, after], before=was, after=now)
    assert was < 0.4
    assert now > 0.75
    assert all(np.array_equal(one, other) for one, other in zip(plain, drawn(made, PLAIN), strict=True))


def test_a_word_and_a_lora_learn_together(home: Path, tmp_path: Path, record: Record) -> None:
    """The word's own lesson, given to a LoRA that teaches its trigger as a word (pivotal tuning)."""
    own = {"lora.rank": 4, "lora.targets": "attention", "lora.word_vectors": 2, "train.steps": 150}
    asked = {**prepare(tmp_path / "demo", "textual_inversion"), "method": "lora", **own}
    answers = {key: value for key, value in asked.items() if not key.startswith("textual_inversion.")}
    answers |= {"hardware.device": "cpu", "samples.every": 0}
    made = prepared(build(answers, gather(answers)).plan, tmp_path / "cache")
    before = drawn(made, PROMPTS[:12])
    run_steps(made)
    after = drawn(made, PROMPTS[:12])
    was, now = mean_score(before, styles.morp_score), mean_score(after, styles.morp_score)
    record("pivotal", [before, after], before=was, after=now)
    assert was < 0.4
    assert now > 0.7
