"""The fold is pure and takes any batches; states follow from events, the lock and the time alone."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest

from engine.run.events import EventWriter
from engine.run.follow import Follower
from engine.run.lock import RunLock
from engine.run.paths import RunDir
from engine.run.series import NAMES
from engine.run.view import STATES, Grown, RunView, StepSeries, eta_s, fold, state
from tests.support.events import event, raw, step

Event = dict[str, Any]


STARTED = event(
    "started", name="cat", method="lora", family="sd1", device="cpu", total_steps=100, resumed=False
)


def wild_events(seed: int) -> list[Event]:
    """A run's story with restarts, repeats and fields that no engine of ours would write."""
    draw = random.Random(seed)
    events: list[Event] = []
    number = 0
    odd: list[Any] = [None, True, "x", -1, 1.5, math.nan, [], {}, 10**30, "nan"]
    for i in range(150):
        t = 1000.0 + i
        roll = draw.random()
        if roll < 0.5:
            number += 1
            events.append(step(number, t, lr=draw.random(), epoch=number / 7, skipped=draw.random() < 0.1))
        elif roll < 0.6:
            fields = {
                name: draw.choice(odd) for name in ("step", "loss", "text", "path", "from_step", "id", "t")
            }
            kind = draw.choice(["step", "sample", "checkpoint", "resumed", "failed", "progress", "heartbeat"])
            events.append({"v": 1, "t": t, "kind": kind} | fields)
        elif roll < 0.7:
            events.append(event("sample", t, step=number, index=draw.randrange(2), path=f"s/{number}.png"))
        elif roll < 0.78:
            events.append(event("checkpoint", t, step=number, path=f"c/{number}", bytes=10, seconds=0.5))
        elif roll < 0.84:
            number = draw.randrange(number + 1)
            events.append(event("resumed", t, from_step=number))
        elif roll < 0.88:
            number = max(1, number - draw.randrange(4))
            events.append(step(number, t))
        else:
            kind = draw.choice(
                ["launched", "paused", "unpaused", "warning", "phase", "command", "exported", "new"]
            )
            events.append(
                event(kind, t, step=number, text=f"text {i}", id=f"i{i % 3}", status="done", phase="saving")
            )
    return events


@pytest.mark.parametrize("seed", range(8))
def test_any_split_into_batches_gives_the_same_view(seed: int) -> None:
    events = wild_events(seed)
    whole = fold(events)
    assert whole == fold(events), "the comparison must hold for a view and its twin"
    draw = random.Random(seed)
    view, rest = RunView(), events
    while rest:
        size = draw.randrange(1, 9)
        view, rest = fold(rest[:size], view), rest[size:]
    assert view == whole
    one = RunView()
    for single in events:
        one = fold([single], one)
    assert one == whole


@pytest.mark.parametrize("seed", range(4))
def test_an_older_view_keeps_its_values_whatever_is_folded_later(seed: int) -> None:
    events = wild_events(seed)
    views = [RunView()]
    for single in events:
        views.append(fold([single], views[-1]))
    draw = random.Random(seed)
    for _ in range(20):  # go on from old views in other ways
        place = draw.randrange(len(events))
        fold(wild_events(seed + 100)[:40], views[place])
    for place in range(0, len(views), 7):
        assert views[place] == fold(events[:place]), place


def test_two_readers_may_go_on_from_one_view() -> None:
    base = fold([STARTED, step(1), step(2)])
    left, right = fold([step(3, loss=7.0)], base), fold([step(3, loss=8.0), step(4)], base)
    assert list(left.steps.loss) == [1.0, 0.5, 7.0]
    assert list(right.steps.loss) == [1.0, 0.5, 8.0, 0.25]
    assert len(base.steps) == 2
    far = fold([step(5), step(6)], base)
    assert [list(view.steps.step) for view in (base, left, right, far)] == [
        [1, 2],
        [1, 2, 3],
        [1, 2, 3, 4],
        [1, 2, 5, 6],
    ]


