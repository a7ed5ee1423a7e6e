"""Ties a worker to its supervisor: when the supervisor is gone, in whatever way, so is the worker."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

_VARIABLE = "SDTRAIN_LIFELINE"
_PR_SET_PDEATHSIG = 1


def spawn(
    argv: Sequence[str], lock_fd: int, environ: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the worker `argv`; returns it and its lifeline, a descriptor to be closed after its end.

    The worker leads its own process group, so that a Ctrl-C in a terminal reaches only the
    supervisor, shares the lock `lock_fd`, and is expected to call `bind` before anything else. Call
    this from the main thread: the kernel watches the thread that started the child.
    """
    read_end, write_end = os.pipe()
    environ = {**environ, _VARIABLE: f"{os.getpid()},{read_end},{lock_fd}"}
    try:
        worker = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            pass_fds=(read_end, lock_fd),
            process_group=0,
            env=environ,
        )
    except OSError:
        os.close(write_end)
        raise
    finally:
        os.close(read_end)
    return worker, write_end


def bind() -> bool:
    """The worker's first act: from here on it dies with its supervisor. False when it has none.

    Linux ends it by PR_SET_PDEATHSIG, set here and not between fork and exec, where Python code can
    deadlock. A thread that waits for the end of the lifeline pipe does the same on other systems. A
    supervisor that died before this call shows as another parent.
    """
    value = os.environ.pop(_VARIABLE, None)
    if value is None:
        return False
    parent, read_end, lock_fd = (int(part) for part in value.split(","))
    for fd in (read_end, lock_fd):
        os.set_inheritable(fd, False)  # programs that the worker starts must not keep the lock
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Thread(target=_watch, args=(read_end,), name="lifeline", daemon=True).start()
    return True


def _watch(read_end: int) -> None:
    os.read(read_end, 1)  # nobody writes: this returns when the supervisor's end is closed
    os.kill(os.getpid(), signal.SIGKILL)
