"""Which fields the wizard's pages show: all of a plan's somewhere, and of those that go with another choice none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine.plan.methods import METHODS
from engine.plan.picture_sets import PictureSet
from engine.plan.schema import plan_fields
from sdtrain_tui.app import SdtrainApp
from sdtrain_tui.wizard.data import CLASS_KEYS
from sdtrain_tui.wizard.field_row import FieldRow
from sdtrain_tui.wizard.hardware import OF_LARGE
from sdtrain_tui.wizard.messages import Answered
from sdtrain_tui.wizard.more_fields import MoreFields
from tests.app.seen import type_text, wait_for, wait_text
from tests.app.test_wizard import draft_of, go_to

pytestmark = pytest.mark.usefixtures("home")

Answers = dict[str, object]


@pytest.mark.parametrize("method", METHODS)
async def test_only_what_matters_to_the_method_is_asked_for(method: str, pictures: Path) -> None:
    answers = {"method": method, "base.model": "builtin:tiny", "data.path": str(pictures)}
    app = SdtrainApp(start="wizard", answers=answers)
    async with app.run_test(size=(120, 36)) as pilot:
        await go_to(pilot, app, "data")
        with_pictures = [row.field.key for row in app.screen.query(FieldRow)]
        await go_to(pilot, app, "recipe")
        app.screen.query_one("#more-recipe Button").focus()
        await pilot.press("enter")
        await wait_for(pilot, lambda: bool(app.screen.query("#more-recipe FieldRow")), "all fields")
        recipe = [row.field.key for row in app.screen.query("#step-recipe FieldRow").results(FieldRow)]
    spec, known = METHODS[method], {field.key for field in plan_fields(method)}
    assert set(spec.asks) <= known
    assert not set(with_pictures) & set(recipe)
    classes = set(CLASS_KEYS) & {*with_pictures, *recipe}
    assert classes == (set(CLASS_KEYS) if spec.class_pictures else set())
    own = {key for key in known if key.startswith(f"{method}.")}
    assert own <= {*with_pictures, *recipe}


async def test_every_field_of_a_plan_is_on_a_page(pictures: Path) -> None:
    answers = {"method": "dreambooth", "base.model": "builtin:tiny", "data.path": str(pictures)}
    app = SdtrainApp(start="wizard", answers=answers)
    async with app.run_test(size=(120, 36)) as pilot:
        for page in ("base", "data", "recipe", "previews", "hardware", "review"):
            await go_to(pilot, app, page)
        for more in app.screen.query(MoreFields):
            await more.open()
        rows = {row.field.key for row in app.screen.query(FieldRow)}
    # The method is the first page, prompts and sets have boxes of their own.
    elsewhere = {"version", "method", "samples.prompts", "data.sets"}
    assert {field.key for field in plan_fields("dreambooth")} - rows <= elsewhere


async def test_a_problem_behind_all_fields_of_the_hardware_page_opens_them(pictures: Path) -> None:
    answers = {"method": "dreambooth", "base.model": "builtin:tiny", "data.path": str(pictures)}
    app = SdtrainApp(start="wizard", answers={**answers, "hardware.base_weights": "int8"})
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, app, "review")
        await wait_text(pilot, "hardware.base_weights")
        await pilot.press("enter")

        def there() -> bool:
            focused = app.screen.focused
            return focused is not None and getattr(focused.parent, "id", "") == "field-hardware-base_weights"

        await wait_for(pilot, there, "the field")


async def test_fields_of_another_schedule_are_asked_for_once_it_is_chosen(pictures: Path) -> None:
    answers = {"base.model": "builtin:tiny", "data.path": str(pictures), "train.schedule": "polynomial"}
    app = SdtrainApp(start="wizard", answers=answers)
    async with app.run_test(size=(120, 36)) as pilot:
        await go_to(pilot, app, "recipe")
        app.screen.query_one("#more-recipe Button").focus()
        await pilot.press("enter")
        await wait_for(pilot, lambda: bool(app.screen.query("#more-recipe FieldRow")), "all fields")

        def shown() -> set[str]:
            rows = app.screen.query("#more-recipe FieldRow").results(FieldRow)
            return {row.field.key for row in rows if row.display}

        await wait_for(pilot, lambda: "train.cycles" not in shown(), "the fields of polynomial alone")
        assert {"train.power", "train.end_share", "train.schedule"} <= shown()
        app.screen.query_one("#more-recipe FieldRow").post_message(
            Answered("train.schedule", "cosine_with_restarts")
        )
        await wait_for(pilot, lambda: "train.cycles" in shown(), "the fields of restarts")
        assert "train.power" not in shown()


@pytest.mark.parametrize(("method", "asked"), [("full", True), ("lora", False)])
async def test_how_weights_are_kept_and_gradients_freed_is_asked_where_much_trains(
    method: str, asked: bool, pictures: Path
) -> None:
    answers: Answers = {"method": method, "base.model": "builtin:tiny", "data.path": str(pictures)}
    app = SdtrainApp(start="wizard", answers=answers | ({"lora.rank": 2} if method == "lora" else {}))
    async with app.run_test(size=(120, 36)) as pilot:
        await go_to(pilot, app, "hardware")

        def shown() -> set[str]:
            rows = app.screen.query("#step-hardware FieldRow").results(FieldRow)
            return {row.field.key for row in rows if row.display} & set(OF_LARGE)

        await wait_text(pilot, "by part")
        await wait_for(pilot, lambda: shown() == (set(OF_LARGE) if asked else set()), "the rows that matter")


async def test_fields_that_do_nothing_as_the_others_stand_are_left_out(pictures: Path) -> None:
    answers = {"method": "lora", "base.model": "builtin:tiny", "data.path": str(pictures)}
    app = SdtrainApp(start="wizard", answers=answers)
    async with app.run_test(size=(120, 36)) as pilot:
        await go_to(pilot, app, "recipe")
        app.screen.query_one("#more-recipe Button").focus()
        await pilot.press("enter")
        await wait_for(pilot, lambda: bool(app.screen.query("#more-recipe FieldRow")), "all fields")

        def shown(key: str) -> bool:
            return bool(app.screen.query_one(f"#field-{key.replace('.', '-')}").display)

        await wait_for(pilot, lambda: not shown("objective.huber_delta"), "no delta for mse")
        app.screen.query_one("#field-objective-loss").children[0].focus()
        await pilot.press("right")
        await wait_for(pilot, lambda: shown("objective.huber_delta"), "huber's delta")


async def test_several_sets_are_made_and_taken_out_by_keys(pictures: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    shutil.copytree(pictures, more)
    app = SdtrainApp(start="wizard", answers={"base.model": "builtin:tiny", "data.path": str(pictures)})
    async with app.run_test(size=(100, 50)) as pilot:
        await go_to(pilot, app, "data")
        app.screen.query_one("#sets-toggle").focus()
        await pilot.press("enter")
        app.screen.query_one("#set-more").focus()
        await pilot.press("enter")
        await wait_for(pilot, lambda: bool(app.screen.query("#field-data-sets-1-path")), "the second set")
        await type_text(pilot, str(more))
        await pilot.press("enter")
        repeats = app.screen.query_one("#field-data-sets-1-repeats Input")
        repeats.focus()
        await type_text(pilot, "3")
        await wait_text(pilot, "more: ")
        draft = draft_of(app)
        await wait_for(pilot, lambda: draft.plan is not None, "the plan")
        assert draft.plan is not None
        assert [(Path(one.path), one.repeats) for one in draft.plan.data.sets] == [
            (pictures, None),
            (more, 3),
        ]
        rows = {row.field.key for row in app.screen.query("#set-fields FieldRow").results(FieldRow)}
        assert rows == {f"data.sets.1.{name}" for name in PictureSet.model_fields}
        app.screen.query_one("#set-less").focus()
        await pilot.press("enter")
        await wait_for(pilot, lambda: draft.answers["data.sets"] == [{"path": str(pictures)}], "one set")


async def test_a_kohya_folder_shows_its_sets(pictures: Path, tmp_path: Path) -> None:
    for name in ("10_sks dog", "2_blue cat"):
        shutil.copytree(pictures, tmp_path / "set" / name)
    app = SdtrainApp(
        start="wizard", answers={"base.model": "builtin:tiny", "data.path": str(tmp_path / "set")}
    )
    async with app.run_test(size=(100, 50)) as pilot:
        await go_to(pilot, app, "data")
        await wait_text(pilot, "83% of the draws")
        app.screen.query_one("#sets-toggle").focus()
        await pilot.press("enter")
        await wait_text(pilot, "10_sks dog")
        assert app.screen.query("#field-data-sets-0-trigger")


async def test_a_number_that_is_chosen_is_a_number(pictures: Path) -> None:
    answers = {"method": "lora", "base.model": "builtin:tiny", "data.path": str(pictures)}
    app = SdtrainApp(start="wizard", answers=answers)
    async with app.run_test(size=(120, 36)) as pilot:
        await go_to(pilot, app, "data")
        app.screen.query_one("#more-captions Button").focus()
        await pilot.press("enter")
        await wait_for(pilot, lambda: bool(app.screen.query("#field-captions-max_tokens")), "the field")
        field = app.screen.query_one("#field-captions-max_tokens", FieldRow)
        field.children[0].focus()
        await pilot.press("right")
        await wait_for(pilot, lambda: "captions.max_tokens" in app.screen.draft.answers, "the answer")  # type: ignore[attr-defined]
        draft = app.screen.draft  # type: ignore[attr-defined]
        assert draft.answers["captions.max_tokens"] in (75, 150, 225)
        assert not draft.trouble(field.field)


async def test_options_of_tags_are_asked_for_where_tags_are_moved_or_left_out(pictures: Path) -> None:
    answers: Answers = {"method": "lora", "base.model": "builtin:tiny", "data.path": str(pictures)}
    app = SdtrainApp(start="wizard", answers=answers)
    async with app.run_test(size=(120, 40)) as pilot:
        await go_to(pilot, app, "data")
        app.screen.query_one("#more-captions Button").focus()
        await pilot.press("enter")
        await wait_for(pilot, lambda: bool(app.screen.query("#more-captions FieldRow")), "the fields")

        def shown() -> set[str]:
            rows = app.screen.query("#more-captions FieldRow").results(FieldRow)
            return {row.field.key for row in rows if row.display}

        of_tags = {"data.keep_tags", "captions.keep_separator", "captions.protected_tags"}
        await wait_for(pilot, lambda: not of_tags & shown(), "no options of tags that stay")
        assert {"captions.several", "captions.prefix", "data.shuffle_tags"} <= shown()
        assert "captions.weights" not in shown()
        row = app.screen.query_one("#more-captions FieldRow")
        row.post_message(Answered("captions.tag_dropout", 0.2))
        row.post_message(Answered("captions.several", "lines"))
        await wait_for(pilot, lambda: of_tags | {"captions.weights"} <= shown(), "the options of tags")


async def test_what_masks_leave_out_is_asked_for_where_there_are_masks(pictures: Path) -> None:
    answers: Answers = {"method": "lora", "base.model": "builtin:tiny", "data.path": str(pictures)}
    app = SdtrainApp(start="wizard", answers=answers)
    async with app.run_test(size=(120, 40)) as pilot:
        await go_to(pilot, app, "data")
        app.screen.query_one("#more-pictures Button").focus()
        await pilot.press("enter")
        await wait_for(pilot, lambda: bool(app.screen.query("#more-pictures FieldRow")), "the fields")

        def shown() -> set[str]:
            rows = app.screen.query("#more-pictures FieldRow").results(FieldRow)
            return {row.field.key for row in rows if row.display}

        of_masks = {"data.mask_path", "data.unmasked_weight"}
        await wait_for(pilot, lambda: "data.masks" in shown() and not of_masks & shown(), "masks are off")
        app.screen.query_one("#more-pictures FieldRow").post_message(Answered("data.masks", "files"))
        await wait_for(pilot, lambda: of_masks <= shown(), "the options of masks")


async def test_the_previews_page_asks_for_validation_and_says_what_it_holds_out(pictures: Path) -> None:
    answers = {"base.model": "builtin:tiny", "data.path": str(pictures), "validation.every": 50}
    app = SdtrainApp(start="wizard", answers={**answers, "validation.share": 0.34})
    async with app.run_test(size=(120, 50)) as pilot:
        await go_to(pilot, app, "previews")
        await wait_text(pilot, "2 of 6 pictures, which are not trained on")
        await app.screen.query_one("#validation", MoreFields).open()

        def shown() -> set[str]:
            rows = app.screen.query("#validation FieldRow").results(FieldRow)
            return {row.field.key for row in rows if row.display}

        own = {field.key for field in plan_fields("lora") if field.key.startswith("validation.")}
        await wait_for(pilot, lambda: shown() == own, "the fields of a validation")
        app.screen.query_one("#validation FieldRow").post_message(Answered("validation.every", 0))
        # What was answered stays in sight.
        left = {"validation.every", "validation.every_epochs", "validation.path", "validation.share"}
        await wait_for(pilot, lambda: shown() == left, "what is left")
