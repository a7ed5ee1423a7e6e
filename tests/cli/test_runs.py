"""list, show, attach: reading runs that ended, that go on, and that are strange."""

from __future__ import annotations

import json
import math
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from engine.run.events import EventWriter
from engine.run.kinds import Sample, Validation
from engine.run.paths import RunDir
from tests.cli.conftest import Cli, FakeEngine, fabricate

ENDINGS: list[tuple[dict[str, Any], str, int]] = [
    ({"kind": "finished", "step": 4, "seconds": 1.0}, "finished", 0),
    ({"kind": "stopped", "step": 4, "reason": "stop command"}, "stopped", 130),
    (
        {
            "kind": "failed",
            "error": {"what": "it broke", "why": "a reason", "fix": "a way out", "state": "failed"},
        },
        "failed",
        1,
    ),
    ({}, "crashed", 1),
]


def test_an_empty_list_says_how_to_start(cli: Cli) -> None:
    assert "sdtrain new" in cli("list").out
    assert cli("list", "--json").json == []


def test_list_shows_every_run(cli: Cli, pictures: Path) -> None:
    fabricate("one", pictures, kind="finished", step=4, seconds=1.0)
    fabricate("two", pictures, steps=2, total=8)
    done = cli("list")
    assert done.code == 0 and len(done.out.splitlines()) == 3
    rows = {row["name"]: row for row in cli("list", "--json").json}
    assert rows["one"]["state"] == "finished" and rows["two"]["state"] == "crashed"
    assert (rows["two"]["step"], rows["two"]["total"], rows["two"]["method"]) == (2, 8, "lora")


@pytest.mark.parametrize(("ending", "state", "code"), ENDINGS, ids=lambda value: str(value)[:20])
def test_attaching_to_an_ended_run_tells_how_it_ended(
    cli: Cli, pictures: Path, ending: dict[str, Any], state: str, code: int
) -> None:
    run = fabricate("gone", pictures, **dict(ending))
    done = cli("attach", "gone")
    assert done.code == code
    assert f"gone: {state} at step 4 of 4" in done.out
    assert str(run.path) in done.out
    if state == "failed":
        assert "it broke" in done.err and "a way out" in done.err
    if state == "finished":
        assert str(run.path / "export/x.safetensors") in done.out


def test_show_tells_everything_and_steers_no_terminal(cli: Cli, pictures: Path) -> None:
    fabricate("seen", pictures, kind="finished", step=4, seconds=1.0)
    done = cli("show", "seen")
    assert done.code == 0 and "\x1b" not in done.out
    for part in ("finished", "4 of 4", "unet: 1,000 parameters", "samples/a.png", "x.safetensors"):
        assert part in done.out


def test_show_as_json_has_the_views_fields(cli: Cli, pictures: Path) -> None:
    fabricate("seen", pictures, steps=2, total=8)
    data = cli("show", "seen", "--json").json
    assert (data["state"], data["step"], data["total_steps"], data["loss"]) == ("crashed", 2, 8, "nan")
    assert data["samples"][0]["path"] == "samples/a.png"
    assert data["checkpoints"] == [] and data["exports"] == []
    assert data["trainables"] == [{"module": "unet", "parameters": 1000, "tensors": 2}]


def test_validations_and_the_best_step_are_told(cli: Cli, pictures: Path) -> None:
    run = fabricate("held", pictures, steps=4, total=8)
    other = fabricate("plain", pictures)
    assert "best step" not in cli("list").out and "\nvalidation" not in cli("show", "held").out
    with EventWriter(run.events_file) as writer:
        writer.emit(Validation(2, 0.25, 3, 0.1, {"0-499": 0.3, "500-999": 0.2}, {"norm MID": 0.5}, 2, 0.25))
        writer.emit(
            Validation(4, 0.5, 3, 0.1, {"0-499": 0.6, "500-999": 0.4}, {"norm MID": 1.5}, 2, 0.25, 0.75)
        )
    shown = cli("show", "held").out
    assert "loss 0.5 at step 4, 0.75 without average, lowest 0.25 at step 2" in shown
    assert "timesteps 0-499 0.6, 500-999 0.4" in shown and "norm MID 1.5" in shown
    data = cli("show", "held", "--json").json
    assert data["best"] == [2, 0.25] and [each["loss"] for each in data["validations"]] == [0.25, 0.5]
    rows = {row["name"]: row for row in cli("list", "--json").json}
    assert (rows["held"]["best_step"], rows["held"]["best_loss"]) == (2, 0.25)
    assert rows[other.name]["best_step"] is None
    lines = cli("list").out.splitlines()
    assert "best step" in lines[0]
    best = lines[0].index("best step") + len("best step")
    assert {line.split()[0]: line[best - 1] for line in lines[1:]} == {"held": "2", "plain": "-"}
    with EventWriter(run.events_file) as writer:
        writer.emit(Validation(6, math.nan, 0, 0.1, {}, {}, 2, 0.25, error="short of memory"))
    assert "failed at step 6: short of memory" in cli("show", "held").out


