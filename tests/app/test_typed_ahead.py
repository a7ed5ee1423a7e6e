"""Keys that come in one piece, and before anything is drawn, do what they do when each waits for the one before."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual import events
from textual.widgets import Input

from sdtrain_tui.app import SdtrainApp
from sdtrain_tui.screens.dialogs import Ask
from sdtrain_tui.screens.help import HelpScreen
from sdtrain_tui.screens.home import HomeScreen
from sdtrain_tui.screens.monitor import MonitorScreen
from sdtrain_tui.screens.wizard import WizardScreen
from tests.app.fabricate import run_at
from tests.app.seen import wait_for, wait_text
from tests.app.test_wizard import draft_of, screen_of

pytestmark = pytest.mark.usefixtures("home")


def typed(app: SdtrainApp, *keys: str) -> None:
    """All keys in one write, as a terminal hands them over."""
    for key in keys:
        app.post_message(events.Key(key, key if len(key) == 1 else None))


async def test_new_and_enter_in_one_write_choose_the_method_and_go_on() -> None:
    app = SdtrainApp()
    async with app.run_test(size=(80, 24)) as pilot:
        typed(app, "n", "enter")
        await wait_text(pilot, "Which model is taught?")
        assert isinstance(app.screen, WizardScreen)


async def test_the_wizard_takes_what_was_typed_before_its_first_page(pictures: Path) -> None:
    app = SdtrainApp(start="wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        typed(app, "down", "down", "enter", "enter", "enter", *str(pictures), "ctrl+n", "ctrl+n", "ctrl+n")
        await wait_text(pilot, "device")
        draft = draft_of(app)
        assert draft.answers == {
            "method": "full",
            "base.model": "builtin:tiny",
            "data.path": str(pictures),
        }
        assert screen_of(app)._current == 5


async def test_dialogs_take_the_text_that_was_typed_with_the_key_that_opens_them(tmp_path: Path) -> None:
    app = SdtrainApp()
    async with app.run_test(size=(80, 24)) as pilot:
        typed(app, "d", *"pictures")
        await wait_for(pilot, lambda: isinstance(app.screen, Ask), "the question")
        await wait_for(pilot, lambda: app.screen.query_one(Input).value == "pictures", "its text")


async def test_a_run_is_opened_helped_and_left_in_one_write() -> None:
    run_at("cat", 5)
    app = SdtrainApp()
    async with app.run_test(size=(80, 24)) as pilot:
        typed(app, "enter", "question_mark")
        await wait_for(pilot, lambda: isinstance(app.screen, HelpScreen), "the help")
        assert isinstance(app.screen_stack[-2], MonitorScreen)
        typed(app, "escape", "q")
        await wait_for(pilot, lambda: isinstance(app.screen, HomeScreen), "home again")


async def test_leaving_waits_for_nothing() -> None:
    app = SdtrainApp()
    async with app.run_test(size=(80, 24)):
        app.screen.ready = False  # type: ignore[attr-defined]
        typed(app, "n", "ctrl+c")
    assert app.return_value is None and not app.is_running


async def test_what_is_highlighted_is_what_is_chosen(pictures: Path) -> None:
    app = SdtrainApp(start="wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_text(pilot, "What do you want to train?")
        assert not draft_of(app).touched
        await pilot.press("up", "ctrl+n")
        assert draft_of(app).method == "dreambooth" and draft_of(app).touched
        await wait_text(pilot, "nothing chosen yet")
        assert app.screen.query_one("#bases").highlighted is None  # type: ignore[attr-defined]
        await pilot.press("down")
        await wait_text(pilot, "it knows a few shapes")
        assert draft_of(app).answers["base.model"] == "builtin:tiny"
        await pilot.press("tab", "x")
        await wait_for(pilot, lambda: draft_of(app).answers["base.model"] == "builtin:tinyx", "another model")
        assert app.screen.query_one("#bases").highlighted is None  # type: ignore[attr-defined]


async def test_tab_stays_where_several_names_are_possible(tmp_path: Path) -> None:
    for name in ("cats", "cats2", "castle"):
        (tmp_path / name).mkdir()
    app = SdtrainApp(start="wizard", answers={"base.model": "builtin:tiny"})
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_text(pilot, "What do you want to train?")
        typed(app, "ctrl+n", "ctrl+n", *f"{tmp_path}/c", "tab", "tab", *"t", "tab", "tab", *"zwx")
        await wait_for(pilot, lambda: draft_of(app).answers.get("data.trigger") == "zwx", "the trigger")
        assert draft_of(app).answers["data.path"] == f"{tmp_path}/cats"
