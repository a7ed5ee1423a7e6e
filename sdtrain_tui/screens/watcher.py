"""Reads a run in a thread of its own and tells the screen what changed, so that no disk ever holds up a key."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from engine.errors import UserError
from engine.run.follow import Follower
from engine.run.jsonl import overview
from engine.run.lock import is_alive
from engine.run.paths import RunDir, condition_name
from engine.run.view import RunView, fold, state
from sdtrain_tui.tail import Tail
from sdtrain_tui.widgets.news import Beside, News

EVERY = 0.25
"""Seconds between two looks at the files: what the engine writes is on the screen within 0.3 s."""
CALM = 0.9
"""Seconds between two pictures that differ only in further steps: a fast run must not fill the line."""
LONG = 8 << 20
"""Bytes of events from which the end is shown first and the whole history follows."""
LOG_BYTES = 16 << 10
LONGEST = 1000
CHUNK = 1 << 20


class Watcher:
    """Calls `tell` with News from its thread, only when something changed."""

    def __init__(self, run: RunDir, tell: Callable[[News], None]) -> None:
        self._run = run
        self._tell = tell
        self._end = threading.Event()
        self._follower = Follower(run)
        self._log = Tail(run.log_file, LOG_BYTES)
        self._told: tuple[int, str, bool] | None = None
        self._told_at = 0.0
        self._beside = Beside()
        self._previews = 0
        self._thread = threading.Thread(target=self._watch, name="sdtrain-watcher", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; nothing is told any more."""
        self._end.set()

    def _watch(self) -> None:
        self._show_end_first()
        while not self._end.is_set():
            while self._follower.poll(CHUNK) and not self._end.is_set():
                self._end.wait(0.002)  # catching up on a long run: the screen's thread has its turn
            self._report()
            self._end.wait(EVERY)

    def _show_end_first(self) -> None:
        """The course of a long run in rough and its end in full, before the seconds that all of it takes."""
        if self._size() < LONG:
            return
        spread, end = overview(self._run.events_file, ("sample", "checkpoint"))
        view = fold(spread)
        view.pace_from = len(view.steps)
        view = fold(end, view)
        alive = self._alive()
        self._look_beside(view)
        self._tell(self._news(view, state(view, alive, time.time()), alive, self._output()))

    def _report(self) -> None:
        alive = self._alive()
        now_state = self._follower.state() if not alive else state(self._follower.view, True, time.time())
        view, output = self._follower.view, self._output()
        told, now = (view.seq, now_state, alive), time.monotonic()
        if told == self._told and not output:
            return
        only_steps = self._told is not None and self._told[1:] == told[1:] and not output
        if only_steps and view.phase == "training" and now - self._told_at < CALM:
            return
        if self._told is None or len(view.previews) != self._previews:
            self._look_beside(view)
        self._told, self._told_at = told, now
        if not self._end.is_set():
            self._tell(self._news(view, now_state, alive, output))

    def _news(self, view: RunView, now_state: str, alive: bool, output: tuple[str, ...]) -> News:
        return News(view, now_state, alive, output, self._beside, self._run.path, time.time())

    def _look_beside(self, view: RunView) -> None:
        """The plan's stages, and which prompts have a condition picture, once there are previews."""
        self._previews = len(view.previews)
        indexes = {preview.index for preview in view.previews}
        found = {index for index in indexes if (self._run.path / condition_name(index)).is_file()}
        self._beside = Beside(frozenset(found), stages_of(self._run.plan_file))

    def _alive(self) -> bool:
        try:
            return is_alive(self._run)
        except PermissionError:
            return True  # someone else's run: its events tell whether it still goes on

    def _size(self) -> int:
        try:
            return self._run.events_file.stat().st_size
        except OSError:
            return 0

    def _output(self) -> tuple[str, ...]:
        """Whole lines that engine.log gained; at first the end of it."""
        lines = (line.rstrip().rpartition("\r")[2].rstrip() for line in self._log.poll())
        # Progress bars rewrite their line: only what they ended with is worth a row.
        return tuple(line[:LONGEST] for line in lines if line)


def stages_of(plan_file: Path) -> tuple[str, ...]:
    """The resolution stages of a plan as SIDE:STEPS; none where it has none, or cannot be read."""
    from engine.plan.methods import DEFAULT_METHOD
    from engine.plan.reading import parse, read_text
    from engine.plan.schema import own_options

    try:
        data = parse(read_text(plan_file))
    except UserError:
        return ()
    method = str(data.get("method", DEFAULT_METHOD))
    table = data.get(method)
    own = table if isinstance(table, dict) else {}
    options = own_options(method, {f"{method}.{name}": value for name, value in own.items()})
    stages = options.stages_of_resolution if options is not None else ()
    firsts = (0, *(stage.last for stage in stages))
    return tuple(f"{stage.side}:{stage.last - first}" for stage, first in zip(stages, firsts, strict=False))
