"""Runs hostile cases, in forks or in processes of their own, and says everything that is wrong with how one ended."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from engine.run.events import EventReader
from engine.run.lock import is_alive
from engine.run.paths import RunDir, list_runs
from tests.hostile.case import Box, Hostile

TIME_LIMIT = 60.0
"""Seconds after which a command is ended and the case has failed."""
MEMORY_LIMIT = 3 << 29
"""Bytes that a command may hold at most, with all that it imports (0.4 GiB with torch, 0.1 without)."""
OUTPUT_LIMIT = 64 << 10
ROOT = Path(__file__).parents[2]


@dataclass
class Ended:
    """How a command ended; `wrong` is empty when all is well."""

    code: int
    out: str
    err: str
    memory: int
    seconds: float
    wrong: list[str] = field(default_factory=list)


class Rig:
    """The fork server and what is looked at around each command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub = folder / "hub"
        self.hub.mkdir(parents=True)
        self.bare = {
            key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV") if key in os.environ
        } | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(self.hub), "COLUMNS": "100"}
        self.bare |= {"PYTHONDONTWRITEBYTECODE": "1", "TERM": "xterm"}
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**self.bare, "HOME": str(folder)},
        )
        assert self._answer()["ready"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait()

    def _answer(self) -> dict[str, Any]:
        assert self.server.stdout is not None
        found: dict[str, Any] = json.loads(self.server.stdout.readline())
        return found

    def run(self, case: Hostile, *, process: bool = False) -> Ended:
        """Make the input, run the command, look at everything, and remove it all."""
        box = Box(self.folder / "box")
        for name in ("here", "home", "input", "outside", "tmp", "user"):
            (box.root / name).mkdir(parents=True)
        (box.outside / "kept.txt").write_text("kept")
        try:
            words = list(case.make(box))
            job: dict[str, Any] = {"words": words, "program": case.program, "cwd": str(box.here)}
            job |= {"env": self._env(box, case), "limit": TIME_LIMIT}
            job |= {name: str(box.root / name) for name in ("out", "err", "audit")}
            before = _state(box)
            began = time.monotonic()
            told = self._process(job) if process else self._forked(job)
            _wait_for_engines(box)
            out, err = (Path(job[name]).read_bytes().decode("utf-8", "replace") for name in ("out", "err"))
            ended = Ended(told["code"], out, err, told["memory"], time.monotonic() - began)
            ended.wrong = [
                *_wrong(case, ended, told["over"], "--json" in words),
                *_moved(before, _state(box)),
                *_traces(box),
            ]
            ended.wrong += _audited(box, Path(job["audit"]))
            return ended
        finally:
            _remove(box.root)

    def _env(self, box: Box, case: Hostile) -> dict[str, str]:
        places = {"SDTRAIN_HOME": box.home, "HOME": box.root / "user", "TMPDIR": box.root / "tmp"}
        given = {name: value.replace("BOX", str(box.root)) for name, value in case.env.items()}
        return {**self.bare, **{name: str(path) for name, path in places.items()}, **given}

    def _forked(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self.server.stdin is not None
        self.server.stdin.write(json.dumps(job) + "\n")
        self.server.stdin.flush()
        return self._answer()

    def _process(self, job: dict[str, Any]) -> dict[str, Any]:
        """As from a shell."""
        module = {"sdtrain": "sdtrain_tui", "worker": "engine"}[job["program"]]
        argv = [sys.executable, "-P", "-m", module, *job["words"]]
        with Path(job["out"]).open("wb") as out, Path(job["err"]).open("wb") as err:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=job["cwd"],
                env=job["env"],
                start_new_session=True,
            )
        watch = signal.setitimer  # the alarm ends a command that hangs, without a thread
        over = False

        def end(*_: object) -> None:
            nonlocal over
            over = True
            os.killpg(child.pid, signal.SIGKILL)

        earlier = signal.signal(signal.SIGALRM, end)
        watch(signal.ITIMER_REAL, job["limit"])
        try:
            _, status = os.waitpid(child.pid, 0)
        finally:
            watch(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, earlier)
        child.returncode = os.waitstatus_to_exitcode(status)
        # What the system says that it held at most begins with the size of the process that started it: forks are judged.
        return {"code": child.returncode, "over": over, "memory": 0}


def _wrong(case: Hostile, ended: Ended, over: bool, as_json: bool) -> list[str]:
    """What is wrong with exit code, words, time and memory."""
    said = ended.out + ended.err
    wrong = []
    if over:
        wrong.append(f"it had not ended after {TIME_LIMIT:.0f} s")
    if ended.code not in case.codes:
        wrong.append(f"exit code {ended.code}, not {sorted(case.codes)}")
    if "Traceback" in said or re.search(r"^\w*(Error|Exception)\b", said, re.MULTILINE):
        wrong.append("it shows a traceback")
    if ended.code == 2 and "fix:" not in said and '"fix"' not in said and "usage:" not in said:
        wrong.append("it names no way out")
    if case.says and not re.search(case.says, said, re.IGNORECASE):
        wrong.append(f"it does not say {case.says!r}")
    if odd := sorted({f"U+{ord(char):04X}" for char in said if _steers(char)}):
        wrong.append(f"it prints {', '.join(odd)}")
    if len(said) > OUTPUT_LIMIT and not as_json:  # what a program reads is whole
        wrong.append(f"it prints {len(said):,} characters")
    if ended.memory > MEMORY_LIMIT:
        wrong.append(f"it holds {ended.memory >> 20:,} MiB")
    return wrong


def _steers(char: str) -> bool:
    return char != "\n" and unicodedata.category(char) in ("Cc", "Cf", "Cs")


def _state(box: Box) -> dict[str, tuple[int, ...]]:
    """Everything that must stay as it is: names, kinds, sizes and times, without opening anything."""
    found: dict[str, tuple[int, ...]] = {}
    for top in (box.input, box.outside, box.root / "user"):
        for folder, folders, names in os.walk(top):
            for name in (*folders, *names, "."):
                path = f"{folder}/{name}"
                with contextlib.suppress(OSError):  # a path that is too long to be asked about
                    status = os.lstat(path)
                    found[path] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino)
    return found


