"""Textual inversion teaches the built-in model a word, and leaves all other prompts as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.demo import styles
from tests.learning.words_and_styles import PLAIN, before_and_after, drawn, trained

pytestmark = pytest.mark.soak

# Places beside which the training pictures show the word as well; seeds of the pictures are new.
PROMPTS = [f"a <morp>{place}" for place in ("", " at the top", " on the left", " on the right")] * 6


def test_a_word_is_learnt_and_other_prompts_stay(home: Path, tmp_path: Path) -> None:
    made = trained("textual_inversion", tmp_path)
    plain = drawn(made, PLAIN)
    before, after = before_and_after(made, PROMPTS, styles.morp_score, tmp_path / "sheet.png")
    assert after > before + 0.25, (before, after)
    assert all(np.array_equal(one, other) for one, other in zip(plain, drawn(made, PLAIN), strict=True))
