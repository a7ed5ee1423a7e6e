"""What a writer is, and what must hold of its folder after a fault at any of its calls."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import groupby
from pathlib import Path

import torch

from engine.errors import UserError
from tests.support.faults import KILL, Faults
from tests.support.forked import child, reap
from tests.worker.kills import plain

CLOCK = 4_000_000_000.0
"""Every process of a sweep has this time, so that the same work gives the same bytes."""
OK, TOLD, BROKEN = 0, 2, 70
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Writer:
    """`write` changes files below a folder. `logs` are files that grow: what was in them stays, as whole lines.
    `free` are patterns of files that may have any content or be missing: those that name a process or only save
    time, or that `write` looks at itself."""

    name: str
    write: Callable[[Path], object]
    before: Callable[[Path], object] = lambda folder: None
    logs: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    fails: tuple[type[Exception], ...] = (UserError, OSError)
    excused: Callable[[Path], Iterable[str]] = lambda folder: ()
    """Files that may be missing, as the folder itself says that and why they could not be made."""
    once: bool = False
    """A full disk is full for one call only: for who waits until there is room, and tells so in its logs."""

    def is_free(self, name: str) -> bool:
        """May this file be anything?"""
        return any(fnmatch(name, pattern) for pattern in self.free)


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file by its path; temporary ones are none."""
    return {
        str(path.relative_to(folder)): _content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not is_temporary(path.relative_to(folder))
    }


def _content(path: Path) -> bytes:
    """The bytes; of a pickle that is whole what it holds, as torch numbers storages by where they lie in memory."""
    if path.suffix == ".pt":
        with contextlib.suppress(Exception):
            return repr(plain(torch.load(path, weights_only=True))).encode()
    raw = path.read_bytes()
    if path.suffix == ".safetensors" and len(raw) > 8:
        # safetensors writes its metadata in an order that differs between processes.
        end = 8 + int.from_bytes(raw[:8], "little")
        with contextlib.suppress(ValueError):
            return json.dumps(json.loads(raw[8:end]), sort_keys=True).encode() + raw[end:]
    return raw


def is_temporary(path: Path) -> bool:
    """Is it, or does it lie in, something that a writer makes beside and renames?"""
    return any((part.startswith(".") and part != ".elsewhere") or part == "tmp" for part in path.parts)


def run_writer(
    writer: Writer, folder: Path, log: Path, fault: int = -1, at: int = 0
) -> tuple[int, list[str]]:
    """The exit code of a process that writes, and what its calls were made on where nothing failed."""
    counter = log.with_suffix(".calls")

    def act() -> int:
        time.time, time.time_ns = (lambda: CLOCK), (lambda: int(CLOCK * 1e9) + os.getpid())
        faults = Faults(folder, fault, at, stays_full=not writer.once)
        faults.install()
        try:
            writer.write(folder)
        except writer.fails as error:
            print(f"told: {type(error).__name__}: {error}")
            return TOLD
        finally:
            if fault < 0:
                counter.write_text(json.dumps(faults.paths))
        return OK

    code = reap(child(act, log))
    return code, json.loads(counter.read_text()) if fault < 0 and counter.exists() else []


ALIKE = 8
"""Of so many calls and more that one file gets in a row, which are the chunks of its content, some are tried."""


def tried_of(paths: Sequence[str]) -> list[int]:
    """The calls to break, from 1: of a long row on one file the first and last two and four between, else all."""
    rng, found, start = random.Random(len(paths)), list[int](), 0
    for _, row in groupby(paths):
        count = len(list(row))
        at = list(range(start + 1, start + count + 1))
        start += count
        found += at if count <= ALIKE else sorted([*at[:2], *rng.sample(at[2:-2], 4), *at[-2:]])
    return found


class Sweep:
    """One writer: the folder before, the folder after an undisturbed write, and the number of its calls."""

    def __init__(self, writer: Writer, place: Path) -> None:
        self.writer = writer
        self.place = place
        self.start = place / "start"
        self.start.mkdir(parents=True)
        code, _ = run_writer(Writer("before", writer.before), self.start, place / "log")
        assert code == OK, (place / "log").read_text()
        self.old = files_of(self.start)
        straight = self._copy()
        code, paths = run_writer(writer, straight, place / "log")
        assert code == OK, (place / "log").read_text()
        assert paths, "it changes nothing"
        self.calls, self.tried = len(paths), tried_of(paths)
        self.new = files_of(straight)
        shutil.rmtree(straight)

    def _copy(self) -> Path:
        # Always the same path, as some files hold it.
        folder = self.place / "here"
        shutil.copytree(self.start, folder, symlinks=True)
        return folder

    def wrong(self, fault: int, at: int) -> list[str]:
        """What does not hold after this fault at this call, and after the next start."""
        folder, log = self._copy(), self.place / "log"
        log.unlink(missing_ok=True)
        try:
            code, _ = run_writer(self.writer, folder, log, fault, at)
            found = self._code(code, fault, log)
            found += self._broken(folder)
            if fault != KILL and not found:
                left = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
                found += [f"left behind {path}" for path in left if is_temporary(path)]
            code, _ = run_writer(self.writer, folder, log)
            if code != OK:
                found.append(f"the next start leaves with {code}: {log.read_text()[-600:]}")
            else:
                found += [f"then, {each}" for each in self._unlike(folder)]
        finally:
            shutil.rmtree(folder)
        name = "kill" if fault == KILL else os.strerror(fault)
        return [f"{self.writer.name}, {name} at call {at} of {self.calls}: {each}" for each in found]

    def _code(self, code: int, fault: int, log: Path) -> list[str]:
        text = log.read_text(errors="replace") if log.exists() else ""
        if "Traceback" in text or code == BROKEN:
            return [f"a traceback: {text[-900:]}"]
        wanted = {-signal.SIGKILL, OK, TOLD} if fault == KILL else {OK, TOLD}
        return [] if code in wanted else [f"exit code {code}"]

    def _broken(self, folder: Path) -> list[str]:
        now = files_of(folder)
        return [*self._lost(now), *self._half(now)]

    def _lost(self, now: Files) -> Iterator[str]:
        for name in self.old.keys() - now.keys():
            if name in self.new and not self.writer.is_free(name):
                yield f"{name} is gone"

    def _half(self, now: Files) -> Iterator[str]:
        for name, content in now.items():
            if name in self.writer.logs:
                if not content.startswith(self.old.get(name, b"")):
                    yield f"{name} lost lines"
            elif not self.writer.is_free(name) and content not in (self.old.get(name), self.new.get(name)):
                yield f"{name} is neither old nor new ({len(content)} bytes)"

    def _unlike(self, folder: Path) -> Iterator[str]:
        now, excused = files_of(folder), set(self.writer.excused(folder))
        for name, content in self.new.items():
            if name in excused and name not in now:
                continue
            if name in self.writer.logs:
                got, wanted = _lines(now.get(name, b"")), _lines(content)
                if not (wanted <= got or self.writer.once):
                    yield f"{name} lacks {len(wanted - got)} lines"
            elif not self.writer.is_free(name) and now.get(name) != content:
                yield f"{name} differs" if name in now else f"{name} is missing"


def _lines(raw: bytes) -> set[str]:
    """What each whole line says, without when and with which number."""
    found = set()
    for line in raw.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            row = {
                key: value for key, value in row.items() if key not in ("t", "seq", "id", "pid", "seconds")
            }
        found.add(json.dumps(row, sort_keys=True))
    return found
