"""One run from its plan to its files: load, cache, train, preview, save, export, and say all of it in events."""

from __future__ import annotations

import os
import platform
import sys
import time
import traceback
from pathlib import Path

import torch

from engine.dataset.report import Item
from engine.dataset.scan import scan
from engine.errors import UserError
from engine.files import is_disk_full
from engine.models.bases import locate
from engine.plan.files import load_plan, plan_hash
from engine.plan.previews import preview_prompts
from engine.plan.schema import Plan
from engine.run import codes
from engine.run.control import ControlReader
from engine.run.events import EventWriter
from engine.run.paths import RunDir, cache_root
from engine.train import checkpoint
from engine.train.conditions import conditions_of, preview_extras
from engine.train.feeding import make_feed
from engine.train.loop import Loop, StepReport
from engine.train.setup import (
    AdaptedModel,
    choose_device,
    configure_torch,
    load_plan_family,
    parameter_table,
    prepare,
)
from engine.version import package_version
from engine.worker.class_pictures import class_items
from engine.worker.commands import Commands
from engine.worker.disk_full import WaitingWriter
from engine.worker.exporting import export_all, run_exports
from engine.worker.heartbeat import Heartbeat
from engine.worker.library_logs import silence
from engine.worker.previews import Previewer
from engine.worker.saving import Saver

MAX_SKIPPED = 20
CUDA_REPORT_S = 0.5
POLL_S = 0.2
PROGRESS_S = 0.25


class StopRequested(Exception):
    """Leave after a clean save; carries the reason."""


def work(run: RunDir) -> int:
    """The whole worker process; returns its exit code (engine.run.codes)."""
    silence()
    with WaitingWriter(run.events_file) as writer, Heartbeat(writer) as heartbeat:
        try:
            return Session(run, writer, heartbeat).go()
        except UserError as error:
            return _failed(writer, codes.BAD_INPUT, error)
        except torch.OutOfMemoryError as error:
            fix = "lower train.batch_size or data.resolution, set hardware.gradient_checkpointing = true, then resume"
            return _failed(
                writer, codes.OUT_OF_MEMORY, UserError("the device is out of memory", str(error), fix)
            )
        except OSError as error:
            if is_disk_full(error):
                fix = "free some space, then: sdtrain resume"
                return _failed(writer, codes.DISK_FULL, UserError("the disk is full", str(error), fix))
            return _unexpected(writer, error)
        except Exception as error:  # noqa: BLE001 - the process edge: everything else becomes an event and a log
            return _unexpected(writer, error)


def _failed(writer: EventWriter, code: int, error: UserError) -> int:
    print("\n".join(error.lines()), file=sys.stderr, flush=True)
    state = codes.failed_state(code)
    writer.emit("failed", error=error.what, why=error.why, fix=error.fix, state=state, exit_code=code)
    return code


def _unexpected(writer: EventWriter, error: Exception) -> int:
    traceback.print_exception(error)
    fix = "the whole story is in engine.log; `sdtrain resume` goes on from the last checkpoint"
    return _failed(
        writer, codes.FAILED, UserError("the engine met an error it does not know", repr(error), fix)
    )


