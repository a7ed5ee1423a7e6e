"""The states of a worker's life, opening and training, and what people may ask of it in each."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from engine.plan.previews import preview_prompts
from engine.plan.schema import Plan
from engine.run.paths import RunDir, remember
from engine.run.place import is_gone, location
from engine.train import checkpoint
from engine.train.checkpoint import Saved
from engine.train.exporting import export_all, run_exports, started_at, targets
from engine.train.extras import preview_extras
from engine.train.loop import StepReport
from engine.train.opening import open_training
from engine.train.previews import Previewer
from engine.train.training import Training
from engine.worker.commands import Commands
from engine.worker.run_watch import RunWatch
from engine.worker.saving import Saver
from engine.worker.telling import Telling
from engine.worker.told import Told, told_of
from engine.worker.validating import Validations

POLL_S = 0.2


class StopRequested(Exception):
    """Leave after a clean save; carries the reason."""


class FolderGone(Exception):
    """The run's folder was removed: there is nowhere to save, and nothing is made anew."""


@dataclass
class Run:
    """What every state needs: the run, its plan, who asks and who is told."""

    folder: RunDir
    plan: Plan
    commands: Commands
    telling: Telling

    def __post_init__(self) -> None:
        self._place = location(self.folder)

    def look(self) -> None:
        """Notice that the folder was moved, which changes nothing but its name, or removed, which ends the run."""
        if is_gone(self.folder):
            raise FolderGone(str(self._place))
        place = location(self.folder)
        if place is not None and place != self._place:
            self._place = place
            remember(RunDir(place))
            self.telling.warning("moved", f"the run's folder was moved; it is now {place}")


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

    def rescue(self) -> str:
        """Keep what was learned after something went wrong; says what became of it."""
        return ""

    def breathe(self) -> None:
        """Between steps, and between pictures while caching: do what people asked for."""
        self.run.look()
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
            self.run.look()
            self.commands.poll()
            self.act()
        self.telling.unpaused()

    def progress(self, text: str, done: int, total: int) -> None:
        """What is being made, how many are done, of how many; raises StopRequested."""
        if self.telling.progress(text, done, total):
            self.breathe()


class Opening(State):
    """Loading and caching: there is nothing to save or to draw with."""

    def open(self, saved: Saved | None) -> Running:
        """The training, where it was saved or at its beginning; raises StopRequested."""
        watch = RunWatch(self)
        # The plan was checked when its run was made.
        running = Running(self.run, open_training(self.plan, watch=watch, checked=True))
        watch.state = running
        if saved is not None:
            running.restore(saved)
        return running


