"""A run's folder that is moved or removed while an engine works in it."""

from __future__ import annotations

import shutil
from pathlib import Path

from engine.run.control import send
from engine.run.control_commands import Stop
from engine.run.launch import launch
from engine.run.lock import is_alive
from engine.run.paths import RunDir, list_runs
from engine.train import checkpoint
from tests.support.runs import events_of, new_run, pid_of, quick_plan, run_to_end, view_of, wait_until


def _steps(run: RunDir, count: int) -> bool:
    return sum(event["kind"] == "step" for event in events_of(run)) >= count or not is_alive(run)


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_run_goes_on_where_its_folder_was_moved_to(
    home: Path, small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    plan = quick_plan(small_sd1, pictures, train__steps=4000, checkpoints__every=5)
    run = new_run(plan)
    launch(run)
    wait_until(lambda: _steps(run, 7), what="some steps")
    moved = RunDir(tmp_path / "elsewhere" / "moved")
    moved.path.parent.mkdir()
    run.path.rename(moved.path)
    seen = len(events_of(moved))
    wait_until(lambda: _steps(moved, 20) and len(events_of(moved)) > seen, what="more steps")
    assert is_alive(moved)
    ident = send(moved, Stop())
    wait_until(lambda: not is_alive(moved), what="the end")
    view = view_of(moved)
    assert view.stopped is not None
    assert view.commands[ident] == "done"
    assert not run.path.exists()
    saved, broken = checkpoint.latest(moved.checkpoints)
    assert saved is not None
    assert not broken
    assert saved.step == view.step > 5
    assert any(str(moved.path) in warning.text for warning in view.warnings)
    assert [found.path for found in list_runs()] == [moved.path]


def test_an_engine_leaves_when_its_folder_is_removed_and_makes_nothing_anew(
    home: Path, small_sd1: Path, pictures: Path
) -> None:
    plan = quick_plan(small_sd1, pictures, train__steps=100_000, checkpoints__every=5)
    run = new_run(plan)
    launch(run)
    wait_until(lambda: _steps(run, 7), what="some steps")
    pids = [pid_of(run, "started"), pid_of(run, "launched")]
    aside = run.path.with_name("aside")
    run.path.rename(aside)  # so that nothing is written while it is taken apart
    for _ in range(100):
        shutil.rmtree(aside, ignore_errors=True)
        if not aside.exists():
            break
    wait_until(lambda: all(_gone(pid) for pid in pids), what="the end of both")
    assert not run.path.exists()
    assert not aside.exists()
    assert list_runs() == []


def test_a_moved_run_is_resumed_with_commands_that_work(
    home: Path, small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    plan = quick_plan(small_sd1, pictures)
    run = new_run(plan)
    launch(run)
    wait_until(lambda: _steps(run, 1), what="a step")
    send(run, Stop())
    wait_until(lambda: not is_alive(run), what="the end")
    moved = RunDir(tmp_path / "moved")
    run.path.rename(moved.path)
    assert run_to_end(moved).step == 6
