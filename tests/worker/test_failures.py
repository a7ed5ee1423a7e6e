"""What goes wrong in a worker is told with what helps, and what was learned is saved first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.dataset.cache import TensorCache
from engine.plan.schema import Plan
from engine.run import codes
from engine.run.control import send
from engine.run.control_commands import Save
from engine.run.paths import RunDir
from engine.train import loop, training
from engine.train.objective import sample_losses
from engine.train.previews import Painter
from engine.worker.remedies import out_of_memory
from engine.worker.session import work
from engine.worker.states import Running, State
from tests.support.runs import events_of, new_run, own_signals, quick_plan, view_of


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    with own_signals():
        yield


@pytest.fixture
def plan(home: Path, small_sd1: Path, pictures: Path) -> Plan:
    return quick_plan(small_sd1, pictures, checkpoints__every=0, train__batch_size=1, train__steps=5)


def _at_call(
    number: int, real: Callable[..., Any], error: Exception, *, again: bool = False
) -> Callable[..., Any]:
    """`real`, but for the call of that number, and with `again` every later one."""
    calls = iter(range(1, 1000))

    def wrapped(*given: Any, **named: Any) -> Any:
        call = next(calls)
        if call == number or (again and call > number):
            raise error
        return real(*given, **named)

    return wrapped


def _saved(run: RunDir) -> list[int]:
    return [int(event["step"]) for event in events_of(run) if event["kind"] == "checkpoint"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), codes.OUT_OF_MEMORY),
        (MemoryError(), codes.OUT_OF_MEMORY),
        (KeyError("odd"), codes.FAILED),
        (OSError(5, "Input/output error"), codes.FAILED),
        (OSError(5, "Input/output error", "pictures/00.png"), codes.FAILED),
    ],
)
def test_what_was_learned_is_saved_before_a_failure_ends_the_run(
    error: Exception,
    code: int,
    plan: Plan,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    straight, run = new_run(plan), new_run(plan)
    assert work(straight) == codes.DONE
    real = sample_losses
    monkeypatch.setattr(loop, "sample_losses", _at_call(4, real, error, again=True))
    assert work(run) == code
    assert _saved(run) == [3]
    failed = view_of(run).failed
    assert failed is not None
    assert "step 3 was saved" in failed.fix
    named = isinstance(error, OSError) and error.filename is not None
    assert ("pictures/00.png: Input/output error" in failed.why) == named
    assert ("Traceback" in capsys.readouterr().err) == (code == codes.FAILED and not named)
    assert "batch_size" not in failed.fix
    monkeypatch.setattr(loop, "sample_losses", real)
    assert work(run) == codes.DONE
    assert list(view_of(run).steps.loss) == list(view_of(straight).steps.loss)


def test_weights_that_are_not_finite_are_not_saved(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    real = loop.Loop._update

    def poisoned(self: loop.Loop, loss: torch.Tensor) -> Any:
        done = real(self, loss)
        self.parameters[0].data.fill_(float("nan"))
        return done

    monkeypatch.setattr(loop.Loop, "_update", poisoned)
    monkeypatch.setattr(loop, "sample_losses", _at_call(3, sample_losses, KeyError("odd")))
    run = new_run(plan)
    assert work(run) == codes.FAILED
    assert _saved(run) == []
    failed = view_of(run).failed
    assert failed is not None
    assert "not finite" in failed.fix


@pytest.mark.parametrize(
    "error", [ValueError("odd"), ZeroDivisionError(), torch.OutOfMemoryError("full"), AttributeError("x")]
)
def test_whatever_a_preview_meets_the_training_goes_on(
    error: Exception, home: Path, small_sd1: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = quick_plan(small_sd1, pictures, samples__every=3, samples__steps=1)
    monkeypatch.setattr(Painter, "picture", _at_call(1, Painter.picture, error))
    run = new_run(plan)
    assert work(run) == codes.DONE
    told = [event for event in events_of(run) if event["kind"] == "sample"]
    assert type(error).__name__ in told[0]["error"]
    assert all("error" not in event for event in told[1:])


def test_memory_that_runs_out_while_caching_is_no_fault_of_the_batch(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TensorCache, "put", _at_call(1, TensorCache.put, torch.OutOfMemoryError("full")))
    run = new_run(plan)
    assert work(run) == codes.OUT_OF_MEMORY
    failed = view_of(run).failed
    assert failed is not None
    assert "caching" in failed.what
    assert "data.resolution" in failed.fix
    assert "batch_size" not in failed.fix


@pytest.mark.parametrize("phase", ["loading", "caching", "training", "sampling", "saving", "exporting"])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_a_remedy_never_asks_for_what_is_so_already(phase: str, checkpointing: bool, plan: Plan) -> None:
    hardware = plan.hardware.model_copy(update={"gradient_checkpointing": checkpointing})
    error = out_of_memory(plan.model_copy(update={"hardware": hardware}), phase, False, "full", "then")
    assert "batch_size" not in error.fix
    assert ("gradient_checkpointing" in error.fix) == (
        not checkpointing and phase in ("training", "sampling", "saving")
    )


def test_every_file_of_several_words_has_its_event(home: Path, sd1_folder: Path, pictures: Path) -> None:
    changes = {"textual_inversion__tokens": ["<cat>", "<dog>"], "train__steps": 1}
    run = new_run(quick_plan(sd1_folder, pictures, method="textual_inversion", **changes))
    assert work(run) == codes.DONE
    told = [event["path"] for event in events_of(run) if event["kind"] == "exported"]
    files = [str(path.relative_to(run.path)) for path in run.exports.rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert sorted(told) == sorted(files)


def test_a_save_while_a_stage_is_encoded_is_of_the_step_that_it_names(
    home: Path, sd1_folder: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, object] = {"scratch__size": "base", "scratch__stages": ["32:3", "64:6"]}
    straight, run = (
        new_run(quick_plan(sd1_folder, pictures, method="scratch", checkpoints__every=every, **changes))
        for every in (3, 0)
    )
    assert work(straight) == codes.DONE
    real_loop, real_progress = training.make_loop, State.progress
    asked: list[str] = []

    def in_groups(*given: Any, **named: Any) -> loop.Loop:
        """As on CUDA, where losses are read in groups."""
        made = real_loop(*given, **named)
        made.report_every_s = 1e9
        return made

    def progress(self: State, text: str, done: int, total: int) -> None:
        if isinstance(self, Running) and self.step and not asked:
            asked.append(send(run, Save()))
        real_progress(self, text, done, total)

    monkeypatch.setattr(training, "make_loop", in_groups)
    monkeypatch.setattr(State, "progress", progress)
    assert work(run) == codes.DONE
    assert _saved(run) == [3, 6]
    for step in (3, 6):
        name = f"step-{step:08d}/weights.safetensors"
        assert (run.checkpoints / name).read_bytes() == (straight.checkpoints / name).read_bytes()
