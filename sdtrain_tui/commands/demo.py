"""`sdtrain demo [METHOD]`: a small world, a plan for it, the built-in tiny model taught, and what came of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine.errors import UserError
from engine.files import expanded
from engine.run.follow import Follower
from engine.run.paths import RunDir, runs_root
from sdtrain_tui.codes import DONE
from sdtrain_tui.commands.child import run_module
from sdtrain_tui.commands.start import detached, need_torch, start, watch, watch_arguments
from sdtrain_tui.commands.terminal import has_terminal
from sdtrain_tui.commands.texts import clean, writable_name


def arguments(parser: argparse.ArgumentParser) -> None:
    from engine.plan.methods import DEFAULT_METHOD

    parser.add_argument(
        "method",
        metavar="METHOD",
        nargs="?",
        default=DEFAULT_METHOD,
        help=f"the method (default {DEFAULT_METHOD})",
    )
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help="where its pictures and its plan go (a new folder)"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="fewer or more steps than the preset's")
    parser.add_argument("--detach", action="store_true", help="start it and leave")
    watch_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from engine.plan.files import save_plan
    from engine.planning.build import build, gather

    need_torch()
    writable_name("--dir", args.dir)
    folder = args.dir or runs_root().parent / "demo" / args.method
    answers: dict[str, object] = run_module(
        "engine.demo", "prepare", args.method, str(expanded(folder).absolute())
    )[-1]
    if args.steps is not None:
        answers["train.steps"] = args.steps
    plan = build(answers, gather(answers)).plan
    path = folder / "plan.toml"
    save_plan(path, plan, replace=True)
    if not args.json:
        print(f"pictures: {plan.data.path}\nplan: {path}")
    started = start(plan, None)
    if args.detach:
        return detached(started, args.json)
    code = watch(started, args)
    if code == DONE and not args.json:
        tell_result(started, with_exports=has_terminal() and not args.plain)
    return code


def tell_result(run: RunDir, with_exports: bool) -> None:
    """Where the picture of before and after is, and the learnt files where plain lines have not said it yet."""
    view = Follower(run).catch_up()
    if view.finished is None:
        print(f"it goes on; watch it: sdtrain attach {run.name}")
        return
    for export in view.exports if with_exports else ():
        print(clean(f"learnt ({export.format}): {run.path / export.path}"))
    try:
        print(f"before and after: {run_module('engine.demo', 'show', str(run.path))[-1]['picture']}")
    except UserError as error:
        print("\n".join(error.lines()), file=sys.stderr)
