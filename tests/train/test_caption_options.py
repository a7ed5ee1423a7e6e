"""Options of captions in training: each has draws of its own, changes the words alone, and goes on bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.train import checkpoint
from tests.support.pictures import write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import prepared, run_steps, weights

TAGS = "a fox, red, {snow|rain}, tree;;;leaf, night\nfox, red, moon, sky"
OPTIONS: list[dict[str, object]] = [
    {"captions__several": "lines"},
    {"captions__several": "lines", "captions__weights": [1.0, 4.0]},
    {"captions__wildcards": True},
    {"captions__tag_dropout": 0.5},
    {"data__shuffle_tags": True},
    {"data__shuffle_tags": True, "captions__secondary_separator": ";;;"},
    {"captions__prefix": "best,", "captions__suffix": ", 4k"},
    {"captions__templates": ["a photo of {}", "{caption}, a photo of {}", "{caption} and {}"]},
]


def _plan(base: Path, folder: Path, **changes: object) -> Any:
    if not folder.exists():
        write_pictures(folder, count=3)
        for file in folder.iterdir():
            if file.suffix != ".png":
                file.unlink()
        for picture in folder.glob("*.png"):
            picture.with_suffix(".txt").write_text(TAGS)
    return quick_plan(
        base, folder, data__trigger="sks", data__flip=True, data__caption_dropout=0.3, **changes
    )


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options))
def test_an_option_changes_the_words_and_nothing_else(
    options: dict[str, object], small_sd1: Path, home: Path, tmp_path: Path
) -> None:
    plain = prepared(_plan(small_sd1, tmp_path / "p"), tmp_path / "cache")
    other = prepared(_plan(small_sd1, tmp_path / "p", **options), tmp_path / "cache")
    worded = 0
    for step in range(1, 9):
        (before,), (after,) = plain.feed.step(step, 2), other.feed.step(step, 2)
        assert before.slots == after.slots and before.sizes == after.sizes
        for name in ("mean", "std", "weights"):
            assert torch.equal(getattr(before, name), getattr(after, name))
        words = zip(before.cond().hidden, after.cond().hidden, strict=True)
        worded += sum(not torch.equal(old, new) for old, new in words)
    assert worded, "the option does something"


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options))
def test_three_steps_and_three_are_six(
    options: dict[str, object], small_sd1: Path, home: Path, tmp_path: Path
) -> None:
    plan = _plan(small_sd1, tmp_path / "p", **options)
    whole = prepared(plan, tmp_path / "cache")
    losses = [report.loss for report in run_steps(whole)]
    first = prepared(plan, tmp_path / "cache")
    begun = [report.loss for report in run_steps(first, until=3)]
    saved, _ = checkpoint.save(
        tmp_path / "saved", 3, first.adapted.trainables, first.loop.optimizer, {"loop": first.loop.state()}
    )
    second = prepared(plan, tmp_path / "cache")
    state = checkpoint.load(saved, second.adapted.trainables, second.loop.optimizer)
    second.loop.restore(state["loop"])
    assert begun + [report.loss for report in run_steps(second, 3)] == losses
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(second).items())


def test_one_line_with_all_the_weight_trains_as_the_only_caption(
    small_sd1: Path, home: Path, tmp_path: Path
) -> None:
    several = _plan(small_sd1, tmp_path / "p", captions__several="lines", captions__weights=[0.0, 1.0])
    alone = _plan(small_sd1, tmp_path / "q")
    for text in (tmp_path / "q").glob("*.txt"):
        text.write_text(TAGS.split("\n")[1])
    ran = []
    for plan in (several, alone):
        made = prepared(plan, tmp_path / "cache")
        ran.append(([report.loss for report in run_steps(made)], weights(made)))
    assert ran[0][0] == ran[1][0]
    assert all(torch.equal(ran[0][1][name], ran[1][1][name]) for name in ran[0][1])


@pytest.mark.parametrize(
    "options", [OPTIONS[0], OPTIONS[1], OPTIONS[6], OPTIONS[7]], ids=lambda o: "+".join(o)
)
def test_texts_that_are_encoded_once_are_those_that_are_encoded_each_time(
    options: dict[str, object], small_sd1: Path, home: Path, tmp_path: Path
) -> None:
    made = [
        prepared(_plan(small_sd1, tmp_path / "p", data__cache_text=cache, **options), tmp_path / "cache")
        for cache in ("on", "off")
    ]
    for step in range(1, 9):
        (cached,), (live,) = (each.feed.step(step, 2) for each in made)
        assert float((cached.cond().hidden - live.cond().hidden).abs().max()) < 1e-5


def test_class_pictures_keep_the_words_of_their_class(small_sd1: Path, home: Path, tmp_path: Path) -> None:
    classes = write_pictures(tmp_path / "classes", count=2)
    common: dict[str, object] = {"data__class_path": str(classes), "data__class_prompt": "a {fox|hen}"}
    options: dict[str, object] = {"captions__prefix": "best,", "captions__wildcards": True}
    made = [
        prepared(_plan(small_sd1, tmp_path / "p", **common, **more), tmp_path / "cache")
        for more in ({}, options)
    ]
    for step in range(1, 5):
        (_, plain), (_, other) = (list(each.feed.step(step, 2)) for each in made)
        assert float((plain.cond().hidden - other.cond().hidden).abs().max()) < 1e-5
