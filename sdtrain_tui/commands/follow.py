"""Watching a run without a terminal: plain lines, or its events as JSON, until the engine has left."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from engine.plan.units import duration, size_text
from engine.run.events import EventReader
from engine.run.lock import is_alive
from engine.run.paths import RunDir, handle
from engine.run.view import RunView, eta_s, fold, state
from sdtrain_tui.codes import DONE, FAILED, INTERRUPTED
from sdtrain_tui.commands.texts import clean, clock, escaped, number

POLL_S = 0.2
LINES_A_RUN = 50
EARLIER_LINES = 5
EXIT_CODES = {"finished": DONE, "stopped": INTERRUPTED}


def follow(run: RunDir, *, as_json: bool = False, every: int = 0) -> int:
    """Print what happens until the engine leaves; the exit code tells how the run ended.

    A line every `every` steps (0: about 50 lines a run). Ctrl-C only ends the watching: the run goes on.
    """
    printer = _Json() if as_json else _Text(run, every)
    try:
        view, last = _watch(run, printer)
    except KeyboardInterrupt:
        print(
            f"\nno longer watching; the run goes on. Watch it: sdtrain attach {handle(run)}   "
            f"Stop it: sdtrain stop {handle(run)}",
            file=sys.stderr,
        )
        return INTERRUPTED
    if not as_json:
        print_end(run, view, last)
    return EXIT_CODES.get(last, FAILED)


def _watch(run: RunDir, printer: _Json | _Text) -> tuple[RunView, str]:
    reader, view, generation = EventReader(run.events_file), RunView(), 0
    while True:
        alive = is_alive(run)  # before reading, or an engine that leaves between the two looks crashed
        while events := reader.poll():
            if reader.generation != generation:
                view, generation = RunView(), reader.generation
            view = fold(events, view)
            printer.show(events, view)
        printer.caught_up(view)
        if not alive:
            return view, state(view, alive, time.time())
        time.sleep(POLL_S)


class _Json:
    """The events as they are, one a line."""

    def show(self, events: Sequence[dict[str, Any]], view: RunView) -> None:
        for event in events:
            print(escaped(json.dumps(event, ensure_ascii=False)))

    def caught_up(self, view: RunView) -> None:
        sys.stdout.flush()


class _Text:
    """The run's own log lines, and steps and progress now and then."""

    def __init__(self, run: RunDir, every: int) -> None:
        self.run = run
        self.every = every
        self.lines = 0
        self.step = 0
        self.tenth = -1
        self.new = True

    def show(self, events: Sequence[dict[str, Any]], view: RunView) -> None:
        if not self.new:
            self._tell(view)

    def caught_up(self, view: RunView) -> None:
        if self.new:
            # What was before this moment is told in short, however long it was.
            self.new = False
            self.lines = max(0, len(view.log) - EARLIER_LINES)
            self.step = max(0, view.step - 1)
        self._tell(view)
        sys.stdout.flush()

    def _tell(self, view: RunView) -> None:
        self.lines = min(self.lines, len(view.log))
        for index in range(self.lines, len(view.log)):
            line = view.log[index]
            mark = f"{line.level}: " if line.level in ("warning", "error") else ""
            print(f"{clock(line.t)}  {mark}{clean(line.text)}")
        self.lines = len(view.log)
        self._tell_step(view)
        self._tell_progress(view)

    def _tell_step(self, view: RunView) -> None:
        every = self.every or max(1, view.total_steps // LINES_A_RUN)
        self.step = min(self.step, view.step)  # a resume goes back
        if (
            view.step
            and view.step != self.step
            and (view.step // every > self.step // every or view.step == view.total_steps)
        ):
            self.step = view.step
            print(step_line(view))

    def _tell_progress(self, view: RunView) -> None:
        if view.progress is None or not view.progress[1]:
            self.tenth = -1
            return
        done, total = view.progress
        if done * 10 // total != self.tenth:
            self.tenth = done * 10 // total
            print(f"          {clean(view.progress_text or view.phase)}: {done} of {total}")


def step_line(view: RunView) -> str:
    """One line about the last step."""
    left = eta_s(view, time.time())
    parts = [
        f"step {view.step}/{view.total_steps}",
        f"loss {number(view.loss)}",
        f"lr {number(view.lr)}",
        f"{number(view.images_per_s)} pictures/s",
        f"{duration(left)} left" if left else "",
    ]
    return "          " + "  ".join(part for part in parts if part)


def print_end(run: RunDir, view: RunView, last: str) -> None:
    """How it ended, on stderr where it failed, and where the files are."""
    if view.failed is not None:
        for mark, text in (("", view.failed.what), ("why: ", view.failed.why), ("fix: ", view.failed.fix)):
            for line in text.splitlines():
                print(clean(f"{mark}{line}"), file=sys.stderr)
    for export in view.exports:
        print(clean(f"{export.format}: {run.path / export.path} ({size_text(export.bytes)})"))
    where = f"at step {view.step} of {view.total_steps}"
    if last == "stopped" and not view.step:
        where = "while it was being prepared, before the first step"
    print(clean(f"{run.name}: {last} {where}; everything is in {run.path}"))
    if last in ("stopped", "crashed", "out-of-memory", "disk-full"):
        print(f"go on with: sdtrain resume {handle(run)}")
