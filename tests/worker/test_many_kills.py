"""Two hundred kills over all nine methods: nothing that was learned, drawn or exported is lost or made twice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.plan.methods import METHODS
from tests.support.pictures import write_conditions, write_pictures
from tests.support.runs import quick_plan
from tests.worker.kills import many

KILLS = 20
WHOLE: dict[str, object] = {"output__formats": ["single_file"]}
"""Of the exports of a whole model, which take most of the time, one."""
CASES: dict[str, tuple[str, Mapping[str, object]]] = {
    "lora": ("lora", {"lora__text_encoder": True, "lora__dropout": 0.1, "train__gradient_accumulation": 2}),
    "lora in fp16": ("lora", {"train__precision": "fp16"}),
    "style_lora": ("style_lora", {}),
    "dreambooth": (
        "dreambooth",
        WHOLE | {"data__trigger": "zqx", "data__class_prompt": "a circle", "data__class_count": 2},
    ),
    "textual_inversion": ("textual_inversion", {"data__trigger": "<cat>"}),
    "full": ("full", WHOLE | {"train__ema": 0.9, "output__weights": "both"}),
    "scratch": ("scratch", WHOLE | {"scratch__size": "base", "scratch__stages": ["32:3", "64:6"]}),
    "hypernetwork": ("hypernetwork", {"hypernetwork__dropout": [0.0, 0.1, 0.0]}),
    "controlnet": ("controlnet", {"controlnet__condition_path": "conditions"}),
    "t2i_adapter": ("t2i_adapter", {"t2i_adapter__condition_path": "conditions"}),
}


def test_every_method_is_killed() -> None:
    assert {method for method, _ in CASES.values()} == set(METHODS)


def _survives(case: str, kills: int, base: Path, folder: Path, home: Path) -> None:
    method, changes = CASES[case]
    pictures = write_pictures(folder / "pictures", count=3)
    write_conditions(pictures, folder / "conditions")
    changes = {key: str(folder / value) if value == "conditions" else value for key, value in changes.items()}
    plan = quick_plan(
        base,
        pictures,
        method=method,
        train__batch_size=1,
        train__steps=6,
        samples__every=2,
        samples__steps=1,
        samples__count=2,
        checkpoints__every=2,
        checkpoints__keep=0,
        checkpoints__export_each=True,
        **changes,
    )
    outcome, wrong = many(plan, kills, sorted(CASES).index(case), home / "cache")
    print(f"{case}: {outcome.met.total()} kills, {outcome.torn_saves} inside a save; {dict(outcome.met)}")
    assert not wrong
    assert outcome.met.total() >= 0.9 * kills


@pytest.mark.soak
@pytest.mark.parametrize("case", CASES)
def test_twenty_kills_lose_nothing(case: str, sd1_folder: Path, tmp_path: Path, home: Path) -> None:
    _survives(case, KILLS, sd1_folder, tmp_path, home)
