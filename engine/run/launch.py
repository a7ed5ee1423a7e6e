"""Starting an engine that outlives the terminal, and waiting until it has really begun."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine import process
from engine.errors import UserError
from engine.files import last_lines
from engine.run import codes
from engine.run.events import EventReader
from engine.run.kinds import Launched
from engine.run.paths import RunDir, handle

START_TIMEOUT_S = 30.0


def launch(
    run: RunDir,
    python: str = sys.executable,
    extra_env: Mapping[str, str] | None = None,
    *,
    engine_argv: Sequence[str] | None = None,
    timeout_s: float = START_TIMEOUT_S,
) -> int:
    """Start the run's engine in a session of its own and return its process id once it has begun.

    Begun means: it holds the lock and has written its `launched` event. Blocks for about 0.1 s, so an
    app calls it from a thread. The engine reads nothing and writes only to files in the run directory,
    so no terminal, pipe or parent can take it along. Raises UserError with the last lines of engine.log.
    """
    before = _size(run.events_file)
    log_before = _size(run.log_file)
    argv = list(engine_argv or process.command("engine", str(run.path), python=python))
    try:
        with open(run.log_file, "ab", opener=_never_waiting) as log:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=run.path,
                start_new_session=True,
                env=process.environment(os.environ) | dict(extra_env or {}),
            )
    except OSError as error:
        why = f"{error.filename or run.log_file}: {error.strerror or error}"
        fix = f"see to that the log {run.log_file} is a plain file, or none, that you may write, and start it again"
        raise UserError(f"The engine of {run.name} cannot be started", why, fix) from error
    # Somebody has to collect the exit status, or a long-lived app would gather dead processes.
    threading.Thread(target=child.wait, name=f"engine-{child.pid}", daemon=True).start()
    _wait(run, child, before, log_before, timeout_s)
    return child.pid


def _never_waiting(path: str, flags: int) -> int:
    """For a pipe in the log's place: without a reader that is an error."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)


def _wait(run: RunDir, child: subprocess.Popen[bytes], start: int, log_start: int, timeout_s: float) -> None:
    reader = EventReader(run.events_file, offset=start)
    deadline = time.monotonic() + timeout_s
    while True:
        gone = child.poll() is not None
        if any(event["kind"] == Launched.kind and event.get("pid") == child.pid for event in reader.poll()):
            return
        if gone:
            raise _start_error(run, child.returncode, log_start)
        if time.monotonic() > deadline:
            child.terminate()
            raise UserError(
                f"The engine of {run.name} did not begin within {timeout_s:.0f} s and was told to leave.",
                why=" | ".join(last_lines(run.log_file, 6, start=log_start)) or "engine.log is empty",
                fix=f"try again; the log is {run.log_file}",
            )
        time.sleep(0.01)


def _start_error(run: RunDir, code: int, log_start: int) -> UserError:
    if code == codes.ALREADY_RUNNING:
        return UserError(f"The run {run.name} is already running.", fix=f"sdtrain attach {handle(run)}")
    lines = last_lines(run.log_file, 12, start=log_start)
    return UserError(
        f"The engine of {run.name} ended before it began (exit code {code}).",
        why="\n     ".join(lines) or "engine.log is empty",
        fix=f"the whole log is {run.log_file}",
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