def test_a_resume_drops_the_steps_samples_and_checkpoints_after_its_step() -> None:
    events = [STARTED]
    for number in range(1, 7):
        events += [step(number), event("sample", step=number, index=0, path=f"{number}.png")]
        events += [event("checkpoint", step=number, path=f"c{number}", bytes=1, seconds=0.1)]
    before = fold(events)
    after = fold([event("resumed", from_step=4), step(5, loss=9.0)], before)
    assert list(after.steps.step) == [1, 2, 3, 4, 5]
    assert after.loss == 9.0
    assert [sample.step for sample in after.previews] == [1, 2, 3, 4]
    assert [saved.step for saved in after.checkpoints] == [1, 2, 3, 4]
    assert list(before.steps.step) == [1, 2, 3, 4, 5, 6]
    assert before.step == 6


def test_a_start_that_resumes_nothing_begins_an_empty_curve() -> None:
    view = fold([STARTED, step(1), step(2), event("failed", error="x"), STARTED])
    assert len(view.steps) == 0
    assert view.step == 0
    assert view.failed is None


def test_a_picture_drawn_again_is_listed_once() -> None:
    again = event("sample", step=2, index=0, path="a.png", seed=5)
    view = fold(
        [
            event("sample", step=2, index=0, path="a.png"),
            event("sample", step=2, index=1, path="b.png"),
            again,
        ]
    )
    assert [(sample.path, sample.seed) for sample in view.previews] == [("b.png", 0), ("a.png", 5)]


def test_a_failed_event_may_hold_its_error_flat_or_as_an_object() -> None:
    flat = fold([event("failed", error="w", why="y", fix="f", state="disk-full", exit_code=5)]).failed
    nested = fold(
        [event("failed", error={"what": "w", "why": "y", "fix": "f"}, state="disk-full", exit_code=5)]
    ).failed
    assert flat == nested
    assert flat is not None
    assert (flat.what, flat.why, flat.fix, flat.state, flat.exit_code) == ("w", "y", "f", "disk-full", 5)


@pytest.mark.parametrize(
    ("events", "alive", "silent_s", "expected"),
    [
        ([], False, 0, "queued"),
        ([], True, 0, "preparing"),
        ([event("launched")], True, 0, "preparing"),
        ([event("launched")], False, 0, "crashed"),
        ([STARTED, event("phase", phase="caching")], True, 0, "preparing"),
        ([STARTED, event("phase", phase="caching")], True, 61, "stalled"),
        ([STARTED, step(1)], True, 59, "running"),
        ([STARTED, step(1)], True, 61, "stalled"),
        ([STARTED, step(1), step(2, t=200.0)], True, 400, "running"),
        ([STARTED, step(1), step(2, t=200.0)], True, 600, "stalled"),
        ([STARTED, step(1)], False, 0, "crashed"),
        ([STARTED, step(1), event("paused", step=1)], True, 999, "paused"),
        ([STARTED, step(1), event("heartbeat", phase="paused", step=1)], True, 0, "paused"),
        ([STARTED, step(1), event("paused", step=1, reason="disk-full")], True, 0, "disk-full"),
        ([STARTED, event("paused", step=1), event("unpaused", step=1), step(2)], True, 0, "running"),
        ([STARTED, event("phase", phase="sampling")], True, 0, "running"),
        ([STARTED, event("stopped", step=1)], False, 0, "stopped"),
        ([STARTED, event("stopped", step=1), event("launched")], True, 0, "preparing"),
        ([STARTED, event("failed", error="x")], False, 0, "failed"),
        ([STARTED, event("failed", error="x", state="out-of-memory")], False, 0, "out-of-memory"),
        ([STARTED, event("failed", error="x", state="crashed")], False, 0, "crashed"),
        ([STARTED, event("failed", error="x", state="made up")], False, 0, "failed"),
        ([STARTED, event("finished", step=9, seconds=1)], False, 0, "finished"),
    ],
)
def test_the_state_follows_from_events_lock_and_time(
    events: list[Event], alive: bool, silent_s: float, expected: str
) -> None:
    view = fold(events)
    assert state(view, alive, (view.last_event_at or 0.0) + silent_s) == expected
    assert expected in STATES


