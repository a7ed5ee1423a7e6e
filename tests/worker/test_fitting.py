"""A run that starts where less is free than its plan needs: what it gives up is told, kept, and gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from engine.cost.estimate import estimate
from engine.cost.machine import available_memory, machine
from engine.models.bases import locate
from engine.plan.schema import Plan
from engine.planning.fit_at_start import CAP, kept, refit
from engine.run import codes
from engine.run.paths import RunDir
from tests.support.runs import events_of, new_run, own_signals, quick_plan, view_of, work_to_end


def needs(plan: Plan) -> int:
    """The plan's forecast peak here."""
    return estimate(plan, locate(plan.base.model), None, machine()).vram_total


def told(run: RunDir) -> list[dict[str, object]]:
    """The run's fit events."""
    return [dict(event) for event in events_of(run) if event["kind"] == "fit"]


def wide(base: Path, pictures: Path, **changes: object) -> Plan:
    """A plan whose activations are most of what it needs."""
    return quick_plan(base, pictures, data__resolution=256, train__batch_size=4, **changes)


def exported(run: RunDir) -> dict[str, list[float]]:
    """Every number of the run's file."""
    (file,) = run.exports.glob("*.safetensors")
    return {name: tensor.flatten().tolist() for name, tensor in load_file(file).items()}


def test_a_run_gives_up_what_the_free_memory_asks_for_and_says_so(
    sd1_folder: Path, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = wide(sd1_folder, pictures, train__steps=2, checkpoints__every=0)
    free = needs(plan) - (48 << 20)
    monkeypatch.setenv(CAP, str(free))
    run = new_run(plan)
    view = work_to_end(run)
    events = told(run)
    assert events, "the cap is below what the plan needs"
    for event in events:
        assert event["free"] == free and event["needs"] == needs(plan) and event["price"]
    assert int(str(events[-1]["takes"])) <= free
    found = kept(run.fit_file)
    assert found is not None and [each.name for each in found.given] == [event["choice"] for event in events]
    made = found.of(plan)
    assert needs(made) <= free
    batches = made.train.batch_size * made.train.gradient_accumulation
    assert batches == plan.train.batch_size * plan.train.gradient_accumulation
    assert any("made to fit by" in line.text for line in view.log)
    # What was learned is what a plan that is written so learns.
    monkeypatch.delenv(CAP)
    straight = new_run(made)
    work_to_end(straight)
    assert not told(straight) and exported(straight) == exported(run)


def test_a_run_goes_on_with_what_it_has_given_up_whatever_is_free_then(
    sd1_folder: Path, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.worker.session import work

    plan = wide(sd1_folder, pictures, train__steps=2, checkpoints__every=1)
    monkeypatch.setenv(CAP, str(needs(plan) - (48 << 20)))
    whole, parted = new_run(plan), new_run(plan)
    work_to_end(whole)
    monkeypatch.setattr("engine.worker.states.Running._take", _stopping_after(1))
    with own_signals():
        assert work(parted) == codes.FAILED
    monkeypatch.undo()
    view = work_to_end(parted)
    assert view.finished is not None and exported(parted) == exported(whole)
    assert [event.get("again", False) for event in told(parted)] == [False, True] * (len(told(parted)) // 2)


def _stopping_after(step: int):  # type: ignore[no-untyped-def]
    from engine.worker.states import Running

    real = Running._take

    def take(self: Running, group):  # type: ignore[no-untyped-def]
        if self.step >= step:
            raise RuntimeError("the machine goes down")
        real(self, group)

    return take


def test_where_nothing_helps_the_plan_stays_and_the_run_warns(
    sd1_folder: Path, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CAP, "1000")
    run = new_run(wide(sd1_folder, pictures, train__steps=1))
    work_to_end(run)
    assert not told(run) and not run.fit_file.exists()
    assert "does-not-fit" in {warning.code for warning in view_of(run).warnings}


def test_with_fit_off_or_enough_memory_nothing_is_given_up(
    sd1_folder: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, plan = locate(str(sd1_folder)), wide(sd1_folder, pictures)
    assert refit(plan, base, machine()) is None
    monkeypatch.setenv(CAP, "1000")
    assert refit(wide(sd1_folder, pictures, hardware__fit="off"), base, machine()) is None
    found = refit(plan, base, machine())
    assert found is not None and not found.given and found.free == 1000


def test_choices_that_cannot_be_read_stop_the_run_with_a_word_about_them(
    sd1_folder: Path, pictures: Path, home: Path
) -> None:
    from engine.worker.session import work

    run = new_run(wide(sd1_folder, pictures, train__steps=1))
    run.fit_file.write_text(json.dumps({"given": 3}))
    with own_signals():
        assert work(run) == codes.BAD_INPUT
    failed = view_of(run).failed
    assert failed is not None and "fit.json cannot be read" in failed.what


def test_main_memory_is_asked_for() -> None:
    free = available_memory()
    assert free is None or 0 < free <= machine().memory_total * 2
