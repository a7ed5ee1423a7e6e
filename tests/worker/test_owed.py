"""What a kill between a checkpoint and its previews and exports leaves undone is made up by the resume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engine.plan.schema import Plan
from engine.run.control import send
from engine.run.control_commands import Sample, Save, Stop
from engine.run.events import EventWriter
from engine.run.kinds import Answered
from engine.run.paths import RunDir
from engine.worker.states import Running
from engine.worker.told import told_of
from tests.support.forked import run_forked
from tests.support.runs import events_of, new_run, quick_plan, view_of

STEPS = 6


@pytest.fixture(scope="module")
def finished(small_sd1: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    """A run of six steps that saves, exports and draws two previews at steps 3 and 6."""
    from tests.support.pictures import write_pictures

    folder = tmp_path_factory.mktemp("owed")
    patch = pytest.MonkeyPatch()
    patch.setenv("SDTRAIN_HOME", str(folder / "home"))
    plan = quick_plan(
        small_sd1,
        write_pictures(folder / "pictures"),
        samples__every=3,
        samples__steps=1,
        samples__count=2,
        samples__at_start=False,
        checkpoints__export_each=True,
    )
    run = new_run(plan)
    run_forked(run)
    patch.undo()
    return plan, run.path


def _cut(source: Path, target: Path, step: int, kind: str, count: int) -> RunDir:
    """The run as a kill would have left it: its events end before the `count`-th of this kind at this step."""
    shutil.copytree(source, target, symlinks=True)
    run = RunDir(target)
    lines, left = [], count
    for line in run.events_file.read_text().splitlines(keepends=True):
        event = json.loads(line)
        if event["kind"] == kind and event["step"] == step:
            left -= 1
            if not left:
                break
        lines.append(line)
    run.events_file.write_text("".join(lines))
    for saved in run.checkpoints.iterdir():
        if int(saved.name[5:]) > step:
            shutil.rmtree(saved)
    told = {event.get("path") for event in events_of(run)}
    for file in [*run.previews.glob("*.png"), *(path for path in run.exports.rglob("*") if path.is_file())]:
        if str(file.relative_to(run.path)) not in told:
            file.unlink()
    return run


def _names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("step", "kind", "count"),
    [
        (3, "checkpoint", 1),
        (3, "exported", 2),
        (3, "sample", 2),
        (STEPS, "exported", 1),
        (STEPS, "sample", 1),
    ],
)
def test_everything_is_there_once_after_a_resume(
    step: int, kind: str, count: int, finished: tuple[Plan, Path], tmp_path: Path, home: Path
) -> None:
    _, straight = finished
    run = _cut(straight, tmp_path / "run", step, kind, count)
    run_forked(run)
    for part in ("samples", "export"):
        assert _names(run.path / part) == _names(straight / part)
    for picture in run.previews.glob("*.png"):
        assert picture.read_bytes() == (straight / "samples" / picture.name).read_bytes()
    for at in (3, STEPS):
        told = told_of(run.events_file, at)
        assert told.checkpoint
        assert told.previews == {0, 1}
    samples = [(event["step"], event["index"]) for event in events_of(run) if event["kind"] == "sample"]
    assert sorted(samples) == [(3, 0), (3, 1), (STEPS, 0), (STEPS, 1)], "none twice"


def test_what_an_attempt_told_counts_only_until_another_goes_on_before_it(tmp_path: Path) -> None:
    events = [
        {"kind": "checkpoint", "step": 6},
        {"kind": "sample", "step": 6, "index": 0},
        {"kind": "resumed", "from_step": 6},
        {"kind": "exported", "format": "kohya", "step": 6, "path": "export/a.safetensors"},
    ]
    file = tmp_path / "events.jsonl"

    def told(more: list[dict[str, object]]) -> tuple[bool, set[int], set[str]]:
        lines = [json.dumps(event, separators=(",", ":")) for event in [*events, *more]]
        file.write_text("\n".join(lines) + "\n")
        found = told_of(file, 6)
        return found.checkpoint, found.previews, found.exports

    assert told([]) == (True, {0}, {"export/a.safetensors"})
    assert told([{"kind": "started", "resumed": True}]) == (True, {0}, {"export/a.safetensors"})
    assert told([{"kind": "resumed", "from_step": 3}]) == (False, set(), set())
    assert told([{"kind": "started", "resumed": False}]) == (False, set(), set())
    again = [{"kind": "resumed", "from_step": 3}, {"kind": "sample", "step": 6, "index": 1}]
    assert told(again) == (False, {1}, set())


@pytest.mark.parametrize(("step", "kind"), [(3, "checkpoint"), (STEPS, "sample")])
def test_a_save_and_a_sample_that_a_kill_interrupted_are_done_after_the_resume(
    step: int, kind: str, finished: tuple[Plan, Path], tmp_path: Path, home: Path
) -> None:
    _, straight = finished
    run = _cut(straight, tmp_path / "run", step, kind, 1)
    asked = [(send(run, command), command.cmd) for command in (Save(), Sample(prompt="an extra"), Stop())]
    with EventWriter(run.events_file) as writer:
        for ident, name in asked:
            writer.emit(Answered(ident, name, "accepted", ""))
    run_forked(run)
    view = view_of(run)
    (saved, _), (drawn, _), (stopped, _) = asked
    assert (view.commands[saved], view.commands[drawn]) == ("done", "done")
    assert view.commands[stopped] == "accepted", "a stop was for the engine of its time"
    told = [event for event in events_of(run) if event["kind"] == "command" and event["id"] == drawn]
    assert [event["status"] for event in told] == ["accepted", "accepted", "done"]
    assert "ended before" in told[1]["text"]
    extra = [event["path"] for event in events_of(run) if event.get("prompt") == "an extra"]
    assert len(extra) == 1
    assert (run.path / extra[0]).is_file()


def test_a_command_that_comes_too_late_is_answered(
    finished: tuple[Plan, Path], tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, straight = finished
    run = _cut(straight, tmp_path / "run", STEPS, "exported", 2)
    real = Running.export

    def export(self: Running, label: str = "") -> None:
        real(self, label)
        if not label:
            send(run, Save())

    monkeypatch.setattr(Running, "export", export)
    view = run_forked(run)
    assert set(view.commands.values()) == {"refused"}
    assert set(view.command_texts.values()) == {"the run has just finished"}
