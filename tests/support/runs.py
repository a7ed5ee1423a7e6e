"""Plans and real runs of the tests: started as a user's are, watched through their events."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.workload import events_of, make_plan, new_run, wait_until
from engine.plan.schema import Plan
from engine.run import codes
from engine.run.fold import fold
from engine.run.launch import launch
from engine.run.lock import is_alive
from engine.run.paths import RunDir
from engine.run.run_view import RunView

__all__ = ["events_of", "new_run", "wait_until"]
QUICK: dict[str, object] = {
    "name": "quick",
    "seed": 7,
    "data.resolution": 64,
    "train.steps": 6,
    "train.batch_size": 2,
    "train.learning_rate": 1e-3,
    "train.precision": "fp32",
    "lora.rank": 4,
    "lora.alpha": 4.0,
    "samples.every": 0,
    "checkpoints.every": 3,
    "hardware.device": "cpu",
    "hardware.threads": 1,
}


def quick_plan(base: Path | str, pictures: Path, **changes: object) -> Plan:
    """A plan that trains in a second; `changes` name fields with `__` for the dot."""
    method = changes.get("method", "lora")
    quick = {key: value for key, value in QUICK.items() if method == "lora" or not key.startswith("lora.")}
    return make_plan(base, pictures, quick, **changes)


def view_of(run: RunDir) -> RunView:
    """The run as the app sees it."""
    return fold(events_of(run))


def run_to_end(run: RunDir, seconds: float = 180.0) -> RunView:
    """Launch, wait until the engine has left, and return the view; shows the log when it did not finish."""
    launch(run)
    wait_until(lambda: not is_alive(run), seconds, f"the end of {run.name}")
    view = view_of(run)
    assert view.finished is not None, (view.failed, run.log_file.read_text()[-2000:])
    return view


def work_to_end(run: RunDir) -> RunView:
    """The same without processes: the worker runs in this one, for tests of what a run leaves and not of how it lives.

    A process of its own would spend four seconds on imports.
    """
    from engine.worker.session import work

    with own_signals():
        assert work(run) == codes.DONE, view_of(run).failed
    return view_of(run)


@contextmanager
def own_signals() -> Iterator[None]:
    """A worker inside this process must not keep the process's handlers."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def pid_of(run: RunDir, kind: str) -> int:
    """The last known pid of the supervisor (kind `launched`) or the worker (kind `started`)."""
    return int([event for event in events_of(run) if event["kind"] == kind][-1]["pid"])


def kill(pid: int) -> None:
    """SIGKILL; gone already is fine."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