def _moved(before: dict[str, tuple[int, ...]], after: dict[str, tuple[int, ...]]) -> list[str]:
    changed = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
    return [f"it changed {sorted(changed)[:3]}"] if changed else []


def _audited(box: Box, audit: Path) -> list[str]:
    if not audit.is_file():
        return []
    told = json.loads(audit.read_text())
    allowed = tuple(f"{box.root / name}" for name in ("here", "home", "tmp"))
    strange = [path for path in told["written"] if not path.startswith((*allowed, "/dev/", "/proc/self/"))]
    starts = [line for line in told["started"] if "process.py" not in line and "nvidia-smi" not in line]
    # urllib3 looks once, when it is imported, whether there is IPv6, by a socket of its own that nobody can reach.
    calls = [line for line in told["called"] if line != "socket.bind ('::1', 0)"]
    return [
        *([f"it wrote {strange[:3]}"] if strange else []),
        *([f"it started {starts[:3]}"] if starts else []),
        *([f"it called {calls[:3]}"] if calls else []),
    ]


def _runs(box: Box) -> list[RunDir]:
    with contextlib.suppress(OSError):
        return [run for run in list_runs(box.home / "runs") if not run.path.is_symlink()]
    return []


def _wait_for_engines(box: Box) -> None:
    """Until no engine of the box's runs is left."""
    end = time.monotonic() + TIME_LIMIT
    for run in _runs(box):
        with contextlib.suppress(OSError):
            while not run.lock_file.is_fifo() and is_alive(run) and time.monotonic() < end:
                time.sleep(0.05)


def _traces(box: Box) -> list[str]:
    """Failures that an engine has told without a reason or a way out, and engines that still run."""
    wrong = []
    for run in _runs(box):
        if not run.events_file.is_file() or run.lock_file.is_fifo():
            continue
        if is_alive(run):
            wrong.append(f"the engine of {run.name} still runs")
        for event in EventReader(run.events_file).poll():
            text = str(event.get("error", ""))
            if event.get("kind") == "failed" and ("does not know" in text or "did not say" in text):
                wrong.append(f"its engine told: {text} {event.get('why')}")
    return wrong


def _remove(root: Path) -> None:
    for folder, _, _ in os.walk(root):
        with contextlib.suppress(OSError):
            Path(folder).chmod(0o700)
    shutil.rmtree(root)
