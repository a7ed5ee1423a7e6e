"""The wizard for each of the nine methods: what it asks with the pictures, what it says about pairs, by keys alone."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from textual.widgets import OptionList

from engine.plan.files import dumps, to_dict
from engine.plan.methods import METHODS
from engine.planning.build import build, gather
from sdtrain_tui.app import SdtrainApp
from sdtrain_tui.wizard.draft import Draft
from sdtrain_tui.wizard.field_row import FieldRow
from sdtrain_tui.wizard.look import look
from tests.app.seen import text_of, type_text, wait_for, wait_text
from tests.app.test_wizard import draft_of, go_to

pytestmark = pytest.mark.usefixtures("home")

Answers = dict[str, object]
TYPED: dict[str, tuple[str, ...]] = {
    "dreambooth": ("blim", "tab", "a circle", "tab", "3"),
    "lora": ("zwx",),
    "textual_inversion": ("<morp>", "tab", "a star"),
    "full": ("zwx",),
    "scratch": (),
    "hypernetwork": ("zwx",),
    "controlnet": ("tab", "{conditions}"),
    "t2i_adapter": ("tab", "{conditions}"),
    "style_lora": ("zwx",),
}
GIVEN: dict[str, Answers] = {
    "dreambooth": {"data.trigger": "blim", "data.class_prompt": "a circle", "data.class_count": 3},
    "textual_inversion": {"data.trigger": "<morp>", "textual_inversion.initial": ["a star"]},
    "scratch": {},
    "controlnet": {"controlnet.condition_path": "{conditions}"},
    "t2i_adapter": {"t2i_adapter.condition_path": "{conditions}"},
}


@pytest.fixture
def conditions(pictures: Path) -> Path:
    """A condition for each picture."""
    folder = pictures.parent / "conditions"
    folder.mkdir()
    for path in pictures.glob("*.png"):
        with Image.open(path) as picture:
            Image.new("L", picture.size).save(folder / path.name)
    return folder


@pytest.mark.parametrize("method", METHODS)
async def test_keys_alone_plan_every_method_as_the_command_does(
    method: str, pictures: Path, conditions: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.toml"
    app = SdtrainApp(start="wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_text(pilot, "What do you want to train?")
        away = list(METHODS).index(method) - list(METHODS).index("lora")
        await pilot.press(*["down" if away > 0 else "up"] * abs(away), "enter")
        await wait_text(pilot, "builtin:tiny")
        await pilot.press("enter", "enter")
        await wait_text(pilot, "Where are the pictures?")
        await type_text(pilot, f"{pictures}/")
        await pilot.press("tab")
        for part in TYPED[method]:
            if part == "tab":
                await pilot.press("tab")
            else:
                await type_text(pilot, part.format(conditions=conditions))
        draft = draft_of(app)
        await wait_for(pilot, lambda: draft.fresh and draft.plan is not None, "a plan")
        await go_to(pilot, app, "review")
        await wait_text(pilot, "ready to start")
        await pilot.press("ctrl+s")
        await wait_text(pilot, "save the plan as")
        await pilot.press("ctrl+u")
        await type_text(pilot, str(target))
        await pilot.press("enter")
        await wait_text(pilot, "start it with")
    own = {
        key: value.format(conditions=conditions) if isinstance(value, str) else value
        for key, value in GIVEN.get(method, {"data.trigger": "zwx"}).items()
    }
    answers = {"base.model": "builtin:tiny", "data.path": f"{pictures}/", **own}
    answers |= {} if method == "lora" else {"method": method}
    assert draft.answers == answers
    assert target.read_text() == dumps(build(answers, gather(answers)).plan)


async def test_every_card_stands_whole_on_a_small_screen_and_loras_is_the_first() -> None:
    app = SdtrainApp(start="wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_text(pilot, "What do you want to train?")
        options = app.screen.query_one(OptionList)
        assert options.highlighted == list(METHODS).index("lora")
        await pilot.press("home")
        for place, spec in enumerate(METHODS.values()):
            await wait_for(pilot, partial(_stands, options, place), spec.title)
            await pilot.pause()
            words = " ".join(" ".join(line[32:] for line in text_of(app).splitlines()).split())
            for text in (spec.goal, spec.input, spec.output, spec.use, *spec.notes):
                assert text in words
            await pilot.press("down")


def _stands(options: OptionList, place: int) -> bool:
    return options.highlighted == place


async def test_pictures_without_a_condition_are_counted_and_named(pictures: Path, conditions: Path) -> None:
    names = sorted(path.name for path in conditions.iterdir())
    for name in names[:2]:
        (conditions / name).unlink()
    Image.new("RGB", (64, 8)).save(conditions / names[2])
    shutil.copy(conditions / names[3], conditions / "alone.png")
    answers = {
        "method": "controlnet",
        "base.model": "builtin:tiny",
        "data.path": str(pictures),
        "controlnet.condition_path": str(conditions),
    }
    app = SdtrainApp(start="wizard", answers=answers)
    async with app.run_test(size=(120, 36)) as pilot:
        await go_to(pilot, app, "data")
        seen = await wait_text(pilot, "3 of 6 pictures have theirs")
        assert f"2 without a condition picture: {names[0]}, {names[1]}" in " ".join(seen.split())
        assert "1 with a condition of another shape" in seen and "1 conditions without a picture" in seen
        await go_to(pilot, app, "previews")
        await wait_text(pilot, f"{names[3]}'s: ")
        await go_to(pilot, app, "review")
        seen = " ".join((await wait_text(pilot, "to consider")).split())
        assert "controlnet.condition_path" in seen


async def test_a_made_condition_needs_no_folder(pictures: Path) -> None:
    answers = {"method": "t2i_adapter", "base.model": "builtin:tiny", "data.path": str(pictures)}
    app = SdtrainApp(start="wizard", answers=answers)
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, app, "data")
        seen = await wait_text(pilot, "none of the 6 pictures")
        assert "condition path" in seen
        app.screen.query_one("#field-t2i_adapter-condition").children[0].focus()
        await pilot.press("right")
        seen = await wait_text(pilot, "canny maps, made from the pictures")
        assert "condition path" not in seen and "condition model" not in seen
        await pilot.press("right")
        seen = await wait_text(pilot, "condition model")
        assert "condition path" not in seen
        await wait_for(pilot, lambda: draft_of(app).plan is not None, "a plan")


def test_answers_about_another_method_wait_until_it_comes_back(pictures: Path) -> None:
    draft = Draft({"base.model": "builtin:tiny", "data.path": str(pictures), "lora.rank": 4})
    draft.answer("method", "hypernetwork")
    draft.take(look(draft.snapshot()))
    assert draft.plan is not None and "lora" not in to_dict(draft.plan)
    draft.answer("method", "lora")
    draft.take(look(draft.snapshot()))
    assert draft.plan is not None and to_dict(draft.plan)["lora"]["rank"] == 4


def test_a_class_folder_without_pictures_is_a_problem(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    answers: Answers = {
        "method": "dreambooth",
        "base.model": "builtin:tiny",
        "data.path": str(pictures),
        "data.class_path": str(tmp_path / "empty"),
    }
    draft = Draft(answers)
    draft.take(look(draft.snapshot()))
    assert any(problem.key == "data.class_path" for problem in draft.errors)


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("<a>, <b>", ["<a>", "<b>"]),
        ("<a>", ["<a>"]),
        ('["a, b"]', ["a, b"]),
        ("", None),
    ],
)
def test_a_list_is_typed_with_commas_or_as_toml(typed: str, value: object) -> None:
    draft = Draft({"method": "textual_inversion"})
    row = FieldRow(draft.fields()["textual_inversion.tokens"], draft, "tokens")
    assert row._parsed(typed) == value


def test_numbers_in_one_text_stay_a_text_where_the_field_wants_texts() -> None:
    draft = Draft({"method": "hypernetwork"})
    row = FieldRow(draft.fields()["hypernetwork.layer_structure"], draft, "layers")
    assert row._parsed("1, 2, 1") == [1, 2, 1] or row._parsed("1, 2, 1") == [1.0, 2.0, 1.0]
    draft = Draft({"method": "style_lora"})
    row = FieldRow(draft.fields()["style_lora.block_rates"], draft, "rates")
    assert row._parsed("1,0,1") == ["1,0,1"]


async def test_a_page_that_is_longer_than_the_screen_is_scrolled_from_any_field(pictures: Path) -> None:
    answers = {"method": "controlnet", "base.model": "builtin:tiny", "data.path": str(pictures)}
    app = SdtrainApp(start="wizard", answers=answers)
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, app, "data")
        assert "for example" not in await wait_text(pilot, "none of the 6 pictures")
        page = app.screen.query_one("#step-data")
        await wait_for(pilot, lambda: page.max_scroll_y > 0, "a page that can be scrolled")
        await pilot.press("pagedown")
        await wait_text(pilot, "for example")
        await pilot.press("pageup")
        await wait_text(pilot, "Where are the pictures?")
