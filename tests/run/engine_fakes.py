"""Real supervisors over tiny worker scripts, for the tests of what processes do to each other."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import engine
from engine.run.jsonl import Record, tail
from engine.run.paths import RunDir
from engine.run.view import RunView, fold

ROOT = Path(engine.__file__).resolve().parents[1]

STARTED: list[subprocess.Popen[bytes]] = []
"""Every supervisor that `start` made; the fixture in conftest ends those that a failed test left."""

PRELUDE = """
import os, signal, subprocess, sys, time
from pathlib import Path
from engine.run import codes, lifeline
if "unbound" not in sys.argv:
    lifeline.bind()
from engine.run.control import ControlReader
from engine.run.events import EventWriter
from engine.run.jsonl import select
from engine.run.paths import RunDir
from tests.support.events import raw

run = RunDir(Path(sys.argv[1]))
events = EventWriter(run.events_file)
attempt = sum(1 for _ in select(run.events_file, {"launched"}))

def wait_for_stop():
    reader = ControlReader(run.control_file)
    while True:
        for command in reader.poll():
            events.emit(raw("command", id=command["id"], cmd=command["cmd"], status="done", text=""))
            if command["cmd"] == "stop":
                return
        time.sleep(0.01)

def die(number=signal.SIGKILL):
    os.kill(os.getpid(), number)
    signal.pause()

events.emit(raw("started", pid=os.getpid(), name="fake", method="lora", total_steps=10, resumed=attempt > 1))
"""

ENGINE = """
import sys
from engine.run.supervise import main
sys.exit(main(sys.argv[1:2], [sys.executable, "-P", *sys.argv[2:3], sys.argv[1], *sys.argv[3:]]))
"""


def new_run(tmp_path: Path, name: str = "fake") -> RunDir:
    run = RunDir(tmp_path / name)
    run.path.mkdir(parents=True)
    run.plan_file.write_text('version = 1\nname = "fake"\nmethod = "lora"\n[train]\nsteps = 10\n')
    return run


def child_env(*paths: Path) -> dict[str, str]:
    """An environment in which `engine` can be imported from anywhere, `paths` before it."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*paths, ROOT])), "OMP_NUM_THREADS": "1"}


def engine_argv(tmp_path: Path, run: RunDir, body: str, *flags: str) -> list[str]:
    """The command of a supervisor whose worker runs PRELUDE and then `body`."""
    worker, engine_file = tmp_path / "worker.py", tmp_path / "engine_main.py"
    worker.write_text(PRELUDE + body)
    engine_file.write_text(ENGINE)
    return [sys.executable, "-P", str(engine_file), str(run.path), str(worker), *flags]


def start(
    tmp_path: Path, run: RunDir, body: str, *flags: str, paths: Sequence[Path] = ()
) -> subprocess.Popen[bytes]:
    """That supervisor as a process of its own session; its output goes to engine.log."""
    with run.log_file.open("ab") as log:
        process = subprocess.Popen(
            engine_argv(tmp_path, run, body, *flags),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=child_env(*paths),
            start_new_session=True,
        )
    STARTED.append(process)
    return process


def supervise(tmp_path: Path, run: RunDir, body: str) -> int:
    """Run it to its end and return its exit code."""
    return start(tmp_path, run, body).wait(timeout=60)


def events_of(run: RunDir) -> list[Record]:
    return tail(run.events_file, 1 << 30)


def kinds(run: RunDir) -> list[str]:
    return [event["kind"] for event in events_of(run)]


def view_of(run: RunDir) -> RunView:
    return fold(events_of(run))


def the(run: RunDir, kind: str) -> Record:
    """The only event of its kind."""
    (event,) = (event for event in events_of(run) if event["kind"] == kind)
    return event


def wait_for(condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """The first true value of `condition`, asked again until a deadline."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain"
        time.sleep(0.01)
    return value


def worker_pid(run: RunDir) -> int:
    """The process id in the newest `started` event, waited for."""
    started = wait_for(lambda: [event for event in events_of(run) if event["kind"] == "started"])
    return int(started[-1]["pid"])


def is_gone(pid: int) -> bool:
    """Whether no living process has this id (a zombie is dead)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return True
