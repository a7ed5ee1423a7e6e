"""The CPU measures in their smallest form: do they measure what they say? No test looks at how long something took."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.history import past_run
from benchmarks.launch import import_costs, phases
from benchmarks.loop_overhead import run_rounds
from benchmarks.paint import Case, start_once
from benchmarks.pty import terminal
from benchmarks.workload import fresh_home, write_pictures
from engine.run.follow import Follower

ROOT = Path(__file__).parents[2]
HELLO = (sys.executable, "-c", "print('x' * 50); input()")


@pytest.fixture
def signals() -> Iterator[None]:
    """The worker sets handlers of its own, which must not outlive the test."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_rounds_of_both_loops_are_timed_within_and_outside_the_unet(home: Path, signals: None) -> None:
    result = run_rounds(home, rounds=2, steps=2, monitor=False)
    assert len(result.ours) == len(result.bare) == 2
    for clock in (*result.ours, *result.bare):
        assert 0 < clock.inside_wall < clock.wall
        assert 0 < clock.inside_cpu < clock.cpu
        assert 0 < clock.share < 100


def test_a_home_of_its_own_is_there_and_then_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDTRAIN_HOME", "before")
    with fresh_home() as folder:
        assert os.environ["SDTRAIN_HOME"] == str(folder)
        assert folder.is_dir()
    assert os.environ["SDTRAIN_HOME"] == "before"
    assert not folder.exists()


def test_first_paint_is_seen_in_a_pty() -> None:
    case = Case("hello", HELLO)
    start_once(case)
    assert case.seconds[0] > 0
    assert case.bytes[0] >= 50


def test_a_program_that_shows_nothing_is_an_error_and_not_a_figure() -> None:
    with (
        terminal((sys.executable, "-c", "print('little')"), 80, 24) as screen,
        pytest.raises(RuntimeError, match="little"),
    ):
        screen.pump_until(40, 60)


def test_a_keeper_leaves_when_its_stdin_ends() -> None:
    argv = (sys.executable, "-m", "benchmarks.pty", *HELLO)
    done = subprocess.run(argv, cwd=ROOT, input="", text=True, timeout=120)
    assert done.returncode == 0


def test_a_made_up_run_reads_as_a_real_one(home: Path) -> None:
    run = past_run("old", 50, write_pictures(home / "pictures", count=2))
    follower = Follower(run)
    view = follower.catch_up()
    assert (view.step, view.total_steps, len(view.steps)) == (50, 2000, 50)
    assert follower.state() == "stopped"


def test_the_phases_of_a_launch_add_up() -> None:
    kinds = [
        ("launched", ""),
        ("started", ""),
        ("phase", "loading"),
        ("phase", "caching"),
        ("phase", "training"),
    ]
    events = [{"kind": kind, "phase": phase, "t": 100.0 + at} for at, (kind, phase) in enumerate(kinds, 1)]
    found = phases(100.0, [*events, {"kind": "step", "t": 107.5}])
    assert found == {"spawn": 1, "imports": 1, "loading": 2, "caching": 1, "first step": 2.5, "all": 7.5}
    with pytest.raises(RuntimeError, match="first step"):
        phases(100.0, events)


def test_import_costs_are_summed_by_package() -> None:
    costs = import_costs("engine.plan.files", top=50)
    assert {"pydantic", "engine"} <= {name for name, _ in costs}
    assert costs == sorted(costs, key=lambda item: -item[1])
