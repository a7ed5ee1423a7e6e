"""The wizard's draft without a screen: what is checked, what is forgotten, what is never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdtrain_tui.wizard.draft import Draft, validate
from sdtrain_tui.wizard.field_row import show_value
from sdtrain_tui.wizard.look import look

pytestmark = pytest.mark.usefixtures("home")


def answers_for(pictures: Path, **more: object) -> dict[str, object]:
    return {"base.model": "builtin:tiny", "data.path": str(pictures), **more}


@pytest.mark.parametrize(
    ("key", "value", "wrong"),
    [
        ("train.steps", 10, False),
        ("train.steps", 0, True),
        ("train.steps", "many", True),
        ("lora.rank", 4096, True),
        ("hardware.device", "cuda:1", False),
        ("hardware.device", "gpu", True),
        ("name", "my run", True),
        ("name", "my-run", False),
    ],
)
def test_one_field_is_checked_by_its_own_declaration(key: str, value: object, wrong: bool) -> None:
    problem = validate(key, value)
    assert (problem is not None) == wrong
    if problem is not None:
        assert problem.key == key and problem.why


def test_a_home_that_nobody_has_is_a_problem_and_no_crash() -> None:
    draft = Draft({"base.model": "builtin:tiny"})
    assert not draft.answer("data.path", "~nobody-here/pictures")
    draft.take(look(draft.snapshot()))
    assert "no user's home" in next(problem.what for problem in draft.problems if problem.key == "data.path")


def test_fields_that_the_others_make_idle_are_known(pictures: Path) -> None:
    draft = Draft(answers_for(pictures))
    draft.take(look(draft.snapshot()))
    assert {"objective.huber_delta", "train.power"} <= draft.idle()
    assert not {"optimizer.beta1", "train.steps"} & draft.idle()
    draft.answer("optimizer.name", "adafactor")
    draft.answer("train.schedule", "polynomial")
    assert "optimizer.beta1" in draft.idle() and "train.power" not in draft.idle()


def test_clip_skip_is_asked_for_where_the_base_reads_it(pictures: Path) -> None:
    draft = Draft(answers_for(pictures))
    draft.take(look(draft.snapshot()))
    assert "base.clip_skip" not in draft.idle()
    draft.answer("base.family", "sdxl")
    assert "base.clip_skip" in draft.idle()


def test_another_folder_makes_the_old_facts_void(pictures: Path) -> None:
    draft = Draft(answers_for(pictures))
    draft.take(look(draft.snapshot()))
    assert draft.plan is not None and draft.report is not None
    assert draft.answer("data.path", "/elsewhere")
    assert draft.plan is None and draft.report is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-4, "1e-4"),
        (5e-4, "5e-4"),
        (1.25e-5, "1.25e-5"),
        (0.5, "0.5"),
        (16.0, "16"),
        (0.0, "0"),
        (True, "on"),
    ],
)
def test_values_are_shown_short_and_read_back_the_same(value: object, text: str) -> None:
    assert show_value(value) == text
    if isinstance(value, float):
        assert float(text) == value
