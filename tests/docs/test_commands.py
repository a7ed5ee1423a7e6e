"""Every command of the README and the pages does what its page says: each is run, in the order it stands there."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import load_file

from engine.families.single_file import write_single_file
from tests.support.pictures import write_pictures

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "engine" / "assets" / "tiny"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(?:|bash|sh|shell|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PROGRAM = re.compile(r"(?:\w+=\S+ )*(?:\.venv/bin/)?(sdtrain|python3?|pip|make|hf)(?= |$)")
# What a reader fills in.
FILLED_IN = {"RUN": "cat"}
# What a command writes that runs in the tree itself.
WRITTEN = ("found.json",)
# A live run answers these in this order; a page names them in any.
ALIVE = ("attach", "save", "sample", "pause", "resume", "stop")
# What makes a command the test's own and small.
ADDED = {
    "new": "--name cat --steps 100000 --resolution 64 --batch-size 1 --force --set base.tokenizer=tokenizer "
    "--set samples.steps=1 --set samples.count=1 --set samples.every=0 --set checkpoints.every=0 "
    "--set hardware.threads=1 --set hardware.device=cpu",
    "run": "--detach",
    "tools.mutation": "--sample 1 --jobs 1",
}
# Commands that no test may run whole, and why. Those of the program itself are still parsed.
NOT_RUN = {
    "sdtrain": "opens the app, which wants a terminal: tests/app drives it",
    "sdtrain demo": "trains for minutes: tests/cli/test_demo.py runs it with few steps",
    "python -m pytest": "runs tests inside of this one",
    "make": "installs from the network, or runs all tests",
    "pip": "installs from the network",
    "hf": "downloads from the network",
}


@dataclass(frozen=True)
class Command:
    """One command line of a page."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"

    @property
    def exception(self) -> str:
        """The entry of NOT_RUN that it falls under; empty where it is run."""
        if len(self.words) == 1:
            return self.words[0]
        starts = (" ".join(self.words[:count]) for count in (3, 2, 1))
        return next((start for start in starts if start in NOT_RUN and start != "sdtrain"), "")


def commands(page: Path) -> Iterator[Command]:
    """The page's command lines: without prompt, environment and the text beside them, alternatives one by one."""
    for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            bare = re.split(r" #|\s{2,}", line.strip().removeprefix("$ "))[0]
            # A line of a drawing names commands without being one.
            if "─" not in line and (found := _PROGRAM.match(bare)):
                first, *rest = shlex.split(bare[found.start(1) :])
                known = [FILLED_IN.get(word, word) for word in rest]
                choices = known[0].split("|") if known else []
                for choice in sorted(choices, key=lambda name: ALIVE.index(name) if name in ALIVE else -1):
                    yield Command(page.name, (first, choice, *known[1:]))
                if not choices:
                    yield Command(page.name, (first,))


def test_the_pages_have_commands_and_no_exception_is_idle() -> None:
    found = [command for page in PAGES for command in commands(page)]
    ran = {command.words[1] for command in found if command.words[0] == "sdtrain" and not command.exception}
    assert ran >= {"new", "check", "estimate", "run", *ALIVE, "export", "doctor"}
    assert {"sdtrain", "make", "python -m pytest"} <= {command.exception for command in found}


class Desk:
    """A folder with what the pages speak of, where a reader tries their commands one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "TMUX")}
        self.env |= {"SDTRAIN_HOME": str(folder / "home"), "HF_HUB_CACHE": str(folder / "hub")}
        write_pictures(folder / "photos" / "cat", count=3)
        parts = ("unet", "vae", "text_encoder")
        states = {part: load_file(next((TINY / part).glob("*.safetensors"))) for part in parts}
        configs = {
            part: json.loads(next((TINY / part).glob("*config.json")).read_text())
            for part in (*parts, "scheduler")
        }
        write_single_file(folder / "model.safetensors", "sd1", states, configs)
        (folder / "tokenizer").symlink_to(TINY / "tokenizer")

    def run(self, words: tuple[str, ...]) -> tuple[int, str]:
        """Exit code and output; who watches a live run leaves at its first line."""
        ours = words[0] == "sdtrain"
        program = ["-m", "sdtrain_tui"] if ours else []
        words = tuple(str(self.folder / word) if word in WRITTEN else word for word in words)
        process = subprocess.Popen(
            [sys.executable, *program, *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder if ours else ROOT,
            env=self.env,
        )
        if words[:2] == ("sdtrain", "attach") and "--help" not in words:
            assert process.stdout is not None and process.stdout.readline()
            process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=300)[0]
        return process.returncode, said


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(tmp_path_factory.mktemp("desk"))
    yield made
    for run in sorted((made.folder / "home" / "runs").glob("*")):
        made.run(("sdtrain", "stop", run.name))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_works(page: Path, desk: Desk) -> None:
    for command in commands(page):
        words = command.words
        if not command.exception:
            subject = words[2] if words[1] == "-m" else words[1]
            code, said = desk.run((*words, *ADDED.get(subject, "").split()))
        elif words[0] == "sdtrain":
            code, said = desk.run((*words, "--help"))
        elif words[0] == "make":
            done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
            code, said = done.returncode, done.stdout + done.stderr
        else:
            continue
        assert code == (130 if words[1:2] == ("attach",) else 0), f"{command}\n{said}"
        assert "Traceback" not in said, f"{command}\n{said}"
