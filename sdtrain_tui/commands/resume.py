"""`sdtrain resume RUN`: let a paused run go on, start a stopped or crashed one again from its last checkpoint, or make
a finished one longer."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from engine.errors import UserError
from engine.run.control_commands import Resume
from engine.run.follow import Follower
from engine.run.launch import launch
from engine.run.lock import is_alive
from engine.run.paths import RunDir, find_run, handle, remember
from engine.run.view import state
from sdtrain_tui.commands.ask import ask, control_arguments, tell
from sdtrain_tui.commands.start import checked, detached, need_torch, watch


def arguments(parser: argparse.ArgumentParser) -> None:
    control_arguments(parser, 60)
    parser.add_argument("--steps", type=int, metavar="N", help="the run's length from here on, in all")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another value from here on; for what changes nothing learned: steps, where files lie, previews, "
        "checkpoints, output, device and what saves memory",
    )
    parser.add_argument("--attach", action="store_true", help="watch it afterwards")
    parser.add_argument("--plain", action="store_true", help="with --attach: plain lines, also on a terminal")


def run(args: argparse.Namespace) -> int:
    found = find_run(args.run)
    remember(found)
    alive = is_alive(found)
    view = Follower(found).catch_up()
    current = state(view, alive, time.time())
    # A length in steps takes the place of one in epochs.
    length = [] if args.steps is None else [f"train.steps={args.steps}", "train.epochs=0"]
    sets = [*args.set, *length]
    if alive and sets:
        raise UserError(
            f"{found.name} is {current}",
            "its plan is read when it starts",
            f"stop it first: sdtrain stop {handle(found)}",
        )
    if alive:
        code = _unpause(found, current, args)
        return watch(found, args) if args.attach and not code else code
    need_torch()
    done = max((saved.step for saved in view.checkpoints), default=0)
    if sets:
        _change(found, sets, done, current == "finished", args.json)
    elif current == "finished":
        raise _all_done(found, view.step)
    launch(found)
    return watch(found, args) if args.attach else detached(found, args.json)


def _all_done(found: RunDir, step: int) -> UserError:
    return UserError(
        f"{found.name} is finished",
        f"all its {step:,} steps are done",
        f"make it longer: sdtrain resume {handle(found)} --steps {2 * step}",
    )


def _change(found: RunDir, sets: list[str], done: int, finished: bool, as_json: bool) -> None:
    """Write the run's plan with other values, and say what that means."""
    from engine.plan.files import dumps, load_stored, resolve
    from engine.planning.resuming import changed, stretched
    from engine.planning.sources import refuse_others
    from engine.run.kinds import Replanned
    from engine.run.replan import replan

    plan, _ = load_stored(found.plan_file)
    new, changes = changed(plan, sets, done)
    new = resolve(new, Path.cwd())
    if finished and new.train.steps <= done:
        raise _all_done(found, done)
    saved = found.checkpoints / f"step-{done:08d}"
    if done and not (saved / "manifest.json").is_file():
        raise UserError(
            f"{found.name} has no checkpoint of step {done:,} any more",
            "a run goes on from its newest one",
            "start a new run that goes on from its file, such as lora.start",
        )
    refuse_others(new, [each.key for each in changes], saved / "state.json")
    checked(new)
    told = [Replanned(each.key, _text(each.before), _text(each.after), each.because) for each in changes]
    replan(found, dumps(new), told)
    out = sys.stderr if as_json else sys.stdout
    for line in [*(each.text() for each in changes), stretched(plan, new, done)]:
        if line:
            print(line, file=out)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _unpause(found: RunDir, current: str, args: argparse.Namespace) -> int:
    if current not in ("paused", "disk-full"):
        raise UserError(
            f"{found.name} is not paused", f"it is {current}", f"watch it: sdtrain attach {handle(found)}"
        )
    return tell(found, "resume", ask(found, Resume(), args.wait), args.json)
