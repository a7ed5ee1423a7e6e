"""DreamBooth: class pictures are counted, drawn, kept and weighed as the plan says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.errors import UserError
from engine.plan.schema import Plan
from engine.run.launch import launch
from engine.run.lock import is_alive
from engine.train import checkpoint
from engine.train.class_pictures import cache_folder, class_items
from tests.methods.plain import Plain, samples
from tests.support.pictures import write_pictures
from tests.support.runs import events_of, kill, new_run, pid_of, quick_plan, run_to_end, wait_until
from tests.support.sessions import CPU, Prepared, prepared, run_steps, silent, weights

SEED, WEIGHT = 7, 0.4
DRAWN = {"data__class_prompt": "a picture", "samples__steps": 2, "samples__guidance": 2.0}


def _plan(base: Path, tmp_path: Path, count: int = 3, **changes: object) -> Plan:
    folder = write_pictures(tmp_path / "pictures", count=count)
    asked = {"method": "dreambooth", "seed": SEED, "data__caption_dropout": 0.0, **DRAWN, **changes}
    return quick_plan(base, folder, **asked)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Three class pictures of the user's."""
    return write_pictures(tmp_path / "class", count=3, seed=5)


def test_steps_add_the_weighed_loss_of_the_class(small_sd1: Path, own: Path, tmp_path: Path) -> None:
    plan = _plan(
        small_sd1,
        tmp_path,
        dreambooth__text_encoder=True,
        data__class_path=str(own),
        data__class_weight=WEIGHT,
        train__steps=3,
        train__learning_rate=1e-4,
    )
    made = prepared(plan, tmp_path / "cache")
    plain = Plain.load(small_sd1, SEED)
    named = {f"unet.{name}": value for name, value in plain.unet.named_parameters()}
    named |= {f"text_encoder.{name}": value for name, value in plain.encoder.named_parameters()}
    wide = [value for value in named.values() if value.ndim > 1]
    groups: list[dict[str, Any]] = [
        {"params": wide},
        {"params": [value for value in named.values() if value.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, weight_decay=0.01)
    for step, (report,) in enumerate(made.loop.run(0, lambda step: True), 1):
        subject, kind = made.feed.main.order.batch(step - 1), made.feed.prior.order.batch(step - 1)
        loss = plain.loss(step, samples(tmp_path / "pictures", [int(row) for row in subject]))
        prior = plain.loss(step, samples(own, [int(row) for row in kind], 2, "a picture"))
        optimizer.zero_grad()
        (loss + WEIGHT * prior).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(list(named.values()), 1.0)
        optimizer.step()
        assert abs(report.loss - float(loss + WEIGHT * prior)) < 1e-6
        for item in made.adapted.trainables:
            ours, theirs = item.parameter.grad, named[item.name].grad
            assert ours is not None and theirs is not None
            assert torch.allclose(ours, theirs, atol=1e-6), item.name


def test_weight_zero_trains_as_if_there_were_no_class_pictures(
    small_sd1: Path, own: Path, tmp_path: Path
) -> None:
    without = prepared(_plan(small_sd1, tmp_path, train__steps=2), tmp_path / "cache")
    plan = _plan(small_sd1, tmp_path, train__steps=2, data__class_path=str(own), data__class_weight=0.0)
    nothing = prepared(plan, tmp_path / "cache")
    losses = [report.loss for report in run_steps(without)]
    assert losses == [report.loss for report in run_steps(nothing)]
    ours, theirs = weights(nothing), weights(without)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_weight_belongs_to_the_data_so_a_lora_has_it_too(
    small_sd1: Path, own: Path, tmp_path: Path
) -> None:
    first: dict[float, float] = {}
    for weight in (0.0, 1.0):
        plan = _plan(small_sd1, tmp_path, method="lora", data__class_path=str(own), data__class_weight=weight)
        first[weight] = run_steps(prepared(plan, tmp_path / "cache"), until=1)[0].loss
    assert first[1.0] > first[0.0] + 0.1


def test_missing_pictures_are_drawn_into_the_cache_and_never_beside_the_users(
    small_sd1: Path, own: Path, tmp_path: Path
) -> None:
    plan = _plan(small_sd1, tmp_path, data__class_path=str(own), data__class_count=5)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in own.iterdir())
    told: list[tuple[str, int, int]] = []
    items = class_items(plan, CPU, tmp_path / "cache", lambda *news: told.append(news))
    assert sorted((path.name, path.stat().st_mtime_ns) for path in own.iterdir()) == before
    assert [item.folder == own for item in items] == [True] * 3 + [False] * 2
    assert {item.caption for item in items} == {"a picture"}
    assert told[-1] == ("class pictures", 2, 2)
    told.clear()
    again = class_items(plan, CPU, tmp_path / "cache", lambda *news: told.append(news))
    assert again == items and told == [], "they are there already"


def test_stopping_between_pictures_keeps_the_finished_ones_and_changes_none(
    small_sd1: Path, tmp_path: Path
) -> None:
    plan = _plan(small_sd1, tmp_path, data__class_count=6)
    class_items(plan, CPU, tmp_path / "whole", silent)
    whole = cache_folder(plan, tmp_path / "whole")
    folder = cache_folder(plan, tmp_path / "cache")

    def leave(text: str, done: int, total: int) -> None:
        if done:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        class_items(plan, CPU, tmp_path / "cache", leave)
    finished = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert len(finished) == 4
    (folder / "000001.png").unlink()  # as if a kill had come between two pictures of a group
    class_items(plan, CPU, tmp_path / "cache", silent)
    assert sorted(path.name for path in folder.iterdir()) == [f"{index:06d}.png" for index in range(6)]
    kept = [name for name in finished if name != "000001.png"]
    assert all((folder / name).stat().st_ino == finished[name] for name in kept), "not drawn again"
    for path in folder.iterdir():
        assert np.array_equal(np.array(Image.open(path)), np.array(Image.open(whole / path.name)))


def test_another_base_or_prompt_has_pictures_of_its_own(small_sd1: Path, tmp_path: Path) -> None:
    one = _plan(small_sd1, tmp_path, data__class_count=1)
    other = _plan(small_sd1, tmp_path, data__class_count=1, data__class_prompt="a star")
    assert cache_folder(one, tmp_path) != cache_folder(other, tmp_path)


def test_too_few_pictures_and_no_prompt_is_refused(small_sd1: Path, tmp_path: Path) -> None:
    plan = _plan(small_sd1, tmp_path, data__class_count=2, data__class_prompt="")
    with pytest.raises(UserError, match="no prompt to make them with"):
        class_items(plan, CPU, tmp_path / "cache", silent)


def _resumed(plan: Plan, tmp_path: Path) -> Prepared:
    first = prepared(plan, tmp_path / "cache")
    run_steps(first, until=2)
    state = {"loop": first.loop.state()}
    saved, _ = checkpoint.save(
        tmp_path / "checkpoints", 2, first.adapted.trainables, first.loop.optimizer, state
    )
    second = prepared(plan, tmp_path / "cache")
    second.loop.restore(checkpoint.load(saved, second.adapted.trainables, second.loop.optimizer)["loop"])
    run_steps(second, start=2)
    return second


def test_resume_is_bit_exact_with_class_pictures(small_sd1: Path, tmp_path: Path) -> None:
    plan = _plan(small_sd1, tmp_path, data__class_count=2, train__steps=4)
    whole = prepared(plan, tmp_path / "cache")
    run_steps(whole)
    ours, theirs = weights(_resumed(plan, tmp_path)), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_killed_run_goes_on_with_the_class_pictures_it_has(
    home: Path, small_sd1: Path, tmp_path: Path
) -> None:
    plan = _plan(small_sd1, tmp_path, data__class_count=8, train__steps=2, output__formats=["single_file"])
    run = new_run(plan)
    folder = cache_folder(plan, home / "cache")
    launch(run)
    wait_until(lambda: len(list(folder.glob("*.png"))) >= 4, what="the first class pictures")
    for kind in ("launched", "started"):
        kill(pid_of(run, kind))
    wait_until(lambda: not is_alive(run), what="the death of the run")
    kept = {path.name: path.stat().st_ino for path in folder.glob("*.png")}
    view = run_to_end(run)
    assert view.step == 2
    after = {path.name: path.stat().st_ino for path in folder.glob("*.png")}
    assert len(after) == 8 and kept.items() <= after.items()
    assert any("class pictures" in str(event.get("text")) for event in events_of(run))
