"""The caption editor, driven by keys: from the wizard's page of pictures, through all pictures, into a plan."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import TextArea

from engine.planning.data import scan_data
from engine.run.paths import captions_folder
from sdtrain_tui.app import SdtrainApp
from sdtrain_tui.screens.captions import CaptionsScreen
from sdtrain_tui.screens.wizard import WizardScreen
from sdtrain_tui.wizard.messages import Answered
from tests.app.seen import text_of, type_text, wait_for, wait_text
from tests.app.test_wizard import draft_of, go_to

pytestmark = pytest.mark.usefixtures("home")

TEXTS = ("fox, red, [bold]snow", "fox, night", "")


@pytest.fixture
def folder(pictures: Path) -> Path:
    for sidecar in pictures.glob("*.txt"):
        sidecar.unlink()
    kept = sorted(pictures.glob("*.png"))
    for file in kept[len(TEXTS) :]:
        file.unlink()
    for file, text in zip(kept, TEXTS, strict=False):
        if text:
            file.with_suffix(".txt").write_text(text)
    return pictures


def state(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def area(app: SdtrainApp) -> TextArea:
    return app.screen.query_one(TextArea)


async def opened(pilot, app: SdtrainApp) -> None:  # type: ignore[no-untyped-def]
    """The editor, from the wizard's page."""
    await go_to(pilot, app, "data")
    app.screen.query_one("#edit-captions").focus()
    await pilot.press("enter")
    await wait_for(
        pilot, lambda: isinstance(app.screen, CaptionsScreen) and not area(app).disabled, "captions"
    )


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_captions_are_edited_saved_and_trained_with(size: tuple[int, int], folder: Path) -> None:
    before = state(folder)
    answers = {
        "method": "lora",
        "base.model": "builtin:tiny",
        "data.path": str(folder),
        "data.trigger": "sks",
    }
    app = SdtrainApp(start="wizard", answers=answers)
    async with app.run_test(size=size) as pilot:
        await opened(pilot, app)
        seen = await wait_text(pilot, "frequent: fox 2")
        assert "1/3" in seen and "[bold]snow" in seen, "literal, no markup"
        assert area(app).text == TEXTS[0]
        await type_text(pilot, ", tree")
        await wait_text(pilot, "1 not saved")
        await pilot.press("pagedown")
        await wait_for(pilot, lambda: area(app).text == TEXTS[1], "the second picture")
        await pilot.press("ctrl+f")
        await wait_text(pilot, "find and replace")
        await type_text(pilot, "fox => hen")
        await pilot.press("enter")
        await wait_text(pilot, "2 captions changed")
        assert area(app).text == "hen, night"
        await pilot.press("ctrl+t")
        await wait_text(pilot, "word in front")
        await pilot.press("enter")
        await wait_text(pilot, "3 captions changed")
        assert not captions_folder(folder).exists(), "nothing is written before it is asked for"
        await pilot.press("ctrl+s")
        await wait_text(pilot, "3 captions written")
        await pilot.press("escape")
        await wait_for(pilot, lambda: isinstance(app.screen, WizardScreen), "the wizard")
        draft = draft_of(app)
        await wait_for(
            pilot, lambda: draft.answers.get("captions.folder") is not None, "the folder of captions"
        )
        await wait_for(pilot, lambda: draft.plan is not None, "a plan")
        plan = draft.plan
    assert plan is not None and state(folder) == before
    captions = [item.caption for item in scan_data(plan).items]
    assert captions == ["sks, hen, red, [bold]snow, tree", "sks, hen, night", "sks"]


async def test_what_is_not_saved_is_asked_about(folder: Path) -> None:
    app = SdtrainApp(start="wizard", answers={"base.model": "builtin:tiny", "data.path": str(folder)})
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot, app)
        await type_text(pilot, "x")
        await pilot.press("escape")
        await wait_text(pilot, "1 caption changed and not saved")
        await pilot.press("n")
        await wait_for(pilot, lambda: isinstance(app.screen, CaptionsScreen), "still there")
        await pilot.press("escape")
        await wait_text(pilot, "not saved")
        await pilot.press("y")
        await wait_for(pilot, lambda: isinstance(app.screen, WizardScreen), "the wizard")
        assert "captions.folder" not in draft_of(app).answers
    assert not captions_folder(folder).exists()


async def test_pages_go_round_and_a_replacement_that_says_nothing_changes_nothing(folder: Path) -> None:
    app = SdtrainApp(start="wizard", answers={"base.model": "builtin:tiny", "data.path": str(folder)})
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot, app)
        await pilot.press("pageup")
        await wait_for(pilot, lambda: "3/3" in text_of(app) and area(app).text == "", "the last picture")
        await pilot.press("pagedown")
        await wait_text(pilot, "1/3")
        await pilot.press("ctrl+f")
        await wait_text(pilot, "find and replace")
        await type_text(pilot, "fox")
        await pilot.press("enter")
        await wait_text(pilot, "nothing was replaced")
        await pilot.press("f1")
        await wait_text(pilot, "find and replace in all captions")


async def test_without_one_folder_there_is_nothing_to_edit(folder: Path) -> None:
    app = SdtrainApp(start="wizard", answers={"base.model": "builtin:tiny"})
    async with app.run_test(size=(100, 30)) as pilot:
        await go_to(pilot, app, "data")
        app.screen.query_one("#edit-captions").focus()
        await pilot.press("enter")
        await wait_text(pilot, "Name a folder of pictures first")
        await pilot.press("escape")
        app.screen.query_one("#edit-captions").post_message(Answered("data.path", "/nowhere/at/all"))
        await wait_for(pilot, lambda: draft_of(app).answers.get("data.path") == "/nowhere/at/all", "the path")
        app.screen.query_one("#edit-captions").focus()
        await pilot.press("enter")
        await wait_text(pilot, "the folder does not exist")
        await pilot.press("escape")
        await wait_for(pilot, lambda: isinstance(app.screen, WizardScreen), "the wizard")


async def test_a_folder_of_captions_among_the_pictures_is_refused(folder: Path) -> None:
    own = folder / "captions"
    answers = {"base.model": "builtin:tiny", "data.path": str(folder), "captions.folder": str(own)}
    app = SdtrainApp(start="wizard", answers=answers)
    async with app.run_test(size=(100, 30)) as pilot:
        await go_to(pilot, app, "data")
        app.screen.query_one("#edit-captions").focus()
        await pilot.press("enter")
        await wait_text(pilot, "only read")
    assert not own.exists()
