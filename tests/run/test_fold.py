"""What each event tells is in the view, and what a resume, a restart or a pause makes void is not."""

from __future__ import annotations

import math

import pytest

from engine.run.jsonl import Record
from engine.run.view import (
    CheckpointInfo,
    ExportInfo,
    Failure,
    Finish,
    Pause,
    PreviewInfo,
    RunView,
    Stop,
    TrainableInfo,
    WarningInfo,
    fold,
)
from tests.support.events import event, step


def started(t: float = 100.0, **fields: object) -> Record:
    return event(
        "started", t, **{"method": "lora", "family": "sd1", "total_steps": 100, "resumed": False} | fields
    )


def trained(steps: int) -> list[Record]:
    """A start, and after each step a picture and a checkpoint."""
    events = [started()]
    for number in range(1, steps + 1):
        events += [step(number), event("sample", step=number, path=f"{number}.png")]
        events += [event("checkpoint", step=number, path=f"c{number}", bytes=1, seconds=0.1)]
    return events


def numbers(view: RunView) -> dict[str, list[int]]:
    return {
        "steps": list(view.steps.step),
        "previews": [preview.step for preview in view.previews],
        "checkpoints": [saved.step for saved in view.checkpoints],
    }


@pytest.mark.parametrize("from_step", [0, 1, 4, 6])
def test_a_resume_is_at_its_step_before_any_other_step_is_taken(from_step: int) -> None:
    view = fold([*trained(6), event("resumed", 300.0, from_step=from_step)])
    kept = list(range(1, from_step + 1))
    assert numbers(view) == {"steps": kept, "previews": kept, "checkpoints": kept}
    assert view.step == from_step


def test_a_resume_without_a_number_drops_nothing() -> None:
    view = fold([*trained(3), event("resumed", 300.0, from_step="x")])
    assert numbers(view)["steps"] == [1, 2, 3]
    assert view.step == 3


def test_a_step_that_comes_again_drops_what_came_after_it() -> None:
    view = fold([*trained(5), step(3, 200.0, loss=9.0)])
    assert list(view.steps.step) == [1, 2, 3]
    assert numbers(view)["previews"] == numbers(view)["checkpoints"] == [1, 2]
    assert list(view.steps.loss) == [1.0, 0.5, 9.0]
    assert view.step == 3


def test_a_restart_that_begins_anew_drops_everything_that_the_steps_made() -> None:
    view = fold([*trained(3), step(4, skipped=True), event("launched", restarts=1), started()])
    assert numbers(view) == {"steps": [], "previews": [], "checkpoints": []}
    assert (view.step, view.skipped_steps, view.restarts) == (0, 0, 1)


def test_a_restart_that_resumes_keeps_the_history_until_it_says_from_where() -> None:
    view = fold([*trained(3), step(4, skipped=True), event("launched", restarts=1), started(resumed=True)])
    assert numbers(view)["steps"] == [1, 2, 3, 4]
    assert (view.step, view.skipped_steps) == (4, 1)


@pytest.mark.parametrize("kind", ["launched", "started", "resumed"])
@pytest.mark.parametrize(
    ("end", "attribute"),
    [
        (event("failed", error="x"), "failed"),
        (event("finished", step=2, seconds=1.0), "finished"),
        (event("stopped", step=2), "stopped"),
        (event("paused", step=2), "paused"),
    ],
)
def test_a_new_attempt_has_no_end(kind: str, end: Record, attribute: str) -> None:
    ended = fold([started(), step(1), step(2), end])
    assert getattr(ended, attribute) is not None
    assert getattr(fold([event(kind, from_step=2, resumed=True)], ended), attribute) is None


def test_a_new_attempt_loads_first() -> None:
    busy = fold(
        [started(), event("phase", phase="caching", text="pictures"), event("progress", done=1, total=9)]
    )
    view = fold([event("launched", 400.0)], busy)
    assert (view.phase, view.phase_text, view.progress, view.progress_text) == ("loading", "", None, "")
    assert (view.started_at, view.attempt_at) == (100.0, 400.0)


@pytest.mark.parametrize("end", ["failed", "stopped", "finished"])
def test_a_run_that_ended_in_a_pause_is_not_paused(end: str) -> None:
    view = fold([started(), step(1), event("paused", step=1), event(end, step=1)])
    assert view.paused is None


