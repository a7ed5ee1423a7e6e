"""What is read, decoded and drawn ahead of a step is what the step would have made itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine import draws
from engine.models.specs import FAMILIES
from engine.plan.schema import Plan
from engine.train import encoded_table, latents
from engine.train.ahead import Ahead, DrawsAhead
from engine.train.feeding import DataFeed, PriorFeed
from engine.train.opening import open_training
from engine.train.staged_feed import StagedFeed
from tests.support.pictures import write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps

CPU = torch.device("cpu")


def test_what_comes_next_is_made_while_this_is_used() -> None:
    made: list[tuple[int, str]] = []
    second = threading.Event()

    def make(number: int) -> int:
        if number == 3:
            raise KeyError(number)
        made.append((number, threading.current_thread().name))
        if number == 2:
            second.set()
        return 10 * number

    ahead = Ahead(make)
    assert ahead.take(1, 2) == 10
    assert second.wait(60)
    assert ahead.take(2, 3) == 20
    assert [number for number, _ in made] == [1, 2]
    # One thread, and not this one.
    (name,) = {name for _, name in made}
    assert name != threading.current_thread().name
    # What nobody came to ask for is nobody's error; what is asked for is.
    assert ahead.take(1, 3) == 10
    with pytest.raises(KeyError):
        ahead.take(3, None)
    assert ahead.take(5, None) == 50


@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_draws_are_the_same_whether_they_were_expected_or_not(
    offset: float, small_sd1: Path, pictures: Path
) -> None:
    plan = quick_plan(small_sd1, pictures, objective__noise_offset=offset)
    ahead = DrawsAhead(plan, FAMILIES["sd1"], CPU)
    outline = [((0, 1), (64, 128)), ((2,), (64, 64))]
    for step in (1, 2, 3):
        ahead.expect(step + 1, outline)
        ahead.expect(step + 1, outline)
        assert len(ahead._begun) <= 12
        for slots, (width, height) in outline:
            for purpose, shape in (
                ("latent", (4, height // 8, width // 8)),
                ("noise", (4, height // 8, width // 8)),
                ("offset", (4, 1, 1)),
            ):
                found = ahead.normal(purpose, step, slots, shape)
                assert torch.equal(found, draws.normal(plan.seed, purpose, step, slots, shape))
        # A piece that nobody expected, as after a batch was split.
        odd = ahead.normal("noise", step, (1,), (4, 3, 3))
        assert torch.equal(odd, draws.normal(plan.seed, "noise", step, (1,), (4, 3, 3)))
    assert all(step >= 3 for _, step, *_ in ahead._begun)


def _wide_and_high(folder: Path) -> Path:
    """Pictures of two shapes, so that batches differ in size."""
    folder.mkdir()
    random = np.random.default_rng(3)
    for number in range(6):
        sides = (64, 96) if number % 2 else (96, 64)
        Image.fromarray(random.integers(0, 255, (*sides, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a thing, red, number {number}")
    return folder


CASES: dict[str, dict[str, object]] = {
    "cached": {},
    "live": {"data__cache_latents": "off"},
    "cropped and turned": {"data__random_crop": True, "data__flip": True, "data__caption_dropout": 0.3},
    "shuffled": {"data__shuffle_tags": True, "train__gradient_accumulation": 2},
    "buckets": {"data__bucket": True, "data__flip": True, "objective__noise_offset": 0.05},
    "class pictures": {"method": "dreambooth", "data__class_prompt": "a thing"},
    "stages": {"method": "scratch", "scratch__size": "base", "scratch__stages": ["32:3", "64:6"]},
}


def _never_ahead(made: Prepared) -> None:
    """Every step makes all that it needs itself."""
    made.loop.draws.expect = lambda step, outline: None  # type: ignore[method-assign]
    real = Ahead.take

    def feeds() -> list[DataFeed]:
        feed = made.feed
        if isinstance(feed, PriorFeed):
            return [feed.main, feed.prior]
        return [feed.feed(1)] if isinstance(feed, StagedFeed) else [feed]

    for feed in feeds():
        feed._ahead.take = lambda key, then, own=feed._ahead: real(own, key, None)  # type: ignore


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_a_training_that_looks_ahead_has_the_same_losses(
    case: str, resident: bool, small_sd1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = _wide_and_high(tmp_path / "pictures")
    changes = dict(CASES[case])
    if "data__class_prompt" in changes:
        changes["data__class_path"] = str(write_pictures(tmp_path / "classes", count=3))
    if not resident:
        monkeypatch.setattr(encoded_table, "RESIDENT_BYTES", 0)
    plan = quick_plan(small_sd1, pictures, **changes)
    made, other = (prepared(plan, tmp_path / "cache") for _ in range(2))
    _never_ahead(other)
    losses, expected = ([report.loss for report in run_steps(each, until=4)] for each in (made, other))
    # From here on in pieces of one: what was begun for larger ones is let go.
    made.loop.limit = other.loop.limit = 1
    losses += [report.loss for report in run_steps(made, start=4)]
    expected += [report.loss for report in run_steps(other, start=4)]
    assert losses == expected


def test_the_pictures_of_the_next_step_are_decoded_during_this_one_and_none_after_the_last(
    small_sd1: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = quick_plan(small_sd1, pictures, data__cache_latents="off", train__steps=3)
    made = prepared(plan, tmp_path / "cache")
    decoded: list[str] = []
    real: Callable[..., Any] = latents.pixels

    def pixels(*given: Any) -> Any:
        decoded.append(threading.current_thread().name)
        return real(*given)

    monkeypatch.setattr(latents, "pixels", pixels)
    for step in (1, 2, 3):
        list(made.feed.step(step, 2))
        begun = made.feed._ahead._next
        if step < 3:
            assert begun is not None
            assert begun[0] == (step + 1, 2)
            begun[1].result()
            assert len(decoded) == 2 * (step + 1)
    assert begun is None
    assert len(decoded) == 6
    assert all(name.startswith("pictures") for name in decoded)


def test_a_picture_that_went_away_is_told_at_its_own_step(small_sd1: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", count=2)
    plan = quick_plan(small_sd1, pictures, data__cache_latents="off", train__batch_size=1, train__steps=2)
    made = prepared(plan, tmp_path / "cache")
    second = made.feed.items[int(made.feed.order.batch(1)[0])]
    second.path.rename(tmp_path / "elsewhere.png")
    reports = []
    with pytest.raises(Exception, match=second.path.name):
        for group in made.loop.run(0, lambda step: True):
            reports += group
    assert [report.step for report in reports] == [1]


def _cuda_plan(base: Path, pictures: Path, **changes: object) -> Plan:
    return quick_plan(base, pictures, hardware__device="cuda", train__precision="auto", **changes)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("live", [False, True])
def test_no_step_waits_for_the_device(live: bool, small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    plan = _cuda_plan(small_sd1, pictures, data__cache_latents="off" if live else "on", train__steps=8)
    made = open_training(plan, cache=tmp_path / "cache", checked=True)
    for step in range(1, 4):
        made.loop._step(step)
    for batch in made.feed.step(4, 2):
        assert batch.mean.device.type == batch.std.device.type == "cuda"
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(4, 8):
            made.loop._step(step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
