"""What a worker tells: its run's events, and never more progress than one can read."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping

import torch

from engine.errors import UserError
from engine.export.base import Exported
from engine.models.bases import locate
from engine.plan.files import plan_hash
from engine.plan.schema import Plan
from engine.run import codes, kinds
from engine.run.paths import RunDir
from engine.train.checkpoint import Saved
from engine.train.loop import StepReport
from engine.train.setup import choose_device
from engine.version import package_version
from engine.worker.heartbeat import Heartbeat
from engine.worker.waiting_writer import WaitingWriter

PROGRESS_S = 0.25


class Telling:
    """Writes the run's events. `step` is the last finished update, which warnings and pauses carry."""

    def __init__(self, run: RunDir, writer: WaitingWriter, heartbeat: Heartbeat) -> None:
        self.run = run
        self.writer = writer
        self.step = 0
        self._heartbeat = heartbeat
        self._began = time.monotonic()
        self._before = heartbeat.phase
        self._progressed = 0.0

    def started(self, plan: Plan, resumed: bool) -> None:
        """Who works, on what, with which plan."""
        base = locate(plan.base.model, allow_download=plan.base.allow_download)
        self.writer.emit(
            kinds.Started(
                pid=os.getpid(),
                host=platform.node(),
                version=package_version("sdtrain-tui"),
                torch=str(torch.__version__),
                plan_hash=plan_hash(plan),
                total_steps=plan.train.steps,
                name=plan.name,
                method=plan.method,
                family=plan.base.family if base.path is None else base.family,
                device=str(choose_device(plan.hardware.device)),
                resumed=resumed,
            )
        )

    def phase(self, phase: str, text: str = "") -> None:
        """What the worker does from here on; heartbeats and progress say it too."""
        self._heartbeat.phase = phase
        self.writer.emit(kinds.Phase(phase, text))

    @property
    def doing(self) -> str:
        """The present phase."""
        return self._heartbeat.phase

    def progress(self, text: str, done: int, total: int) -> bool:
        """At most one in PROGRESS_S, and always the last; True where it was told."""
        now = time.monotonic()
        if now - self._progressed < PROGRESS_S and done != total:
            return False
        self._progressed = now
        self.writer.emit(kinds.Progress(self._heartbeat.phase, done, total, text))
        return True

    def warning(self, code: str, text: str) -> None:
        """Something to know that stops nothing."""
        self.writer.emit(kinds.Warned(code, text, self.step))

    def fit(self, choice: kinds.Fit) -> None:
        """Something is given up so that the run fits."""
        self.writer.emit(choice)

    def trainables(self, table: Mapping[str, tuple[int, int]]) -> None:
        """For each module that trains: (parameters, tensors)."""
        for module, (count, tensors) in table.items():
            self.writer.emit(kinds.TrainablePart(module, count, tensors))

    def resumed(self, step: int) -> None:
        """Training goes on after this step of an earlier attempt."""
        self.step = step
        self.writer.emit(kinds.Resumed(step))

    def begin_at(self, step: int) -> None:
        """So many updates lie on the disk, whatever becomes of this attempt."""
        self.step = self._heartbeat.step = step

    def report(self, report: StepReport) -> None:
        """One finished update."""
        self.step = self._heartbeat.step = report.step
        self.writer.emit(
            kinds.Step(
                step=report.step,
                loss=report.loss,
                lr=report.lr,
                grad_norm=report.grad_norm,
                images_per_s=round(report.images_per_s, 3),
                epoch=round(report.epoch, 4),
                skipped=report.skipped,
            )
        )

    def skipped(self, step: int) -> None:
        """This update moved no weight."""
        self.warning("not-finite", f"step {step}: loss or gradients were not finite; no weight was changed")

    def paused(self, reason: str = "", text: str = "") -> None:
        """The worker waits: because somebody asked, or for the `reason`."""
        self._before = self._heartbeat.phase
        self._heartbeat.phase = "paused"
        self.writer.emit(kinds.Paused(self.step, reason, text))

    def unpaused(self) -> None:
        """The waiting is over."""
        self.writer.emit(kinds.Unpaused(self.step))
        self._heartbeat.phase = self._before

    def checkpoint(
        self, saved: Saved, size: int, seconds: float | None = None, stalled: float | None = None
    ) -> None:
        """A whole checkpoint is on the disk."""
        path = str(saved.path.relative_to(self.run.path))
        took, stood = (None if value is None else round(value, 4) for value in (seconds, stalled))
        self.writer.emit(kinds.Checkpoint(saved.step, path, size, took, stood))

    def preview(self, sample: kinds.Sample) -> None:
        """One picture, or why there is none."""
        self.writer.emit(sample)

    def validation(self, measured: kinds.Validation) -> None:
        """The loss of the held-out pictures, or why there is none."""
        self.writer.emit(measured)

    def exported(self, done: Exported) -> None:
        """What was written and read back, an event a file; the file that a resume asks for is told last."""
        for one in reversed(done.files):
            path = str(one.path.relative_to(self.run.path))
            self.writer.emit(kinds.Exported(one.format, path, one.bytes, self.step, one.tensors))

    def command(self, ident: str, name: str, status: str, text: str = "") -> None:
        """The answer to one command."""
        self.writer.emit(kinds.Answered(ident, name, status, text))

    def stopped(self, reason: str) -> None:
        """The worker leaves before the plan's last step."""
        self.writer.emit(kinds.Stopped(self.step, reason))

    def finished(self) -> None:
        """The plan is done."""
        self.writer.emit(kinds.Finished(self.step, round(time.monotonic() - self._began, 3)))

    def failed(self, code: int, error: UserError) -> None:
        """The worker leaves with this exit code, and why."""
        state = codes.failed_state(code)
        self.writer.emit(kinds.Failed(error.what, error.why, error.fix, state, exit_code=code))