def test_a_start_says_what_runs_where() -> None:
    facts = {"name": "cat", "device": "cuda", "host": "h", "version": "1", "torch": "2", "plan_hash": "ab"}
    view = fold([started(100.0, pid=7, **facts)])
    assert {name: getattr(view, name) for name in facts} == facts
    assert (view.method, view.family, view.pid, view.total_steps) == ("lora", "sd1", 7, 100)
    later = fold([event("launched", host="other"), event("started", resumed=True, pid=8)], view)
    assert (later.host, later.name, later.device, later.pid, later.total_steps) == (
        "other",
        "cat",
        "cuda",
        8,
        100,
    )


def test_each_result_is_listed_with_all_that_was_told() -> None:
    view = fold(
        [
            event("trainable", module="unet", parameters=1234, tensors=5),
            event("sample", 1.0, step=2, index=1, prompt="p", seed=3, path="a.png", thumb="b.png"),
            event("sample", 2.0, step=2, index=2, error="no memory"),
            event("checkpoint", 3.0, step=2, path="c", bytes=10, seconds=0.5),
            event("exported", 4.0, step=2, format="kohya", path="f", bytes=11, tensors=12),
            event("warning", 5.0, text="odd", key="k", code="c", step=2),
            event("warning", 6.0, text="early", step=0),
            event("warning", 7.0, text="unknown", step=-1),
        ]
    )
    assert view.trainables[:] == [TrainableInfo("unet", 1234, 5)]
    assert view.previews[:] == [
        PreviewInfo(1.0, 2, 1, "p", 3, "a.png", "b.png"),
        PreviewInfo(2.0, 2, 2, error="no memory"),
    ]
    assert view.checkpoints[:] == [CheckpointInfo(3.0, 2, "c", 10, 0.5)]
    assert view.exports[:] == [ExportInfo(4.0, 2, "kohya", "f", 11, 12)]
    assert view.warnings[:] == [
        WarningInfo(5.0, "odd", "k", "c", 2),
        WarningInfo(6.0, "early", step=0),
        WarningInfo(7.0, "unknown"),
    ]
    assert fold([started(resumed=True)], view).trainables[:] == []


def test_a_checkpoint_saved_twice_at_one_step_is_listed_once() -> None:
    saved = [
        event("checkpoint", step=number, path="c", bytes=size) for number, size in ((1, 5), (2, 6), (2, 7))
    ]
    assert [(info.step, info.bytes, info.seconds) for info in fold(saved).checkpoints] == [
        (1, 5, 0.0),
        (2, 7, 0.0),
    ]


def test_pictures_of_other_steps_and_failed_ones_are_never_replaced() -> None:
    drawn = [(1, "a"), (2, "a"), (2, ""), (2, ""), (2, "b"), (2, "a")]
    view = fold([event("sample", step=number, path=path) for number, path in drawn])
    assert [(preview.step, preview.path) for preview in view.previews] == [
        (1, "a"),
        (2, ""),
        (2, ""),
        (2, "b"),
        (2, "a"),
    ]


def test_each_end_is_kept_as_it_was_told() -> None:
    pause = fold([step(4), event("paused", 5.0, step=4, reason="disk-full", text="full")]).paused
    assert pause == Pause(5.0, 4, "disk-full", "full")
    assert fold([step(4), event("stopped", 5.0, reason="SIGTERM")]).stopped == Stop(5.0, 4, "SIGTERM")
    done = fold([step(4), event("finished", 5.0, step=6, seconds=2.5)])
    assert (done.finished, done.step) == (Finish(5.0, 6, 2.5), 6)
    failed = event("failed", 5.0, error="w", why="y", fix="f", state="crashed", signal="SIGKILL")
    assert fold([failed]).failed == Failure(5.0, "w", "y", "f", "crashed", "SIGKILL")


@pytest.mark.parametrize(("told", "kept"), [(0, 0), (3, 3), (-9, None), (None, None), ("x", None)])
def test_an_exit_code_is_kept_where_it_is_one(told: object, kept: int | None) -> None:
    failed = fold([event("failed", exit_code=told)]).failed
    assert failed is not None and failed.exit_code == kept
    assert failed.what == "The training failed."


def test_a_step_says_how_the_training_is() -> None:
    figures = {"loss": 0.25, "lr": 1e-4, "grad_norm": 2.0, "images_per_s": 3.0}
    view = fold(
        [started(), step(1, **figures, epoch=0.5), step(2, **figures), step(3, **figures, skipped=True)]
    )
    assert {name: getattr(view, name) for name in figures} == figures
    assert (view.step, view.epoch, view.skipped_steps) == (3, 0.5, 1)
    assert fold([step(4, epoch=0.75), step(5, epoch=1.25)], view).epoch == 1.25
    assert (view.phase, view.paused, view.progress) == ("training", None, None)
    assert list(view.steps.lr) == [1e-4] * 3 and list(view.steps.t) == [101.0, 102.0, 103.0]


