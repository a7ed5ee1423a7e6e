"""Engines forked from the test process, which has torch loaded already: a start takes tenths of a second, not seconds.

Supervisor, lock, lifeline and worker are the real ones in processes of their own; only `exec` is left out.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from engine.run import lifeline
from engine.run.kinds import Launched
from engine.run.lock import is_alive
from engine.run.paths import RunDir
from engine.run.place import settle
from engine.run.run_view import RunView
from engine.run.supervise import supervise
from engine.worker.session import work
from tests.support.runs import events_of, view_of, wait_until


@dataclass
class Forked:
    """What a supervisor needs of a worker that `subprocess.Popen` would have started."""

    pid: int

    def wait(self) -> int:
        """Its exit code, negative for a signal."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def child(act: Callable[[], int], log: Path) -> int:
    """Fork a process that does `act`, writes to `log` and leaves with what `act` returns; its pid."""
    pid = os.fork()
    if not pid:
        _become(act, log)
    return pid


def _become(act: Callable[[], int], log: Path) -> NoReturn:
    code = 70
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for number in (1, 2):
            os.dup2(output, number)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        signal.setitimer(signal.ITIMER_REAL, 0)  # pytest-timeout's
        code = act()
    except BaseException:  # noqa: BLE001 - a process edge: it ends here
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _spawn(argv: Sequence[str], lock_fd: int, environ: Mapping[str, str]) -> tuple[Forked, int]:
    read_end, write_end = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(read_end)
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)
        return Forked(pid), write_end

    def act() -> int:
        os.setpgid(0, 0)
        os.close(write_end)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.environ["SDTRAIN_LIFELINE"] = f"{parent},{read_end},{lock_fd}"
        lifeline.bind()
        return work(RunDir(Path()))

    _become(act, Path("engine.log"))


def launch_forked(run: RunDir) -> int:
    """As `engine.run.launch.launch`: the supervisor's pid, once it has begun. `reap` it in the end."""

    def act() -> int:
        os.setsid()
        lifeline.spawn = _spawn  # type: ignore[assignment]
        return supervise(settle(run.path))

    pid = child(act, run.log_file)

    def begun() -> bool:
        return any(event["kind"] == Launched.kind and event["pid"] == pid for event in events_of(run))

    wait_until(begun, what=f"the start of {run.name}")
    return pid


def reap(pid: int, seconds: float = 120.0) -> int:
    """Wait for a forked process; its exit code, negative for a signal."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def wait_for_end(run: RunDir) -> None:
    """Until supervisor and worker have left."""
    wait_until(lambda: not is_alive(run), what=f"the end of {run.name}")


def run_forked(run: RunDir) -> RunView:
    """As `tests.support.runs.run_to_end`."""
    pid = launch_forked(run)
    wait_for_end(run)
    reap(pid)
    view = view_of(run)
    assert view.finished is not None, (view.failed, run.log_file.read_text()[-2000:])
    return view
