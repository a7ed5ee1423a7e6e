"""What becomes of a run when its worker ends, when signals come and when its supervisor dies; real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.run import codes, postmortem
from engine.run.control import send
from engine.run.control_commands import Stop
from engine.run.lock import is_alive
from engine.run.view import state
from tests.run.engine_fakes import (
    child_env,
    events_of,
    is_gone,
    kinds,
    new_run,
    start,
    supervise,
    the,
    view_of,
    wait_for,
    worker_pid,
)


def test_a_worker_that_finishes_is_the_end_of_the_run(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    body = "events.emit(raw('step', step=1, loss=0.5))\nevents.emit(raw('finished', step=1, seconds=1.0))"
    assert supervise(tmp_path, run, body) == codes.DONE
    assert kinds(run) == ["launched", "started", "step", "finished"]
    assert [event["seq"] for event in events_of(run)] == [1, 2, 3, 4]
    assert not is_alive(run)
    assert state(view_of(run), False, time.time()) == "finished"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (codes.FAILED, "failed"),
        (codes.BAD_INPUT, "failed"),
        (codes.OUT_OF_MEMORY, "out-of-memory"),
        (codes.DISK_FULL, "disk-full"),
        (99, "failed"),
    ],
)
def test_a_worker_that_fails_without_a_word_is_reported_by_its_code_and_log(
    tmp_path: Path, code: int, expected: str
) -> None:
    run = new_run(tmp_path)
    run.log_file.write_text("from an earlier start\n")
    assert supervise(tmp_path, run, f"print('no such weights', flush=True)\nsys.exit({code})") == code
    failed = view_of(run).failed
    assert failed is not None
    assert (failed.state, failed.exit_code) == (expected, code)
    assert "no such weights" in failed.why
    assert "earlier" not in failed.why
    assert kinds(run).count("launched") == 1, "only a crash is tried again"


def test_a_worker_that_says_how_it_failed_is_not_contradicted(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    body = "events.emit(raw('failed', error='GPU is full', state='out-of-memory'))\nsys.exit(codes.OUT_OF_MEMORY)"
    assert supervise(tmp_path, run, body) == codes.OUT_OF_MEMORY
    assert the(run, "failed")["error"] == "GPU is full"


def test_a_worker_that_leaves_with_0_and_no_word_did_not_finish(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    assert supervise(tmp_path, run, "sys.exit(0)") == codes.FAILED
    assert view_of(run).failed is not None


def test_a_crash_after_the_last_word_changes_nothing(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    body = "events.emit(raw('finished', step=1, seconds=1.0))\ndie(signal.SIGSEGV)"
    assert supervise(tmp_path, run, body) == codes.DONE
    assert kinds(run) == ["launched", "started", "finished"]


def test_a_killed_worker_is_started_again_and_goes_on(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    body = """
if attempt == 1:
    events.emit(raw("step", step=1, loss=0.5))
    wait_for_stop()
events.emit(raw("resumed", from_step=0))
events.emit(raw("finished", step=2, seconds=1.0))
"""
    engine = start(tmp_path, run, body)
    wait_for(lambda: "step" in kinds(run))
    os.kill(worker_pid(run), signal.SIGKILL)
    assert engine.wait(timeout=60) == codes.DONE
    assert kinds(run) == [
        "launched",
        "started",
        "step",
        "warning",
        "launched",
        "started",
        "resumed",
        "finished",
    ]
    warning = the(run, "warning")
    assert (warning["code"], warning["signal"], warning["step"]) == ("restarted", "SIGKILL", 1)
    assert "GiB" in warning["text"]


@pytest.mark.parametrize(("saves", "starts"), [(False, 2), (True, 4)])
def test_restarts_end_when_nothing_is_saved_between_them_and_after_three(
    tmp_path: Path, saves: bool, starts: int
) -> None:
    run = new_run(tmp_path)
    save = "events.emit(raw('checkpoint', step=attempt, path='c', bytes=1, seconds=0.1))\n" if saves else ""
    assert supervise(tmp_path, run, save + "die(signal.SIGABRT)") == codes.FAILED
    assert kinds(run).count("launched") == starts
    failed = view_of(run).failed
    assert failed is not None
    assert (failed.state, failed.signal) == ("crashed", "SIGABRT")
    assert f"restarted {starts - 1}x" in failed.why
    assert f"sdtrain resume {run.path}" in failed.fix


def test_a_worker_that_had_agreed_to_stop_is_not_started_again(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    body = "events.emit(raw('command', id='i', cmd='stop', status='accepted'))\ndie(signal.SIGSEGV)"
    assert supervise(tmp_path, run, body) == codes.FAILED
    assert kinds(run).count("launched") == 1
    assert state(view_of(run), False, time.time()) == "crashed"


def signals_pending(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return any(int(line.split()[1], 16) for line in status if line.startswith(("SigPnd", "ShdPnd")))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_supervisor_asks_the_worker_once(tmp_path: Path, number: signal.Signals) -> None:
    run = new_run(tmp_path)
    body = """
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
events.emit(raw("phase", phase="training", text=""))
while not asked:
    time.sleep(0.01)
