"""The declarations of events and commands: the bytes they are written as, and how odd lines are read."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from engine.run.control import send
from engine.run.control_commands import COMMANDS, Command, Pause, Resume, Sample, Save, Stop
from engine.run.docs import markdown
from engine.run.event import Event, Fields
from engine.run.events import EventWriter
from engine.run.fold import fold
from engine.run.kinds import (
    KINDS,
    Answered,
    Checkpoint,
    Exported,
    Failed,
    Finished,
    Fit,
    Heartbeat,
    Launched,
    Paused,
    Phase,
    Progress,
    Replanned,
    Resumed,
    Started,
    Step,
    Stopped,
    TrainablePart,
    Unpaused,
    Validation,
    Warned,
)
from engine.run.kinds import Sample as Preview
from engine.run.paths import RunDir

PAGE = Path(__file__).parents[2] / "docs" / "events.md"
LINES: list[tuple[Event, str]] = [
    (Launched(7, "h", 0), '"launched","pid":7,"host":"h","restarts":0'),
    (
        Started(8, "h", "0.1", "2.1", "abc", 100, "cat", "lora", "sd1", "cpu", False),
        '"started","pid":8,"host":"h","version":"0.1","torch":"2.1","plan_hash":"abc","total_steps":100,'
        '"name":"cat","method":"lora","family":"sd1","device":"cpu","resumed":false',
    ),
    (TrainablePart("unet", 1000, 2), '"trainable","module":"unet","parameters":1000,"tensors":2'),
    (Phase("training", ""), '"phase","phase":"training","text":""'),
    (
        Progress("caching", 1, 4, "pictures"),
        '"progress","phase":"caching","done":1,"total":4,"text":"pictures"',
    ),
    (Heartbeat("loading", 0), '"heartbeat","phase":"loading","step":0'),
    (Resumed(0), '"resumed","from_step":0'),
    (
        Step(1, 0.5, 1e-4, math.nan, 3.25, 0.0),
        '"step","step":1,"loss":0.5,"lr":0.0001,"grad_norm":"nan","images_per_s":3.25,"epoch":0.0',
    ),
    (
        Step(2, math.inf, 1e-4, 1.0, 3.0, 0.5, skipped=True),
        '"step","step":2,"loss":"inf","lr":0.0001,"grad_norm":1.0,"images_per_s":3.0,"epoch":0.5,"skipped":true',
    ),
    (
        Preview(4, 0, "a cat", 42, "samples/a.png", "samples/thumbs/a.jpg"),
        '"sample","step":4,"index":0,"prompt":"a cat","seed":42,"path":"samples/a.png",'
        '"thumb":"samples/thumbs/a.jpg"',
    ),
    (
        Preview(4, 0, "", 42, "a.png", "b.jpg", to_prompt=0.25, to_pictures=0.5),
        '"sample","step":4,"index":0,"prompt":"","seed":42,"path":"a.png","thumb":"b.jpg",'
        '"to_prompt":0.25,"to_pictures":0.5',
    ),
    (
        Preview(4, 1, "", 43, error="OSError: full"),
        '"sample","step":4,"index":1,"prompt":"","seed":43,"error":"OSError: full"',
    ),
    (
        Validation(4, 0.25, 8, 1.5, {"0-499": 0.5, "500-999": math.nan}, {}, 4, 0.25, 0.5),
        '"validation","step":4,"loss":0.25,"pictures":8,"seconds":1.5,"bands":{"0-499":0.5,"500-999":"nan"},"signals":{},'
        '"best_step":4,"best_loss":0.25,"raw":0.5',
    ),
    (
        Validation(4, math.nan, 0, 0.5, {}, {"norm MID": 1.0}, error="short of memory"),
        '"validation","step":4,"loss":"nan","pictures":0,"seconds":0.5,"bands":{},"signals":{"norm MID":1.0},'
        '"error":"short of memory"',
    ),
    (
        Checkpoint(4, "checkpoints/step-00000004", 9600, 0.25),
        '"checkpoint","step":4,"path":"checkpoints/step-00000004","bytes":9600,"seconds":0.25',
    ),
    (
        Exported("kohya", "export/cat.safetensors", 2048, 4, 16),
        '"exported","format":"kohya","path":"export/cat.safetensors","bytes":2048,"step":4,"tensors":16',
    ),
    (Warned("not-finite", "t", 0), '"warning","code":"not-finite","text":"t","step":0'),
    (
        Warned("restarted", "t", 3, signal="SIGKILL", restarts=1),
        '"warning","code":"restarted","text":"t","step":3,"signal":"SIGKILL","restarts":1',
    ),
    (
        Replanned("train.steps", "3", "6", "longer"),
        '"replanned","key":"train.steps","before":"3","after":"6","because":"longer"',
    ),
    (
        Fit("tiled decoding", 'hardware.vae_tiling = "decode"', "seams", 10, 12, 11),
        '"fit","choice":"tiled decoding","changes":"hardware.vae_tiling = \\"decode\\"","price":"seams",'
        '"takes":10,"needs":12,"free":11',
    ),
    (Answered("i", "stop", "done", ""), '"command","id":"i","cmd":"stop","status":"done","text":""'),
    (Paused(4), '"paused","step":4'),
    (Paused(4, "disk-full", "full"), '"paused","step":4,"reason":"disk-full","text":"full"'),
    (Unpaused(4), '"unpaused","step":4'),
    (Stopped(4, ""), '"stopped","step":4,"reason":""'),
    (
        Failed("what", "why", "fix", "failed", exit_code=0),
        '"failed","error":"what","why":"why","fix":"fix","state":"failed","exit_code":0',
    ),
    (
        Failed("what", "why", "fix", "crashed", signal="SIGKILL"),
        '"failed","error":"what","why":"why","fix":"fix","state":"crashed","signal":"SIGKILL"',
    ),
    (Finished(4, 1.5), '"finished","step":4,"seconds":1.5'),
]
CONTROL: list[tuple[Command, str]] = [
    (Stop(), '"cmd":"stop"'),
    (Pause(), '"cmd":"pause"'),
    (Resume(), '"cmd":"resume"'),
    (Save(), '"cmd":"save"'),
    (Sample(), '"cmd":"sample"'),
    (Sample("a cat"), '"cmd":"sample","prompt":"a cat"'),
]
ODD: list[Any] = [None, True, "x", -1, 1.5, math.nan, [], {}, 10**30, "nan"]


def test_every_kind_and_every_command_has_a_line_here() -> None:
    assert {type(event) for event, _ in LINES} == set(KINDS.values())
    assert {type(command) for command, _ in CONTROL} == set(COMMANDS.values())


@pytest.mark.parametrize(("event", "line"), LINES, ids=[line.split(",")[0] for _, line in LINES])
def test_an_event_is_written_as_these_bytes_and_read_back(event: Event, line: str, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventWriter(path) as writer:
        writer.emit(event)
    written = path.read_text("ascii")
    assert re.sub(r'^{"v":1,"seq":1,"t":[0-9.]+,"kind":', "", written) == line + "}\n"
    assert repr(type(event).read(json.loads(written))) == repr(event)


@pytest.mark.parametrize(("command", "line"), CONTROL, ids=[line for _, line in CONTROL])
def test_a_command_is_written_as_these_bytes(command: Command, line: str, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    ident = send(run, command)
    written = run.control_file.read_text("ascii")
    assert re.sub(r'"t":[0-9.]+', '"t":0', written) == f'{{"v":1,"id":"{ident}","t":0,{line}}}\n'


READ: dict[str, dict[str, Any]] = {
    "str": {"'x'": "x", "'nan'": "nan"},
    "int": {"-1": -1},
    "float": {"-1": -1.0, "1.5": 1.5, "True": 1.0, repr(10**30): 1e30},
    "bool": {"True": True},
    "dict": {"{}": {}},
}
"""How those of ODD are read that a field of the type takes; a float takes anything, if only as NaN."""


@pytest.mark.parametrize("kind", [*KINDS.values(), *COMMANDS.values()])
def test_fields_that_are_missing_or_of_a_wrong_type_are_read_as_nothing(kind: type[Fields]) -> None:
    empty = kind.read({})
    for declared in kind.declared():
        nothing = getattr(empty, declared.name)
        assert (
            repr(nothing)
            in {"str": "''", "int": "0 None", "float": "nan None", "bool": "False", "dict": "{}"}[
                declared.type
            ]
        )
        for odd in ODD:
            got = getattr(kind.read({declared.name: odd, "unknown": odd}), declared.name)
            otherwise = math.nan if declared.type == "float" else nothing
            assert repr(got) == repr(READ[declared.type].get(repr(odd), otherwise)), (declared.name, odd)


@pytest.mark.parametrize("kind", [*KINDS.values(), *COMMANDS.values()])
def test_what_was_read_cannot_be_changed(kind: type[Fields]) -> None:
    line = kind.read({})
    assert line == kind.read({}) and hash(line) == hash(kind.read({}))
    for declared in kind.declared():
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(line, declared.name, "other")


def test_the_fold_knows_every_kind() -> None:
    for kind in KINDS:
        said = fold([{"kind": kind, "t": 5.0, "step": 3, "from_step": 3, "text": "t", "phase": "paused"}])
        plain = fold([{"kind": "unknown", "t": 5.0}])
        assert said != plain, kind


def test_the_page_in_docs_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(), "run: sdtrain schema --events > docs/events.md"


def test_every_field_is_explained_on_the_page() -> None:
    text = markdown()
    for name, declared in {**KINDS, **COMMANDS}.items():
        assert f"\n### {name}\n" in text and declared.__doc__
        for field in declared.declared():
            assert field.about.text and f"| `{field.name}` |" in text
        assert dataclasses.is_dataclass(declared)
