"""Checkpoints are written beside the training: of the step that they name, whole, told, and never lost."""

from __future__ import annotations

import errno
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.files import Patience
from engine.plan.schema import Plan
from engine.run import codes
from engine.run.control import send
from engine.run.control_commands import Save, Stop
from engine.run.paths import RunDir
from engine.train import checkpoint
from engine.train.snapshot import BLOCK, HostCopies
from engine.worker import saving
from engine.worker.disk_full import DiskFull
from engine.worker.saving import Saver
from engine.worker.session import work
from engine.worker.states import Running
from engine.worker.telling import Telling
from tests.support.runs import events_of, new_run, own_signals, quick_plan, view_of

Write = Callable[..., Any]


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    with own_signals():
        yield


@pytest.fixture
def plan(home: Path, small_sd1: Path, pictures: Path) -> Plan:
    return quick_plan(small_sd1, pictures, checkpoints__every=2, checkpoints__keep=0)


@pytest.fixture
def straight(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """The same run with every checkpoint written at once."""
    run = new_run(plan)
    with monkeypatch.context() as patch:
        patch.setattr(saving, "COPY_SHARE", 0.0)
        assert work(run) == codes.DONE
    return run


def _files(run: RunDir) -> dict[str, bytes]:
    return {
        str(path.relative_to(run.checkpoints)): path.read_bytes()
        for path in run.checkpoints.rglob("*")
        if path.is_file()
    }


def _told(run: RunDir, kind: str) -> list[int]:
    return [int(event["step"]) for event in events_of(run) if event["kind"] == kind]


class Gate:
    """Holds back what a thread would write until a step has been told, or the training waits for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, until: int) -> None:
        self.open = threading.Event()
        self.in_thread: list[bool] = []
        real_write, real_report, real_finish = checkpoint.write, Telling.report, Saver._finish_begun

        def write(*given: Any) -> Any:
            self.in_thread.append(threading.current_thread() is not threading.main_thread())
            if self.in_thread[-1]:
                assert self.open.wait(60)
            return real_write(*given)

        def report(telling: Telling, report: Any) -> None:
            real_report(telling, report)
            if report.step == until:
                self.open.set()

        def finish(saver: Saver) -> None:
            self.open.set()
            real_finish(saver)

        monkeypatch.setattr(checkpoint, "write", write)
        monkeypatch.setattr(Telling, "report", report)
        monkeypatch.setattr(Saver, "_finish_begun", finish)


def test_what_is_written_later_is_the_state_of_its_own_step(
    plan: Plan, straight: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, until=3)
    run = new_run(plan)
    assert work(run) == codes.DONE
    # The last one is saved for good before the exports: nothing trains beside it.
    assert gate.in_thread == [True, True, True]
    assert _files(run) == _files(straight)
    order = [
        (event["kind"], event["step"]) for event in events_of(run) if event["kind"] in ("step", "checkpoint")
    ]
    assert order.index(("checkpoint", 2)) > order.index(("step", 3))
    assert _told(run, "checkpoint") == [2, 4, 6]
    for event in events_of(run):
        if event["kind"] == "checkpoint":
            assert 0 <= event["stalled"] <= event["seconds"]


def test_the_manifest_has_the_hashes_of_what_lies_there(straight: RunDir) -> None:
    for saved in checkpoint.complete(straight.checkpoints):
        listed = json.loads((saved.path / checkpoint.MANIFEST).read_text())["files"]
        assert {path.name for path in saved.path.iterdir()} == {*listed, checkpoint.MANIFEST}
        for name, entry in listed.items():
            raw = (saved.path / name).read_bytes()
            assert entry == {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def test_a_run_reads_no_checkpoint_that_it_has_just_written(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(saved: checkpoint.Saved) -> str:
        raise AssertionError(f"{saved} is read again")

    monkeypatch.setattr(checkpoint, "verify", never)
    run = new_run(plan.model_copy(update={"checkpoints": plan.checkpoints.model_copy(update={"keep": 1})}))
    assert work(run) == codes.DONE
    assert [saved.step for saved in checkpoint.complete(run.checkpoints)] == [6]


def test_older_ones_stay_where_the_newest_is_not_whole(straight: RunDir) -> None:
    newest = checkpoint.complete(straight.checkpoints)[-1]
    (newest.path / "weights.safetensors").write_bytes(b"torn")
    assert checkpoint.prune(straight.checkpoints, 1) == []
    assert checkpoint.prune(straight.checkpoints, 1, straight.checkpoints / "step-00000004") == []
    assert len(checkpoint.prune(straight.checkpoints, 1, newest.path)) == 2


def test_an_error_of_the_thread_ends_the_run_with_what_was_learned_saved(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checkpoint.write

    def write(*given: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            raise OSError(errno.EIO, "Input/output error", "the disk")
        return real(*given)

    monkeypatch.setattr(checkpoint, "write", write)
    run = new_run(plan)
    assert work(run) == codes.FAILED
    failed = view_of(run).failed
    assert failed is not None
    assert "the disk: Input/output error" in failed.why
    (step,) = _told(run, "checkpoint")
    assert f"step {step} was saved" in failed.fix
    monkeypatch.setattr(checkpoint, "write", real)
    assert work(run) == codes.DONE


def test_a_disk_that_fills_under_the_thread_pauses_the_run_and_loses_nothing(
    plan: Plan, straight: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checkpoint.write
    waited: list[bool] = []

    def write(*given: Any) -> Any:
        if not waited:
            raise OSError(errno.ENOSPC, "No space left on device", "the disk")
        return real(*given)

    def full(patience: Patience, error: OSError, path: Path, needed: int) -> None:
        # Who waits listens to people: that is the main thread's business.
        assert threading.current_thread() is threading.main_thread()
        assert needed > 0
        waited.append(True)

    monkeypatch.setattr(checkpoint, "write", write)
    monkeypatch.setattr(DiskFull, "full", full)
    run = new_run(plan)
    assert work(run) == codes.DONE
    assert waited == [True]
    assert _files(run) == _files(straight)


@pytest.mark.parametrize("command", [Save, Stop])
def test_a_save_or_a_stop_is_answered_when_the_checkpoint_lies_there(
    command: type[Save | Stop], plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    Gate(monkeypatch, until=99)
    run = new_run(plan)
    real = Running._take

    def take(self: Running, group: Any) -> None:
        real(self, group)
        if self.step == 2 and not run.control_file.exists():
            send(run, command())

    monkeypatch.setattr(Running, "_take", take)
    monkeypatch.setattr("engine.worker.states.POLL_S", 0.0)
    assert work(run) in (codes.DONE, codes.STOPPED)
    events = events_of(run)
    done = next(
        n for n, event in enumerate(events) if event["kind"] == "command" and event["status"] == "done"
    )
    saved = [event["step"] for event in events[:done] if event["kind"] == "checkpoint"]
    assert saved[-1] == max(event["step"] for event in events[:done] if event["kind"] == "step")
    assert {found.step for found in checkpoint.complete(run.checkpoints)} >= set(saved)


def test_without_memory_for_a_copy_it_is_written_at_once(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, until=99)
    monkeypatch.setattr(saving, "COPY_SHARE", 0.0)
    run = new_run(plan)
    assert work(run) == codes.DONE
    assert gate.in_thread == [False, False, False]
    assert _told(run, "checkpoint") == [2, 4, 6]


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
        ),
    ],
)
def test_copies_hold_what_was_there_and_their_memory_is_used_again(device: str) -> None:
    copies = HostCopies(torch.device(device))
    made = torch.Generator().manual_seed(1)
    layouts: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda value: value,
        lambda value: value.to(memory_format=torch.channels_last),
        lambda value: value.bfloat16(),
        lambda value: value[:, :, 0, 0].t(),
        lambda value: value.double()[0, 0, 0, 0],
        lambda value: value[:0],
        lambda value: (value * 9).to(torch.uint8),
    ]
    # The last one is larger than a block.
    values = [turn(torch.randn(5, 3, 4, 4, generator=made).to(device)) for turn in layouts]
    values.append(torch.zeros(BLOCK // 4 + 1, device=device))
    held = []
    for _ in range(2):
        copies.begin()
        expected = [value.to("cpu", copy=True) for value in values]
        mode = torch.cuda.get_sync_debug_mode() if device == "cuda" else 0
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        found = [copies.copy(value) for value in values]
        wait = copies.waiting()
        for value in values:
            value.zero_()
        if device == "cuda":
            torch.cuda.set_sync_debug_mode(mode)
        wait()
        for one, wanted in zip(found, expected, strict=True):
            assert torch.equal(one, wanted)
            assert one.dtype == wanted.dtype
            assert one.is_contiguous()
            assert one.is_pinned() == (device == "cuda")
        held.append(copies.held)
    assert held[0] == held[1]
    copies.shrink()
    assert copies.held == held[0]
