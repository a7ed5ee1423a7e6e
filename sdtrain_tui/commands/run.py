"""`sdtrain run PLAN`: check it, start it in a process of its own, and watch it."""

from __future__ import annotations

import argparse
from pathlib import Path

from sdtrain_tui.commands.plans import read_plan, set_argument
from sdtrain_tui.commands.start import detached, start, watch, watch_arguments
from sdtrain_tui.commands.texts import writable_name


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN", type=Path, help="a plan file (TOML)")
    set_argument(parser)
    parser.add_argument("--dir", type=Path, metavar="RUN_DIR", help="the run's folder, new or empty")
    parser.add_argument(
        "--allow-download", action="store_true", help="the hub may be asked for what is not on this machine"
    )
    parser.add_argument("--detach", action="store_true", help="start it and leave")
    watch_arguments(parser)


def run(args: argparse.Namespace) -> int:
    writable_name("--dir", args.dir)
    if args.allow_download:
        args.sets = [*args.sets, "base.allow_download=true"]
    started = start(read_plan(args), args.dir)
    return detached(started, args.json) if args.detach else watch(started, args)
