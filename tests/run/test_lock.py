"""Alive means that somebody holds the lock, and looking at it disturbs nobody."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.run.lock import RunLock, is_alive, supervisor_lives
from engine.run.paths import RunDir


def test_a_run_is_alive_while_its_lock_is_held(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert not is_alive(run)
    with RunLock(run.lock_file) as lock:
        assert lock.acquire()
        assert is_alive(run)
        assert not RunLock(run.lock_file).acquire(wait_s=0)
        assert run.lock_file.read_text() == f"{os.getpid()}\n"
    assert not is_alive(run), "the pid in the file means nothing"
    assert not is_alive(RunDir(tmp_path / "none"))


def test_the_lock_stays_held_by_a_child_that_inherited_it(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    lock = RunLock(run.lock_file)
    assert lock.acquire()
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        pass_fds=[lock.fileno()],
    )
    lock.release()
    assert is_alive(run)
    child.communicate(b"")
    assert not is_alive(run)


def test_an_engine_waits_for_those_who_only_look_at_the_lock(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.lock_file.touch()
    looking = os.open(run.lock_file, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    timer = threading.Timer(0.2, os.close, [looking])
    timer.start()
    with RunLock(run.lock_file) as lock:
        assert lock.acquire(wait_s=30)
    timer.join()


def test_the_holder_is_looked_for_without_being_trusted(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert not supervisor_lives(run)
    run.lock_file.write_text(f"{os.getpid()}\n")
    assert supervisor_lives(run)
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    run.lock_file.write_text(f"{child.pid}\n")
    assert not supervisor_lives(run), "a zombie is dead"
    child.wait()
    assert not supervisor_lives(run)
    run.lock_file.write_text("no number")
    assert not supervisor_lives(run)


def test_where_there_is_no_proc_the_holder_is_asked_for_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    monkeypatch.setattr("engine.run.lock.Path.exists", lambda path: False)
    for pid, lives in ((os.getpid(), True), (child.pid, False)):
        run.lock_file.write_text(f"{pid}\n")
        assert supervisor_lives(run) == lives
