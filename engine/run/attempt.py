"""One attempt of a worker: started, asked to leave when we are, reaped with all it started, summed up."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from engine.run import lifeline
from engine.run.control_commands import Stop
from engine.run.jsonl import select, tail
from engine.run.kinds import LAST_WORDS, Answered, Checkpoint
from engine.run.paths import RunDir
from engine.run.view import fold

_LEAVE = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one worker left behind: its return code (negative: a signal) and what its own events say.

    `ended` is the kind of its last word or "", `saved` whether it committed a checkpoint,
    `stop_accepted` whether it had agreed to stop, `log_start` where its part of engine.log begins.
    """

    code: int
    ended: str
    saved: bool
    stop_accepted: bool
    step: int
    log_start: int


class Attempts:
    """Runs one worker at a time; the first SIGTERM or SIGINT is kept in `asked` and passed on once."""

    def __init__(self, run: RunDir, argv: Sequence[str]) -> None:
        self.asked: signal.Signals | None = None
        self._run = run
        self._argv = list(argv)
        self._pid: int | None = None

    def take_signals(self) -> None:
        """Ignore SIGHUP, as the worker will too, and listen to SIGTERM and SIGINT."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in _LEAVE:
            signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _LEAVE)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.asked is None:
            self.asked = signal.Signals(number)
            self._pass_on()

    def _pass_on(self) -> None:
        if self._pid is not None:
            os.kill(self._pid, signal.SIGTERM)

    def run(self, lock_fd: int) -> Attempt:
        """Start a worker, wait for its end and read what it said. Raises OSError when it cannot start."""
        start, log_start = _size(self._run.events_file), _size(self._run.log_file)
        worker, line = lifeline.spawn(self._argv, lock_fd, os.environ)
        # Handlers that are due run inside this call, so that the worker is asked exactly once.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, _LEAVE)
        self._pid = worker.pid
        if self.asked is not None:
            self._pass_on()
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        # WNOWAIT keeps the dead worker's number taken, so that no signal of ours can hit a stranger.
        os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
        self._pid = None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.pid, signal.SIGKILL)  # whatever the worker had started goes with it
        code = worker.wait()
        os.close(line)
        return self._sum_up(code, start, log_start)

    def _sum_up(self, code: int, start: int, log_start: int) -> Attempt:
        ended, saved, stop = "", False, False
        for event in select(
            self._run.events_file, {*LAST_WORDS, Checkpoint.kind, Answered.kind}, start=start
        ):
            kind = event["kind"]
            saved = saved or kind == Checkpoint.kind
            if kind == Answered.kind:
                answer = Answered.read(event)
                stop = stop or (answer.cmd == Stop.cmd and answer.status != "refused")
            ended = kind if kind in LAST_WORDS else ended
        return Attempt(code, ended, saved, stop, last_step(self._run), log_start)


def last_step(run: RunDir) -> int:
    """The number of the last update that the events tell of."""
    return fold(tail(run.events_file, 65_536)).step


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
