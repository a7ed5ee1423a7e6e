"""The supervisor: holds the run's lock, starts the worker, restarts it after a crash, says how it ended."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from engine import process
from engine.errors import UserError
from engine.files import is_disk_full, last_lines
from engine.run import codes, postmortem
from engine.run.attempt import Attempt, Attempts, last_step
from engine.run.control import ControlReader
from engine.run.event import Event
from engine.run.events import EventWriter
from engine.run.kinds import Answered, Failed, Launched, Stopped, Warned
from engine.run.lock import RunLock, supervisor_lives
from engine.run.paths import RunDir, handle
from engine.run.place import is_gone, settle

MAX_RESTARTS = 3
_ORPHAN_WAIT_S = 15.0
_CODES = {"finished": codes.DONE, "stopped": codes.STOPPED, "failed": codes.FAILED}


class AlreadyRunning(UserError):
    """Another engine holds the run's lock."""


def worker_command(run: RunDir) -> list[str]:
    """How the real worker is started; faulthandler writes where compiled code broke to engine.log."""
    return process.command("engine.worker", str(run.path), options=("-u", "-X", "faulthandler"))


def supervise(
    run: RunDir, worker_argv: Sequence[str] | None = None, *, max_restarts: int = MAX_RESTARTS
) -> int:
    """Run the worker to its end and return one of engine.run.codes. For the main thread of a process.

    SIGHUP is ignored; the first SIGTERM or SIGINT asks the worker (as SIGTERM) to finish its step,
    save and leave. A worker that a signal ended is started again: the first time always, then as
    long as it had saved a checkpoint since, at most `max_restarts` times. Raises AlreadyRunning, and
    OSError when no event can be written.
    """
    attempts = Attempts(run, worker_argv or worker_command(run))
    attempts.take_signals()
    lock = RunLock(run.lock_file)
    # After a supervisor's kill -9 its worker holds the lock for the moment that it takes to die.
    if not (lock.acquire() or (not supervisor_lives(run) and lock.acquire(_ORPHAN_WAIT_S))):
        raise AlreadyRunning(
            f"The run {run.name} is already running.", fix=f"look at it with `sdtrain attach {run.name}`"
        )
    with lock:
        return _Supervisor(run, attempts).run(lock.fileno(), max_restarts)


class _Supervisor:
    def __init__(self, run: RunDir, attempts: Attempts) -> None:
        self._dir = run
        self._attempts = attempts
        self._memory = postmortem.memory()

    def run(self, lock_fd: int, max_restarts: int) -> int:
        self._refuse_old_commands()
        restarts = 0
        while True:
            self._emit(Launched(os.getpid(), socket.gethostname(), restarts))
            if self._attempts.asked is not None:
                return self._say_stopped(self._attempts.asked)
            self._memory = postmortem.memory()
            try:
                attempt = self._attempts.run(lock_fd)
            except OSError as error:
                return self._say_unstartable(error)
            if is_gone(self._dir):
                print("The run's folder was removed: nothing can be told there any more.", file=sys.stderr)
                return codes.FAILED
            if attempt.code >= 0 or attempt.ended:
                return self._say_left(attempt)
            if -attempt.code in (signal.SIGTERM, signal.SIGINT):
                # It came before the worker had learnt to save on it; the last checkpoint stands.
                return self._say_stopped(self._attempts.asked or signal.Signals(-attempt.code))
            wanted = self._attempts.asked is None and not attempt.stop_accepted
            if not wanted or restarts >= max_restarts or (restarts and not attempt.saved):
                return self._say_crashed(attempt, restarts)
            restarts += 1
            self._say_restarted(attempt, restarts)

    def _refuse_old_commands(self) -> None:
        """Commands that nobody heard belong to an earlier time: an old `stop` must not end this start."""
        for command in ControlReader(self._dir.control_file).poll():
            text = "it was sent while no engine was running"
            self._emit(Answered(command["id"], command["cmd"], "refused", text))

    def _say_left(self, attempt: Attempt) -> int:
        """The worker left by itself, or a signal met it after its last word."""
        if attempt.ended:
            return attempt.code if attempt.code > 0 else _CODES[attempt.ended]
        if attempt.code == codes.STOPPED:
            return self._say_stopped(self._attempts.asked)
        log = last_lines(self._dir.log_file, 6, start=attempt.log_start)
        self._emit(
            Failed(
                error=f"The training process left with code {attempt.code} and did not say why.",
                why=" | ".join(log) or "engine.log holds nothing about it",
                fix=f"read {self._dir.log_file.absolute()}, then `sdtrain resume {self._name()}`",
                state=codes.failed_state(attempt.code),
                exit_code=attempt.code,
            )
        )
        return attempt.code or codes.FAILED

    def _say_stopped(self, asked: signal.Signals | None) -> int:
        self._emit(Stopped(last_step(self._dir), asked.name if asked else ""))
        return codes.STOPPED

    def _say_unstartable(self, error: OSError) -> int:
        self._emit(
            Failed(
                error="The training process cannot be started.",
                why=str(error),
                fix="`sdtrain doctor` looks at this installation",
                state="failed",
            )
        )
        return codes.FAILED

    def _why(self, attempt: Attempt) -> tuple[str, str, str]:
        number, now = -attempt.code, postmortem.memory()
        why, fix = postmortem.explain(number, self._memory, now, postmortem.peak_bytes())
        return postmortem.signal_name(number), why, fix

    def _say_restarted(self, attempt: Attempt, restarts: int) -> None:
        name, why, _ = self._why(attempt)
        self._emit(
            Warned(
                text=f"The training process was ended by {name} after step {attempt.step}: {why}. "
                "It is started again from the last checkpoint.",
                code="restarted",
                step=attempt.step,
                signal=name,
                restarts=restarts,
            )
        )

    def _say_crashed(self, attempt: Attempt, restarts: int) -> int:
        name, why, fix = self._why(attempt)
        if restarts:
            why += f"; it had been restarted {restarts}x" + (
                "" if attempt.saved else " and saved nothing since"
            )
        self._emit(
            Failed(
                error=f"The training process was ended by {name} after step {attempt.step}.",
                why=why,
                fix=f"{fix}: `sdtrain resume {self._name()}`",
                state="crashed",
                signal=name,
            )
        )
        return codes.FAILED

    def _name(self) -> str:
        return handle(RunDir(self._dir.path.absolute()))

    def _emit(self, event: Event) -> None:
        # Opened anew each time: between two of our events the worker has written its own.
        with EventWriter(self._dir.events_file) as writer:
            writer.emit(event)


def main(argv: Sequence[str], worker_argv: Sequence[str] | None = None) -> int:
    """`python -P -m engine RUN_DIR`: supervise the run; what goes wrong before it starts is printed."""
    if len(argv) != 1:
        print("usage: python -P -m engine RUN_DIR", file=sys.stderr)
        return codes.BAD_INPUT
    path = Path(argv[0]).absolute()
    if not RunDir(path).plan_file.is_file():
        print(f"There is no run in {path}: it holds no plan.toml", file=sys.stderr)
        return codes.BAD_INPUT
    try:
        return supervise(settle(path), worker_argv)
    except AlreadyRunning as error:
        print(error, file=sys.stderr)
        return codes.ALREADY_RUNNING
    except OSError as error:
        print(f"The run directory cannot be written: {error}", file=sys.stderr)
        return codes.DISK_FULL if is_disk_full(error) else codes.FAILED
