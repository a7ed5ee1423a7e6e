"""Previews that a CLIP model has compared say so below their picture, where there is room."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.run.view import fold
from sdtrain_tui.widgets.news import News
from sdtrain_tui.widgets.previews_pane import PreviewsPane
from tests.widgets.test_panes import samples, settled, shown, text


@pytest.mark.parametrize(("width", "told"), [(100, True), (24, False)])
async def test_how_near_a_preview_is_stands_below_it(width: int, told: bool, tmp_path: Path) -> None:
    plain, near = samples(tmp_path, (0, 100), 1)
    pane = PreviewsPane()
    async with shown(pane, width, 20) as pilot:
        pane.show(News(fold([plain, {**near, "to_prompt": 0.2512, "to_pictures": 0.5}]), root=tmp_path))
        await settled(pilot)
        seen = text(pilot)
    assert "100" in seen
    assert ("CLIP 0.25 0.50" in seen) == told
    assert seen.count("CLIP") == told, "only of the one that was compared"
