"""Options of captions that contradict each other or change nothing are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cost.machine import Machine
from engine.planning.check import check
from tests.support.plans import make_plan

WRONG: list[tuple[dict[str, object], str, str]] = [
    ({"captions__folder": "/nowhere"}, "data.path", "error"),
    ({"captions__weights": [1.0]}, "captions.weights", "warning"),
    ({"captions__several": "lines", "captions__weights": [0.0]}, "captions.weights", "error"),
    ({"captions__several": "lines", "captions__weights": [-1.0]}, "captions.weights", "error"),
    ({"captions__several": "lines"}, "captions.several", "warning"),
    ({"captions__templates": ["a photo"], "data__trigger": "sks"}, "captions.templates", "error"),
    ({"captions__templates": ["a photo of {}"]}, "captions.templates", "error"),
    ({"captions__templates": ["subject"], "data__trigger": "sks"}, "captions.templates", "warning"),
    ({"captions__class_word": "dog"}, "captions.class_word", "warning"),
    ({"captions__class_word": "dog", "data__trigger": "sks"}, "captions.class_word", "warning"),
    ({"captions__wildcards": True}, "captions.wildcards", "warning"),
    ({"captions__prefix": "a {red|blue}"}, "captions.wildcards", "warning"),
    ({"captions__protected_tags": ["fox"]}, "captions.protected_tags", "warning"),
    ({"captions__keep_separator": ","}, "captions.keep_separator", "error"),
    (
        {"captions__keep_separator": "||", "captions__secondary_separator": "||"},
        "captions.secondary_separator",
        "error",
    ),
]


@pytest.mark.parametrize(("changes", "key", "level"), WRONG)
def test_a_wrong_plan_is_named_by_its_key(
    changes: dict[str, object], key: str, level: str, pictures: Path, no_gpu: Machine
) -> None:
    found = [problem for problem in check(make_plan(pictures, **changes), here=no_gpu) if problem.key == key]
    assert [problem.level for problem in found] == [level]
    assert found[0].what and found[0].why and found[0].fix


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"captions__tag_dropout": 0.1}, "captions.tag_dropout"),
        ({"data__shuffle_tags": True}, "data.shuffle_tags"),
    ],
)
def test_captions_without_commas_have_no_tags(
    changes: dict[str, object], key: str, pictures: Path, no_gpu: Machine
) -> None:
    plan = make_plan(pictures, **changes)
    assert not [found for found in check(plan, here=no_gpu) if found.key == key]
    for text in pictures.glob("*.txt"):
        text.write_text(text.read_text().replace(",", ""))
    assert [found.level for found in [found for found in check(plan, here=no_gpu) if found.key == key]] == [
        "warning"
    ]
