"""`sdtrain save RUN`: write a checkpoint now."""

from __future__ import annotations

import argparse

from engine.plan.units import size_text
from engine.run.control_commands import Save
from sdtrain_tui.commands.ask import ask, control_arguments, living, tell


def arguments(parser: argparse.ArgumentParser) -> None:
    control_arguments(parser, 120)


def run(args: argparse.Namespace) -> int:
    found = living(args.run)
    answer = ask(found, Save(), args.wait)
    last = answer.view.checkpoints[-1] if answer.view.checkpoints else None
    done = answer.status == "done" and last is not None
    path = str(found.path / last.path) if done and last is not None else ""
    code = tell(found, "save", answer, args.json, {"checkpoint": path})
    if path and last is not None and not args.json:
        print(f"{path} ({size_text(last.bytes)})")
    return code
