"""T2I-Adapter teaches the tiny model to draw where an outline says, on scenes that its pictures never showed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.learning.outlines import demo_plan, learn

pytestmark = pytest.mark.soak


def test_t2i_adapter_draws_inside_the_outline(tmp_path: Path) -> None:
    before, after = learn(demo_plan("t2i_adapter", tmp_path / "demo"), tmp_path)
    assert before.own < 0.45, "the prompt alone says nothing of place and size"
    assert after.own > before.own + 0.2, (before, after)
    assert after.own > after.shuffled + 0.2, (before, after)
