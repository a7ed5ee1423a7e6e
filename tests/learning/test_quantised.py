"""A LoRA beside a base in 4 bits teaches the built-in model its style in half of the lesson."""

from __future__ import annotations

from pathlib import Path

from engine.demo import styles
from engine.demo.score import mean_score
from tests.learning.conftest import Record
from tests.learning.lessons import drawn, lesson
from tests.support.sessions import run_steps

PROMPTS = ["zil style, a red star", "zil style, a blue heart", "zil style, a green ring"]


def test_a_style_is_learnt_beside_a_base_in_four_bits(home: Path, tmp_path: Path, record: Record) -> None:
    made = lesson("lora", tmp_path, **{"hardware.base_weights": "nf4", "train.steps": 120})
    assert made.warnings == ["quantised-base"]
    before = drawn(made, PROMPTS)
    run_steps(made)
    after = drawn(made, PROMPTS)
    was, now = mean_score(before, styles.zil_score), mean_score(after, styles.zil_score)
    record("lora-nf4", [before, after], before=was, after=now)
    assert was < 0.1
    assert now > 0.6
