"""A style_lora teaches the built-in model a style, on combinations of colour and shape that it is asked for anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.demo import styles
from tests.learning.words_and_styles import STYLED, before_and_after, trained

pytestmark = pytest.mark.soak


def test_a_style_is_learnt(home: Path, tmp_path: Path) -> None:
    made = trained("style_lora", tmp_path)
    before, after = before_and_after(made, STYLED, styles.zil_score, tmp_path / "sheet.png")
    assert before < 0.2
    assert after > before + 0.3, (before, after)
