"""A launched engine outlives its terminal; a start that fails says why."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.process import command, environment
from engine.run import codes
from engine.run.control import send
from engine.run.control_commands import Stop
from engine.run.launch import launch
from engine.run.lock import is_alive
from engine.run.view import state
from tests.run.engine_fakes import (
    child_env,
    engine_argv,
    events_of,
    is_gone,
    kinds,
    new_run,
    view_of,
    wait_for,
    worker_pid,
)

WAITS = "wait_for_stop()\nevents.emit(raw('finished', step=1, seconds=1))"

LAUNCHER = """
import signal, sys
from collections.abc import Callable
from pathlib import Path
from engine.run.launch import launch
from engine.run.paths import RunDir
launch(RunDir(Path(sys.argv[1])), engine_argv=sys.argv[2:])
print("launched", flush=True)
signal.pause()
"""


def test_launch_returns_when_the_engine_holds_the_lock_in_a_session_of_its_own(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    pid = launch(run, engine_argv=engine_argv(tmp_path, run, WAITS))
    assert is_alive(run)
    assert os.getsid(pid) == pid
    assert {str(Path(f"/proc/{pid}/fd/{fd}").readlink()) for fd in (1, 2)} == {str(run.log_file)}
    assert str(Path(f"/proc/{pid}/fd/0").readlink()) == "/dev/null"
    assert str(Path(f"/proc/{pid}/cwd").readlink()) == str(run.path)
    with pytest.raises(UserError, match="already running"):
        launch(run, engine_argv=engine_argv(tmp_path, run, WAITS))
    send(run, Stop())
    wait_for(lambda: not is_alive(run))
    wait_for(lambda: not Path(f"/proc/{pid}").exists())  # collected, not left as a zombie
    assert state(view_of(run), False, time.time()) == "finished"


def test_the_engine_lives_on_when_the_terminal_of_its_launcher_dies(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    argv = [sys.executable, "-P", "-c", LAUNCHER, str(run.path), *engine_argv(tmp_path, run, WAITS)]
    launcher, terminal = pty.fork()
    if launcher == 0:
        # Under nohup the tests ignore it, and so would the launcher.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.execve(sys.executable, argv, child_env())
    output = b""
    while b"launched" not in output:
        output += os.read(terminal, 1024)
    os.close(terminal)
    _, status = os.waitpid(launcher, 0)
    assert os.WTERMSIG(status) == signal.SIGHUP, "the launcher itself went with its terminal"
    worker = worker_pid(run)
    assert is_alive(run)
    assert not is_gone(worker)
    send(run, Stop())
    wait_for(lambda: not is_alive(run))
    assert kinds(run) == ["launched", "started", "command", "finished"]


def test_a_start_that_fails_shows_the_last_lines_of_its_own_log(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.log_file.write_text("an old line\n")
    code = "import sys; print('No module named numpy', file=sys.stderr); sys.exit(9)"
    with pytest.raises(UserError) as caught:
        launch(run, engine_argv=[sys.executable, "-c", code])
    assert "exit code 9" in caught.value.what
    assert caught.value.why == "No module named numpy"
    assert str(run.log_file) in caught.value.fix


def test_an_engine_that_does_not_begin_is_told_to_leave(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    code = "import os, signal; open('pid', 'w').write(str(os.getpid())); signal.pause()"
    with pytest.raises(UserError, match="did not begin within 1 s"):
        launch(run, engine_argv=[sys.executable, "-c", code], timeout_s=1.0)
    if (run.path / "pid").exists():
        pid = int((run.path / "pid").read_text())
        wait_for(lambda: is_gone(pid))


def test_a_program_that_is_not_there_is_an_error_for_the_user(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be started"):
        launch(new_run(tmp_path), python="/nowhere/python")


def test_a_run_that_has_just_ended_can_be_launched_again(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    for _ in range(3):
        launch(run, engine_argv=engine_argv(tmp_path, run, "events.emit(raw('finished', step=1, seconds=1))"))
        wait_for(lambda: not is_alive(run))
    assert [event["seq"] for event in events_of(run)] == list(range(1, 10))


def test_pythonpath_means_the_same_folders_in_the_run_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = os.pathsep.join(["", "plugins", str(tmp_path / "cluster")])
    env = environment({"PYTHONPATH": given, "HOME": "/h"})
    assert env == {"PYTHONPATH": f"{tmp_path / 'plugins'}{os.pathsep}{tmp_path / 'cluster'}", "HOME": "/h"}
    assert environment({"PYTHONPATH": os.pathsep}) == {}


@pytest.mark.parametrize("other", ["engine.py", "engine/__init__.py"])
def test_a_process_runs_the_engine_that_started_it(other: str, tmp_path: Path) -> None:
    wrong = tmp_path / other
    wrong.parent.mkdir(exist_ok=True)
    wrong.write_text("raise SystemExit('the wrong engine')")
    for pythonpath in ({}, {"PYTHONPATH": str(tmp_path)}):
        env = environment({"PATH": os.environ["PATH"], **pythonpath})
        done = subprocess.run(
            command("engine", "too", "many"),
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (codes.BAD_INPUT, "usage: python -P -m engine RUN_DIR\n")


def test_importing_the_run_package_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "import engine.run.follow, engine.run.listing, engine.run.launch, engine.run.control, engine.run.supervise\n"
        "print({'torch', 'numpy', 'pydantic', 'psutil', 'textual', 'asyncio'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=child_env(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_log_that_is_no_file_is_named_with_the_way_out(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    run = new_run(tmp_path)
    make(run.log_file)
    with pytest.raises(UserError, match="cannot be started") as caught:
        launch(run)
    assert str(run.log_file) in caught.value.why and "plain file" in caught.value.fix
