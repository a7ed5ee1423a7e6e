"""The wizard: driven by keys alone, what it derives, what it refuses, and the plan that comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Button, Input

from engine.errors import UserError
from engine.plan.files import dumps, load_plan
from engine.planning.build import build, gather
from engine.run.paths import RunDir, list_runs
from sdtrain_tui.app import SdtrainApp
from sdtrain_tui.screens import starting, wizard
from sdtrain_tui.screens.monitor import MonitorScreen
from sdtrain_tui.screens.wizard import WizardScreen
from sdtrain_tui.wizard import look
from sdtrain_tui.wizard.draft import Draft
from sdtrain_tui.wizard.field_row import FieldRow, show_value
from tests.app.seen import text_of, text_of_pilot, type_text, wait_for, wait_text

pytestmark = pytest.mark.usefixtures("home")


def screen_of(app: SdtrainApp) -> WizardScreen:
    return next(screen for screen in app.screen_stack if isinstance(screen, WizardScreen))


def draft_of(app: SdtrainApp) -> Draft:
    return screen_of(app).draft


def answers_for(pictures: Path, **more: object) -> dict[str, object]:
    return {"base.model": "builtin:tiny", "data.path": str(pictures), **more}


async def begun(pilot: Pilot[Any], app: SdtrainApp) -> None:
    """The first page is there and base, pictures and machine were looked at."""
    screen = screen_of(app)
    await wait_for(
        pilot, lambda: screen._draft is not None and screen.draft.facts is not None, "the first look"
    )


async def go_to(pilot: Pilot[Any], app: SdtrainApp, name: str) -> None:
    """Ctrl+N until a step is in front, and until its facts are there."""
    await begun(pilot, app)
    for _ in wizard.STEPS:
        step = screen_of(app)._steps.get(screen_of(app)._current)
        if step is not None and name == step.NAME:
            break
        await pilot.press("ctrl+n")
    await wait_for(pilot, lambda: name == screen_of(app)._steps[screen_of(app)._current].NAME, name)
    await pilot.pause()


async def test_keys_alone_at_80x24_yield_the_plan_that_the_command_builds(
    pictures: Path, tmp_path: Path
) -> None:
    app = SdtrainApp(start="wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_text(pilot, "What do you want to train?")
        draft = draft_of(app)
        await pilot.press("enter")
        await wait_text(pilot, "builtin:tiny")
        await wait_text(pilot, "nothing chosen yet")
        await pilot.press("enter")
        await wait_text(pilot, "it knows a few shapes")
        await pilot.press("enter")
        await wait_text(pilot, "Where are the pictures?")
        await type_text(pilot, str(pictures)[:-3])
        await pilot.press("tab")  # completes the folder's name
        await wait_text(pilot, "6 to train on")
        await pilot.press("tab")
        await type_text(pilot, "zwx")
        await wait_text(pilot, "zwx, a picture")
        await pilot.press("ctrl+n")
        await wait_text(pilot, "How is it trained?")
        await type_text(pilot, "4")
        await go_to(pilot, app, "review")
        await wait_text(pilot, "ready to start")
        target = tmp_path / "out.toml"
        await pilot.press("ctrl+s")
        await wait_text(pilot, "save the plan as")
        await pilot.press("ctrl+u")
        await type_text(pilot, str(target))
        await pilot.press("enter")
        await wait_text(pilot, "start it with")
    answers = answers_for(Path(f"{pictures}/"), **{"data.trigger": "zwx", "lora.rank": 4})
    # Only what the user changed is an answer; the folder stands as it was completed.
    assert draft.answers == {**answers, "data.path": f"{pictures}/"}
    assert target.read_text() == dumps(build(answers, gather(answers)).plan)
    assert load_plan(target).data.trigger == "zwx"


async def test_derived_values_show_with_their_reason_and_give_way_to_the_users(pictures: Path) -> None:
    app = SdtrainApp(start="wizard", answers=answers_for(pictures))
    async with app.run_test(size=(120, 36)) as pilot:
        await go_to(pilot, app, "recipe")
        row = app.screen.query_one("#field-train-steps", FieldRow)
        box = row.query_one(Input)
        automatic = draft_of(app).automatic("train.steps", None)
        assert box.value == "" and box.placeholder == show_value(automatic)
        assert draft_of(app).note("train.steps")[0] in text_of(app).replace("…", "") or "…" in text_of(app)
        box.focus()
        await pilot.press("7", "7")
        await wait_for(pilot, lambda: draft_of(app).answers.get("train.steps") == 77, "the answer")
        assert "yours" in text_of(app)
        await pilot.press("backspace", "backspace")
        await wait_for(pilot, lambda: "train.steps" not in draft_of(app).answers, "the derived value again")
        plan = draft_of(app).plan
        assert plan is not None and plan.train.steps == automatic


async def test_the_effective_scale_follows_rank_and_alpha(pictures: Path) -> None:
    answers = answers_for(pictures, **{"lora.rank": 8, "lora.alpha": 8.0})
    app = SdtrainApp(start="wizard", answers=answers)
    async with app.run_test(size=(120, 36)) as pilot:
        await go_to(pilot, app, "recipe")
        await wait_text(pilot, "effective scale     1,")
        box = app.screen.query_one("#field-lora-alpha", FieldRow).query_one(Input)
        box.focus()
        box.value = "4"
        await wait_text(pilot, "effective scale     0.5,")


async def test_a_wrong_value_is_refused_while_it_is_typed_and_the_review_leads_back_to_it(
    pictures: Path,
) -> None:
    app = SdtrainApp(start="wizard", answers=answers_for(pictures))
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, app, "recipe")
        app.screen.query_one("#field-train-steps", FieldRow).query_one(Input).focus()
        await pilot.press("0")
        await wait_text(pilot, "at least 1")
        assert draft_of(app).plan is None
        await go_to(pilot, app, "review")
        await wait_text(pilot, "1 to mend first")
        assert app.screen.query_one("#start", Button).disabled
        await pilot.press("enter")
        await wait_text(pilot, "How is it trained?")
        focused = app.screen.focused
        assert focused is not None and focused.parent is app.screen.query_one("#field-train-steps")


async def test_a_problem_with_a_field_behind_all_fields_opens_them(pictures: Path) -> None:
    app = SdtrainApp(start="wizard", answers=answers_for(pictures, **{"optimizer.beta1": 2.0}))
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, app, "review")
        await wait_text(pilot, "optimizer.beta1")
        await pilot.press("enter")
        await wait_for(
            pilot,
            lambda: (
                app.screen.focused is not None
                and getattr(app.screen.focused.parent, "id", "") == "field-optimizer-beta1"
            ),
            "the field",
        )


async def test_keys_that_are_typed_ahead_land_in_the_field_they_were_meant_for(pictures: Path) -> None:
    app = SdtrainApp(start="wizard", answers={**answers_for(pictures), "lora.targets": "attention"})
    async with app.run_test(size=(120, 36)) as pilot:
        await go_to(pilot, app, "recipe")
        app.screen.query_one("#field-lora-rank", FieldRow).query_one(Input).focus()
        await pilot.pause()
        for key in ("1", "6", "tab", "8", "enter", "right", "down", "4", "2", "up", "shift+tab", "9"):
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await wait_for(pilot, lambda: draft_of(app).answers.get("train.steps") == 42, "the last field")
        await wait_for(pilot, lambda: draft_of(app).answers.get("lora.alpha") == 89, "the field gone back to")
        assert draft_of(app).answers["lora.rank"] == 16
        assert draft_of(app).answers["lora.targets"] == "attention_ff"


async def test_what_was_derived_while_a_step_was_hidden_is_on_the_screen(pictures: Path) -> None:
    app = SdtrainApp(start="wizard", answers={"base.model": "builtin:tiny"})
    async with app.run_test(size=(80, 24)) as pilot:
        await begun(pilot, app)
        while "targets" not in text_of_pilot(pilot):
            await pilot.press("ctrl+n")
            await pilot.pause(0.05)
        await wait_text(pilot, "choose a base model and pictures first")
        await pilot.press("escape")
        app.screen.query_one("#field-data-path", FieldRow).query_one(Input).value = str(pictures)
        await wait_for(pilot, lambda: draft_of(app).built is not None, "the plan")
        await pilot.press("ctrl+n")
        seen = await wait_text(pilot, "effective scale")
        assert "‹ all " in seen and "choose a base model" not in seen


async def test_a_folder_that_is_not_there_is_said_with_the_fix(tmp_path: Path) -> None:
    app = SdtrainApp(
        start="wizard", answers={"base.model": "builtin:tiny", "data.path": str(tmp_path / "no")}
    )
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, app, "data")
        await wait_text(pilot, "the folder does not exist")
        await wait_text(pilot, "✗ data")


async def test_an_unknown_base_is_said_where_it_is_typed() -> None:
    app = SdtrainApp(start="wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, app, "base")
        app.screen.query_one("#field-base-model", FieldRow).query_one(Input).focus()
        await type_text(pilot, "builtin:tiniest")
        await wait_text(pilot, "did you mean builtin:tiny?")


async def test_a_large_folder_is_only_read_when_its_name_is_finished(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "LIVE_ENTRIES", 2)
    app = SdtrainApp(start="wizard", answers={"base.model": "builtin:tiny"})
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, app, "data")
        await type_text(pilot, str(pictures))
        await wait_text(pilot, "Enter looks at all of them")
        assert draft_of(app).report is None and draft_of(app).plan is None
        await pilot.press("enter")
        await wait_text(pilot, "6 to train on")
        assert draft_of(app).plan is not None


async def test_prompts_are_taken_one_a_line(pictures: Path) -> None:
    app = SdtrainApp(start="wizard", answers=answers_for(pictures))
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, app, "previews")
        await wait_text(pilot, "a picture, number 0")
        app.screen.query_one("#prompts").focus()
        await type_text(pilot, "a cat")
        await pilot.press("enter", "enter")
        await type_text(pilot, "a dog")
        await wait_for(
            pilot, lambda: draft_of(app).answers.get("samples.prompts") == ["a cat", "a dog"], "the prompts"
        )


async def test_hardware_shows_the_forecast_of_the_plan(pictures: Path) -> None:
    app = SdtrainApp(start="wizard", answers=answers_for(pictures, **{"hardware.device": "cpu"}))
    async with app.run_test(size=(120, 36)) as pilot:
        await go_to(pilot, app, "hardware")
        seen = await wait_text(pilot, "memory by part")
        assert "activations" in seen and "disk " in seen and "time " in seen


async def test_a_saved_plan_never_replaces_a_file(pictures: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken.toml"
    taken.write_text("mine")
    app = SdtrainApp(start="wizard", answers=answers_for(pictures))
    async with app.run_test(size=(80, 24)) as pilot:
        await begun(pilot, app)
        await wait_for(pilot, lambda: draft_of(app).plan is not None, "a plan")
        screen_of(app)._save_to(str(taken))
        await wait_text(pilot, "is there already")
    assert taken.read_text() == "mine"


async def test_start_makes_the_run_and_goes_to_its_monitor(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[RunDir] = []
    monkeypatch.setattr(starting, "launch", launched.append)
    app = SdtrainApp(start="wizard", answers=answers_for(pictures, name="my-cat"))
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, app, "review")
        await wait_text(pilot, "ready to start")
        await pilot.press("enter")
        await wait_for(pilot, lambda: isinstance(app.screen, MonitorScreen), "the monitor")
    runs = list_runs()
    assert launched == runs and [run.name for run in runs] == ["my-cat"]
    assert load_plan(runs[0].plan_file).data.path == str(pictures)


async def test_a_start_that_fails_says_why_and_keeps_the_wizard(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_run: RunDir) -> int:
        raise UserError("The engine ended before it began", "no space left", "make room")

    monkeypatch.setattr(starting, "launch", refuse)
    app = SdtrainApp(start="wizard", answers=answers_for(pictures))
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, app, "review")
        await wait_text(pilot, "ready to start")
        await pilot.press("enter")
        seen = await wait_text(pilot, "the run did not start")
        assert "no space left" in seen and "make room" in seen
        await pilot.press("escape")
        await wait_text(pilot, "ready to start")


async def test_escape_steps_back_and_asks_before_answers_are_lost() -> None:
    app = SdtrainApp(start="wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, app, "data")
        await type_text(pilot, "x")
        await pilot.press("escape")
        await wait_text(pilot, "Which model is taught?")
        await pilot.press("escape")
        await wait_text(pilot, "What do you want to train?")
        await pilot.press("escape")
        await wait_text(pilot, "leave?")
        await pilot.press("n")
        assert app.is_running and "What do you want to train?" in await wait_text(pilot, "What do you want")
        await pilot.press("escape", "y")
        await wait_for(pilot, lambda: not app.is_running or app.return_value == 0, "the end")