class Session:
    """The state of one worker's life; `go` runs it."""

    def __init__(self, run: RunDir, writer: WaitingWriter, heartbeat: Heartbeat) -> None:
        self.run = run
        self.writer = writer
        self.heartbeat = heartbeat
        self.commands = Commands(ControlReader(run.control_file), writer)
        self.step = 0
        self.skipped = 0
        self.progressed = 0.0
        self.began = time.monotonic()
        self.plan: Plan
        self.items: tuple[Item, ...] = ()
        self.adapted: AdaptedModel
        self.loop: Loop
        self.saver: Saver
        self.previewer: Previewer

    def go(self) -> int:
        self.commands.listen()
        self.writer.leaving = lambda: self.commands.signalled
        self.plan = load_plan(self.run.plan_file)
        saved, broken = checkpoint.latest(self.run.checkpoints)
        self._say_started(resumed=saved is not None)
        for text in broken:
            self._warn("broken-checkpoint", f"an older checkpoint is used, because {text}")
        try:
            self._prepare(saved)
            self._train()
        except StopRequested as stop:
            self._save()
            self.writer.emit("stopped", step=self.step, reason=str(stop))
            for ident in self.commands.requests.stop_ids:
                self.commands.answer(ident, "stop", "done")
            return codes.STOPPED
        self._save()
        self._phase("exporting", "writing the output files")
        self._export()
        self.writer.emit("finished", step=self.step, seconds=round(time.monotonic() - self.began, 3))
        return codes.DONE

    def _prepare(self, saved: checkpoint.Saved | None) -> None:
        plan = self.plan
        self._phase("loading", f"loading {plan.base.model}")
        device = choose_device(plan.hardware.device)
        configure_torch(plan, device)
        data = plan.data
        report = scan(
            Path(data.path),
            resolution=data.resolution,
            trigger=data.trigger,
            bucket=data.bucket,
            recursive=data.recursive,
        )
        self.items = report.require().items
        prior = self._class_pictures(device)
        self.adapted = prepare(plan, load_plan_family(plan), device)
        self._say_trainables()
        self._phase("caching", f"{len(report.items)} pictures")
        feed = make_feed(plan, self.adapted, report, cache_root(), self._progress, prior)
        conditions = conditions_of(feed)
        self.items = report.items if conditions is None else tuple(conditions.items)
        prompts = preview_prompts(plan, self.items)
        self.loop = Loop(
            plan,
            self.adapted.family,
            self.adapted.method,
            self.adapted.trainables,
            feed,
            device,
            self.adapted.autocast,
            self._warn,
            CUDA_REPORT_S if device.type == "cuda" else 0.0,
        )
        self.saver = Saver(self.run, plan, self.loop, self.writer, self.heartbeat, self.commands)
        self.previewer = Previewer(
            plan,
            self.adapted,
            self.run.previews,
            self.writer,
            prompts,
            preview_extras(feed, plan, prompts, self.run.previews),
            self.loop.averaged,
        )
        if saved is not None:
            state = checkpoint.load(saved, self.adapted.trainables, self.loop.optimizer)
            self.loop.restore(state["loop"])
            averages = checkpoint.load_averages(saved)
            if self.loop.ema is not None and averages is not None:
                self.loop.ema.restore(averages)
            self.skipped = int(state["skipped"])
            self.step = self.saver.saved_step = saved.step
            self.writer.emit("resumed", from_step=saved.step)

    def _class_pictures(self, device: torch.device) -> tuple[Item, ...]:
        """Drawn where too few are there, by the base model before anything is injected into it."""
        if not (self.plan.data.class_path or self.plan.data.class_count):
            return ()
        self._phase("caching", f"class pictures: {self.plan.data.class_prompt}")
        return class_items(self.plan, device, cache_root(), self._progress)

    def _train(self) -> None:
        plan = self.plan
        if self.step == 0 and plan.samples.at_start and plan.samples.every:
            self._preview()
        self._phase("training", "")
        polled = 0.0
        for group in self.loop.run(self.step, self._boundary):
            for report in group:
                self._say_step(report)
            self._check_finite(group)
            if self._due(plan.checkpoints.every):
                self._save()
            if self._due(plan.samples.every) or (plan.samples.every and self.step == plan.train.steps):
                self._preview()
                self._phase("training", "")
            now = time.monotonic()
            if now - polled >= POLL_S:
                self._breathe()
                polled = now

    def _boundary(self, step: int) -> bool:
        every = (self.plan.checkpoints.every, self.plan.samples.every)
        return any(number and step % number == 0 for number in every)

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def _breathe(self) -> None:
        """Between steps, and between pictures while caching: do what people asked for."""
        requests = self.commands.poll()
        training = hasattr(self, "saver")
        if training:
            self.commands.act(self._save, self._sample_extra)
        if requests.paused and not requests.stop:
            self._pause()
        if requests.stop:
            raise StopRequested(requests.stop)

    def _pause(self) -> None:
        self.writer.emit("paused", step=self.step)
        self.heartbeat.phase = "paused"
        while self.commands.requests.paused and not self.commands.requests.stop:
            time.sleep(POLL_S)
            self.commands.poll()
            if hasattr(self, "saver"):
                self.commands.act(self._save, self._sample_extra)
        self.writer.emit("unpaused", step=self.step)
        self.heartbeat.phase = "training"

    def _check_finite(self, group: list[StepReport]) -> None:
        for report in group:
            self.skipped = self.skipped + 1 if report.skipped else 0
            if report.skipped:
                self._warn(
                    "not-finite",
                    f"step {report.step}: loss or gradients were not finite; no weight was changed",
                )
            if self.skipped >= MAX_SKIPPED:
                raise UserError(
                    f"loss or gradients were not finite for {MAX_SKIPPED} steps in a row",
                    "the weights are as they were before; usual causes are a rate that is too high or fp16",
                    "lower train.learning_rate or set train.precision to bf16 or fp32, and start again",
                )

    def _save(self) -> bool:
        """False where there is nothing to save yet."""
        if not hasattr(self, "saver"):
            return False
        if self.saver.save(self.step, {"skipped": self.skipped}):
            if self.plan.checkpoints.export_each:
                self._export(label=f"-{self.step:08d}")
            self._phase("training", "")
        return True

    def _export(self, label: str = "") -> None:
        averaged = self.loop.averaged if self.loop.ema is not None else None
        folder = run_exports(self.run)
        written = export_all(self.plan, self.adapted, folder, self.step, self.items, label, averaged)
        for done in written:
            path = str(done.path.relative_to(self.run.path))
            self.writer.emit(
                "exported",
                format=done.format,
                path=path,
                bytes=done.bytes,
                step=self.step,
                tensors=done.tensors,
            )

    def _preview(self) -> None:
        self._phase("sampling", f"{len(self.previewer.prompts)} previews at step {self.step}")
        self.previewer.draw_all(self.step)

    def _sample_extra(self, prompt: str) -> bool:
        self._phase("sampling", prompt)
        done = (
            self.previewer.draw_extra(self.step, prompt)
            if prompt
            else bool(self.previewer.draw_all(self.step))
        )
        self._phase("training", "")
        return done

    def _say_started(self, resumed: bool) -> None:
        plan = self.plan
        base = locate(plan.base.model, allow_download=plan.base.allow_download)
        self.writer.emit(
            "started",
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

    def _say_trainables(self) -> None:
        for module, (count, tensors) in parameter_table(self.adapted.trainables).items():
            self.writer.emit("trainable", module=module, parameters=count, tensors=tensors)

    def _say_step(self, report: StepReport) -> None:
        self.step = self.heartbeat.step = report.step
        extra = {"skipped": True} if report.skipped else {}
        self.writer.emit(
            "step",
            step=report.step,
            loss=report.loss,
            lr=report.lr,
            grad_norm=report.grad_norm,
            images_per_s=round(report.images_per_s, 3),
            epoch=round(report.epoch, 4),
            **extra,
        )

    def _phase(self, phase: str, text: str) -> None:
        self.heartbeat.phase = phase
        self.writer.emit("phase", phase=phase, text=text)

    def _progress(self, text: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.progressed >= PROGRESS_S or done == total:
            self.progressed = now
            self.writer.emit("progress", phase=self.heartbeat.phase, done=done, total=total, text=text)
            self._breathe()

    def _warn(self, code: str, text: str) -> None:
        self.writer.emit("warning", code=code, text=text, step=self.step)
