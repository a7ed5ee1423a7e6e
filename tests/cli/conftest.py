"""Runs `sdtrain` as a user does, and fabricates runs for it to look at."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.plan.files import dumps
from engine.run.control import ControlReader
from engine.run.create import create_run
from engine.run.events import EventWriter
from engine.run.lock import RunLock
from engine.run.paths import RunDir
from sdtrain_tui.cli import main
from tests.support.events import raw
from tests.support.plans import make_plan

TRAINING = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors")
BLOCK = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {TRAINING!r}:
            raise ModuleNotFoundError(f"{{name}} is not here", name=name)
        return None
sys.meta_path.insert(0, Block())
"""


@dataclass(frozen=True)
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """`cli("list", "--json")` calls the command in this process, `cli.process(...)` in one of its own.

    Both have no terminal, a folder of their own and their own SDTRAIN_HOME.
    """

    def __init__(self, home: Path, folder: Path) -> None:
        self.folder = folder
        self.env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "TMUX")}
        self.env |= {"SDTRAIN_HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self.env |= {"HF_HUB_CACHE": str(home / "hub"), "COLUMNS": "100"}

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "sdtrain_tui", *words]

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The command as a running process, for signals and pipes."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.argv(*words),
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            text=True,
            env=self.env,
            cwd=self.folder,
        )

    def process(self, *words: str) -> Done:
        """The command in a process of its own."""
        process = self.start(*words)
        out, err = process.communicate(timeout=300)
        assert "Traceback" not in err, err
        return Done(process.returncode, out, err)

    def __call__(self, *words: str) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), chdir(self.folder):
            code = main(list(words))
        return Done(code, out.getvalue(), err.getvalue())


class BareCli(Cli):
    """A machine without the training packages: always a process of its own."""

    def __call__(self, *words: str) -> Done:
        return self.process(*words)


@pytest.fixture
def cli(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command with the whole environment."""
    folder = tmp_path / "here"
    folder.mkdir()
    made = Cli(home, folder)
    for name in ("HF_HUB_CACHE", "COLUMNS"):
        monkeypatch.setenv(name, made.env[name])
    return made


@pytest.fixture
def bare_cli(home: Path, tmp_path: Path) -> Cli:
    """The command on a machine without torch and its friends."""
    site, folder = tmp_path / "site", tmp_path / "here"
    site.mkdir()
    folder.mkdir()
    (site / "sitecustomize.py").write_text(BLOCK)
    bare = BareCli(home, folder)
    bare.env["PYTHONPATH"] = str(site)
    return bare


@pytest.fixture
def plan_file(pictures: Path, tmp_path: Path) -> Path:
    """A plan without problems."""
    file = tmp_path / "plan.toml"
    file.write_text(dumps(make_plan(pictures)))
    return file


def fabricate(name: str, pictures: Path, steps: int = 4, total: int = 4, **ending: Any) -> RunDir:
    """A run with `steps` step events; `ending` is the last event's kind and fields, if any."""
    plan = make_plan(pictures, name=name, train__steps=max(total, 1))
    run = create_run(dumps(plan), name)
    with EventWriter(run.events_file) as writer:
        writer.emit(raw("launched", pid=1, host="h", restarts=0))
        writer.emit(raw(
            "started", pid=1, host="h", version="0", plan_hash="x", total_steps=total, name=name, method="lora",
            family="sd1", device="cpu", torch="2", resumed=False))  # fmt: skip
        writer.emit(raw("trainable", module="unet", parameters=1000, tensors=2))
        for step in range(1, steps + 1):
            loss = float("nan") if step == 2 else 1.0 / step
            writer.emit(raw("step", step=step, loss=loss, lr=1e-4, grad_norm=0.5, images_per_s=3.0))
        writer.emit(
            raw(
                "sample",
                step=steps,
                index=0,
                prompt="a \x1b[31mred cat",
                seed=1,
                path="samples/a.png",
                thumb="",
            )
        )
        if ending:
            if ending["kind"] == "finished":
                writer.emit(
                    raw(
                        "exported",
                        format="kohya",
                        path="export/x.safetensors",
                        bytes=2048,
                        step=steps,
                        tensors=4,
                    )
                )
            writer.emit(raw(ending.pop("kind"), **ending))
    return run


class FakeEngine:
    """Holds a run's lock and answers its commands as an engine would, from a thread."""

    def __init__(self, run: RunDir, refuse: bool = False) -> None:
        self.run = run
        self.refuse = refuse
        self.seen: list[dict[str, Any]] = []
        self._lock = RunLock(run.lock_file)
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> FakeEngine:
        assert self._lock.acquire()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        self._thread.join()
        self._lock.release()

    def leave(self) -> None:
        """As after its last step."""
        self._leave.set()

    def _work(self) -> None:
        reader = ControlReader(self.run.control_file)
        with EventWriter(self.run.events_file) as writer:
            while not self._leave.wait(0.02):
                for command in reader.poll():
                    self.seen.append(command)
                    self._answer(writer, command)
        self._lock.release()

    def _answer(self, writer: EventWriter, command: dict[str, Any]) -> None:
        def say(status: str, text: str = "") -> None:
            writer.emit(raw("command", id=command["id"], cmd=command["cmd"], status=status, text=text))

        if self.refuse:
            say("refused", "not now")
            return
        say("accepted")
        match command["cmd"]:
            case "pause":
                writer.emit(raw("paused", step=4))
            case "resume":
                writer.emit(raw("unpaused", step=4))
            case "save":
                writer.emit(
                    raw("checkpoint", step=4, path="checkpoints/step-00000004", bytes=10, seconds=0.1)
                )
            case "sample":
                prompt = command.get("prompt", "plan's own")
                writer.emit(
                    raw("sample", step=4, index=1, prompt=prompt, seed=1, path="samples/b.png", thumb="")
                )
            case "stop":
                writer.emit(raw("stopped", step=4, reason="stop command"))
        say("done")
        if command["cmd"] == "stop":
            self._leave.set()


@pytest.fixture
def engine(home: Path, pictures: Path) -> Iterator[FakeEngine]:
    """A run called `living` with an engine that answers."""
    with FakeEngine(fabricate("living", pictures, steps=4, total=100)) as fake:
        yield fake