wait_for_stop()
events.emit(raw("stopped", step=len(asked), reason="SIGTERM"))
sys.exit(codes.STOPPED)
"""
    engine = start(tmp_path, run, body)
    wait_for(lambda: "phase" in kinds(run))
    for _ in range(3):  # one after the other: signals that are still pending melt into one
        engine.send_signal(number)
        wait_for(lambda: not signals_pending(engine.pid))
    send(run, Stop())
    assert engine.wait(timeout=60) == codes.STOPPED
    assert the(run, "stopped")["step"] == 1


def test_a_worker_that_the_signal_met_before_it_could_save_is_stopped_not_crashed(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    engine = start(tmp_path, run, "signal.pause()")
    worker_pid(run)
    engine.terminate()
    assert engine.wait(timeout=60) == codes.STOPPED
    assert the(run, "stopped")["reason"] == "SIGTERM"
    assert "warning" not in kinds(run)


def test_a_hangup_ends_neither_supervisor_nor_worker(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    engine = start(tmp_path, run, "wait_for_stop()\nevents.emit(raw('finished', step=1, seconds=1))")
    worker = worker_pid(run)
    os.killpg(engine.pid, signal.SIGHUP)
    os.kill(worker, signal.SIGHUP)
    send(run, Stop())
    assert engine.wait(timeout=60) == codes.DONE
    assert kinds(run) == ["launched", "started", "command", "finished"]


# Each of the two ways must do it alone: the other is switched off before the worker binds.
TIES = {
    "kernel": "import threading\nthreading.Thread.start = lambda thread: None\n",
    "pipe": "import sys\nsys.platform = 'other'\n",
}


@pytest.mark.parametrize("tie", TIES)
def test_the_worker_dies_with_its_supervisor(tmp_path: Path, tie: str) -> None:
    run = new_run(tmp_path)
    (tmp_path / "sitecustomize.py").write_text(TIES[tie])
    engine = start(tmp_path, run, "signal.pause()", paths=[tmp_path])
    worker = worker_pid(run)
    assert not is_gone(worker)
    engine.kill()
    engine.wait(timeout=60)
    wait_for(lambda: is_gone(worker) and not is_alive(run))
    assert state(view_of(run), is_alive(run), time.time()) == "crashed"


def test_a_second_supervisor_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    body = "wait_for_stop()\nevents.emit(raw('finished', step=1, seconds=1))"
    first = start(tmp_path, run, body)
    worker_pid(run)
    assert start(tmp_path, run, body).wait(timeout=60) == codes.ALREADY_RUNNING
    assert "already running" in run.log_file.read_text()
    send(run, Stop())
    assert first.wait(timeout=60) == codes.DONE
    assert kinds(run).count("launched") == 1


def test_no_engine_begins_before_an_orphaned_worker_is_gone(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    body = "if attempt == 1: wait_for_stop()\nevents.emit(raw('finished', step=1, seconds=1))"
    first = start(tmp_path, run, body, "unbound")  # this worker never ties itself to its supervisor
    worker = worker_pid(run)
    first.kill()
    first.wait(timeout=60)
    assert is_alive(run), "the worker holds the lock that it inherited"
    second = start(tmp_path, run, body)
    wait_for(lambda: Path(f"/proc/{second.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S")
    killed_at = time.time()
    os.kill(worker, signal.SIGKILL)
    assert second.wait(timeout=60) == codes.DONE
    launched = [event["t"] for event in events_of(run) if event["kind"] == "launched"]
    assert len(launched) == 2
    assert launched[1] >= killed_at - 0.001


def test_what_the_worker_had_started_goes_with_it(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    body = """
child = subprocess.Popen(["sleep", "1000"])
events.emit(raw("warning", text=str(child.pid)))
events.emit(raw("finished", step=1, seconds=1))
"""
    assert supervise(tmp_path, run, body) == codes.DONE
    child = int(the(run, "warning")["text"])
    wait_for(lambda: is_gone(child))


def test_a_command_sent_while_no_engine_ran_is_refused_at_the_next_start(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    ident = send(run, Stop())
    assert supervise(tmp_path, run, "events.emit(raw('finished', step=1, seconds=1))") == codes.DONE
    assert view_of(run).commands == {ident: "refused"}
    assert kinds(run)[:2] == ["command", "launched"]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "engine", str(tmp_path)], capture_output=True, text=True, env=child_env()
    )
    assert done.returncode == codes.BAD_INPUT
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_torn_event_of_a_killed_worker_does_not_harm_the_next(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    body = """
if attempt == 1:
    os.write(os.open(run.events_file, os.O_WRONLY | os.O_APPEND), b'{"v":1,"seq":3,"t":1.0,"kind":"st')
    die()
events.emit(raw("finished", step=1, seconds=1))
"""
    assert supervise(tmp_path, run, body) == codes.DONE
    assert kinds(run) == ["launched", "started", "warning", "launched", "started", "finished"]
    assert [event["seq"] for event in events_of(run)] == [1, 2, 3, 4, 5, 6]


def test_a_kill_is_blamed_on_the_memory_only_as_far_as_the_counters_show() -> None:
    calm, struck, blind = (
        postmortem.Memory(64 << 30, 7),
        postmortem.Memory(64 << 30, 8),
        postmortem.Memory(None, None),
    )
    peak = 60 << 30
    by_kernel, _ = postmortem.explain(signal.SIGKILL, calm, struck, peak)
    by_hand, _ = postmortem.explain(signal.SIGKILL, calm, calm, peak)
    unknown, _ = postmortem.explain(signal.SIGKILL, blind, blind, peak)
    assert "out-of-memory killer ended it" in by_kernel
    assert "60.0 GiB of this machine's 64.0 GiB" in by_kernel
    assert "has not moved" in by_hand
    assert "most likely the kernel's out-of-memory killer" in unknown
    assert "engine.log" in postmortem.explain(signal.SIGSEGV, calm, calm, peak)[0]
    assert postmortem.signal_name(250) == "signal 250"