def test_a_step_ends_what_was_going_on_before() -> None:
    busy = [
        event("phase", phase="sampling", text="drawing"),
        event("progress", done=1, total=2, text="picture"),
    ]
    view = fold([started(), *busy])
    assert (view.phase, view.phase_text, view.progress, view.progress_text) == (
        "sampling",
        "drawing",
        (1, 2),
        "picture",
    )
    after = fold([event("paused"), step(1)], view)
    assert (after.phase, after.phase_text, after.progress, after.progress_text) == ("training", "", None, "")
    assert after.paused is None
    again = fold([event("phase", phase="saving")], view)
    assert (again.phase, again.phase_text, again.progress, again.progress_text) == ("saving", "", None, "")


@pytest.mark.parametrize("number", [0, -1, None, "x", 1.5])
def test_a_step_without_a_usable_number_is_only_a_sign_of_life(number: object) -> None:
    view = fold([*trained(2), event("step", 500.0, step=number, loss=7.0)])
    assert numbers(view)["steps"] == [1, 2]
    assert (view.step, view.loss, view.last_event_at) == (2, 0.5, 500.0)


def test_times_and_numbers_that_are_none_leave_the_last_ones() -> None:
    view = fold([event("warning", 50.0) | {"seq": 9}, event("warning", math.nan) | {"seq": "x"}])
    assert (view.last_event_at, view.seq) == (50.0, 9)


def test_a_heartbeat_tells_step_phase_and_pause() -> None:
    view = fold([event("heartbeat", 9.0, step=5, phase="saving")])
    assert (view.step, view.phase, view.paused, view.last_event_at) == (5, "saving", None, 9.0)
    paused = fold([event("heartbeat", 9.5, step=6, phase="paused")], view)
    assert (paused.phase, paused.paused) == ("saving", Pause(9.5, 6))
    first = Pause(9.5, 6)
    assert fold([event("heartbeat", 11.0, step=6, phase="paused")], paused).paused == first


def test_answers_to_commands_are_found_by_their_id() -> None:
    answers = [("a", "accepted", ""), ("b", "refused", "no"), ("a", "done", "saved"), ("", "done", "")]
    view = fold([event("command", id=i, cmd="save", status=status, text=text) for i, status, text in answers])
    assert view.commands == {"a": "done", "b": "refused"}
    assert view.command_texts == {"a": "saved", "b": "no"}


def test_the_log_tells_the_story_of_a_run() -> None:
    view = fold(
        [
            started(device="cpu"),
            event("phase", phase="caching", text="caching pictures"),
            event("phase", phase="training"),
            event("trainable", module="unet", parameters=1234567, tensors=2),
            step(1),
            event("sample", step=1, index=2, path="a.png"),
            event("sample", step=1, index=3, error="no memory"),
            event("paused", step=1),
            event("paused", step=1, text="the disk is full"),
            event("unpaused", step=1),
            event("checkpoint", step=1, path="c"),
            event("exported", step=1, format="kohya", path="f"),
            event("command", id="i", cmd="save", status="done"),
            event("command", id="j", cmd="stop", status="refused", text="not possible"),
            event("warning", text="odd"),
            event("resumed", from_step=1),
            event("stopped", step=1),
            event("finished", step=1, seconds=1.0),
            event("failed", 123.0, error="broken"),
        ]
    )
    assert [(line.level, line.text) for line in view.log] == [
        ("info", "started: lora on sd1, 100 steps, cpu"),
        ("info", "caching pictures"),
        ("info", "training unet: 1,234,567 parameters"),
        ("info", "preview 2 at step 1"),
        ("warning", "preview 3 at step 1 failed: no memory"),
        ("info", "paused after step 1"),
        ("info", "the disk is full"),
        ("info", "going on after step 1"),
        ("good", "checkpoint at step 1 saved"),
        ("good", "exported kohya: f"),
        ("info", "save done"),
        ("warning", "stop refused: not possible"),
        ("warning", "odd"),
        ("info", "resumed from step 1"),
        ("info", "stopped after step 1"),
        ("good", "finished after 1 steps"),
        ("error", "broken"),
    ]
    assert view.log[-1].t == 123.0
    assert fold([event("started", total_steps=3)]).log[-1].text == "started: , 3 steps"
