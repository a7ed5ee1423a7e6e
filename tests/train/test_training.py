"""A training as a handle: with and without a run's folder, and what it says to mistakes."""

from __future__ import annotations

import hashlib
import json
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from engine import StepReport, Training, UserError, Watch, build_plan, draws, load_plan, open_training
from engine.plan.files import dumps, to_dict
from engine.plan.problems import PlanErrors
from engine.plan.schema import Plan
from engine.run.launch import launch
from engine.run.lock import is_alive
from engine.run.paths import RunDir, list_runs
from engine.train import loop, training
from engine.train.objective import sample_losses
from tests.support.runs import quick_plan, view_of, wait_until


@pytest.fixture
def plan(home: Path, pictures: Path) -> Plan:
    return quick_plan("builtin:tiny", pictures, samples__steps=2, samples__prompts=["a red circle"])


def _weights(made: Training) -> dict[str, torch.Tensor]:
    return {item.name: item.parameter.detach().clone() for item in made.adapted.trainables}


def test_steps_come_in_as_many_pieces_as_one_likes(plan: Plan, tmp_path: Path) -> None:
    whole, pieces = open_training(plan), open_training(plan)
    reports = whole.train()
    assert [report.step for report in reports] == [1, 2, 3, 4, 5, 6]
    assert [report.step for report in pieces.train(2)] == [1, 2]
    saved = pieces.save(tmp_path / "saved")
    assert [report.step for report in pieces.train(9)] == [3, 4, 5, 6]
    assert pieces.losses == whole.losses

    for folder in (saved, saved.parent):
        again = open_training(plan)
        assert again.resume(folder) == again.step == 2
        again.train()
        assert again.losses == whole.losses[2:]
        assert all(torch.equal(value, _weights(whole)[name]) for name, value in _weights(again).items())


def test_nothing_is_written_without_a_folder_but_the_cache(plan: Plan, tmp_path: Path, home: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if home not in path.parents}
    with open_training(plan, cache=home / "cache") as made:
        made.train(1)
        picture = made.preview()
        other = made.preview("a blue square", seed=3)
    assert picture.size == other.size == (64, 64)
    assert (np.asarray(picture) != np.asarray(other)).any()
    assert {path for path in tmp_path.rglob("*") if home not in path.parents} == before
    assert [path.name for path in home.iterdir()] == ["cache"]


def test_a_run_goes_on_in_the_terminal_and_back(plan: Plan, tmp_path: Path) -> None:
    straight = open_training(plan)
    straight.train()
    folder = tmp_path / "run"
    with open_training(plan, folder) as made:
        assert is_alive(RunDir(folder))
        made.train(2)
        made.save()
    assert not is_alive(RunDir(folder))
    with open_training(plan, folder) as made:
        assert made.step == 2
        made.train(2)
        assert made.losses == straight.losses[2:4]
        made.save()
        assert [path.parent for path in made.export()] == [folder / "export", folder / "export" / "diffusers"]
    run = RunDir(folder)
    assert [found.path for found in list_runs()] == [folder]
    launch(run)
    wait_until(lambda: not is_alive(run), 180.0, "the end of the run")
    view = view_of(run)
    assert view.finished is not None, run.log_file.read_text()
    with open_training(plan, folder) as made:
        assert made.step == 6
        assert all(torch.equal(value, _weights(straight)[name]) for name, value in _weights(made).items())


def test_who_watches_hears_it_in_order(plan: Plan, tmp_path: Path) -> None:
    heard: list[str] = []

    class Ear(Watch):
        def phase(self, phase: str, text: str = "") -> None:
            heard.append(phase)

        def progress(self, text: str, done: int, total: int) -> None:
            if done == total:
                heard.append(text)

        def report(self, report: StepReport) -> None:
            heard.append(f"step {report.step}")

    open_training(plan, watch=Ear(), cache=tmp_path / "cache").train(2)
    assert heard == ["loading", "caching", "latents", "captions", "training", "step 1", "step 2"]


def test_a_plan_may_come_from_a_few_answers(pictures: Path, home: Path) -> None:
    plan = build_plan({"base.model": "builtin:tiny", "data.path": str(pictures), "train.steps": 2})
    assert plan.method == "lora"
    assert load_plan(to_dict(plan)) == plan


def test_paths_of_tables_start_at_the_current_folder(
    plan: Plan, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures.parent)
    tables = to_dict(plan)
    tables["data"]["path"] = pictures.name
    assert load_plan(tables).data.path == str(pictures.resolve())


def _another_plan(plan: Plan, folder: Path) -> None:
    open_training(plan, folder / "run").close()
    open_training(plan.model_copy(update={"seed": 8}), folder / "run")


