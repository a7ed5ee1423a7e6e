"""Hostile kinds and names of a run's files: pipes, devices, links and folders in their place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.hostile.case import EITHER, ESCAPE, Box, Hostile, safetensors
from tests.hostile.runs import ENDED, STARTED, lines, manifest, run_folder, with_checkpoint, words_of


def _special() -> Iterator[Hostile]:  # noqa: C901 (one small function a row)
    """What is no plain file in the place of a run's files."""

    def fifo(place: Path) -> None:
        os.mkfifo(place)

    def device(place: Path) -> None:
        place.symlink_to("/dev/zero")

    def full(place: Path) -> None:
        place.symlink_to("/dev/full")

    def loop(place: Path) -> None:
        place.symlink_to(place.name)

    def folder(place: Path) -> None:
        place.mkdir()

    def nowhere(place: Path) -> None:
        place.symlink_to("/nowhere/at/all")

    for kind in (fifo, device, full, loop, folder, nowhere):
        for name in (
            "events.jsonl",
            "control.jsonl",
            "engine.lock",
            "engine.log",
            "plan.toml",
            "checkpoints",
        ):
            for command in _looks(kind.__name__, name):

                def make(box: Box, kind: Any = kind, name: str = name, command: str = command) -> list[str]:
                    run = run_folder(box)
                    (run / name).unlink(missing_ok=True)
                    if name != "events.jsonl":
                        (run / "events.jsonl").write_bytes(lines(STARTED))
                    kind(run / name)
                    return words_of(command)

                yield Hostile(f"run with {kind.__name__} as {name}: {command}", make, frozenset({0, 1, 2}))


def _looks(kind: str, name: str) -> tuple[str, ...]:
    """The commands that meet it; an engine takes seconds to start, so not all of them."""
    looks = ("show", "list") if name == "events.jsonl" else ("list",)
    return (*looks, "resume") if kind in ("fifo", "folder", "device") else looks


def _inside() -> Iterator[Hostile]:
    """A worker on what is no plain file in a checkpoint."""
    kinds: dict[str, Callable[[Path], None]] = {
        "a pipe": os.mkfifo,
        "a device": lambda place: place.symlink_to("/dev/zero"),
        "a folder": Path.mkdir,
        "a link to itself": lambda place: place.symlink_to(place.name),
    }
    for title, kind in kinds.items():
        for name in ("weights.safetensors", "state.json", "manifest.json"):

            def make(box: Box, kind: Any = kind, name: str = name) -> list[str]:
                words = with_checkpoint(manifest())(box)
                place = Path(words[0]) / "checkpoints" / "step-00000002" / name
                place.unlink(missing_ok=True)
                kind(place)
                return words

            yield Hostile(f"checkpoint with {title} as {name}", make, ENDED, program="worker")


def _names() -> Iterator[Hostile]:
    for title, name in {
        "escapes": ESCAPE.replace("/", ""),
        "no UTF-8": os.fsdecode(b"caf\xe9"),
        "a dash": "-x",
        "a line feed": "a\nb",
        "255 letters": "a" * 255,
        "a turned text": "\u202elmot",
    }.items():
        for command in ("list", "show"):

            def make(box: Box, name: str = name, command: str = command) -> list[str]:
                (run_folder(box, name) / "events.jsonl").write_bytes(lines(STARTED))
                return words_of(command, str(box.home / "runs" / name))

            yield Hostile(f"run named {title}: {command}", make, EITHER)


def _notes() -> Iterator[Hostile]:
    """Notes of runs that lie elsewhere, and a runs' root that is none."""
    for title, content in {
        "a device": b"/dev/zero",
        "NULs": b"a\0b",
        "nothing": b"",
        "no UTF-8": b"/caf\xe9",
        "5,000 letters": b"/" + b"a" * 5000,
        "escapes": b"/" + ESCAPE.encode(),
    }.items():

        def make(box: Box, content: bytes = content) -> list[str]:
            notes = box.home / "runs" / ".elsewhere"
            notes.mkdir(parents=True)
            (notes / "0123456789abcdef").write_bytes(content)
            run_folder(box)
            return ["list"]

        yield Hostile(f"note of a run at {title}", make, EITHER)

    def no_folder(box: Box) -> list[str]:
        (box.home / "runs").write_bytes(safetensors(b"{}"))
        return ["list"]

    yield Hostile("runs' root that is a file", no_folder, EITHER)


def cases() -> Iterator[Hostile]:
    """All cases of a run's files."""
    yield from _special()
    yield from _inside()
    yield from _names()
    yield from _notes()
