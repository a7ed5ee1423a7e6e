"""Says every few seconds that the engine lives, in phases where no step does."""

from __future__ import annotations

import threading
from types import TracebackType

from engine.run import kinds
from engine.run.events import EventWriteError, EventWriter

INTERVAL_S = 5.0


class Heartbeat:
    """A daemon thread that writes a heartbeat event when nothing else was written for an interval."""

    def __init__(self, writer: EventWriter, interval_s: float = INTERVAL_S) -> None:
        self.phase = "loading"
        self.step = 0
        self._writer = writer
        self._interval = interval_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        seen = self._writer.seq
        while not self._done.wait(self._interval):
            if self._writer.seq == seen:
                try:
                    self._writer.emit(kinds.Heartbeat(self.phase, self.step))
                except EventWriteError:
                    # A full disk is the main thread's to report; a missed beat loses nothing.
                    continue
            seen = self._writer.seq
