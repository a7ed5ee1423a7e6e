"""Any field of the plan is found by words and gone to, wherever it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.plan.methods import METHODS
from engine.plan.schema import plan_fields
from sdtrain_tui.app import SdtrainApp
from sdtrain_tui.screens.field_search import FieldSearch, found
from sdtrain_tui.wizard.field_row import FieldRow
from sdtrain_tui.wizard.step import inside
from tests.app.seen import type_text, wait_for, wait_text
from tests.app.test_wizard import answers_for, begun

pytestmark = pytest.mark.usefixtures("home")


def test_names_come_before_explanations_and_every_word_counts() -> None:
    fields = plan_fields("lora")
    assert found(fields, "learning rate")[0].key == "train.learning_rate"
    assert found(fields, "lora.rank")[0].key == "lora.rank"
    keys = [field.key for field in found(fields, "vram")]
    assert keys and all("vram" in field.help.lower() for field in fields if field.key in keys)
    assert found(fields, "rank nothing-like-it") == []
    assert len(found(fields, "")) == len(fields)


@pytest.mark.parametrize(
    ("words", "key"),
    [("clip skip", "base.clip_skip"), ("seed", "seed"), ("vae tiling", "hardware.vae_tiling")],
)
async def test_a_field_behind_all_fields_of_another_page_gets_the_focus(
    words: str, key: str, pictures: Path
) -> None:
    app = SdtrainApp(start="wizard", answers=answers_for(pictures))
    async with app.run_test(size=(80, 24)) as pilot:
        await begun(pilot, app)
        await pilot.press("slash")
        await wait_for(pilot, lambda: isinstance(app.screen, FieldSearch), "the search")
        await type_text(pilot, words)
        await wait_text(pilot, key)
        await pilot.press("enter")

        def row() -> FieldRow | None:
            return inside(app.focused)

        await wait_for(pilot, lambda: (at := row()) is not None and at.field.key == key, key)
        page = app.screen.query_one("#wizard-page").region
        await wait_for(
            pilot, lambda: (at := row()) is not None and page.contains_region(at.region), "the field in sight"
        )


async def test_it_is_left_without_a_trace_and_opens_from_a_text_field_by_f3(pictures: Path) -> None:
    app = SdtrainApp(start="wizard", answers=answers_for(pictures))
    async with app.run_test(size=(80, 24)) as pilot:
        await begun(pilot, app)
        await pilot.press("ctrl+n", "ctrl+n", "f3")
        await wait_for(pilot, lambda: isinstance(app.screen, FieldSearch), "the search")
        await pilot.press("escape")
        await wait_text(pilot, "Where are the pictures?")


def test_every_method_has_its_fields_found_by_their_keys() -> None:
    for method in METHODS:
        fields = plan_fields(method)
        for field in fields:
            assert field in found(fields, field.key), field.key
