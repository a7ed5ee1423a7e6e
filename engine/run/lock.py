"""Alive means that the run's lock is held: by its supervisor, by its worker, or by both.

The worker inherits the descriptor that the supervisor locked. A flock belongs to the open file, so
it is held until the last of the two is gone: no new engine can overlap with a worker that its
supervisor's death has not yet reached.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from engine.files import open_plain, read_plain
from engine.run.paths import RunDir


class RunLock:
    """The lock of one run. The file also names the holder's process for people; nothing relies on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def acquire(self, wait_s: float = 0.25) -> bool:
        """Take the lock, trying for `wait_s` seconds; False when another engine holds it.

        The short wait is there because `is_alive` holds a shared lock for some microseconds.
        """
        assert self._fd is None, "this lock is held already"
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(fd)
                    return False
                time.sleep(0.01)
            except OSError:
                os.close(fd)
                raise
        self._fd = fd
        with contextlib.suppress(OSError):  # a full disk must not keep a run from going on
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return True

    def fileno(self) -> int:
        """The locked descriptor, for the child that is to hold the lock too (`pass_fds`)."""
        assert self._fd is not None, "this lock is not held"
        return self._fd

    def release(self) -> None:
        """Let go of this descriptor; the lock stays held while a child still has it."""
        if self._fd is not None:
            # Not LOCK_UN: that would take the lock from a child that shares the open file.
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_alive(run: RunDir) -> bool:
    """Whether an engine holds the run's lock at this moment. Raises PermissionError for a foreign run."""
    try:
        fd = open_plain(run.lock_file)
    except PermissionError:
        raise
    except OSError:  # nothing is there, or a link that leads nowhere: no engine can hold it
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def supervisor_lives(run: RunDir) -> bool:
    """Whether the process named in the lock file still runs: a hint for waiting, never for "alive"."""
    try:
        pid = int(read_plain(run.lock_file, 64))
    except (OSError, ValueError):
        return False
    if not Path("/proc/self").exists():
        return _signalable(pid)
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    # The second field is the command in parentheses and may hold anything; Z is a dead process.
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}


def _signalable(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True
