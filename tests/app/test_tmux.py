"""The whole way in a real tmux at 80x24: wizard by keys, start, terminal gone, attach from another one, stop."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.plan.files import load_plan
from engine.run.lock import is_alive
from engine.run.paths import RunDir, list_runs, runs_root
from tests.support.runs import kill, view_of, wait_until

ROOT = Path(__file__).parents[2]
APP = f"{sys.executable} -m sdtrain_tui"

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Tmux:
    """A tmux server of its own, with one pane of 80x24 that runs a command."""

    def __init__(self, name: str, command: str, home: Path) -> None:
        self._socket = f"sdtrain-{os.getpid()}-{name}"
        self._env = {**os.environ, "SDTRAIN_HOME": str(home), "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
        self._env.pop("TMUX", None)
        self("new-session", "-d", "-s", "t", "-x", "80", "-y", "24", command)

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, "-f", "/dev/null", *arguments],
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout

    def screen(self) -> str:
        return self("capture-pane", "-p", "-t", "t")

    def keys(self, *names: str) -> None:
        self("send-keys", "-t", "t", *names)

    def wait(self, *wanted: str, seconds: float = 120.0) -> str:
        end = time.monotonic() + seconds
        while not all(text in (seen := self.screen()) for text in wanted):
            assert time.monotonic() < end, f"waited for {wanted}:\n{seen}"
            time.sleep(0.05)
        return seen

    def kill(self) -> None:
        self("kill-server")


@pytest.fixture
def servers(home: Path) -> Iterator[list[Tmux]]:
    """Servers to end, and engines that a failed test has left."""
    opened: list[Tmux] = []
    yield opened
    for server in opened:
        server.kill()
    for run in list_runs(runs_root()):
        for kind in ("launched", "started"):
            for pid in re.findall(rf'"kind":"{kind}","pid":(\d+)', run.events_file.read_text()):
                if is_alive(run):
                    kill(int(pid))


def answer_the_wizard(tmux: Tmux, pictures: Path) -> None:
    """From home to a started run, by keys alone."""
    tmux.wait("No runs yet")
    tmux.keys("n")
    tmux.wait("What do you want to train?", "LoRA")
    tmux.keys("Enter")
    tmux.wait("builtin:tiny")
    tmux.keys("Enter", "Enter")
    tmux.wait("Where are the pictures?")
    tmux.keys("-l", str(pictures)[:-4])
    tmux.keys("Tab")
    tmux.wait("6 to train on")
    tmux.keys("Tab")
    tmux.keys("-l", "zwx")
    tmux.wait("zwx, a picture")
    tmux.keys("C-n")
    tmux.wait("How is it trained?", "effective scale")
    tmux.keys("Tab", "Tab", "Tab")
    tmux.keys("-l", "100000")
    tmux.keys("Tab", "Tab", "Tab")
    tmux.keys("-l", "1")
    tmux.wait("pictures a step     1, so 100,000 in all")
    tmux.keys("C-n")
    tmux.wait("What is drawn on the way")
    tmux.keys("-l", "0")
    tmux.keys("C-n")
    tmux.wait("Where does it run", "memory  ")
    tmux.keys("C-n")
    tmux.wait("ready to start")
    tmux.keys("Enter")


def test_the_wizard_is_answered_by_keys_that_wait_for_nothing(
    home: Path, pictures: Path, servers: list[Tmux]
) -> None:
    tmux = Tmux("ahead", APP, home)
    servers.append(tmux)
    tmux.keys("n", "Up", "Enter", "Enter", "Enter")
    tmux.keys("-l", str(pictures))
    tmux.keys("Tab", "Tab")
    tmux.keys("-l", "zwx")
    tmux.keys("C-n", "C-n", "C-n", "C-n")
    tmux.wait("ready to start")
    tmux.keys("C-s", "C-u")
    tmux.keys("-l", str(home / "ahead.toml"))
    tmux.keys("Enter")
    wait_until((home / "ahead.toml").is_file, what="the saved plan")
    plan = load_plan(home / "ahead.toml")
    assert (plan.method, plan.base.model) == ("dreambooth", "builtin:tiny")
    assert (plan.data.path, plan.data.trigger) == (str(pictures), "zwx")


def test_a_run_started_by_keys_outlives_its_terminal_and_is_met_again_from_another(
    home: Path, pictures: Path, servers: list[Tmux]
) -> None:
    first = Tmux("first", APP, home)
    servers.append(first)
    answer_the_wizard(first, pictures)
    first.wait("machine", "q detach")
    first.wait("● running", "step ", seconds=240)
    (run,) = list_runs()
    wait_until(lambda: view_of(run).step >= 3, what="three steps")
    first.kill()
    before = view_of(run).step
    wait_until(lambda: view_of(run).step >= before + 3, what="steps without a terminal")
    assert is_alive(run)

    second = Tmux("second", f"{APP} attach {run.name}; echo left with $?; sleep 1000", home)
    servers.append(second)
    second.wait("● running", "/100,000")
    assert seen_step(second) >= before
    second.keys("q")
    second.wait("goes on. Come back with: sdtrain attach", "left with 0")
    assert is_alive(run)

    third = Tmux("third", APP, home)
    servers.append(third)
    third.wait("● running", run.name)
    third.keys("s")
    third.wait(f"stop {run.name}?")
    third.keys("y")
    third.wait("■ stopped")
    wait_until(lambda: not is_alive(run), what="the engine's leave")
    assert_saved(run)


def seen_step(tmux: Tmux) -> int:
    found = re.search(r"step ([\d,]+)/", tmux.screen())
    return int(found[1].replace(",", "")) if found else -1


def assert_saved(run: RunDir) -> None:
    view = view_of(run)
    assert view.stopped is not None and view.failed is None
    assert view.checkpoints and view.checkpoints[-1].step == view.step
    assert (run.path / view.checkpoints[-1].path).is_dir()
