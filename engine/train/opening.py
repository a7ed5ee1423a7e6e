"""Opens a training: from a plan to a model with its data, ready for the first step or for the one after a save."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from engine.dataset.areas import at_each_size
from engine.dataset.report import Item
from engine.errors import UserError
from engine.families.base import ModelFamily
from engine.files import expanded
from engine.plan import files
from engine.plan.problems import PlanErrors
from engine.plan.schema import Plan
from engine.planning.check import check, errors_of
from engine.planning.data import scan_data, trained_on
from engine.planning.fit_at_start import kept
from engine.planning.sources import marks
from engine.run.create import create_run
from engine.run.lock import RunLock
from engine.run.paths import RunDir, cache_root
from engine.train import checkpoint
from engine.train.caption_length import warn_of_cut
from engine.train.class_pictures import class_items
from engine.train.feeding import make_feed
from engine.train.fetching import fetch_missing
from engine.train.held_out import HeldOut
from engine.train.settling import settle
from engine.train.setup import (
    choose_device,
    configure_torch,
    load_plan_family,
    parameter_table,
    prepare,
)
from engine.train.similarity import Comparison
from engine.train.training import Training
from engine.train.validation_history import told_in
from engine.train.watch import Watch
from engine.train.world import ALONE, World


def open_training(
    plan: Plan,
    run_dir: Path | str | None = None,
    *,
    watch: Watch | None = None,
    cache: Path | None = None,
    family: ModelFamily | None = None,
    checked: bool = False,
    world: World = ALONE,
) -> Training:
    """Load the base model, put the method into it, encode the pictures; `with` closes it again.

    With `run_dir` it is a run as `sdtrain run` makes one: a new folder gets the plan, a folder of the same plan
    goes on from its newest checkpoint, and no engine can work in it meanwhile. Without, nothing is written but the
    cache (`cache`, by default the one of all runs). `family` is a loaded model in the place of the plan's
    base; the method changes it. `checked` leaves out the rules of `sdtrain check`. `world` is for a run of several
    processes, of which this is one. Sets torch's threads,
    TF32 and determinism for the whole process, as the plan's `hardware` says. UserError for everything that the
    plan, its data or its folder have wrong.
    """
    watch = Watch() if watch is None else watch
    if not checked and (problems := errors_of(check(plan))):
        raise PlanErrors(problems)
    if run_dir is None:
        return _open(plan, watch, cache or cache_root(), family, world)
    run, lock = _claim(plan, expanded(run_dir).absolute())
    try:
        if (fitted := kept(run.fit_file)) is not None:
            plan = fitted.of(plan)
        saved, broken = checkpoint.latest(run.checkpoints)
        for text in broken:
            watch.warning("broken-checkpoint", f"an older checkpoint is used, because {text}")
        training = _open(plan, watch, cache or cache_root(), family, world)
        training.hold(run, lock)
        if saved is not None:
            training.restore(saved)
            training.history = told_in(run.events_file, saved.step).history
    except BaseException:
        lock.release()
        raise
    return training


def _claim(plan: Plan, path: Path) -> tuple[RunDir, RunLock]:
    """The run's folder, new or of the same plan, held by this process."""
    run = RunDir(path)
    if not run.exists():
        run = create_run(files.dumps(plan), plan.name, path)
    elif files.plan_hash(files.load_stored(run.plan_file)[0]) != files.plan_hash(plan):
        raise UserError(
            f"the run in {path} has another plan",
            "a run goes on with the plan that it was started with",
            f"open it with load_plan({str(run.plan_file)!r}), or give a new folder",
        )
    lock = RunLock(run.lock_file)
    if not lock.acquire():
        raise UserError(
            f"the run in {path} is in use",
            "an engine, or another training of this program, holds it",
            f"sdtrain stop {run.name}, or close() the other training",
        )
    return run, lock


def _open(plan: Plan, watch: Watch, cache: Path, family: ModelFamily | None, world: World) -> Training:
    if fetch_missing(plan, watch) and (problems := errors_of(check(plan))):
        raise PlanErrors(problems)
    watch.phase("loading", f"loading {plan.base.model}")
    device = choose_device(plan.hardware.device)
    configure_torch(plan, device)
    report = scan_data(plan)
    report.require()
    prior = _class_pictures(plan, device, cache, watch)
    adapted = prepare(plan, family or load_plan_family(plan), device, watch.warning)
    warn_of_cut(report.items, adapted.family, watch.warning)
    watch.trainables(parameter_table(adapted.trainables))
    watch.phase("caching", f"{len(report.items)} pictures")
    shown = replace(report, items=at_each_size(trained_on(plan, report)))
    feed = make_feed(plan, adapted, shown, cache, watch.progress, prior, world, watch.warning)
    held_out = HeldOut.of(plan, adapted, report, cache, watch.progress)
    settle(plan, adapted, watch.warning)
    compared = Comparison.of(plan, [item for item in feed.items if not item.again])
    made = Training(plan, adapted, feed, report, watch, world, held_out, compared)
    made.sources = marks(plan, report)
    return made


def _class_pictures(plan: Plan, device: torch.device, cache: Path, watch: Watch) -> tuple[Item, ...]:
    """Drawn where too few are there, by the base model before anything is injected into it."""
    if not plan.data.class_pictures:
        return ()
    watch.phase("caching", f"class pictures: {plan.data.class_prompt}")
    return class_items(plan, device, cache, watch.progress, watch.warning)
