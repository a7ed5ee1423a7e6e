"""The states of a worker's life, opening and training, and what people may ask of it in each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.dataset.report import DatasetReport, Item
from engine.dataset.scan import scan
from engine.errors import UserError
from engine.plan.previews import preview_prompts
from engine.plan.schema import Plan
from engine.run.paths import RunDir, cache_root
from engine.train import checkpoint
from engine.train.conditions import conditions_of, preview_extras
from engine.train.feeding import make_feed
from engine.train.loop import Feed, Loop, StepReport
from engine.train.setup import (
    AdaptedModel,
    choose_device,
    configure_torch,
    load_plan_family,
    parameter_table,
    prepare,
)
from engine.worker.class_pictures import class_items
from engine.worker.commands import Commands
from engine.worker.exporting import export_all, run_exports
from engine.worker.previews import Previewer
from engine.worker.saving import Saver
from engine.worker.telling import Telling

MAX_SKIPPED = 20
CUDA_REPORT_S = 0.5
POLL_S = 0.2


class StopRequested(Exception):
    """Leave after a clean save; carries the reason."""


@dataclass(frozen=True)
class Run:
    """What every state needs: the run, its plan, who asks and who is told."""

    folder: RunDir
    plan: Plan
    commands: Commands
    telling: Telling


class State:
    """One state of a worker's life. A state that can save or draw says so in `act` and `save`."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.plan = run.plan
        self.commands = run.commands
        self.telling = run.telling

    def act(self) -> None:
        """Do what was asked to be done now; what cannot be done yet stays asked for."""

    def save(self) -> None:
        """Keep what was learned, if anything was."""

    def breathe(self) -> None:
        """Between steps, and between pictures while caching: do what people asked for."""
        requests = self.commands.poll()
        self.act()
        if requests.paused and not requests.stop:
            self._pause()
        if requests.stop:
            raise StopRequested(requests.stop)

    def _pause(self) -> None:
        self.telling.paused()
        requests = self.commands.requests
        while requests.paused and not requests.stop:
            time.sleep(POLL_S)
            self.commands.poll()
            self.act()
        self.telling.unpaused()

    def progress(self, text: str, done: int, total: int) -> None:
        """What is being made, how many are done, of how many; raises StopRequested."""
        if self.telling.progress(text, done, total):
            self.breathe()


class Opening(State):
    """Loading and caching: there is nothing to save or to draw with."""

    def open(self, saved: checkpoint.Saved | None) -> Training:
        """The training, where it was saved or at its beginning; raises StopRequested."""
        plan, telling = self.plan, self.telling
        telling.phase("loading", f"loading {plan.base.model}")
        device = choose_device(plan.hardware.device)
        configure_torch(plan, device)
        report = self._scan()
        report.require()
        prior = self._class_pictures(device)
        adapted = prepare(plan, load_plan_family(plan), device)
        telling.trainables(parameter_table(adapted.trainables))
        telling.phase("caching", f"{len(report.items)} pictures")
        # Resolution stages are cached while the training goes on: its state is asked then, not this one.
        current: list[State] = [self]
        feed = make_feed(
            plan, adapted, report, cache_root(), lambda *given: current[-1].progress(*given), prior
        )
        training = Training(self.run, adapted, feed, report)
        current.append(training)
        if saved is not None:
            training.restore(saved)
        return training

    def _scan(self) -> DatasetReport:
        data = self.plan.data
        return scan(
            Path(data.path),
            resolution=data.resolution,
            trigger=data.trigger,
            bucket=data.bucket,
            recursive=data.recursive,
            without=self.plan.folders_apart,
        )

    def _class_pictures(self, device: torch.device) -> tuple[Item, ...]:
        """Drawn where too few are there, by the base model before anything is injected into it."""
        if not (self.plan.data.class_path or self.plan.data.class_count):
            return ()
        self.telling.phase("caching", f"class pictures: {self.plan.data.class_prompt}")
        return class_items(self.plan, device, cache_root(), self.progress)


