"""Summaries come from the ends of the events, however long they are, and bear any content."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from engine.run.events import EventWriter
from engine.run.jsonl import encode
from engine.run.kinds import Validation
from engine.run.listing import summaries, summary
from engine.run.lock import RunLock
from engine.run.paths import RunDir
from tests.run.engine_fakes import new_run
from tests.support.events import raw


def long_run(tmp_path: Path, lines: int, name: str = "long") -> RunDir:
    run = new_run(tmp_path, name)
    with EventWriter(run.events_file) as writer:
        writer.emit(raw("started", name=name, method="full", total_steps=lines, resumed=False))
    with run.events_file.open("ab") as file:
        for step in range(1, lines + 1):
            fields = {
                "t": 1e9 + step,
                "kind": "step",
                "step": step,
                "loss": 1.0,
                "lr": 1e-4,
                "images_per_s": 8.5,
            }
            file.write(encode({"v": 1, "seq": step + 1} | fields)[0])
    return run


def test_a_long_run_is_summed_up_by_its_ends(tmp_path: Path) -> None:
    run = long_run(tmp_path, 200_000)
    with EventWriter(run.events_file) as writer:
        writer.emit(raw("step", step=200_001, loss=0.25))
        writer.emit(raw("stopped", step=200_001, reason="SIGTERM"))
    (summary,) = summaries(tmp_path)
    assert (summary.name, summary.method, summary.state) == ("long", "full", "stopped")
    assert (summary.step, summary.loss) == (200_001, 0.25)
    assert summary.path == run.path


@pytest.mark.parametrize(("steps_since", "best"), [(10, 2000), (3000, 2000), (20_000, None)])
def test_the_best_step_is_the_last_validations_and_never_the_heads(
    steps_since: int, best: int | None, tmp_path: Path
) -> None:
    run = long_run(tmp_path, 0)
    with EventWriter(run.events_file) as writer:
        writer.emit(Validation(0, 3.0, 4, 0.1, {}, {}, 0, 3.0))
    lines = [
        {"v": 1, "kind": "step", "step": step, "loss": 1.0, "lr": 1e-4}
        for step in range(1, steps_since + 2001)
    ]
    steps = [encode(line)[0] for line in lines]
    with run.events_file.open("ab") as file:
        file.write(b"".join(steps[:2000]))
    with EventWriter(run.events_file) as writer:
        writer.emit(Validation(2000, 2.0, 4, 0.1, {}, {}, 2000, 2.0))
    with run.events_file.open("ab") as file:
        file.write(b"".join(steps[2000:]))
    found = summary(run)
    assert found.step == steps_since + 2000
    assert (found.best_step, found.best_loss) == (best, None if best is None else 2.0)


def test_the_middle_of_the_events_is_never_read(tmp_path: Path) -> None:
    # A sparse file of 1 TiB: reading it would take longer than any test may.
    run = long_run(tmp_path, 500)
    with run.events_file.open("r+b") as file:
        file.truncate(1 << 40)
    with EventWriter(run.events_file) as writer:
        writer.emit(raw("step", step=600, loss=0.5))
        writer.emit(raw("finished", step=600, seconds=1))
    (summary,) = summaries(tmp_path)
    assert (summary.state, summary.step, summary.loss, summary.method) == ("finished", 600, 0.5, "full")


def test_the_total_of_a_long_run_is_the_plans(tmp_path: Path) -> None:
    run = long_run(tmp_path, 2_000)
    run.plan_file.write_text("[train]\nsteps = 5000\n")
    assert summaries(tmp_path)[0].total == 5000


def test_the_total_of_a_short_run_is_the_one_that_it_began_with(tmp_path: Path) -> None:
    run = long_run(tmp_path, 20)
    run.plan_file.write_text("[train]\nsteps = 5000\n")
    assert summaries(tmp_path)[0].total == 20


def test_a_loss_that_is_no_number_is_none(tmp_path: Path) -> None:
    run = long_run(tmp_path, 2)
    with EventWriter(run.events_file) as writer:
        writer.emit(raw("step", step=3, loss=math.nan))
    assert (summaries(tmp_path)[0].step, summaries(tmp_path)[0].loss) == (3, None)


def test_a_run_of_which_nothing_is_known_is_as_old_as_can_be(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.plan_file.unlink()
    run.events_file.touch()
    (summary,) = summaries(tmp_path)
    assert (summary.method, summary.total, summary.updated) == ("", 0, 0.0)


def test_a_run_that_was_left_for_months_is_stalled_as_soon_as_another(tmp_path: Path) -> None:
    # The part that is not read lies between the first steps and the last: their distance says nothing of a step.
    run = long_run(tmp_path, 2_000)
    now = time.time()
    with run.events_file.open("ab") as file:
        for step in range(3_000, 3_300):
            fields = {"t": now - 400 + (step - 3_000), "kind": "step", "step": step, "pad": "x" * 200}
            file.write(encode({"v": 1, "seq": step} | fields)[0])
    with RunLock(run.lock_file) as lock:
        assert lock.acquire()
        assert summary(run, now).state == "stalled"
        assert summary(run, now - 50).state == "running"


def test_a_run_that_has_not_begun_is_told_by_its_plan(tmp_path: Path) -> None:
    new_run(tmp_path)
    (summary,) = summaries(tmp_path)
    assert (summary.state, summary.method, summary.step, summary.total, summary.loss) == (
        "queued",
        "lora",
        0,
        10,
        None,
    )
    assert summary.updated > 0


def test_a_silent_long_run_is_stalled_in_the_list_too(tmp_path: Path) -> None:
    run = long_run(tmp_path, 5_000)
    with RunLock(run.lock_file) as lock:
        assert lock.acquire()
        assert summaries(tmp_path)[0].state == "stalled"
    assert summaries(tmp_path)[0].state == "crashed"


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 200_000, b"{}\n" * 50_000, b"\xff\n[", b'{"kind":"step","t":"x"}\n']
)
def test_events_of_any_content_are_listed_without_an_error(tmp_path: Path, content: bytes) -> None:
    run = new_run(tmp_path)
    run.events_file.write_bytes(content)
    run.plan_file.write_bytes(b"\xff = [")
    assert len(summaries(tmp_path)) == 1


@pytest.mark.parametrize("what", ["folder", "link to itself", "dangling link", "deep plan", "lock loop"])
def test_one_strange_run_hides_no_other(what: str, tmp_path: Path) -> None:
    long_run(tmp_path, 3, "good")
    run = new_run(tmp_path, "odd")
    run.events_file.unlink(missing_ok=True)
    if what == "folder":
        run.events_file.mkdir()
    elif what == "deep plan":
        run.plan_file.write_text("a = " + "[" * 50_000)
    elif what == "lock loop":
        run.lock_file.unlink(missing_ok=True)
        run.lock_file.symlink_to(run.lock_file)
    else:
        run.events_file.symlink_to(run.events_file if what == "link to itself" else tmp_path / "missing")
    rows = {row.name: row for row in summaries(tmp_path)}
    assert rows["good"].step == 3
    if what in ("folder", "link to itself"):
        assert rows["odd"].state == "failed"