def test_the_time_left_is_measured_since_the_last_pause() -> None:
    view = fold([STARTED, *(step(n, t=100.0 + 2 * n) for n in range(1, 11))])
    assert eta_s(view, 120.0) == pytest.approx(180.0)
    assert eta_s(view, 121.0) == pytest.approx(179.0)
    paused = fold([event("paused", 120.0, step=10), event("unpaused", 5000.0, step=10)], view)
    assert eta_s(paused, 5000.0) is None
    again = fold([step(11, t=5001.0), step(12, t=5004.0)], paused)
    assert eta_s(again, 5004.0) == pytest.approx(88 * 3.0)
    assert eta_s(fold([STARTED]), 0.0) is None
    assert eta_s(fold([STARTED, step(100)]), 0.0) == 0.0


def test_columns_give_copies_that_appending_leaves_alone() -> None:
    series = StepSeries().extended([1, 2], [[0.0, 1.0]] * 5)
    held = memoryview(series.loss[:])
    grown = series.extended([3], [[2.0]] * 5)
    assert list(held) == [0.0, 1.0]
    assert list(grown.loss[::-1]) == [2.0, 1.0, 0.0]
    assert list(series.loss[::-1]) == [1.0, 0.0]
    assert series.loss[-1] == 1.0
    assert list(grown.until(2).steps(1)) == [2]
    assert grown.index_after(1) == 1
    with pytest.raises(IndexError):
        series.loss[2]


def test_a_grown_list_slices_like_a_list() -> None:
    old = Grown([1, 2, 3])
    new = old.added(4, 5)
    assert old[::-1] == [3, 2, 1]
    assert new[-2:] == [4, 5]
    assert list(old) == [1, 2, 3]
    assert old.cut(1).added(9)[:] == [1, 9]
    assert new[:] == [1, 2, 3, 4, 5]
    with pytest.raises(IndexError):
        old[3]


def test_every_index_of_a_sequence_is_that_of_a_list() -> None:
    items = [3.0, 5.0, 7.0]
    column = StepSeries().extended([1, 2, 3], [items] * 5).extended([4], [[9.0]] * 5).until(3).lr
    for view in (Grown(items).added(9.0).cut(3), column):
        assert [view[at] for at in range(-3, 3)] == items * 2
        for at in (-4, 3):
            with pytest.raises(IndexError):
                view[at]


def test_each_figure_of_a_step_has_a_column_of_its_own() -> None:
    series = StepSeries().extended([1, 2], [[place, place + 0.5] for place in range(len(NAMES))])
    for place, name in enumerate(NAMES):
        assert list(getattr(series, name)) == [place, place + 0.5], name


def test_a_follower_folds_what_was_added_and_begins_anew_after_a_replacement(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    follower = Follower(run)
    assert not follower.poll()
    assert follower.state() == "queued"
    with EventWriter(run.events_file) as writer:
        writer.emit(raw("started", name="a", total_steps=3, resumed=False))
        writer.emit(raw("step", step=1, loss=1.0))
        assert follower.poll()
        assert not follower.poll()
        writer.emit(raw("step", step=2, loss=1.0))
    assert follower.catch_up().step == 2
    run.events_file.unlink()
    with EventWriter(run.events_file) as writer:
        writer.emit(raw("started", name="b", total_steps=3, resumed=False))
    assert follower.poll()
    assert (follower.view.name, len(follower.view.steps)) == ("b", 0)


def test_an_engine_that_finished_since_the_last_look_never_seems_crashed(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    follower = Follower(run)
    lock = RunLock(run.lock_file)
    assert lock.acquire()
    with EventWriter(run.events_file) as writer:
        writer.emit(raw("started", resumed=False))
        follower.poll()
        assert follower.state() == "preparing"
        writer.emit(raw("finished", step=1, seconds=1.0))
    lock.release()
    assert follower.state() == "finished"


def test_what_no_event_has_told_is_zero() -> None:
    view = fold([{"kind": "warning", "text": "odd"}])
    assert (view.step, view.total_steps, view.restarts, view.pace_from, view.seq) == (0, 0, 0, 0, 0)
    assert (view.log[0].t, view.warnings[0].t) == (0.0, 0.0)