def test_how_near_previews_are_is_told(cli: Cli, pictures: Path) -> None:
    run = fabricate("near", pictures)
    assert "CLIP" not in cli("show", "near").out
    with EventWriter(run.events_file) as writer:
        writer.emit(Sample(4, 0, "a cat", 1, "samples/b.png", "", to_prompt=0.25, to_pictures=0.5))
    assert "samples/b.png (CLIP: prompt 0.25, pictures 0.5)" in cli("show", "near").out


def test_a_run_is_found_by_a_part_of_its_name_and_by_its_folder(cli: Cli, pictures: Path) -> None:
    run = fabricate("my-long-name", pictures)
    for text in ("long", str(run.path), "my-long-name"):
        assert cli("show", text, "--json").json["name"] == "my-long-name"
    fabricate("my-other-name", pictures)
    done = cli("show", "my-")
    assert done.code == 2 and "my-other-name" in done.err


@pytest.mark.parametrize("name", ["show", "attach", "stop", "resume", "export"])
def test_a_run_that_is_not_there_is_bad_input(cli: Cli, name: str) -> None:
    done = cli(name, "nowhere", *(("--format", "kohya") if name == "export" else ()))
    assert done.code == 2 and "nowhere" in done.err


def test_attach_as_json_is_the_events(cli: Cli, pictures: Path) -> None:
    run = fabricate("gone", pictures, kind="finished", step=4, seconds=1.0)
    lines = cli("attach", "gone", "--json").out.splitlines()
    assert [json.loads(line) for line in lines] == [
        json.loads(line) for line in run.events_file.read_text().splitlines()
    ]


def test_attach_follows_until_the_engine_leaves(cli: Cli, engine: FakeEngine) -> None:
    process = cli.start("attach", "living")
    assert process.stdout is not None
    first = process.stdout.readline()
    assert cli("stop", "living").code == 0
    out = first + process.stdout.read()
    assert process.wait(60) == 130
    assert "step 4/100" in out and "stopped at step 4" in out


def test_ctrl_c_ends_the_watching_and_not_the_run(cli: Cli, engine: FakeEngine) -> None:
    process = cli.start("attach", "living")
    assert process.stdout is not None and process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the run goes on" in err and "sdtrain stop living" in err
    assert cli("list", "--json").json[0]["state"] in ("running", "preparing")


def test_a_reader_that_leaves_is_no_error(cli: Cli, pictures: Path) -> None:
    fabricate("gone", pictures, steps=3000, total=3000, kind="finished", step=3000, seconds=1.0)
    command = " ".join(f"'{word}'" for word in cli.argv("attach", "gone", "--json"))
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1"], capture_output=True, text=True, env=cli.env, check=True
    )
    assert len(done.stdout.splitlines()) == 1 and done.stderr == ""


def test_a_run_directory_with_garbage_in_it_is_still_shown(cli: Cli, pictures: Path) -> None:
    run: RunDir = fabricate("odd", pictures)
    with run.events_file.open("ab") as file:
        file.write(b'\xff\xfe garbage\n{"v":1,"kind":7}\n[]\n{"torn')
    run.plan_file.write_bytes(b"\xff\xff")
    assert cli("show", "odd").code == 0
    assert cli("list", "--json").json[0]["step"] == 4


@pytest.mark.parametrize("moment", [1e300, -1e300, 1e15, 253_402_300_800.0, -5.0])
def test_a_time_of_no_calendar_is_shown_as_none(cli: Cli, pictures: Path, moment: float) -> None:
    run = fabricate("odd", pictures)
    with run.events_file.open("a") as file:
        file.write(
            json.dumps({"v": 1, "seq": 900, "t": moment, "kind": "warning", "code": "x", "text": "y"}) + "\n"
        )
        file.write(
            json.dumps({"v": 1, "seq": 901, "t": moment, "kind": "phase", "phase": "a", "text": "b"}) + "\n"
        )
    for words in (["show", "odd"], ["list"], ["attach", "odd"], ["show", "odd", "--json"]):
        done = cli(*words)
        assert "Traceback" not in done.err
        assert done.code in (0, 1)


def test_an_export_to_an_unknown_format_is_refused_with_the_methods_own(cli: Cli, pictures: Path) -> None:
    fabricate("one", pictures)
    for name in ("nope", "a1111_embedding", "kohyo"):
        done = cli.process("export", "one", "--format", name)
        assert done.code == 2
        assert "kohya" in done.err
        assert "torch" not in done.err
