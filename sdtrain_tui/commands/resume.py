"""`sdtrain resume RUN`: let a paused run go on, or start a stopped or crashed one again from its last checkpoint."""

from __future__ import annotations

import argparse
import time

from engine.errors import UserError
from engine.run.control_commands import Resume
from engine.run.follow import Follower
from engine.run.launch import launch
from engine.run.lock import is_alive
from engine.run.paths import RunDir, find_run, handle, remember
from engine.run.view import state
from sdtrain_tui.commands.ask import ask, control_arguments, tell
from sdtrain_tui.commands.start import detached, need_torch, watch


def arguments(parser: argparse.ArgumentParser) -> None:
    control_arguments(parser, 60)
    parser.add_argument("--attach", action="store_true", help="watch it afterwards")
    parser.add_argument("--plain", action="store_true", help="with --attach: plain lines, also on a terminal")


def run(args: argparse.Namespace) -> int:
    found = find_run(args.run)
    remember(found)
    alive = is_alive(found)
    current = state(Follower(found).catch_up(), alive, time.time())
    if alive:
        code = _unpause(found, current, args)
        return watch(found, args) if args.attach and not code else code
    if current == "finished":
        raise UserError(
            f"{found.name} is finished", "all its steps are done", "start a longer run with `sdtrain new`"
        )
    need_torch()
    launch(found)
    return watch(found, args) if args.attach else detached(found, args.json)


def _unpause(found: RunDir, current: str, args: argparse.Namespace) -> int:
    if current not in ("paused", "disk-full"):
        raise UserError(
            f"{found.name} is not paused", f"it is {current}", f"watch it: sdtrain attach {handle(found)}"
        )
    return tell(found, "resume", ask(found, Resume(), args.wait), args.json)