class Running(State):
    """From the first update to the plan's last: whatever is asked for can be done between two of them."""

    def __init__(self, run: Run, training: Training) -> None:
        super().__init__(run)
        self.training = training
        self.saver = Saver(run.folder, training, self.telling)
        self._told = Told(-1)
        self.validations = Validations(run.plan, training, self.telling, run.commands.leaving)
        self._stage_ends = {stage.last for stage in run.plan.options.stages_of_resolution}
        plan, previews = run.plan, run.folder.previews
        prompts = preview_prompts(plan, tuple(training.items))
        extras = preview_extras(training.feed.extras, plan, prompts, previews)
        self.previewer = Previewer(
            plan,
            training.adapted,
            previews,
            self.telling.preview,
            prompts,
            extras,
            training.loop.averaged,
            training.comparison,
        )

    @property
    def step(self) -> int:
        """The last finished update."""
        return self.training.step

    def restore(self, saved: Saved) -> None:
        """Go on from a checkpoint."""
        self.training.restore(saved)
        self.saver.saved_step = saved.step
        self._told = told_of(self.run.folder.events_file, saved.step)
        self.validations.restore(self.run.folder.events_file)
        self.telling.resumed(saved.step)
        self.saver.prune(saved.path)
        self._make_up(saved, self._told)

    def _make_up(self, saved: Saved, told: Told) -> None:
        """What an attempt that was ended between a checkpoint and its previews, exports and validation has left
        undone."""
        if not told.checkpoint:
            self.telling.checkpoint(saved, checkpoint.bytes_of(saved))
        self._export_each()
        if self.validations.due():
            self._validate()
        if self._preview_due() and any(
            prompt.index not in told.previews for prompt in self.previewer.prompts
        ):
            self._preview(told.previews)

    def _export_each(self) -> None:
        if self.plan.checkpoints.export_each:
            self.export(f"-{self.step:08d}")

    def train(self) -> None:
        """All updates that are left, with their previews and checkpoints; raises StopRequested."""
        plan = self.plan
        if self.step == 0 and self.validations.due():
            self._validate()
        if self.step == 0 and plan.samples.at_start and plan.samples.every:
            self._preview()
        compiling = plan.hardware.compile
        self.telling.phase(
            *(("compiling", "the denoiser, during the first step") if compiling else ("training",))
        )
        polled = 0.0
        for group in () if self.validations.spent else self.training.loop.run(self.step, self._boundary):
            self._take(group)
            if compiling:
                compiling = False
                self.telling.phase("training")
            if self._due(plan.checkpoints.every):
                self._then_export(self.saver.begin())
            if self.validations.due():
                self._validate()
            if self._preview_due():
                self._preview()
                self.telling.phase("training")
            if self.validations.spent:
                break
            now = time.monotonic()
            if now - polled >= POLL_S:
                self.breathe()
                polled = now
        self.validations.tell_end()
        self.breathe()

    def _boundary(self, step: int) -> bool:
        # A stage is encoded before its first update, and people are listened to meanwhile: a save must find no update
        # that was not told.
        every = (self.plan.checkpoints.every, self.plan.samples.every, self.plan.validation.every)
        return step in self._stage_ends or any(number and step % number == 0 for number in every)

    def _preview_due(self) -> bool:
        every = self.plan.samples.every
        return self._due(every) or (every > 0 and self.step == self.plan.train.steps)

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def _take(self, group: Sequence[StepReport]) -> None:
        """Tell the losses, and give up where too many steps in a row moved nothing."""
        for report in group:
            self.telling.report(report)
        for report in group:
            if report.skipped:
                self.telling.skipped(report.step)
            self.training.note(report)

    def act(self) -> None:
        """Save and draw where somebody asked for it."""
        self.saver.look()
        self.commands.act(self.save, self._draw_extra)

    def save(self) -> None:
        """A checkpoint of this step on the disk, unless there is one already."""
        self._then_export(self.saver.save())

    def _then_export(self, saved: bool) -> None:
        if saved:
            self._export_each()
            self.telling.phase("training")

    def rescue(self) -> str:
        """A checkpoint of what is in memory, where that is whole and finite."""
        self.saver.give_up()
        if self.saver.saved_step == self.step:
            return f"step {self.step} is saved"
        if not self.training.loop.whole:
            return "the update was left half done, so nothing was saved"
        if not self.saver.finite():
            return "the weights are not finite, so they were not saved"
        try:
            self.saver.save()
        except Exception as error:  # noqa: BLE001 - the run fails for another reason already, which is told
            return f"what was learned since step {max(0, self.saver.saved_step)} could not be saved: {error}"
        return f"step {self.step} was saved"

    def export(self, label: str = "") -> None:
        """The output files of the weights as they are, without what was told of this step already."""
        training, folder = self.training, run_exports(self.run.folder)
        averaged = training.loop.averaged if training.loop.ema is not None else None
        told = self._told.exports if self._told.step == self.step else ()
        there = {path for path in map(self.run.folder.path.joinpath, told) if path.exists()}
        family = training.adapted.family.spec.name
        if there.issuperset(targets(self.plan, family, folder, label, averaged is not None) or [folder]):
            return
        export_all(
            self.plan,
            training.adapted,
            folder,
            self.step,
            training.items,
            label,
            averaged,
            started_at(self.run.folder),
            self.telling.exported,
            there,
        )

    def _validate(self) -> None:
        self.validations.measure()
        self.telling.phase("training")
        # One that was left for somebody is made up from a checkpoint of this step.
        self.breathe()

    def _preview(self, without: Collection[int] = ()) -> None:
        count = sum(prompt.index not in without for prompt in self.previewer.prompts)
        self.telling.phase("sampling", f"{count} previews at step {self.step}")
        self.previewer.draw_all(self.step, without)

    def _draw_extra(self, prompt: str) -> bool:
        self.telling.phase("sampling", prompt)
        draw = self.previewer
        done = draw.draw_extra(self.step, prompt) if prompt else bool(draw.draw_all(self.step))
        self.telling.phase("training")
        return done
