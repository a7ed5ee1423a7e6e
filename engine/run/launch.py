"""Starting an engine that outlives the terminal, and waiting until it has really begun."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import engine
from engine.errors import UserError
from engine.files import last_lines
from engine.run import codes
from engine.run.events import EventReader
from engine.run.kinds import Launched
from engine.run.paths import RunDir

START_TIMEOUT_S = 30.0
_PACKAGES = ("engine", "torch", "diffusers", "transformers", "peft", "numpy", "safetensors", "pydantic")


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
    argv = list(engine_argv or [python, "-P", "-m", "engine", str(run.path)])
    try:
        with run.log_file.open("ab") as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=run.path,
                start_new_session=True,
                env=engine_env(os.environ) | dict(extra_env or {}),
            )
    except OSError as error:
        raise UserError(f"The engine of {run.name} cannot be started", why=str(error)) from error
    # Somebody has to collect the exit status, or a long-lived app would gather dead processes.
    threading.Thread(target=process.wait, name=f"engine-{process.pid}", daemon=True).start()
    _wait(run, process, before, log_before, timeout_s)
    return process.pid


def _wait(
    run: RunDir, process: subprocess.Popen[bytes], start: int, log_start: int, timeout_s: float
) -> None:
    reader = EventReader(run.events_file, offset=start)
    deadline = time.monotonic() + timeout_s
    while True:
        gone = process.poll() is not None
        if any(event["kind"] == Launched.kind and event.get("pid") == process.pid for event in reader.poll()):
            return
        if gone:
            raise _start_error(run, process.returncode, log_start)
        if time.monotonic() > deadline:
            process.terminate()
            raise UserError(
                f"The engine of {run.name} did not begin within {timeout_s:.0f} s and was told to leave.",
                why=" | ".join(last_lines(run.log_file, 6, start=log_start)) or "engine.log is empty",
                fix=f"try again; the log is {run.log_file}",
            )
        time.sleep(0.01)


def _start_error(run: RunDir, code: int, log_start: int) -> UserError:
    if code == codes.ALREADY_RUNNING:
        return UserError(f"The run {run.name} is already running.", fix=f"sdtrain attach {run.name}")
    lines = last_lines(run.log_file, 12, start=log_start)
    return UserError(
        f"The engine of {run.name} ended before it began (exit code {code}).",
        why="\n     ".join(lines) or "engine.log is empty",
        fix=f"the whole log is {run.log_file}",
    )


def engine_env(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment for an engine that starts in the run directory.

    PYTHONPATH is passed on only as far as the engine needs it: this package's own root when it runs
    from a source checkout, and folders of the caller's PYTHONPATH that hold what it imports. An empty
    or relative entry would mean the run directory there and is dropped.
    """
    env = {key: value for key, value in environ.items() if key != "PYTHONPATH"}
    given = [entry for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry.startswith("/")]
    paths = [entry for entry in given if any(Path(entry, name).is_dir() for name in _PACKAGES)]
    root = Path(engine.__file__).resolve().parents[1]
    if root not in _installed_roots():
        paths = [str(root), *(entry for entry in paths if Path(entry).resolve() != root)]
    if paths:
        env["PYTHONPATH"] = os.pathsep.join(paths)
    return env


def _installed_roots() -> set[Path]:
    roots = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    roots.append(site.getusersitepackages())
    return {Path(root).resolve() for root in roots}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
