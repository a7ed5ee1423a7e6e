"""Bytes per second that the live monitor sends, at two sizes, with two GPUs and a real engine training."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure, run_module
from benchmarks.history import MODEL, past_run, say_start, say_step
from benchmarks.pty import Terminal, terminal
from benchmarks.workload import (
    events_of,
    fresh_home,
    make_plan,
    new_run,
    wait_until,
    write_model,
    write_pictures,
)
from engine.run.events import EventWriter
from engine.run.launch import launch
from engine.run.lock import RunLock, is_alive
from engine.run.paths import RunDir

STUB = str(Path(__file__).parent / "stub")
PYTHON = (sys.executable, "-P", "-m", "sdtrain_tui")
SIZES = ((80, 24), (160, 48))
LIVE_GOAL = {(80, 24): 2000.0, (160, 48): 4000.0}
CPU_GOAL = 3.0
PAINTED = 200
FIRST_STEPS = 30
SETTLE_S = 5.0
WINDOW_S = 30.0
PAST_STEPS = 300
PACE = 10.0


@dataclass(frozen=True)
class Reading:
    """One window of one screen."""

    bytes_per_s: float
    cpu_percent: float
    resident_mb: float


def watch(screen: Terminal, seconds: float) -> Reading:
    """Bytes, processor share and memory of a program over the next seconds."""
    cpu, began = screen.cpu_seconds(), time.perf_counter()
    size = screen.pump(seconds)
    wall = time.perf_counter() - began
    used = screen.cpu_seconds() - cpu
    return Reading(size / wall, 100 * used / wall, screen.resident_bytes() / 1e6)


@contextmanager
def live_run(home: Path) -> Iterator[RunDir]:
    """A real engine that trains the tiny model with previews now and then, until the block ends."""
    model, pictures = write_model(home / "model"), write_pictures(home / "pictures")
    plan = make_plan(
        model,
        pictures,
        train__steps=1_000_000,
        samples__every=200,
        samples__steps=2,
        samples__count=2,
        samples__at_start=True,
        checkpoints__every=500,
    )
    run = new_run(plan)
    supervisor = launch(run, extra_env={"OMP_NUM_THREADS": "1"})
    try:
        wait_until(lambda: steps_of(run) >= FIRST_STEPS or not is_alive(run), 300, "the first steps")
        yield run
    finally:
        if is_alive(run):
            os.kill(supervisor, signal.SIGTERM)
        wait_until(lambda: not is_alive(run), 120, "the engine to stop")


def steps_of(run: RunDir) -> int:
    """Finished steps so far."""
    return sum(event["kind"] == "step" for event in events_of(run))


def live(quick: bool) -> list[Figure]:
    """Both sizes watch the same run, one after the other, so that they do not share a processor."""
    found = []
    with fresh_home() as home, live_run(home) as run:
        for size in SIZES:
            before = steps_of(run)
            began = time.perf_counter()
            with terminal((*PYTHON, "attach", str(run.path)), *size, {"PYTHONPATH": STUB}) as screen:
                screen.pump_until(PAINTED, 120)
                screen.pump(SETTLE_S)
                reading = watch(screen, 5.0 if quick else WINDOW_S)
            rate = (steps_of(run) - before) / (time.perf_counter() - began)
            found += _live_figures(size, reading, rate)
    return found


def _live_figures(size: tuple[int, int], reading: Reading, rate: float) -> list[Figure]:
    name = f"{size[0]}x{size[1]}"
    note = f"2 GPUs read at 1 Hz, real engine at {rate:.1f} steps/s"
    return [
        Figure(
            f"traffic.live.{name}",
            f"live monitor, {name}",
            reading.bytes_per_s,
            "B/s",
            LIVE_GOAL[size],
            note=note,
        ),
        Figure(
            f"traffic.live.{name}.cpu",
            f"live monitor, {name}: share of one core",
            reading.cpu_percent,
            "%",
            CPU_GOAL,
        ),
        Figure(f"traffic.live.{name}.rss", f"live monitor, {name}: memory", reading.resident_mb, "MB", 90.0),
    ]


@contextmanager
def paced_run(home: Path) -> Iterator[RunDir]:
    """A run with 300 steps behind it to which steps are written at a fixed rate, whatever the machine's load."""
    run = new_run(make_plan(Path(MODEL), write_pictures(home / "pictures", count=4), name="paced"))
    done = threading.Event()
    with RunLock(run.lock_file) as lock, EventWriter(run.events_file) as writer:
        assert lock.acquire()
        say_start(writer, "paced", 2000)
        for step in range(1, PAST_STEPS + 1):
            say_step(writer, step)

        def write() -> None:
            step, due = PAST_STEPS, time.monotonic()
            while not done.wait(max(0.0, due - time.monotonic())):
                step, due = step + 1, due + 1 / PACE
                say_step(writer, step)

        thread = threading.Thread(target=write, name="pace")
        thread.start()
        try:
            yield run
        finally:
            done.set()
            thread.join()


def paced(quick: bool) -> list[Figure]:
    """The live monitor at a known rate of steps, without previews."""
    found = []
    with fresh_home() as home, paced_run(home) as run:
        for columns, rows in SIZES:
            with terminal((*PYTHON, "attach", str(run.path)), columns, rows, {"PYTHONPATH": STUB}) as screen:
                screen.pump_until(PAINTED, 120)
                screen.pump(SETTLE_S)
                reading = watch(screen, 5.0 if quick else WINDOW_S)
            key, goal = f"traffic.paced.{columns}x{rows}", LIVE_GOAL[columns, rows]
            title = f"live monitor, {columns}x{rows}, {PACE:.0f} steps/s"
            found.append(
                Figure(key, title, reading.bytes_per_s, "B/s", goal, note=f"CPU {reading.cpu_percent:.1f} %")
            )
    return found


def idle(quick: bool) -> list[Figure]:
    """Screens on which nothing happens: all of them should be silent."""
    found = []
    with fresh_home() as home:
        run = past_run("ended", 2000, write_pictures(home / "pictures", count=4))
        screens = {"home": (), "wizard": ("new",), "ended run": ("attach", str(run.path))}
        with ExitStack() as stack:
            opened = {
                name: stack.enter_context(terminal((*PYTHON, *words), 80, 24, {"PYTHONPATH": STUB}))
                for name, words in screens.items()
            }
            for screen in opened.values():
                screen.pump_until(PAINTED, 120)
                screen.pump(SETTLE_S)
            for name, screen in opened.items():
                screen.pump(0.2)  # what came while the others settled
                reading = watch(screen, 5.0 if quick else 15.0)
                key = f"traffic.idle.{name.replace(' ', '-')}"
                found.append(Figure(key, f"idle {name}, 80x24", reading.bytes_per_s, "B/s", 0.0))
    return found


def measure(quick: bool = False) -> list[Figure]:
    """Live under a real engine, live at a fixed rate, idle."""
    return live(quick) + paced(quick) + idle(quick)


if __name__ == "__main__":
    sys.exit(run_module(measure, __doc__ or ""))
