"""Hostile run directories: events, controls, locks, plans and checkpoints that nobody's engine wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from engine.plan.files import dumps, load_plan
from engine.run.kinds import KINDS
from tests.hostile.case import EITHER, ESCAPE, PLAN, REFUSED, Box, Hostile

DEEP = 100_000
ENDED = frozenset({1, 2})
"""With a failed event, whose words are looked at as well."""
STARTED = {
    "kind": "started",
    "t": 1.0,
    "pid": 1,
    "total_steps": 4,
    "name": "r",
    "method": "lora",
    "family": "sd1",
}


def lines(*events: object) -> bytes:
    """A file of events, or of anything."""
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def _all(value: object) -> bytes:
    """Every kind of event with this value in all its fields, and in those that all kinds have."""
    kinds = [
        {**{field.name: value for field in kind.declared()}, "t": value, "seq": value, "kind": name}
        for name, kind in KINDS.items()
    ]
    return lines(STARTED, *kinds)


EVENTS: dict[str, bytes] = {
    "nothing": b"",
    "blanks": b"\n\n \n" * 1000,
    "rubbish": b"\xff\xfe\x00\x80" * 1000,
    "half a line": b'{"kind": "started", "t": 1',
    "lists and numbers": b"[]\n5\nnull\n\"x\"\ntrue\n",
    "an event deeper than Python's stack": lines(STARTED) + b'{"kind": ' + b"[" * DEEP + b"\n",
    "an event of 5,000 digits": lines(STARTED) + b'{"kind": "step", "step": ' + b"9" * 5000 + b"}\n",
    "a line of 3 MB": lines(STARTED, {"kind": "warning", "text": "a" * 3_000_000}, {"kind": "step", "step": 1, "loss": 1}),
    "a line that never ends": b"a" * 3_000_000,
    "NULs": bytes(100_000),
    "unknown kinds": lines(*({"kind": f"k{n}", "t": n} for n in range(2000))),
    "kinds that are no texts": lines({"kind": 5}, {"kind": None}, {"kind": ["step"]}, {"kind": {"a": 1}}, {}),
    "times beyond the world": lines({**STARTED, "t": 1e300}, {"kind": "step", "step": 1, "t": -1e300}),
    "times of texts": lines({**STARTED, "t": "x"}, {"kind": "heartbeat", "t": [1]}),
    "steps backwards": lines(STARTED, *({"kind": "step", "step": n, "loss": 1.0, "t": n} for n in (5, 3, -1, 0, 2**60, 1))),
    "resumed from nowhere": lines(STARTED, {"kind": "resumed", "from_step": -5}, {"kind": "resumed", "from_step": 2**60}),
    "totals below zero": lines({**STARTED, "total_steps": -5}, {"kind": "step", "step": 1, "loss": 0.5, "t": 2.0}),
    "progress without an end": lines(STARTED, {"kind": "progress", "phase": "caching", "done": 5, "total": 0, "t": 2.0}),
    "checkpoints upwards": lines(STARTED, {"kind": "checkpoint", "step": 1, "path": "../../../etc", "bytes": -1}),
    "checkpoints of NULs": lines(STARTED, {"kind": "checkpoint", "step": 1, "path": "a\0b", "bytes": 1}),
    "checkpoints of 5,000 letters": lines(STARTED, {"kind": "checkpoint", "step": 1, "path": "a" * 5000, "bytes": 1}),
    "previews upwards": lines(STARTED, {"kind": "sample", "step": 1, "path": "/etc/passwd", "prompt": ESCAPE, "thumb": "../x"}),
    "exports upwards": lines(STARTED, {"kind": "exported", "format": ESCAPE, "path": "../../x", "bytes": 10**30}),
    "commands that nobody sent": lines(STARTED, *({"kind": "command", "id": f"{n}", "status": ESCAPE} for n in range(5000))),
    "a finish with a story": lines(STARTED, {"kind": "finished", "step": None, "seconds": "long", "t": 2.0}),
    "a failure of tables": lines(STARTED, {"kind": "failed", "error": {"what": [1], "why": {}, "fix": 5}}),
    "escapes in every field": _all(ESCAPE),
    "NaN in every field": _all("nan"),
    "numbers in every field": _all(1e308),
    "texts in every field": _all("x" * 200),
    "lists in every field": _all([1, [2, [3]]]),
    "tables in every field": _all({"what": {"a": 1}}),
    "null in every field": _all(None),
    "true in every field": _all(True),
    "huge numbers in every field": _all(10**400),
    "surrogates in every field": _all("\ud800"),
    "100,000 steps": lines(STARTED, *({"kind": "step", "step": n, "loss": 1.0, "t": float(n)} for n in range(1, 100_000))),
}  # fmt: skip
COMMANDS = ("show", "list", "resume", "sample", "export")


def run_folder(box: Box, name: str = "r") -> Path:
    """A run's folder with its plan."""
    folder = box.home / "runs" / name
    folder.mkdir(parents=True)
    # An engine that is started on it ends soon: there is nothing to train on.
    (folder / "plan.toml").write_text(dumps(load_plan(box.plan(path="'gone'"))))
    return folder


