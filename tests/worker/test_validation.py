"""Validation in a real run: its events, what a kill leaves undone, the best checkpoint, the advice, the early end."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.plan.files import dumps, load_stored
from engine.planning.resuming import changed
from engine.run import codes
from engine.run.control import send
from engine.run.control_commands import Save, Stop
from engine.run.events import EventWriter
from engine.run.kinds import Resumed, Started, Validation, Warned
from engine.run.paths import RunDir
from engine.run.replan import replan
from engine.train.held_out import HeldOut
from engine.train.validation import Validated, Validator
from engine.train.validation_history import PAST_BEST, History, told_in
from engine.worker.session import work
from tests.support.forked import run_forked
from tests.support.runs import events_of, new_run, own_signals, quick_plan, run_to_end, view_of, work_to_end

OWN: dict[str, object] = {
    "validation__every": 2,
    "validation__share": 0.34,
    "train__steps": 6,
    "checkpoints__every": 2,
    "checkpoints__keep": 1,
}


def validations(run: RunDir) -> list[dict[str, Any]]:
    return [event for event in events_of(run) if event["kind"] == "validation"]


def losing(monkeypatch: pytest.MonkeyPatch, losses: dict[int, float]) -> None:
    """Validations that measure these losses."""

    def measure(self: Validator, step: int, leaving: Any = None) -> Validated:
        return Validated(step, losses[step], {}, 1)

    monkeypatch.setattr(Validator, "measure", measure)


def test_a_real_run_tells_its_validations(small_sd1: Path, pictures: Path, home: Path) -> None:
    run = new_run(quick_plan(small_sd1, pictures, **OWN))
    view = run_to_end(run)
    told = validations(run)
    assert [event["step"] for event in told] == [0, 2, 4, 6]
    assert [len(event["bands"]) for event in told] == [4] * 4
    assert all(event["pictures"] == 2 and math.isfinite(event["loss"]) for event in told)
    best = min(told, key=lambda event: event["loss"])
    assert view.best == (best["step"], best["loss"]) == (told[-1]["best_step"], told[-1]["best_loss"])
    assert [each.loss for each in view.validations] == [event["loss"] for event in told]
    phases = [event["phase"] for event in events_of(run) if event["kind"] == "phase"]
    assert phases.count("validating") == 4


def test_a_kill_between_checkpoint_and_validation_is_made_up(
    small_sd1: Path, pictures: Path, tmp_path: Path, home: Path
) -> None:
    straight = new_run(quick_plan(small_sd1, pictures, **{**OWN, "checkpoints__keep": 0}))
    run_forked(straight)
    run = RunDir(shutil.copytree(straight.path, tmp_path / "run", symlinks=True))
    lines = []
    for line in run.events_file.read_text().splitlines(keepends=True):
        event = json.loads(line)
        if event["kind"] == "validation" and event["step"] == 4:
            break
        lines.append(line)
    run.events_file.write_text("".join(lines))
    shutil.rmtree(run.checkpoints / "step-00000006")
    run_forked(run)
    own = ("loss", "bands", "best_step", "best_loss")
    assert [{name: event[name] for name in own} for event in validations(run)] == [
        {name: event[name] for name in own} for event in validations(straight)
    ]
    # A run that is whole owes nothing.
    run_forked(run)
    assert [event["step"] for event in validations(run)] == [0, 2, 4, 6]


@pytest.mark.parametrize("after", [False, True], ids=["during it", "right after it"])
def test_a_worker_that_is_killed_at_a_validation_ends_as_one_that_was_not(
    after: bool, small_sd1: Path, pictures: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = quick_plan(small_sd1, pictures, **{**OWN, "checkpoints__keep": 0, "lora__dropout": 0.3})
    straight, killed = new_run(plan), new_run(plan)
    run_forked(straight)
    mark, real = tmp_path / "killed", Validator.measure

    def measure(self: Validator, step: int, leaving: Any = None) -> Validated:
        found = real(self, step, leaving) if after or mark.exists() or step != 4 else None
        if step == 4 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        assert found is not None
        return found

    monkeypatch.setattr(Validator, "measure", measure)
    view = run_forked(killed)
    assert mark.exists() and view.restarts == 1
    seen = [(each.step, each.loss, each.bands, each.signals, each.best_step) for each in view.validations]
    other = [
        (each.step, each.loss, each.bands, each.signals, each.best_step)
        for each in view_of(straight).validations
    ]
    assert seen == other and len(seen) == 4
    for name in ("weights.safetensors", "optimizer.safetensors"):
        one, two = (run.checkpoints / "step-00000006" / name for run in (straight, killed))
        assert one.read_bytes() == two.read_bytes()


def test_a_stop_leaves_a_validation_which_the_resume_makes_up(
    small_sd1: Path, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = quick_plan(small_sd1, pictures, **{**OWN, "checkpoints__every": 0})
    straight, stopped = new_run(plan), new_run(plan)
    work_to_end(straight)
    real, asked = HeldOut.batches, []

    def batches(self: HeldOut, limit: int) -> Any:
        asked.append(limit)
        if len(asked) == 3:  # at steps 0, 2 and 4
            send(stopped, Stop())
        return real(self, limit)

    monkeypatch.setattr(HeldOut, "batches", batches)
    with own_signals():
        assert work(stopped) == codes.STOPPED
    view = view_of(stopped)
    assert view.stopped is not None and view.step == 4
    assert [each.step for each in view.validations] == [0, 2] and not any(
        each.error for each in view.validations
    )
    view = work_to_end(stopped)
    assert [(each.step, each.loss) for each in view.validations] == [
        (each.step, each.loss) for each in view_of(straight).validations
    ]


def test_a_run_that_was_saved_before_its_first_step_validates_there_once(
    small_sd1: Path, pictures: Path, home: Path
) -> None:
    run = new_run(quick_plan(small_sd1, pictures, **OWN))
    send(run, Save())
    send(run, Stop())
    with own_signals():
        assert work(run) == codes.STOPPED
    work_to_end(run)
    assert [event["step"] for event in validations(run)] == [0, 2, 4, 6]


def test_the_best_steps_checkpoint_is_kept_beside_the_newest(
    small_sd1: Path, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing(monkeypatch, {0: 3.0, 2: 1.0, 4: 2.0, 6: 2.5})
    run = new_run(quick_plan(small_sd1, pictures, **OWN))
    view = work_to_end(run)
    assert view.best == (2, 1.0)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-00000002", "step-00000006"]
    plain = new_run(quick_plan(small_sd1, pictures, **OWN, validation__keep_best=False))
    work_to_end(plain)
    assert [path.name for path in plain.checkpoints.iterdir()] == ["step-00000006"]


def test_the_advice_is_given_once_and_ends_nothing(
    small_sd1: Path, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {step: 1.0 + step for step in range(1, 13)}
    losing(monkeypatch, {0: 5.0, **steps})
    changes = {**OWN, "validation__every": 1, "train__steps": 12}
    run = new_run(quick_plan(small_sd1, pictures, **changes))
    view = work_to_end(run)
    (advice,) = [warning for warning in view.warnings if warning.code == PAST_BEST]
    assert view.step == 12
    assert advice.step == 6 and "lowest at step 1 " in advice.text


def test_a_plan_that_asks_for_it_ends_early_with_its_files(
    small_sd1: Path, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing(monkeypatch, {0: 3.0, 2: 1.0, 4: 2.0, 6: 2.5, 8: 1.5, 10: 1.2})
    changes = {**OWN, "train__steps": 10, "validation__stop_after": 2}
    run = new_run(quick_plan(small_sd1, pictures, **changes))
    view = work_to_end(run)
    assert view.finished is not None and view.step == 6
    assert [warning.code for warning in view.warnings if warning.code in (PAST_BEST, "stopped-early")] == [
        "stopped-early"
    ]
    assert "--step 2" in next(warning.text for warning in view.warnings if warning.code == "stopped-early")
    assert view.exports and all(export.step == 6 for export in view.exports)
    assert {path.name for path in run.checkpoints.iterdir()} == {"step-00000002", "step-00000006"}
    # Going on with the same plan trains nothing more and says nothing twice.
    again = work_to_end(run)
    assert again.step == 6 and again.finished is not None
    assert [warning.code for warning in again.warnings].count("stopped-early") == 1
    # Without the limit it does.
    longer, _ = changed(load_stored(run.plan_file)[0], ["validation.stop_after=0"], 6)
    replan(run, dumps(longer), [])
    assert work_to_end(run).step == 10


def test_memory_that_is_short_is_told_and_the_run_goes_on(
    small_sd1: Path, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(self: Validator, step: int, leaving: Any = None) -> Validated:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Validator, "measure", measure)
    run = new_run(quick_plan(small_sd1, pictures, **OWN))
    view = work_to_end(run)
    assert view.step == 6 and view.best is None
    assert all("out of memory" in each.error and math.isnan(each.loss) for each in view.validations)
    assert any("validation at step 2 failed" in line.text for line in view.log)


def test_what_an_attempt_told_counts_only_until_another_goes_on_before_it(tmp_path: Path) -> None:
    def at(step: int, loss: float, error: str = "") -> Validation:
        return Validation(step, loss, 1, 0.0, {}, {}, error=error)

    file = tmp_path / "events.jsonl"
    with EventWriter(file) as writer:
        for event in (
            Started(1, "h", "", "", "", 9, "", "", "", "", False),
            at(0, 3.0),
            at(2, 1.0),
            at(4, 0.5),
            Warned(PAST_BEST, "stop"),
            Resumed(2),
            at(4, 2.0),
            at(6, math.nan, "short of memory"),
        ):
            writer.emit(event)
    told = told_in(file, 6)
    assert told.history.losses == {0: 3.0, 2: 1.0, 4: 2.0}
    assert told.here and told.warned == {PAST_BEST}
    assert told_in(file, 4).here and not told_in(file, 5).here
    with EventWriter(file) as writer:
        writer.emit(Resumed(0))
    assert not told_in(file, 6).here and told_in(file, 6).history.losses == {0: 3.0}
    with EventWriter(file) as writer:
        writer.emit(Started(1, "h", "", "", "", 9, "", "", "", "", False))
    assert told_in(file, 6).history.losses == {} and not told_in(file, 6).warned


def test_the_best_is_the_earliest_finite_lowest() -> None:
    history = History({0: math.nan, 2: 1.0, 4: 1.0, 6: math.inf})
    assert history.best == (2, 1.0) and history.since_best == 2
    history.add(2, 4.0)
    assert history.best == (4, 1.0)
    assert History({1: math.nan}).best is None and History().since_best == 0
