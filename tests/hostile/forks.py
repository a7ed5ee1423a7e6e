"""A process that has imported everything, and forks for each command: as faithful as a new one, and 20 times as fast.

Started as `python -m tests.hostile.forks`; a job is one line of JSON on stdin, its end one line on stdout. The fork has
the job's folder, environment and files for stdout and stderr, and runs what the console script or the worker runs. An
audit hook of Python notes what it opens for writing, makes, moves, removes, starts and connects to.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import sdtrain_tui.cli
from engine.run.place import settle
from engine.worker.session import work
from sdtrain_tui.commands import (  # noqa: F401 (what a fork then need not import)
    check,
    data,
    doctor,
    estimate,
    export,
    follow,
    new,
    plans,
    resume,
    run,
    sample,
    show,
)

ADDRESS_SPACE = 16 << 30
"""Bytes that a fork may map, so that a fault cannot take the machine along."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    *("os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.link", "os.symlink", "os.truncate", "os.chmod"),
    *("os.chown", "os.setxattr", "os.utime", "shutil.rmtree"),
}
_STARTS = {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "pty.spawn", "os.startfile"}
_CALLS = {"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "urllib.Request"}


def _worker(words: Sequence[str]) -> int:
    return work(settle(Path(words[0])))


PROGRAMS: dict[str, Callable[[Sequence[str]], int]] = {
    "sdtrain": lambda words: sdtrain_tui.cli.main(list(words)),
    "worker": _worker,
}


class Audit:
    """What a process did to the world outside of itself, by Python's own account."""

    def __init__(self) -> None:
        self.written: set[str] = set()
        self.started: list[str] = []
        self.called: list[str] = []
        self.on = False

    def hook(self, event: str, given: tuple[Any, ...]) -> None:
        """For sys.addaudithook."""
        if not self.on:
            return
        if event == "open":
            path, _, flags = given
            if isinstance(flags, int) and flags & _WRITES and not isinstance(path, int):
                self.written.add(_absolute(path))
        elif event in _CHANGES:
            self.written |= {_absolute(each) for each in given[:2] if isinstance(each, str | bytes)}
        elif event in _STARTS:
            self.started.append(str(given[1] if event == "subprocess.Popen" else given[0]))
        elif event in _CALLS:
            self.called.append(f"{event} {given[-1]!r}")


def _absolute(path: object) -> str:
    return os.path.abspath(os.fsdecode(os.fspath(path)))  # type: ignore[call-overload] # noqa: PTH100


def _fork(job: dict[str, Any], audit: Audit) -> None:
    """The forked side; never returns."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        os.environ.clear()
        os.environ.update(job["env"])
        os.chdir(job["cwd"])
        for number, name in ((0, os.devnull), (1, job["out"]), (2, job["err"])):
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            opened = os.open(name, flags, 0o600)
            os.dup2(opened, number)
            os.close(opened)
        sys.argv = [job["program"], *job["words"]]
        audit.on = True
        code = PROGRAMS[job["program"]](job["words"])
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 1
    except BaseException:  # noqa: BLE001 - as the interpreter does at the end of a script
        traceback.print_exc()
    finally:
        audit.on = False
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        Path(job["audit"]).write_text(
            json.dumps({"written": sorted(audit.written), "started": audit.started, "called": audit.called})
        )
        os._exit(code)


def _finish(child: int, limit: float) -> dict[str, Any]:
    """Wait for a fork, `limit` seconds at most; its exit code, the memory it held at most in bytes, its CPU time."""
    descriptor = os.pidfd_open(child)
    over = not select.select([descriptor], [], [], limit)[0]
    os.close(descriptor)
    if over:
        os.killpg(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "over": over,
        "memory": used.ru_maxrss << 10,
        "cpu": used.ru_utime + used.ru_stime,
    }


def main() -> None:
    """Serve until stdin ends."""
    torch.set_num_threads(1)
    audit = Audit()
    sys.addaudithook(audit.hook)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    gc.collect()
    gc.freeze()
    answers.write(json.dumps({"ready": True}) + "\n")
    answers.flush()
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            _fork(job, audit)
        answers.write(json.dumps(_finish(child, job["limit"])) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