class Training(State):
    """From the first update to the plan's last: whatever is asked for can be done between two of them."""

    def __init__(self, run: Run, adapted: AdaptedModel, feed: Feed, report: DatasetReport) -> None:
        super().__init__(run)
        plan = run.plan
        self.adapted = adapted
        conditions = conditions_of(feed)
        self.items: Sequence[Item] = report.items if conditions is None else conditions.items
        self.skipped = 0
        self.loop = Loop(
            plan,
            adapted.family,
            adapted.method,
            adapted.trainables,
            feed,
            adapted.device,
            adapted.autocast,
            self.telling.warning,
            CUDA_REPORT_S if adapted.device.type == "cuda" else 0.0,
        )
        self.saver = Saver(run.folder, plan, self.loop, self.telling, self.commands)
        prompts = preview_prompts(plan, tuple(self.items))
        self.previewer = Previewer(
            plan,
            adapted,
            run.folder.previews,
            self.telling.preview,
            prompts,
            preview_extras(feed, plan, prompts, run.folder.previews),
            self.loop.averaged,
        )

    @property
    def step(self) -> int:
        """The last finished update."""
        return self.telling.step

    def restore(self, saved: checkpoint.Saved) -> None:
        """Go on from a checkpoint."""
        state = checkpoint.load(saved, self.adapted.trainables, self.loop.optimizer)
        self.loop.restore(state["loop"])
        averages = checkpoint.load_averages(saved)
        if self.loop.ema is not None and averages is not None:
            self.loop.ema.restore(averages)
        self.skipped = int(state["skipped"])
        self.saver.saved_step = saved.step
        self.telling.resumed(saved.step)

    def train(self) -> None:
        """All updates that are left, with their previews and checkpoints; raises StopRequested."""
        plan = self.plan
        if self.step == 0 and plan.samples.at_start and plan.samples.every:
            self._preview()
        self.telling.phase("training")
        polled = 0.0
        for group in self.loop.run(self.step, self._boundary):
            self._take(group)
            if self._due(plan.checkpoints.every):
                self.save()
            if self._due(plan.samples.every) or (plan.samples.every and self.step == plan.train.steps):
                self._preview()
                self.telling.phase("training")
            now = time.monotonic()
            if now - polled >= POLL_S:
                self.breathe()
                polled = now

    def _boundary(self, step: int) -> bool:
        every = (self.plan.checkpoints.every, self.plan.samples.every)
        return any(number and step % number == 0 for number in every)

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def _take(self, group: Sequence[StepReport]) -> None:
        """Tell the losses, and give up where too many steps in a row moved nothing."""
        for report in group:
            self.telling.report(report)
        for report in group:
            self.skipped = self.skipped + 1 if report.skipped else 0
            if report.skipped:
                self.telling.skipped(report.step)
            if self.skipped >= MAX_SKIPPED:
                raise UserError(
                    f"loss or gradients were not finite for {MAX_SKIPPED} steps in a row",
                    "the weights are as they were before; usual causes are a rate that is too high or fp16",
                    "lower train.learning_rate or set train.precision to bf16 or fp32, and start again",
                )

    def act(self) -> None:
        """Save and draw where somebody asked for it."""
        self.commands.act(self.save, self._draw_extra)

    def save(self) -> None:
        """A checkpoint of this step, unless there is one already."""
        if self.saver.save(self.step, {"skipped": self.skipped}):
            if self.plan.checkpoints.export_each:
                self.export(label=f"-{self.step:08d}")
            self.telling.phase("training")

    def export(self, label: str = "") -> None:
        """The output files of the weights as they are."""
        averaged = self.loop.averaged if self.loop.ema is not None else None
        folder = run_exports(self.run.folder)
        for done in export_all(self.plan, self.adapted, folder, self.step, self.items, label, averaged):
            self.telling.exported(done)

    def _preview(self) -> None:
        self.telling.phase("sampling", f"{len(self.previewer.prompts)} previews at step {self.step}")
        self.previewer.draw_all(self.step)

    def _draw_extra(self, prompt: str) -> bool:
        self.telling.phase("sampling", prompt)
        draw = self.previewer
        done = draw.draw_extra(self.step, prompt) if prompt else bool(draw.draw_all(self.step))
        self.telling.phase("training")
        return done
