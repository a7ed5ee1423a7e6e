"""The curve of held-out pictures in the loss chart: where its points lie, and what the pane says of it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from engine.run.view import ValidationInfo, fold
from sdtrain_tui.widgets.loss_pane import LossPane
from sdtrain_tui.widgets.news import News
from sdtrain_tui.widgets.validation_curve import columns, latest
from sdtrain_tui.widgets.window import Window
from tests.widgets.mock import START, started, step_event
from tests.widgets.test_panes import shown, text


def _at(step: int, loss: float) -> ValidationInfo:
    return ValidationInfo(0.0, step, loss)


def _index(step: int) -> int | None:
    return step - 1 if step else None


def test_between_two_validations_is_a_straight_line() -> None:
    found = columns([_at(0, 4.0), _at(5, 2.0), _at(9, 3.0)], _index, Window(0.0, 1.0, 12))
    assert found[:9] == [(value, value) for value in (4.0, 3.5, 3.0, 2.5, 2.0, 2.25, 2.5, 2.75, 3.0)]
    assert found[9:] == [None] * 3, "nothing behind the last"
    later = columns([_at(5, 2.0), _at(7, 1.0)], _index, Window(2.0, 1.0, 6))
    assert later == [None, None, (2.0, 2.0), (1.5, 1.5), (1.0, 1.0), None]


def test_a_wide_column_holds_all_of_its_validations() -> None:
    several = [_at(step, float(step % 3)) for step in range(1, 13)]
    assert columns(several, _index, Window(0.0, 6.0, 2)) == [(0.0, 2.0), (0.0, 2.0)]


def test_what_could_not_be_measured_is_passed_over() -> None:
    found = columns([_at(1, 1.0), _at(2, math.nan), _at(3, 3.0)], _index, Window(0.0, 1.0, 3))
    assert found == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]
    assert columns([], _index, Window(0.0, 1.0, 2)) == [None, None]
    several = [_at(0, 1.0), _at(5, 2.0), _at(9, math.nan)]
    assert latest(several, 9) == several[1] and latest(several, 4) == several[0] and latest([], 9) is None


def _told(step: int, loss: float, best: int) -> dict[str, Any]:
    said = {"kind": "validation", "t": START, "step": step, "loss": loss, "pictures": 4}
    return {**said, "best_step": best, "best_loss": 0.2}


async def test_the_pane_draws_it_and_names_the_best_step() -> None:
    events = [started(), *(step_event(step, loss=0.1) for step in range(1, 101))]
    pane = LossPane()
    async with shown(pane, 100) as pilot:
        pane.show(News(fold(events), "running"))
        await pilot.pause()
        plain = text(pilot)
        assert "held out" not in plain
        losses = [_told(0, 0.4, 0), _told(50, 0.2, 50), _told(100, 0.3, 50)]
        pane.show(News(fold([*events, *losses]), "running"))
        await pilot.pause()
        drawn = text(pilot)
        assert "held out 0.300 lowest at 50" in drawn
        assert drawn != plain
        await pilot.press("home")
        assert "held out 0.400" in text(pilot).splitlines()[-1]
        # A resume from before it forgets what is measured again.
        pane.show(News(fold([*events, *losses, {"kind": "resumed", "from_step": 60}]), "running"))
        await pilot.pause()
        assert "held out 0.200 lowest at 50" in text(pilot)


@pytest.mark.parametrize("size", [(80, 14), (20, 5), (9, 3)])
async def test_it_draws_at_every_size(size: tuple[int, int]) -> None:
    pane = LossPane()
    async with shown(pane, *size) as pilot:
        events = [started(), step_event(1), _told(0, 0.4, 0), _told(1, 0.3, 1)]
        pane.show(News(fold(events), "running"))
        await pilot.pause()
        assert text(pilot)
