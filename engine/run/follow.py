"""Follows one run: reads what its events file gained and folds it into the view."""

from __future__ import annotations

import time

from engine.run.events import EventReader
from engine.run.jsonl import CHUNK
from engine.run.lock import is_alive
from engine.run.paths import RunDir
from engine.run.view import RunView, fold, state


class Follower:
    """A run's view that is brought up to date by `poll`; for one thread at a time."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.view = RunView()
        self._reader = EventReader(run.events_file)
        self._generation = 0

    def poll(self, max_bytes: int = CHUNK) -> bool:
        """Fold at most about `max_bytes` of new events; False when there was nothing new.

        A file that was replaced or cut is folded anew from its beginning.
        """
        events = self._reader.poll(max_bytes)
        fresh = self._generation != self._reader.generation
        if fresh:
            self.view = RunView()
            self._generation = self._reader.generation
        if events:
            self.view = fold(events, self.view)
        return fresh or bool(events)

    def catch_up(self) -> RunView:
        """The view after everything that is in the file at this moment."""
        while self.poll():
            pass
        return self.view

    def state(self, now: float | None = None) -> str:
        """The state at unix time `now` (default: this moment), after one look at the lock."""
        alive = is_alive(self.run)
        if not alive:
            # Nobody writes any more, so what is read now is the end of the story; without this, an
            # engine that finished since the last poll would look crashed.
            self.catch_up()
        return state(self.view, alive, time.time() if now is None else now)