def _twice(plan: Plan, folder: Path) -> None:
    with open_training(plan, folder / "run"):
        open_training(plan, folder / "run")


def _beyond_the_end(plan: Plan, folder: Path) -> None:
    made = open_training(plan)
    made.train()
    made.train(1)


def _damaged(plan: Plan, folder: Path) -> None:
    made = open_training(plan)
    saved = made.save(folder)
    (saved / "weights.safetensors").write_bytes(b"no")
    made.resume(saved)


MISTAKES: dict[str, tuple[Callable[[Plan, Path], object], str]] = {
    "save into nothing": (lambda plan, folder: open_training(plan).save(), "open_training(plan, run_dir=folder)"),
    "export into nothing": (lambda plan, folder: open_training(plan).export(), "export(folder)"),
    "no steps": (lambda plan, folder: open_training(plan).train(0), "ask for 1 or more"),
    "beyond the end": (_beyond_the_end, "a larger train.steps"),
    "resume from nothing": (lambda plan, folder: open_training(plan).resume(folder), "the folder that a save returned"),
    "resume from damage": (_damaged, "weights.safetensors differs from the manifest"),
    "another plan's run": (_another_plan, "or give a new folder"),
    "a run that is in use": (_twice, "close() the other training"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_says_what_why_and_what_to_do(name: str, plan: Plan, tmp_path: Path) -> None:
    act, expected = MISTAKES[name]
    with pytest.raises(UserError) as caught:
        act(plan, tmp_path / "here")
    error = caught.value
    assert expected in str(error)
    assert error.what and error.why and error.fix
    assert str(error).splitlines()[0] == error.what


def test_a_plan_that_sdtrain_check_refuses_is_not_opened(plan: Plan, tmp_path: Path) -> None:
    wrong = plan.model_copy(update={"data": plan.data.model_copy(update={"path": str(tmp_path / "none")})})
    with pytest.raises(PlanErrors) as caught:
        open_training(wrong, tmp_path / "run")
    assert "data.path" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_no_room_says_what_to_do_and_loses_nothing(plan: Plan, tmp_path: Path) -> None:
    with open_training(plan, run_dir=tmp_path / "run") as made:
        made.train(1)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))
        try:
            with pytest.raises(OSError, match=r"free some space and call save\(\) again"):
                made.save()
            with pytest.raises(OSError, match=r"free some space and call export\(\) again"):
                made.export()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert made.save().is_dir()
        assert all(path.exists() for path in made.export())


def test_a_failed_opening_lets_the_run_go(plan: Plan, tmp_path: Path) -> None:
    class Leave(Watch):
        def phase(self, phase: str, text: str = "") -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_training(plan, tmp_path / "run", watch=Leave())
    run = RunDir(tmp_path / "run")
    assert not is_alive(run)
    assert run.plan_file.read_text() == dumps(plan)


def test_steps_that_move_nothing_end_the_training(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "MAX_SKIPPED", 3)
    made = open_training(plan)
    before, real = _weights(made), sample_losses
    monkeypatch.setattr(loop, "sample_losses", lambda *given: real(*given) * float("nan"))
    with pytest.raises(UserError, match="3 steps in a row"):
        made.train()
    assert made.step == 3
    assert all(torch.equal(value, before[name]) for name, value in _weights(made).items())


@pytest.mark.parametrize("version", [None, 1, draws.VERSION])
def test_a_run_that_began_with_other_draws_goes_on_and_says_so(
    version: int | None, plan: Plan, tmp_path: Path
) -> None:
    first = open_training(plan)
    first.train(2)
    path = first.save(tmp_path / "saved")
    state, manifest = (json.loads((path / name).read_text()) for name in ("state.json", "manifest.json"))
    assert state.pop("draws") == draws.VERSION
    text = json.dumps(state if version is None else state | {"draws": version})
    (path / "state.json").write_text(text)
    manifest["files"]["state.json"] = {
        "bytes": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()
    }  # fmt: skip
    (path / "manifest.json").write_text(json.dumps(manifest))
    said: list[tuple[str, str]] = []

    class Ear(Watch):
        def warning(self, code: str, text: str) -> None:
            said.append((code, text))

    again = open_training(plan, watch=Ear())
    assert again.resume(path) == 2
    assert [report.step for report in again.train(1)] == [3]
    codes = [code for code, text in said if "step 2" in text]
    assert codes == ([] if version == draws.VERSION else ["other-draws"])


def test_a_training_that_moved_nothing_does_not_end_as_if_it_had(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, real = open_training(plan), sample_losses
    assert plan.train.steps < training.MAX_SKIPPED
    monkeypatch.setattr(loop, "sample_losses", lambda *given: real(*given) * float("nan"))
    with pytest.raises(UserError, match="nothing was learned"):
        made.train()
