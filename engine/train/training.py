"""A training as one handle: train some steps, look, save, go on, export; with or without a run's folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from PIL import Image
from torch import Tensor

from engine import draws
from engine.dataset.report import DatasetReport, Item
from engine.errors import UserError
from engine.files import is_disk_full
from engine.plan.files import plan_hash
from engine.plan.previews import preview_prompts
from engine.plan.schema import Plan
from engine.run.lock import RunLock
from engine.run.paths import RunDir
from engine.train import checkpoint
from engine.train.exporting import export_all, run_exports
from engine.train.extras import preview_extras
from engine.train.feeding import SampleFeed
from engine.train.held_out import HeldOut
from engine.train.loop import Loop, StepReport
from engine.train.measures import sparing_of
from engine.train.previews import Painter, Prompt, listed
from engine.train.setup import AdaptedModel
from engine.train.similarity import Comparison
from engine.train.validation import Validated, Validator
from engine.train.validation_history import History
from engine.train.watch import Watch
from engine.train.world import ALONE, World

MAX_SKIPPED: Final = 20
CUDA_REPORT_S: Final = 0.5


def make_loop(
    plan: Plan, adapted: AdaptedModel, feed: SampleFeed, watch: Watch, world: World = ALONE
) -> Loop:
    """The loop on a prepared model; on CUDA it reports in groups, so that the host seldom waits."""
    return Loop(
        plan,
        adapted.family,
        adapted.method,
        adapted.trainables,
        feed,
        adapted.device,
        adapted.autocast,
        watch.warning,
        CUDA_REPORT_S if adapted.device.type == "cuda" else 0.0,
        world,
        sparing_of(plan, adapted),
    )


@contextmanager
def _call_again(verb: str) -> Iterator[None]:
    """Say of a full disk what to do about it."""
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        text = f"{error.strerror}: nothing was lost; free some space and call {verb}() again"
        raise OSError(error.errno, text, error.filename) from error


class Training:
    """A model that is ready to train, and all that was learned so far. `engine.open_training` makes one.

    `step` is the last finished update, `reports` are those of this session.
    """

    def __init__(
        self,
        plan: Plan,
        adapted: AdaptedModel,
        feed: SampleFeed,
        data: DatasetReport,
        watch: Watch,
        world: World = ALONE,
        held_out: HeldOut | None = None,
        comparison: Comparison | None = None,
    ) -> None:
        """`held_out` are the pictures of a plan that validates, `comparison` measures previews."""
        self.comparison = comparison
        self.plan = plan
        self.adapted = adapted
        self.feed = feed
        self.data = data
        self.sources: Mapping[str, str] = {}  # marks of what it is made from
        self.watch = watch
        self.run: RunDir | None = None
        self.loop = make_loop(plan, adapted, feed, watch, world)
        self.started = time.time()
        self.step = 0
        self.skipped = 0
        self.reports: list[StepReport] = []
        self._lock: RunLock | None = None
        self.items: Sequence[Item] = [item for item in feed.items if not item.again]
        self.validator = None if held_out is None else Validator(plan, adapted, held_out, self.loop)
        self.history = History()
        self._painter = Painter(plan, adapted, self.loop.averaged)
        self._prompts: list[Prompt] | None = None

    def hold(self, run: RunDir, lock: RunLock) -> None:
        """From here on this training is that run, whose lock it holds until it is closed."""
        self.run, self._lock = run, lock

    @property
    def losses(self) -> list[float]:
        """The loss of each update of this session, in their order."""
        return [report.loss for report in self.reports]

    def train(self, steps: int | None = None) -> list[StepReport]:
        """Run `steps` more updates, or all that the plan has left; returns their reports.

        Learning rates follow the plan's schedule over `train.steps`, so fewer steps are its beginning. UserError
        after MAX_SKIPPED updates in a row whose loss or gradients were not finite, and after the plan's last where all
        were so.
        """
        if steps is not None and steps < 1:
            raise UserError(f"{steps} steps cannot be trained", "a step is one update", "ask for 1 or more")
        left = self.plan.train.steps - self.step
        if not left:
            raise UserError(
                f"all {self.plan.train.steps} steps of the plan are done",
                "the learning rate's schedule ends there",
                "plan more: a larger train.steps",
            )
        until = self.step + min(left, left if steps is None else steps)
        self.watch.phase("training")
        first = len(self.reports)
        for group in self.loop.run(self.step, lambda step: step == until):
            for report in group:
                self.note(report)
                self.watch.report(report)
            if self.step == until:
                break
        return self.reports[first:]

    def note(self, report: StepReport) -> None:
        """Take in a finished update; UserError where too many in a row, or all of them, moved nothing."""
        self.step = report.step
        self.skipped = self.skipped + 1 if report.skipped else 0
        self.reports.append(report)
        if self.skipped >= MAX_SKIPPED:
            raise UserError(
                f"loss or gradients were not finite for {MAX_SKIPPED} steps in a row",
                "the weights are as they were before; usual causes are a rate that is too high or fp16",
                "lower train.learning_rate or set train.precision to bf16 or fp32, and start again",
            )
        if self.step >= self.plan.train.steps and self.skipped >= self.step:
            raise UserError(
                f"nothing was learned: loss or gradients were not finite in all {self.step} steps",
                "no weight was changed; usual causes are a rate that is too high or fp16",
                "lower train.learning_rate or set train.precision to bf16 or fp32, and start again",
            )

    def preview(self, prompt: str = "", seed: int | None = None) -> Image.Image:
        """One picture of the weights as they are (of their average, with train.ema).

        Without a prompt it is the plan's first preview. A method with conditions draws under the condition of its
        first preview. Nothing is written.
        """
        if self._prompts is None:
            texts = preview_prompts(self.plan, tuple(self.items))
            folder = self.run.previews if self.run is not None else None
            extras = preview_extras(self.feed.extras, self.plan, texts, folder)
            self._prompts = listed(self.plan, texts, extras)
        first = self._prompts[0] if self._prompts else Prompt(0, "", self.plan.samples.seed)
        chosen = Prompt(0, prompt or first.text, first.seed if seed is None else seed, first.extra)
        return self._painter.picture(chosen)

    def validate(self, leaving: Callable[[], bool] = lambda: False) -> Validated:
        """The loss of the held-out pictures with the weights as they are; UserError without `validation.every`, and
        InterruptedError where `leaving` says so."""
        if self.validator is None:
            raise UserError(
                "this plan holds no pictures out",
                "validation.every is 0",
                "set validation.every, and validation.share or validation.path",
            )
        found = self.validator.measure(self.step, leaving)
        self.history.add(found.step, found.loss)
        return found

    def save(self, folder: Path | str | None = None) -> Path:
        """Write a checkpoint below `folder`, by default the run's; returns its own folder.

        In a run's folder the oldest beyond `checkpoints.keep` are removed. OSError on a full disk, which does not wait
        here as a run of the terminal does: what was learned stays in memory, and `save` can be called again.
        """
        own = self.run.checkpoints if self.run is not None else None
        target = Path(folder) if folder is not None else own
        if target is None:
            raise self._homeless("save")
        items, optimizer = self.adapted.trainables, self.loop.optimizer
        with _call_again("save"):
            saved, _ = checkpoint.save(target, self.step, items, optimizer, self.state(), self.averages())
        if target == own:
            checkpoint.prune(target, self.plan.checkpoints.keep, None, self.history.kept(self.plan))
        return saved.path

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps beside weights, moments and averages."""
        return {
            "loop": self.loop.state(),
            "plan": plan_hash(self.plan),
            "skipped": self.skipped,
            "spared": self.loop.sparing.taken,
            "draws": draws.VERSION,
            "sources": dict(self.sources),
        }

    def averages(self) -> Mapping[str, Tensor] | None:
        """The averaged weights by the trainables' names; none without train.ema."""
        return self.loop.ema.state() if self.loop.ema is not None else None

    def resume(self, checkpoint_folder: Path | str) -> int:
        """Go on from a checkpoint: the folder that `save` returned, or one of several, of which the newest whole one
        is taken. Returns its step."""
        path = Path(checkpoint_folder)
        if (path / checkpoint.MANIFEST).is_file():
            saved: checkpoint.Saved | None = next(
                (found for found in checkpoint.complete(path.parent) if found.path == path), None
            )
            wrong = checkpoint.verify(saved) if saved is not None else "its name is not step-NUMBER"
        else:
            saved, broken = checkpoint.latest(path)
            wrong = "; ".join(broken) or "no folder step-NUMBER with a manifest is there"
        if saved is None or (wrong and saved.path == path):
            raise UserError(f"no whole checkpoint at {path}", wrong, "give the folder that a save returned")
        self.restore(saved)
        return saved.step

    def restore(self, saved: checkpoint.Saved) -> None:
        """Put a checkpoint that was verified in place."""
        state = checkpoint.load(saved, self.adapted.trainables, self.loop.optimizer)
        self.loop.restore(state["loop"])
        self.loop.sparing.restore(int(state.get("spared", 0)))
        if state.get("draws", 1) != draws.VERSION:
            self.watch.warning(
                "other-draws",
                f"step {saved.step} was saved by a version that drew noise in another way: the run goes on, but its "
                "noise and previews are not those that it would have had without the interruption",
            )
        averages = checkpoint.load_averages(saved)
        if self.loop.ema is not None and averages is not None:
            self.loop.ema.restore(averages)
        self.skipped = int(state.get("skipped", 0))
        self.step = saved.step

    def export(self, folder: Path | str | None = None) -> list[Path]:
        """Write the plan's formats into `folder`, by default the run's; each file is read back and compared.

        OSError on a full disk, as in `save`.
        """
        if folder is not None:
            target = Path(folder)
            target.mkdir(parents=True, exist_ok=True)
        elif self.run is not None:
            target = run_exports(self.run)
        else:
            raise self._homeless("export")
        averaged = self.loop.averaged if self.loop.ema is not None else None
        with _call_again("export"):
            done = export_all(
                self.plan, self.adapted, target, self.step, self.items, "", averaged, self.started
            )
        return [exported.path for exported in done]

    def _homeless(self, verb: str) -> UserError:
        return UserError(
            f"there is no folder to {verb} into",
            "this training was opened without a run's folder",
            f"{verb}(folder), or open_training(plan, run_dir=folder)",
        )

    def close(self) -> None:
        """Let go of the run's folder; nothing is saved by this."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