def words_of(command: str, name: str = "r") -> list[str]:
    """The command on a run, so that it is quickly over."""
    more = {"export": ["--format", "no-such"], "resume": ["--wait", "1"], "sample": ["--wait", "1"]}
    return [command, *([] if command == "list" else [name]), *more.get(command, [])]


def _events(content: bytes, command: str, as_json: bool) -> Callable[[Box], list[str]]:
    def make(box: Box) -> list[str]:
        (run_folder(box) / "events.jsonl").write_bytes(content)
        return [*words_of(command), *(["--json"] if as_json else [])]

    return make


def manifest(**changes: Any) -> bytes:
    """A checkpoint's manifest, with other values."""
    sizes = {
        name: {"bytes": 2, "sha256": "x"}
        for name in ("weights.safetensors", "optimizer.safetensors", "state.json")
    }
    return json.dumps({"version": 1, "step": 2, "files": sizes} | changes).encode()


MANIFESTS: dict[str, bytes] = {
    "nothing": b"",
    "rubbish": b"\xff" * 100,
    "a list": b"[]",
    "a number": b"5",
    "deeper than Python's stack": b'{"files": ' + b"[" * DEEP,
    "5,000 digits": b'{"step": ' + b"9" * 5000 + b"}",
    "files of a list": manifest(files=[]),
    "files of null": manifest(files=None),
    "files of a text": manifest(files="x"),
    "files upwards": manifest(files={"../../../../outside/kept.txt": {}}),
    "files of odd entries": manifest(files=dict.fromkeys(("weights.safetensors", "optimizer.safetensors", "state.json"), 5)),
    "another step": manifest(step=10**30),
    "a step of true": manifest(step=True),
    "escapes": manifest(step=ESCAPE, files={ESCAPE: 1}),
    "what is not there": manifest(),
}  # fmt: skip


def with_checkpoint(content: bytes, name: str = "step-00000002") -> Callable[[Box], list[str]]:
    """A worker on a run with this manifest in its checkpoint."""

    def make(box: Box) -> list[str]:
        run = run_folder(box)
        folder = run / "checkpoints" / name
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_bytes(content)
        (folder / "state.json").write_bytes(b"{}")
        return [str(run)]

    return make


PLANS: dict[str, str] = {
    "nothing": "",
    "rubbish": "\x00\x01",
    "an unknown method": PLAN + 'x = 1\n[telepathy]\na = 1\n',
    "a base that is gone": PLAN.replace("builtin:tiny", "/nowhere"),
    "a base of a pickle": PLAN.replace("builtin:tiny", "/nowhere.ckpt"),
    "a table deeper than Python's stack": "x = " + "[" * DEEP,
    "another method's tables": PLAN + "[controlnet]\nx = 1\n",
}  # fmt: skip


def _stored(text: str) -> Callable[[Box], list[str]]:
    def make(box: Box) -> list[str]:
        box.pictures()
        run = box.home / "runs" / "r"
        run.mkdir(parents=True)
        (run / "plan.toml").write_text(text)
        return [str(run)]

    return make


CONTROLS: dict[str, bytes] = {
    "rubbish": b"\xff\x00" * 5000,
    "commands of odd kinds": lines({"id": 5, "cmd": "stop"}, {"id": "a", "cmd": 5}, {"cmd": "stop"}, [], 5),
    "commands that do not exist": lines({"id": "a", "cmd": "exec", "code": "open('ran','w')"}, {"id": "b", "cmd": ESCAPE}),
    "a sample of escapes": lines({"id": "a", "cmd": "sample", "prompt": ESCAPE}),
    "a line of 3 MB": b"a" * 3_000_000 + b"\n",
    "20,000 commands": lines(*({"id": str(n), "cmd": "save"} for n in range(20_000))),
}  # fmt: skip


def _control(content: bytes) -> Callable[[Box], list[str]]:
    def make(box: Box) -> list[str]:
        words = _stored(PLAN.replace('"pictures"', '"gone"'))(box)
        Path(words[0], "control.jsonl").write_bytes(content)
        return words

    return make


def cases() -> Iterator[Hostile]:
    """All cases of run directories; `worker` is the engine's own process on one, in a fork."""
    for at, (title, content) in enumerate(EVENTS.items()):
        for command in ("show", COMMANDS[1:][at % 4]):
            codes = REFUSED if command in ("sample", "export") else EITHER
            yield Hostile(
                f"events: {title}: {command}",
                _events(content, command, at % 2 == 1 and command != "resume"),
                codes,
            )
    for title, content in MANIFESTS.items():
        yield Hostile(f"manifest: {title}", with_checkpoint(content), ENDED, program="worker")
    for name in ("step-\u00b2", "step-99999999999999999999", "step--1", "step-2 copy"):
        yield Hostile(f"checkpoint named {name}", with_checkpoint(manifest(), name), ENDED, program="worker")
    for title, text in PLANS.items():
        yield Hostile(f"run's plan: {title}", _stored(text), ENDED, program="worker")
    for title, content in CONTROLS.items():
        yield Hostile(f"control: {title}", _control(content), ENDED, program="worker")
